"""A committed blob in memory."""

from __future__ import annotations

from steelyard.model import Info

__all__ = ("Blob",)


class Blob:
    """A committed blob. Its `data` may differ from what its `info` says: that is damage."""

    def __init__(self, data: bytes, info: Info) -> None:
        self.data = data
        self.info = info

    def is_whole(self, size: int | None) -> bool:
        """Return whether the blob is what it should be as far as its size tells; `size` is the caller's, if known."""
        return len(self.data) == self.info.size and size in {None, self.info.size}
