"""An ingest in memory, and its writer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from anyio.lowlevel import checkpoint

from steelyard._runtime.buffers import view
from steelyard.content import Writer
from steelyard.digest import Digest
from steelyard.errors import (
    Aborted,
    OutOfRange,
    UnexpectedDigest,
    UnexpectedSize,
    WriterClosed,
)
from steelyard.hashing import digest_of
from steelyard.model import DEFAULT_ALGORITHM, Buffer, Info, Labels, Status
from steelyard.options import CommitOptions, check_size

__all__ = ("Ingest", "MemoryWriter", "now")


def now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


class Ingest:
    """An unfinished write. `held_since` is the time at which its writer was opened, or None while it has no writer."""

    def __init__(self, ref: str) -> None:
        self.ref = ref
        self.algorithm = DEFAULT_ALGORITHM
        self.data = bytearray()
        self.total: int | None = None
        self.expected: Digest | None = None
        self.started_at = self.updated_at = now()
        self.held_since: datetime | None = None
        self.aborted = False

    def status(self) -> Status:
        """Return its status."""
        return Status(
            ref=self.ref,
            offset=len(self.data),
            total=self.total,
            expected=self.expected,
            started_at=self.started_at,
            updated_at=self.updated_at,
        )


class MemoryWriter(Writer):
    """The only writer of an ingest, until it is closed or the ingest is aborted."""

    def __init__(
        self,
        ingest: Ingest,
        publish: Callable[[Ingest, bytes, Digest, Labels], Info],
        released: Callable[[str], None],
    ) -> None:
        self._ingest = ingest
        self._publish = publish
        self._released = released
        self._ended: type[WriterClosed | Aborted] | None = None

    @property
    def ref(self) -> str:
        return self._ingest.ref

    @property
    def offset(self) -> int:
        return len(self._ingest.data)

    async def write(self, data: Buffer) -> None:
        self._check()
        await checkpoint()
        self._check()
        added = view(data)
        if added:
            self._ingest.data += added
            self._ingest.updated_at = now()

    async def digest(self) -> Digest:
        self._check()
        return await digest_of(bytes(self._ingest.data), algorithm=self._ingest.algorithm)

    async def status(self) -> Status:
        self._check()
        await checkpoint()
        return self._ingest.status()

    async def truncate(self, size: int) -> None:
        check_size(size)
        self._check()
        await checkpoint()
        self._check()
        if size > self.offset:
            raise OutOfRange(self.ref, offset=size, size=self.offset)
        if size < self.offset:
            del self._ingest.data[size:]
            self._ingest.updated_at = now()

    async def sync(self) -> None:
        self._check()
        await checkpoint()

    async def _commit(self, options: CommitOptions) -> Info:
        # `verify` has no effect: the digest is always computed here, from all bytes.
        try:
            self._check()
            if options.expected is not None:
                self._ingest.algorithm = options.expected.algorithm
            data = bytes(self._ingest.data)
            if options.size is not None and options.size != len(data):
                raise UnexpectedSize(self.ref, expected=options.size, actual=len(data))
            found = await digest_of(data, algorithm=self._ingest.algorithm)
            if options.expected is not None and options.expected != found:
                raise UnexpectedDigest(self.ref, expected=options.expected, actual=found)
            self._check()
            return self._publish(self._ingest, data, found, options.labels)
        finally:
            self._close()

    async def aclose(self) -> None:
        self._close()
        await checkpoint()

    def _check(self) -> None:
        if self._ended is not None:
            raise self._ended(self.ref)
        if self._ingest.aborted:
            raise Aborted(self.ref)

    def _close(self) -> None:
        if self._ended is not None:
            return
        self._ended = Aborted if self._ingest.aborted else WriterClosed
        if not self._ingest.aborted:
            self._ingest.held_since = None
            self._released(self.ref)
