"""The blocking form of a store that needs its event loop: each call of a server's thread runs as a task of that loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TypeVar

import anyio
from anyio import get_cancelled_exc_class
from anyio.abc import TaskGroup

from steelyard._runtime.backend import EventLoop
from steelyard._runtime.iteration import next_item
from steelyard.content import ReaderAt, Store, Writer
from steelyard.digest import Digest
from steelyard.events import Event, Events
from steelyard.leases import Leases
from steelyard.local.blocking import BlockingIngest, BlockingStore
from steelyard.model import Buffer, Descriptor, Image, Info, Labels, Lease, LeaseResources, Status
from steelyard.names import ImageNames
from steelyard.options import IngestOptions

__all__ = ("AnyIngest", "AnyStore", "LoopCalls", "LoopStore")

ResultT = TypeVar("ResultT")

PAGE = 100


class LoopCalls:
    """Calls into the event loop in which it is made, from other threads.

    Args:
        tasks: runs each call as a task; open for as long as threads make calls.
        wait_seconds: how long a call may take; a longer one is cancelled.
    """

    def __init__(self, tasks: TaskGroup, wait_seconds: float) -> None:
        self._tasks = tasks
        self._wait_seconds = wait_seconds
        self._loop = EventLoop()

    def run(self, function: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """Run a function in the event loop and return its result.

        Raises:
            TimeoutError: the store took too long.
            concurrent.futures.CancelledError: the event loop cancelled the call.
        """
        result: Future[ResultT] = Future()
        try:
            self._loop.call(self._loop.start_task, partial(self._start, function, result))
            return result.result()
        finally:
            del result  # an error's traceback holds this frame, and the future holds the error

    async def _start(self, function: Callable[[], Awaitable[ResultT]], result: Future[ResultT]) -> None:
        # In a task, because anyio starts a task only from another one.
        try:
            self._tasks.start_soon(self._await, function, result)
        except BaseException as error:
            result.set_exception(error)  # otherwise the thread would wait for ever
            if not isinstance(error, Exception):
                raise

    async def _await(self, function: Callable[[], Awaitable[ResultT]], result: Future[ResultT]) -> None:
        try:
            result.set_result(await self._bounded(function))
        except get_cancelled_exc_class():
            result.cancel()
            raise
        except BaseException as error:
            if not result.done():
                result.set_exception(error)
            if not isinstance(error, Exception):
                raise
        finally:
            del result  # as in `run`

    async def _bounded(self, function: Callable[[], Awaitable[ResultT]]) -> ResultT:
        with anyio.move_on_after(self._wait_seconds):
            return await function()
        raise TimeoutError(f"the store gave no answer within {self._wait_seconds:g} s")


class LoopStore:
    """A store with the calls of `steelyard.local.blocking.BlockingStore` that the services make."""

    def __init__(self, store: Store, loop: LoopCalls) -> None:
        self._store = store
        self._loop = loop

    @property
    def images(self) -> _Names:
        return _Names(self._store.images, self._loop)

    @property
    def leases(self) -> _Leases:
        return _Leases(self._store, self._loop)

    def with_lease(self, lease: str) -> LoopStore:
        async def leased() -> Store:
            return self._store.with_lease(lease)

        return LoopStore(self._loop.run(leased), self._loop)

    def info(self, digest: Digest) -> Info:
        return self._loop.run(lambda: self._store.info(digest))

    def update(self, info: Info, *fieldpaths: str) -> Info:
        return self._loop.run(lambda: self._store.update(info, *fieldpaths))

    def pages(self, *filters: str) -> Iterator[list[Info]]:
        walk = self._store.walk(*filters)

        async def page() -> list[Info]:
            found: list[Info] = []
            with suppress(StopAsyncIteration):
                while len(found) < PAGE:
                    found.append(await next_item(walk))
            return found

        try:
            while infos := self._loop.run(page):
                yield infos
        finally:
            self._loop.run(walk.aclose)

    def delete(self, digest: Digest) -> None:
        self._loop.run(lambda: self._store.delete(digest))

    def events(self, *filters: str) -> _Events:
        async def begin() -> Events:
            return await self._store.events(*filters).__aenter__()

        return _Events(self._loop.run(begin), self._loop)

    def blob(self, digest: Digest) -> _Blob:
        return _Blob(self._loop.run(lambda: self._store.reader_at(digest)), self._loop)

    def ingest(self, options: IngestOptions) -> _Ingest:
        writer = self._loop.run(
            lambda: self._store.writer(
                options.ref, size=options.size, expected=options.expected, algorithm=options.algorithm
            )
        )
        return _Ingest(writer, self._loop)

    def status(self, ref: str) -> Status:
        return self._loop.run(lambda: self._store.status(ref))

    def statuses(self, *filters: str) -> list[Status]:
        return self._loop.run(lambda: self._store.list_statuses(*filters))

    def abort(self, ref: str) -> None:
        self._loop.run(lambda: self._store.abort(ref))


class _Blob:
    def __init__(self, reader: ReaderAt, loop: LoopCalls) -> None:
        self._reader = reader
        self._loop = loop

    @property
    def size(self) -> int:
        return self._reader.size

    def read_at(self, offset: int, size: int) -> bytes:
        return self._loop.run(lambda: self._reader.read_at(offset, size))

    def close(self) -> None:
        self._loop.run(self._reader.aclose)


class _Ingest:
    def __init__(self, writer: Writer, loop: LoopCalls) -> None:
        self._writer = writer
        self._loop = loop

    @property
    def offset(self) -> int:
        return self._writer.offset

    def write(self, data: Buffer) -> None:
        # CANCEL: when it took too long the ingest holds a part of the data, and its offset says how much.
        self._loop.run(lambda: self._writer.write(data))

    def digest(self) -> Digest:
        return self._loop.run(self._writer.digest)

    def status(self) -> Status:
        return self._loop.run(self._writer.status)

    def truncate(self, size: int) -> None:
        self._loop.run(lambda: self._writer.truncate(size))

    def commit(self, size: int | None, expected: Digest | None, labels: Labels | None) -> Info:
        # CANCEL: as `Writer.commit` has it: nothing is left half-way.
        return self._loop.run(lambda: self._writer.commit(size=size, expected=expected, labels=labels))

    def close(self) -> None:
        self._loop.run(self._writer.aclose)


class _Events:
    def __init__(self, events: Events, loop: LoopCalls) -> None:
        self._events = events
        self._loop = loop

    def wait(self, seconds: float) -> list[Event] | None:
        async def wait() -> list[Event] | None:
            try:
                with anyio.move_on_after(seconds):
                    return [await next_item(self._events)]
            except StopAsyncIteration:
                return None
            return []

        return self._loop.run(wait)

    def close(self) -> None:
        self._loop.run(self._events.aclose)


class _Names:
    def __init__(self, names: ImageNames, loop: LoopCalls) -> None:
        self._names = names
        self._loop = loop

    def get(self, name: str) -> Image:
        return self._loop.run(lambda: self._names.get(name))

    def list(self, *filters: str) -> list[Image]:
        return self._loop.run(lambda: self._names.list(*filters))

    def create(self, name: str, target: Descriptor, *, labels: Labels) -> Image:
        return self._loop.run(lambda: self._names.create(name, target, labels=labels))

    def update(self, image: Image, *fieldpaths: str, expected: Digest | None = None) -> Image:
        return self._loop.run(lambda: self._names.update(image, *fieldpaths, expected=expected))

    def delete(self, name: str, *, expected: Digest | None = None) -> None:
        self._loop.run(lambda: self._names.delete(name, expected=expected))


class _Leases:
    def __init__(self, store: Store, loop: LoopCalls) -> None:
        self._store = store
        self._loop = loop

    @property
    def _leases(self) -> Leases:
        return self._store.leases  # in the event loop: a store without leases raises

    def create(self, lease: str | None, *, expires: timedelta, labels: dict[str, str]) -> Lease:
        return self._loop.run(lambda: self._leases.create(lease, expires=expires, labels=labels))

    def list(self, *filters: str) -> list[Lease]:
        return self._loop.run(lambda: self._leases.list(*filters))

    def add(self, lease: str, *, digests: Iterable[Digest], refs: Iterable[str]) -> None:
        self._loop.run(lambda: self._leases.add(lease, digests=digests, refs=refs))

    def remove(self, lease: str, *, digests: Iterable[Digest], refs: Iterable[str]) -> None:
        self._loop.run(lambda: self._leases.remove(lease, digests=digests, refs=refs))

    def resources(self, lease: str) -> LeaseResources:
        return self._loop.run(lambda: self._leases.resources(lease))

    def delete(self, lease: str) -> None:
        self._loop.run(lambda: self._leases.delete(lease))


AnyStore = BlockingStore | LoopStore
AnyIngest = BlockingIngest | _Ingest
