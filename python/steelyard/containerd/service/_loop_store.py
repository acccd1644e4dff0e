"""A store that needs its event loop, for the native server: each call from a thread of the server runs as a task of that loop.

The methods take and return the rows of native code: plain values, with digests as text and times in nanoseconds since the epoch.
`rust/py/src/python_store.rs` calls them. A method blocks its thread, except `end`, which only schedules the closing of an object.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar

import anyio
from anyio import get_cancelled_exc_class
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from steelyard._runtime.backend import EventLoop
from steelyard._runtime.iteration import next_item
from steelyard.content import ReaderAt, Store, Writer
from steelyard.digest import Algorithm, Digest
from steelyard.events import Event, Events
from steelyard.model import Descriptor, Image, Info, Labels, Lease, Status

__all__ = ("LoopCalls", "LoopStore")

ResultT = TypeVar("ResultT")

PAGE = 100
"""The most blobs of one step of a listing."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

InfoRow = tuple[str, int, int, int, dict[str, str]]
StatusRow = tuple[str, int, int | None, str | None, int, int]
TargetRow = tuple[str, int | None, str | None, dict[str, str]]
ImageRow = tuple[str, TargetRow, int, int, dict[str, str]]
LeaseRow = tuple[str, int, int | None, int | None, dict[str, str]]
EventRow = tuple[str, int, str | None, int | None, str | None, str | None, str | None, str | None, dict[str, str], int]


class LoopCalls:
    """Calls from other threads into the event loop in which this object was created.

    Args:
        tasks: runs each call as a task. It must be open as long as threads make calls.
        wait_seconds: the most seconds for a call. A longer call is cancelled.
    """

    def __init__(self, tasks: TaskGroup, wait_seconds: float) -> None:
        self._tasks = tasks
        self._wait_seconds = wait_seconds
        self._loop = EventLoop()
        self._cancelled = get_cancelled_exc_class()

    def run(self, function: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """Run a function in the event loop and return its result.

        Raises:
            TimeoutError: the store took too long.
            concurrent.futures.CancelledError: the event loop cancelled the call.
        """
        result: Future[ResultT] = Future()
        try:
            self._begin(function, result)
            return result.result()
        finally:
            del result  # an error's traceback holds this frame, and the future holds the error

    def post(self, function: Callable[[], Awaitable[object]]) -> None:
        """Run a function in the event loop soon, and ignore its result."""
        with suppress(RuntimeError):  # the loop has ended, and its objects with it
            self._begin(function, Future())

    def settle(self) -> None:
        """Wait until all posted functions have begun, so that the end of the tasks waits for them."""
        # As above; or the loop is being cancelled; or it was busy for too long, but has begun all functions nevertheless.
        with suppress(RuntimeError, CancelledError, TimeoutError):
            self.run(checkpoint)

    def _begin(self, function: Callable[[], Awaitable[ResultT]], result: Future[ResultT]) -> None:
        self._loop.call(self._loop.start_task, partial(self._start, function, result))

    async def _start(self, function: Callable[[], Awaitable[ResultT]], result: Future[ResultT]) -> None:
        # This runs in a task, because anyio starts a task only from another one.
        try:
            self._tasks.start_soon(self._await, function, result)
        except BaseException as error:
            result.set_exception(error)  # otherwise the thread would wait for ever
            if not isinstance(error, Exception):
                raise

    async def _await(self, function: Callable[[], Awaitable[ResultT]], result: Future[ResultT]) -> None:
        try:
            result.set_result(await self._bounded(function))
        except self._cancelled:
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
    """A store in the form that the native server calls.

    Each method takes and returns rows, raises the errors of the store's interface, and blocks its thread until the event loop has
    done the work, at most for the `wait_seconds` of the `LoopCalls`.
    """

    def __init__(self, store: Store, loop: LoopCalls) -> None:
        self._store = store
        self._loop = loop

    # Blobs

    def info(self, digest: str) -> InfoRow:
        """Return the info of a blob."""
        return _info(self._loop.run(lambda: self._store.info(digest)))

    def update(self, digest: str, labels: dict[str, str], paths: Sequence[str]) -> InfoRow:
        """Set the labels of a blob that the field paths name, or all labels. Return its info."""
        given = Info(digest=Digest.parse(digest), size=0, created_at=_EPOCH, updated_at=_EPOCH, labels=Labels(labels))
        return _info(self._loop.run(lambda: self._store.update(given, *paths)))

    def walk(self, filters: Sequence[str]) -> _Walk:
        """Begin a listing of the blobs that match a filter, or of all."""
        return _Walk(self._store, filters, self._loop)

    def delete(self, lease: str | None, digest: str) -> None:
        """Delete a blob, and remove it from the lease."""

        async def delete() -> None:
            await self._under(lease).delete(digest)

        self._loop.run(delete)

    def blob(self, digest: str) -> tuple[_Blob, int]:
        """Open a blob for reading; return it and its length in bytes."""

        async def opened() -> ReaderAt:
            return await self._store.reader_at(digest)

        reader = self._loop.run(opened)
        return _Blob(reader, self._loop), reader.size

    def ingest(
        self, lease: str | None, ref: str, total: int | None, expected: str | None, algorithm: str | None
    ) -> _Ingest:
        """Open an ingest, perhaps under a lease, with its size, its digest or the algorithm of the digest, if they are known."""
        chosen = None if algorithm is None else Algorithm(algorithm)

        async def opened() -> Writer:
            return await self._under(lease).writer(ref, size=total, expected=expected, algorithm=chosen)

        return _Ingest(self._loop.run(opened), self._loop)

    def status(self, ref: str) -> StatusRow:
        """Return the status of an ingest."""
        return _status(self._loop.run(lambda: self._store.status(ref)))

    def statuses(self, filters: Sequence[str]) -> list[StatusRow]:
        """Return the statuses of the ingests that match a filter, or of all."""
        return [_status(status) for status in self._loop.run(lambda: self._store.list_statuses(*filters))]

    def abort(self, lease: str | None, ref: str) -> None:
        """Remove an ingest, and remove it from the lease."""

        async def abort() -> None:
            await self._under(lease).abort(ref)

        self._loop.run(abort)

    def _under(self, lease: str | None) -> Store:
        return self._store if lease is None else self._store.with_lease(lease)

    # Image names

    def image(self, name: str) -> ImageRow:
        """Return an image name and its target."""
        return _image(self._loop.run(lambda: self._store.images.get(name)))

    def images(self, filters: Sequence[str]) -> list[ImageRow]:
        """Return the image names that match a filter, or all."""
        return [_image(image) for image in self._loop.run(lambda: self._store.images.list(*filters))]

    def create_image(self, name: str, target: TargetRow, labels: dict[str, str]) -> ImageRow:
        """Create an image name."""
        made = _descriptor(target)
        return _image(self._loop.run(lambda: self._store.images.create(name, made, labels=labels)))

    def update_image(
        self, name: str, target: TargetRow, labels: dict[str, str], paths: Sequence[str], expected: str | None
    ) -> ImageRow:
        """Change the fields that the field paths name, or all, if the image name has the expected digest. Return the image name."""
        given = Image(
            name=name, target=_descriptor(target), created_at=_EPOCH, updated_at=_EPOCH, labels=Labels(labels)
        )
        return _image(self._loop.run(lambda: self._store.images.update(given, *paths, expected=expected)))

    def delete_image(self, name: str, expected: str | None) -> None:
        """Delete an image name, if it has the expected digest."""
        self._loop.run(lambda: self._store.images.delete(name, expected=expected))

    # Leases. For a store without leases, the property `leases` raises in the event loop.

    def create_lease(self, lease: str | None, labels: dict[str, str], expires: int) -> LeaseRow:
        """Create a lease that ends after `expires` microseconds. Without an ID it gets a random one."""
        time = timedelta(microseconds=expires)
        return _lease(self._loop.run(lambda: self._store.leases.create(lease, expires=time, labels=labels)))

    def leases(self, filters: Sequence[str]) -> list[LeaseRow]:
        """Return the leases that match a filter, or all."""
        return [_lease(lease) for lease in self._loop.run(lambda: self._store.leases.list(*filters))]

    def add_to_lease(self, lease: str, digests: Iterable[str], refs: Iterable[str]) -> None:
        """Add blobs and ingests to a lease."""
        self._loop.run(lambda: self._store.leases.add(lease, digests=digests, refs=refs))

    def remove_from_lease(self, lease: str, digests: Iterable[str], refs: Iterable[str]) -> None:
        """Remove blobs and ingests from a lease."""
        self._loop.run(lambda: self._store.leases.remove(lease, digests=digests, refs=refs))

    def lease_resources(self, lease: str) -> tuple[list[str], list[str]]:
        """Return the digests and the refs in a lease."""
        found = self._loop.run(lambda: self._store.leases.resources(lease))
        return [str(digest) for digest in found.blobs], list(found.refs)

    def delete_lease(self, lease: str) -> None:
        """End a lease."""
        self._loop.run(lambda: self._store.leases.delete(lease))

    # Events

    def events(self, types: Sequence[str]) -> _Events:
        """Subscribe to the changes of these types."""

        async def begun() -> Events:
            return await self._store.events(*types).__aenter__()

        return _Events(self._loop.run(begun), self._loop)


class _Walk:
    def __init__(self, store: Store, filters: Sequence[str], loop: LoopCalls) -> None:
        self._walk = store.walk(*filters)
        self._loop = loop

    def next(self) -> list[InfoRow]:
        return self._loop.run(self._page)

    async def _page(self) -> list[InfoRow]:
        found: list[InfoRow] = []
        with suppress(StopAsyncIteration):
            while len(found) < PAGE:
                found.append(_info(await next_item(self._walk)))
        return found

    def end(self) -> None:
        self._loop.post(self._walk.aclose)


class _Blob:
    def __init__(self, reader: ReaderAt, loop: LoopCalls) -> None:
        self._reader = reader
        self._loop = loop

    def read_at(self, offset: int, size: int) -> bytes:
        return self._loop.run(lambda: self._reader.read_at(offset, size))

    def end(self) -> None:
        self._loop.post(self._reader.aclose)


class _Ingest:
    def __init__(self, writer: Writer, loop: LoopCalls) -> None:
        self._writer = writer
        self._loop = loop

    def status(self) -> StatusRow:
        return _status(self._loop.run(self._writer.status))

    def digest(self) -> str:
        return str(self._loop.run(self._writer.digest))

    def write(self, data: bytes) -> None:
        # CANCEL: after a timeout the ingest holds a part of the data, and its offset shows how much.
        self._loop.run(lambda: self._writer.write(data))

    def sync(self) -> None:
        self._loop.run(self._writer.sync)

    def truncate(self, size: int) -> None:
        self._loop.run(lambda: self._writer.truncate(size))

    def commit(self, size: int | None, expected: str | None, labels: dict[str, str] | None) -> InfoRow:
        # CANCEL: the same as for `Writer.commit`.
        return _info(self._loop.run(lambda: self._writer.commit(size=size, expected=expected, labels=labels)))

    def close(self) -> None:
        self._loop.run(self._writer.aclose)

    def end(self) -> None:
        self._loop.post(self._writer.aclose)


class _Events:
    def __init__(self, events: Events, loop: LoopCalls) -> None:
        self._events = events
        self._loop = loop

    def wait(self, seconds: float) -> list[EventRow] | None:
        async def wait() -> list[EventRow] | None:
            try:
                with anyio.move_on_after(seconds):
                    return [_event(await next_item(self._events))]
            except StopAsyncIteration:
                return None
            return []

        return self._loop.run(wait)

    def end(self) -> None:
        self._loop.post(self._events.aclose)


def _ns(time: datetime) -> int:
    since = time - _EPOCH
    return (since.days * 86400 + since.seconds) * 10**9 + since.microseconds * 1000


def _info(info: Info) -> InfoRow:
    return str(info.digest), info.size, _ns(info.created_at), _ns(info.updated_at), dict(info.labels)


def _status(status: Status) -> StatusRow:
    expected = None if status.expected is None else str(status.expected)
    return status.ref, status.offset, status.total, expected, _ns(status.started_at), _ns(status.updated_at)


def _descriptor(row: TargetRow) -> Descriptor:
    digest, size, media_type, annotations = row
    return Descriptor(digest=Digest.parse(digest), size=size, media_type=media_type, annotations=Labels(annotations))


def _image(image: Image) -> ImageRow:
    target = image.target
    row = (str(target.digest), target.size, target.media_type, dict(target.annotations))
    return image.name, row, _ns(image.created_at), _ns(image.updated_at), dict(image.labels)


def _lease(lease: Lease) -> LeaseRow:
    expires = None if lease.expires_at is None else _ns(lease.expires_at)
    return lease.id, _ns(lease.created_at), expires, lease.process, dict(lease.labels)


def _event(event: Event) -> EventRow:
    digest, previous = (None if each is None else str(each) for each in (event.digest, event.previous))
    labels = dict(event.labels)
    place = _ns(event.at)
    return event.type, place, digest, event.size, event.name, event.lease, previous, event.reason, labels, event.missed
