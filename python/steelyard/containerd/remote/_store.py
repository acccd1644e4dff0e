"""`RemoteStore` itself."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from types import TracebackType
from typing import Any, Self

import anyio
import msgspec
from anyio.lowlevel import checkpoint

from steelyard.base import BaseStore, check_ref
from steelyard.containerd.remote._address import check_lease, check_namespace, socket_path
from steelyard.containerd.remote._calls import GRACE, Answers, Limits, ask
from steelyard.containerd.remote._channel import Channel, Connection, method
from steelyard.containerd.remote._errors import About, Refused, error_of
from steelyard.containerd.remote._names import RemoteImageNames
from steelyard.containerd.remote._reader import RemoteReader, read_whole
from steelyard.containerd.remote._stream import WriteStream
from steelyard.containerd.remote._values import to_info, to_status
from steelyard.containerd.remote._writer import Announced, RemoteWriter, check_size
from steelyard.digest import Algorithm, Digest
from steelyard.errors import AlreadyExists, DataCorrupt, InvalidArgument, NotFound, SteelyardError, Unavailable
from steelyard.filters import compile as compile_filters
from steelyard.filters import info_fields, status_fields
from steelyard.model import Descriptor, Info, Labels, Status

__all__ = ("RemoteStore",)

_WINDOW = 32 << 20
_AT_ONCE = 32


class _Held:
    """A ref that is in use here: since when, and its writer, once that is open."""

    def __init__(self, since: datetime) -> None:
        self.since = since
        self.writer: RemoteWriter | None = None


class RemoteStore(BaseStore):
    """The content store of a containerd, or of a Steelyard behind containerd's service.

    ```python
    async with RemoteStore("/run/containerd/containerd.sock", namespace="k8s.io") as store:
        async for info in store.walk():
            print(info.digest, info.size)
    ```

    It connects when it is first used, and again after the server was restarted. Durability is the server's.

    Args:
        address: the path of the server's Unix socket, or ``unix://`` and the path.
        namespace: whose content; None says nothing, for servers that have no namespaces.
        lease: the id of a lease that protects what is stored from containerd's garbage collector; see `leased`.
        timeout: seconds that a call with one answer may take.
        idle_timeout: seconds that a longer call may go without progress.
        window: the most bytes that a writer has on their way to the server.

    Raises:
        InvalidArgument: the address, the namespace or the lease cannot be one.
    """

    def __init__(
        self,
        address: str | os.PathLike[str],
        *,
        namespace: str | None = "default",
        lease: str | None = None,
        timeout: float = 60.0,
        idle_timeout: float = 60.0,
        window: int = _WINDOW,
    ) -> None:
        if not (timeout > 0 and idle_timeout > 0 and window > 0):
            raise InvalidArgument(f"timeouts {timeout}, {idle_timeout}, window {window}: expected more than 0")
        channel = Channel(socket_path(address))
        self._limits = Limits(timeout=timeout, idle_timeout=idle_timeout)
        self._window = window
        self._connection = Connection(channel, check_namespace(namespace), check_lease(lease))
        self._held: dict[str, _Held] = {}

    @property
    def address(self) -> str:
        """The server's address, as messages name it."""
        return self._connection.address

    @property
    def namespace(self) -> str | None:
        """Whose content it is."""
        return self._connection.namespace

    @property
    def lease(self) -> str | None:
        """The id of the lease that protects what is stored."""
        return self._connection.lease

    async def aopen(self) -> Self:
        """Allow calls again after `aclose`; ``async with`` does it."""
        self._connection.channel.reopen()
        await checkpoint()
        return self

    async def aclose(self) -> None:
        """Close all writers, which keeps their ingests, and the connection; may be called twice."""
        try:
            for writer in self._open_writers():
                await writer.aclose()
        finally:
            self._connection.channel.close()
        await checkpoint()

    async def __aenter__(self) -> Self:
        return await self.aopen()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def images(self) -> RemoteImageNames:
        """The image names; see `steelyard.names`."""
        return RemoteImageNames(self._connection, self._limits)

    # Provider and Ingester

    async def reader_at(self, blob: Descriptor | Digest | str) -> RemoteReader:
        """Open a blob for reading; see `Provider.reader_at`. The reader asks the server for each range."""
        given = blob if isinstance(blob, Descriptor) else Descriptor(digest=Digest.parse(blob))
        info = await self.info(given.digest)
        if given.size is not None and given.size != info.size:
            raise DataCorrupt(str(given.digest), expected=f"{given.size} bytes", actual=f"{info.size} bytes")
        return RemoteReader(self._connection, self._limits, given.digest, info.size)

    async def get(self, digest: Digest | str) -> bytes:
        """Return a whole blob, verified, by one call; see `Store.get`."""
        return await read_whole(self._connection, self._limits, Digest.parse(digest))

    async def writer(
        self,
        ref: str,
        *,
        size: int | None = None,
        expected: Digest | str | None = None,
        algorithm: Algorithm | None = None,
    ) -> RemoteWriter:
        """Begin or resume an ingest; see `Ingester.writer`."""
        check_ref(ref)
        check_size(size)
        wanted = None if expected is None else Digest.parse(expected)
        chosen = None if algorithm is None else Algorithm.parse(algorithm)
        if chosen is None and wanted is not None:
            chosen = wanted.algorithm
        if ref in self._held:
            await checkpoint()
        if ref in self._held:
            raise Unavailable(ref, holder="this process", since=self._held[ref].since, local=True)
        held = self._held[ref] = _Held(datetime.now(UTC))
        try:
            stream = await self._opened(ref, size, wanted)
        except BaseException:
            self._release(ref)
            raise
        announced = Announced(size=size, expected=wanted, algorithm=chosen)
        held.writer = RemoteWriter(
            self._connection,
            ref,
            stream,
            announced,
            window=self._window,
            look=lambda: self._status(ref),
            info=self.info,
            released=lambda: self._release(ref),
        )
        return held.writer

    async def _opened(self, ref: str, size: int | None, wanted: Digest | None) -> WriteStream:
        stream = WriteStream(self._connection, self._limits)
        expected = "" if wanted is None else str(wanted)
        message = method("Content", "Write").request
        about = About(kind="ingest", name=ref, call="Write", expected=expected or None)
        try:
            await stream.answered(stream.send(message(ref=ref, total=size or 0, expected=expected)))
        except Refused as refused:
            await stream.aclose()
            error = error_of(refused, about, self.address)
            if isinstance(error, AlreadyExists):
                # What was begun under this ref has become pointless; containerd would keep it.
                with suppress(NotFound):
                    await self._abort(ref)
            raise error from None
        except BaseException:
            # CANCEL: nothing was written; the server frees the ref before the caller goes on.
            await stream.finish()
            raise
        return stream

    def _release(self, ref: str) -> None:
        del self._held[ref]
        self._ref_released(ref)

    def _open_writers(self) -> list[RemoteWriter]:
        return [held.writer for held in self._held.values() if held.writer is not None]

    def _writer_of(self, ref: str) -> RemoteWriter | None:
        held = self._held.get(ref)
        return None if held is None else held.writer

    # Manager

    async def info(self, digest: Digest | str) -> Info:
        """Return what is known of a blob; see `Manager.info`."""
        name = str(Digest.parse(digest))
        called = method("Content", "Info")
        about = About(kind="blob", name=name, call="Info")
        return to_info((await ask(self._connection, called, called.request(digest=name), about, self._limits)).info)

    async def infos(self, digests: Iterable[Digest | str]) -> dict[Digest, Info]:
        """Return what is known of each of the digests that is stored, several look-ups at a time."""
        await checkpoint()
        found: dict[Digest, Info] = {}
        wanted = iter(dict.fromkeys(Digest.parse(digest) for digest in digests))

        async def look() -> None:
            for digest in wanted:
                with suppress(NotFound):
                    found[digest] = await self.info(digest)

        async with anyio.create_task_group() as tasks:
            for _ in range(_AT_ONCE):
                tasks.start_soon(look)
        return found

    async def update(self, info: Info, *fieldpaths: str) -> Info:
        """Set a blob's labels; see `Manager.update`."""
        for path in fieldpaths:
            if path != "labels" and not (path.startswith("labels.") and len(path) > len("labels.")):
                raise InvalidArgument(f"field path {path!r}: only labels and labels.<key> can change")
        called = method("Content", "Update")
        request = called.request()
        request.info.digest = str(info.digest)
        request.info.labels.update(Labels(info.labels))
        request.update_mask.paths.extend(["labels"] if "labels" in fieldpaths else fieldpaths)
        about = About(kind="blob", name=str(info.digest), call="Update")
        return to_info((await ask(self._connection, called, request, about, self._limits, grace=GRACE)).info)

    async def walk(self, *filters: str) -> AsyncGenerator[Info, None]:
        """Iterate over blobs in the server's order, which is by digest; see `Manager.walk`."""
        await checkpoint()
        chosen = compile_filters(*filters)
        called = method("Content", "List")
        about = About(kind="blob", name="", call="List")
        answers = Answers(self._connection, called, called.request(), about, self._limits, take=_take_infos)
        try:
            while batch := await answers.next():
                for info in batch:
                    if chosen.matches(info_fields(info)):
                        yield info
                        await checkpoint()
        finally:
            await answers.aclose()

    async def delete(self, digest: Digest | str) -> None:
        """Delete a blob and its labels; see `Manager.delete`. containerd frees the bytes when it next collects garbage."""
        name = str(Digest.parse(digest))
        called = method("Content", "Delete")
        about = About(kind="blob", name=name, call="Delete")
        await ask(self._connection, called, called.request(digest=name), about, self._limits, grace=GRACE)

    # IngestManager

    async def status(self, ref: str) -> Status:
        """Return what is known of an ingest; see `IngestManager.status`."""
        check_ref(ref)
        writer = self._writer_of(ref)
        if writer is not None:
            return await writer.status()
        return await self._status(ref)

    async def _status(self, ref: str) -> Status:
        called = method("Content", "Status")
        about = About(kind="ingest", name=ref, call="Status")
        answer = await ask(self._connection, called, called.request(ref=ref), about, self._limits)
        return self._with_announced(to_status(answer.status))

    async def list_statuses(self, *filters: str) -> list[Status]:
        """Return the statuses of ingests, ordered by ref; see `IngestManager.list_statuses`."""
        chosen = compile_filters(*filters)
        for writer in self._open_writers():
            with suppress(SteelyardError):
                await writer.sync()
        called = method("Content", "ListStatuses")
        about = About(kind="ingest", name="", call="ListStatuses")
        answer = await ask(self._connection, called, called.request(), about, self._limits)
        statuses = [self._with_announced(to_status(each)) for each in answer.statuses]
        return sorted(
            (status for status in statuses if chosen.matches(status_fields(status))), key=lambda status: status.ref
        )

    def _with_announced(self, status: Status) -> Status:
        """Return the status with what an open writer said of the ingest, where the server does not keep it."""
        writer = self._writer_of(status.ref)
        if writer is None:
            return status
        said = writer.announced
        return msgspec.structs.replace(
            status,
            total=status.total if said.size is None else said.size,
            expected=status.expected if said.expected is None else said.expected,
        )

    async def abort(self, ref: str) -> None:
        """Discard an ingest; see `IngestManager.abort`. A writer of this store is fenced, one of another client is the server's."""
        check_ref(ref)
        writer = self._writer_of(ref)
        if writer is not None:
            await writer.abandon()
        await self._abort(ref)

    async def _abort(self, ref: str) -> None:
        called = method("Content", "Abort")
        about = About(kind="ingest", name=ref, call="Abort")
        await ask(self._connection, called, called.request(ref=ref), about, self._limits, grace=GRACE)


def _take_infos(answers: Iterator[Any]) -> list[Info]:
    """Take a batch of a listing, in a thread."""
    return [to_info(info) for answer in islice(answers, 8) for info in answer.info]
