"""The writer of a remote ingest."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from anyio.lowlevel import checkpoint

from steelyard._runtime.buffers import view
from steelyard._runtime.chunks import slices
from steelyard._runtime.fork import ProcessBound
from steelyard.containerd.remote._calls import MOST_DATA, Limits
from steelyard.containerd.remote._channel import Connection
from steelyard.containerd.remote._errors import About, Refused, error_of
from steelyard.containerd.remote._leases import RemoteLeases
from steelyard.containerd.remote._stream import WriteStream
from steelyard.content import Writer
from steelyard.digest import Algorithm, Digest
from steelyard.errors import (
    Aborted,
    AlreadyExists,
    DataCorrupt,
    OutOfRange,
    SteelyardError,
    UnexpectedSize,
    Unsupported,
    WriterClosed,
)
from steelyard.hashing import Hasher
from steelyard.model import Buffer, Info, Labels, Status
from steelyard.options import CommitOptions, IngestOptions, check_size
from steelyard.transfer._source import hash_piece

__all__ = ("RemoteWriter",)

_STAT, _WRITE, _COMMIT, _SYNC = 0, 1, 2, 3

ResultT = TypeVar("ResultT")


class RemoteWriter(ProcessBound, Writer):
    """An open ingest behind a server: one Write stream with several messages in flight.

    Small writes are collected in memory until they fill a message. If the server refuses a message, a later call raises the error.
    """

    def __init__(
        self,
        connection: Connection,
        announced: IngestOptions,
        stream: WriteStream,
        *,
        limits: Limits,
        status: Callable[[], Awaitable[Status]],
        info: Callable[[Digest], Awaitable[Info]],
        released: Callable[[], None],
    ) -> None:
        self._connection, self._ref, self._stream, self._limits = connection, announced.ref, stream, limits
        self._announced, self._ask_status, self._info, self._released = announced, status, info, released
        self._ended: type[WriterClosed | Aborted] | None = None
        self._failure: SteelyardError | None = None
        self._pending: list[Buffer] = []
        self._pending_size = 0
        self._sent: int = stream.last.offset
        self._offset: int = self._sent
        self._hasher: Hasher | None = None
        wanted = announced.algorithm
        if wanted is not None and not self._offset and wanted != _algorithm_of(stream.last.digest):
            self._hasher = Hasher(wanted)

    @property
    def ref(self) -> str:
        return self._ref

    @property
    def offset(self) -> int:
        return self._offset

    def with_announced(self, status: Status) -> Status:
        """Return the status with the announced size and digest. Not every server keeps them, and the protocol cannot express a size of 0."""
        announced = self._announced
        return msgspec.structs.replace(
            status,
            total=status.total if announced.size is None else announced.size,
            expected=status.expected if announced.expected is None else announced.expected,
        )

    async def write(self, data: Buffer) -> None:
        """Append all of `data`; see `Writer.write`. It waits only while the window is full."""
        self._check()
        given = view(data)
        await checkpoint()
        whole = type(data) is bytes and len(given) <= MOST_DATA
        for part in slices(given, MOST_DATA):
            size = len(part)
            # CANCEL: the parts that were accepted so far stay in the ingest. The rest of the data is not in it.
            await self._answer(self._stream.room(self._pending_size + size, self._limits.window_bytes))
            self._check()
            piece = data if whole else bytes(part)
            if self._hasher is not None:
                self._hasher = await hash_piece(self._hasher, piece)
            self._pending.append(piece)
            self._pending_size += size
            self._offset += size
            if self._pending_size >= self._limits.message_bytes:
                self._flush()

    async def digest(self) -> Digest:
        """Return the digest of the bytes accepted so far; see `Writer.digest`. The server computes it.

        Raises:
            Unsupported: the ingest was resumed, and the server computes another algorithm than the writer's.
        """
        await self._arrived()
        if self._hasher is not None:
            return self._hasher.digest()
        await self._ask_digest()
        return self._found()

    async def status(self) -> Status:
        await self._arrived()
        return await self._ask_status()

    async def truncate(self, size: int) -> None:
        """Truncate the ingest to its first `size` bytes; see `Writer.truncate`. The protocol supports only 0.

        Raises:
            Unsupported: the size is neither 0 nor the present size.
        """
        check_size(size)
        self._check()
        await checkpoint()
        if size > self._offset:
            raise OutOfRange(self._ref, offset=size, size=self._offset)
        if size == self._offset:
            return
        if size:
            raise Unsupported(
                self._connection.address, operation=f"truncating ingest {self._ref} to {size} bytes, not 0"
            )
        self._pending, self._pending_size, self._offset = [], 0, 0
        if self._hasher is not None:
            self._hasher = Hasher(*self._hasher.algorithms)
        if self._sent:
            self._sent = 0
            # A message at offset 0 makes the server drop the bytes that it has.
            await self._answer(self._stream.answered(self._stream.send({"action": _WRITE})))

    async def sync(self) -> None:
        """Make all bytes accepted so far durable in the service of Steelyard. A containerd has received them then, and decides the rest."""
        await self._arrived()
        await self._answer(self._stream.answered(self._stream.send({"action": _SYNC, "offset": self._sent})))

    async def _arrived(self) -> None:
        """Wait until the server has all bytes accepted so far."""
        self._check()
        self._flush()
        await checkpoint()
        await self._answer(self._stream.answered())
        if self._stream.last.offset != self._sent:
            raise self._lost()

    async def _ask_digest(self) -> None:
        """Make the last answer contain a digest. Our own service leaves it out of the answers to messages with data."""
        if self._sent and not self._stream.last.digest:
            await self._answer(self._stream.answered(self._stream.send({"action": _STAT, "offset": self._sent})))

    async def _commit(self, options: CommitOptions) -> Info:
        # The promises are those of the server's store. The protocol cannot request that the server reads an ingest again.
        try:
            if options.verify:
                address, operation = self._connection.address, f"verifying ingest {self._ref} before it is committed"
                raise Unsupported(address, operation=operation)
            wanted = options.expected
            self._check()
            if options.size is not None and options.size != self._offset:
                raise UnexpectedSize(self._ref, expected=options.size, actual=self._offset)
            if wanted is None and self._hasher is not None:
                wanted = self._hasher.digest()
            found = await self._publish(wanted, options.labels)
        except AlreadyExists as stored:
            await self._enter(stored.digest)
            raise
        finally:
            await self.aclose()
        return await self._info(found)

    async def _enter(self, digest: Digest) -> None:
        """Enter a blob that is already stored into the lease. A containerd does so itself only if the request had the digest."""
        if self._connection.lease is not None:
            await RemoteLeases(self._connection, self._limits).enter(self._connection.lease, digest)
            await self._info(digest)  # raises NotFound if the blob was collected before

    async def aclose(self) -> None:
        """Send the accepted bytes, keep the ingest for a resume, and free the ref; see `Writer.aclose`."""
        if self._ended is None:
            self._ended = WriterClosed
            if self._pending and self._failure is None:
                self._send(_WRITE)
            await self._close()
        await checkpoint()

    async def abandon(self, abort: Callable[[], Awaitable[None]]) -> None:
        """End the stream and abort the ingest. A task that waits for the ref is notified only after both."""
        if self._ended is not None:
            return await abort()
        self._ended = Aborted
        try:
            await self._stream.finish()
            await abort()
        finally:
            self._released()

    async def _close(self) -> None:
        try:
            # CANCEL: a cancelled call still waits, for at most `GRACE`, until the server has taken the messages and freed the ref.
            await self._stream.finish()
        finally:
            self._released()

    async def _publish(self, wanted: Digest | None, labels: Labels) -> Digest:
        expected = "" if wanted is None else str(wanted)
        if wanted is None and self._announced.expected is not None:
            # The server still compares with the digest that the ingest was opened with, so the actual digest is sent.
            await self.sync()
            await self._ask_digest()
            expected = self._stream.last.digest
        if self._pending_size > MOST_DATA:
            self._flush()
        # The total makes the server compare its size with ours. Without it, an empty commit at offset 0 would drop the bytes of the server.
        number = self._send(_COMMIT, total=self._offset, expected=expected, labels=dict(labels))
        await self._answer(self._stream.answered(number), expected=expected or None)
        if self._stream.last.offset != self._offset:
            raise self._lost()
        found = self._found()
        if wanted is not None and found != wanted and found.algorithm == wanted.algorithm:
            raise DataCorrupt(self._ref, expected=wanted, actual=found)
        return wanted or found

    def _flush(self) -> None:
        if self._pending:
            self._send(_WRITE)

    def _send(self, action: int, **fields: Any) -> int:
        """Send the pending bytes."""
        request = {"action": action, "offset": self._sent, **fields}
        data, size = self._pending, self._pending_size
        self._pending, self._pending_size = [], 0
        self._sent += size
        return self._stream.send(request, data, size)

    def _found(self) -> Digest:
        """Return the digest that the server has computed."""
        text = self._stream.last.digest
        wanted = self._announced.algorithm
        if text and (wanted is None or wanted == _algorithm_of(text)):
            return Digest.parse(text)
        if not text and not self._sent:
            return Hasher(*([] if wanted is None else [wanted])).digest()
        raise Unsupported(
            self._connection.address, operation=f"computing {wanted or 'a digest'} for ingest {self._ref}"
        )

    async def _answer(self, waiting: Awaitable[ResultT], expected: str | None = None) -> ResultT:
        try:
            return await waiting
        except Refused as refused:
            raise self._failed(refused, expected) from None

    def _failed(self, refused: Refused, expected: str | None) -> SteelyardError:
        about = About(
            kind="ingest", name=self._ref, call="Write", expected=expected, offset=self._sent, size=self._offset
        )
        error = error_of(refused, about, self._connection.address, self._connection.lease)
        self._failure = error
        return error

    def _lost(self) -> SteelyardError:
        self._failure = DataCorrupt(
            f"ingest {self._ref}", expected=f"{self._sent} bytes at the server", actual=f"{self._stream.last.offset}"
        )
        return self._failure

    def _check(self) -> None:
        if self._ended is not None:
            raise self._ended(self._ref)
        if self._failure is not None:
            raise self._failure
        self._stream.observe()
        if self._stream.failure is not None:
            raise self._failed(self._stream.failure, None)


def _algorithm_of(digest: str) -> str:
    return digest.partition(":")[0] or Algorithm.SHA256.value
