"""An open ingest."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from steelyard import _native
from steelyard._runtime.buffers import view
from steelyard._runtime.fork import ProcessBound
from steelyard.digest import Algorithm, Digest
from steelyard.local.blocking._rows import to_digest, to_info, to_status
from steelyard.model import Buffer, Info, Labels, Status
from steelyard.options import check_size

__all__ = ("BlockingIngest",)


class BlockingIngest(ProcessBound):
    """An open ingest; see `Writer`. One thread at a time may use it.

    `write` writes the bytes before it returns. The write buffer behind a `LocalWriter` saves an event loop its waits; a
    thread that asks for a digest after each write would wait for it at once.

    Attributes:
        native: the core's handle.

    Args:
        native: the core's handle.
        released: called with the ref, once, when it is free.
    """

    def __init__(self, native: _native.Ingest, released: Callable[[str], object]) -> None:
        self.native = native
        self._released = released
        self._closed = False

    @property
    def ref(self) -> str:
        """The caller's name of the ingest."""
        return self.native.ref

    @property
    def offset(self) -> int:
        """Bytes accepted so far."""
        return self.native.offset

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm of `digest`."""
        return Algorithm(self.native.algorithm)

    @property
    def closed(self) -> bool:
        """Whether the ref is free again, by `commit` or `close`."""
        return self._closed

    def write(self, data: Buffer) -> None:
        """Append all of `data`."""
        with view(data) as octets:
            self.native.write(octets)

    def digest(self) -> Digest:
        """Return the digest of the bytes accepted so far."""
        return to_digest(*self.native.digest())

    def status(self) -> Status:
        """Return the ingest's status."""
        return to_status(self.native.status())

    def truncate(self, size: int) -> None:
        """Cut the ingest to its first `size` bytes."""
        check_size(size)
        self.native.truncate(size)

    def sync(self) -> None:
        """Make the bytes accepted so far, and the hash state at their end, durable."""
        self.native.sync()

    def commit(
        self,
        size: int | None = None,
        expected: Digest | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Info:
        """Publish the ingest, and close it whatever happens; see `Writer.commit`."""
        try:
            check_size(size)
            kept = None if labels is None else dict(Labels(labels))
            if expected is not None and expected.algorithm != self.algorithm:
                self.native.set_algorithm(expected.algorithm.value)
            return to_info(self.native.commit(size, None if expected is None else str(expected), kept))
        finally:
            self.close()

    def close(self) -> None:
        """Make the bytes durable, keep the ingest for a resume, and free the ref; may be called twice."""
        try:
            self.native.close()
        finally:
            if not self._closed:
                self._closed = True
                self._released(self.ref)
