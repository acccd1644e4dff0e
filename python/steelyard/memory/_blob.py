"""A committed blob in memory."""

from __future__ import annotations

from steelyard.model import Info

__all__ = ("Blob",)


class Blob:
    """A committed blob. It is damaged if its `data` does not match its `info`."""

    def __init__(self, data: bytes, info: Info) -> None:
        self.data = data
        self.info = info

    def is_whole(self, size: int | None) -> bool:
        """Return whether the blob has the right size; `size` is the caller's, if known."""
        return len(self.data) == self.info.size and size in {None, self.info.size}
