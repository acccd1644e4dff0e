"""The tar archive that a layout is written to: its entries, its lock and its state."""

from __future__ import annotations

from anyio import Semaphore
from anyio.abc import ByteSendStream

from steelyard._archive import Member, layout
from steelyard.digest import Digest
from steelyard.errors import FailedPrecondition
from steelyard.images.layout._names import BLOBS, blob_name

__all__ = ("Archive", "header")


class Archive:
    """An archive under construction.

    Attributes:
        entry_lock: held by the writer of an entry.
        state: ``open``, ``closed`` or ``broken``; only an open archive can be added to.
    """

    def __init__(self, sink: ByteSendStream) -> None:
        self.entry_lock = Semaphore(1)
        self.state = "open"
        self._sink = sink
        self._names: set[str] = set()

    def check(self) -> None:
        """Refuse to add to an archive that is not open."""
        if self.state != "open":
            raise FailedPrecondition(f"archive: it is {self.state}; nothing can be added")

    async def send(self, data: bytes) -> None:
        """Write bytes. A failure or a cancellation may leave a part of them in the stream, so it breaks the archive."""
        self.check()
        self.state = "broken"
        await self._sink.send(data)
        self.state = "open"

    def has(self, digest: Digest) -> bool:
        """Return whether the blob is in the archive."""
        return blob_name(digest) in self._names

    def head(self, digest: Digest, size: int) -> bytes:
        """Return the headers for a new blob, and for its directories if they are new."""
        head = b""
        for directory in (BLOBS, f"{BLOBS}/{digest.algorithm}"):
            if directory not in self._names:
                self._names.add(directory)
                head += layout([Member(directory, mode=0o755, directory=True)]).places[0].header
        self._names.add(blob_name(digest))
        return head + header(blob_name(digest), size, 0o444)


def header(name: str, size: int, mode: int) -> bytes:
    """Return the headers for an entry."""
    return layout([Member(name, size, mode)]).places[0].header
