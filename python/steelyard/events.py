"""Events: the changes of a store that are made in this process.

`Store.events` returns an iterator of `Event` objects. The filters of `steelyard.filters` choose events by these fields:

| Field | Holds |
| --- | --- |
| ``type`` | text: one of `EventType`; filters do not apply to ``missed`` |
| ``digest``, ``size`` | the blob, or the target of the image name |
| ``name``, ``previous`` | the image name, and the digest that it held before |
| ``lease`` | the ID of the lease |
| ``reason`` | why a blob was deleted: ``deleted``, ``collected`` or ``quarantined`` |
| ``at`` | a time |
| ``labels.KEY`` | text |
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Literal, Protocol, Self
from weakref import WeakSet

import anyio
import msgspec
from anyio.lowlevel import checkpoint

from steelyard import _native
from steelyard._runtime.calls import run, run_job
from steelyard._runtime.fork import ProcessBound
from steelyard._runtime.iteration import Iteration
from steelyard.digest import Digest
from steelyard.errors import InvalidArgument
from steelyard.model import NO_LABELS, Labels

__all__ = ("EVENT_FIELDS", "BlockingEvents", "Event", "EventSource", "EventType", "Events")

EventType = Literal[
    "created",
    "labelled",
    "deleted",
    "name_set",
    "name_moved",
    "name_removed",
    "lease_begun",
    "lease_ended",
    "missed",
]
"""The types of events.

| Type | Says |
| --- | --- |
| ``created`` | a blob was stored that was not stored before |
| ``labelled`` | the labels of a blob were set |
| ``deleted`` | a blob is no longer stored; `Event.reason` says why |
| ``name_set`` | an image name was created, or was changed and holds the same digest |
| ``name_moved`` | an image name holds another digest |
| ``name_removed`` | an image name was removed |
| ``lease_begun``, ``lease_ended`` | a lease was created; a lease was ended by a call, or was removed because it had expired or its process had ended |
| ``missed`` | the subscriber was too slow: `Event.missed` events before the next one were dropped |
"""

EVENT_FIELDS = ("type", "digest", "size", "name", "previous", "lease", "reason", "at", "labels.KEY")
"""The fields of an event."""

_TAKEN = 256
"""The most events that are taken from the native core at a time."""

_MOST = 2**32 - 1
"""The most events that can wait for a subscriber."""

_INLINE_EVENTS = 32
"""The most events that are returned before other tasks run."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A change of a store.

    Attributes:
        type: the kind of change; see `EventType`.
        at: the time of the change (UTC). An event of type ``missed`` has the time at which it is returned.
        digest: the blob, or the target of the image name.
        size: its length in bytes, or None if it is unknown, as for a deleted blob.
        name: the image name.
        previous: the digest that the image name held before; None if the name is new, or was removed.
        lease: the ID of the lease.
        reason: why a blob was deleted: by a call, as garbage, or because it was damaged.
        labels: the new labels of the blob, the image name or the lease; those of a removed image name are its last ones.
        missed: the number of dropped events; 0 unless `type` is ``missed``.
    """

    type: EventType
    at: datetime
    digest: Digest | None = None
    size: int | None = None
    name: str | None = None
    previous: Digest | None = None
    lease: str | None = None
    reason: Literal["deleted", "collected", "quarantined"] | None = None
    labels: Labels = NO_LABELS
    missed: int = 0


class _Native(Protocol):
    def subscribe(self, filter_: _native.Filter, most: int, /) -> _native.Subscription: ...


class _Waker:
    """Ends a wait for events early, as a `Job` ends a call."""

    def __init__(self, native: _native.Subscription) -> None:
        self.cancel = native.wake


class Events(ProcessBound, Iteration[Event]):
    """The events of a subscription. It begins when the first event is asked for, or in ``async with``.

    The iteration ends when the store is closed. A subscriber that stops earlier closes it: by leaving ``async with``, by `aclose`, or
    by dropping it. One task at a time may ask for an event.

    Args:
        source: returns the native source of the events when the subscription begins.
        filters: events that match none of them are left out.
        buffer: the most events that wait for the subscriber.

    Raises:
        InvalidArgument: `buffer` is less than 1 or more than 2**32 - 1.
        InvalidFilter: at the start of the subscription.
    """

    def __init__(self, source: Callable[[], _Native], filters: Sequence[str], *, buffer: int) -> None:
        if not 1 <= buffer <= _MOST:
            raise InvalidArgument(f"buffer: expected 1 to {_MOST}, found {buffer}")
        self._source = source
        self._filters = tuple(filters)
        self._buffer = buffer
        self._native: _native.Subscription | None = None
        self._guard = anyio.ResourceGuard("reading these events")
        self._waiting: deque[Event] = deque()
        self._since = _INLINE_EVENTS
        self._entered = self._ended = False

    async def __aenter__(self) -> Self:
        """Begin the subscription."""
        await checkpoint()
        await self._begun()
        self._entered = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the subscription."""
        await self.aclose()

    def __aiter__(self) -> Self:
        """Return the iterator itself."""
        return self

    async def __anext__(self) -> Event:
        """Return the next event."""
        if self._waiting and self._since < _INLINE_EVENTS:
            self._since += 1
            return self._waiting.popleft()
        return await self.asend(None)

    async def asend(self, value: None) -> Event:
        """Wait for the next event.

        Cancellation:
            Ends the subscription, except inside its ``async with``: there, no event is lost and the next call continues.
        """
        del value
        with self._guard:
            try:
                await checkpoint()
                return await self._next()
            except BaseException:
                if not self._entered:
                    self._end()
                raise

    async def aclose(self) -> None:
        """End the subscription; a second call does nothing."""
        self._end()
        await checkpoint()

    async def _next(self) -> Event:
        while not self._waiting:
            if self._ended:
                raise StopAsyncIteration
            native = await self._begun()
            if native.is_slow:
                # CANCEL: the events that were taken are kept for the next call.
                await run(self._take, native)
            else:
                self._take(native)
            if not self._waiting and not self._ended:
                # CANCEL: nothing was taken.
                await run_job(_Waker(native), native.ready)
                await checkpoint()
        self._since = 0
        return self._waiting.popleft()

    async def _begun(self) -> _native.Subscription:
        if self._native is None:
            # An expensive regular expression takes a second to compile.
            filter_ = await run(partial(_native.Filter, self._filters)) if self._filters else _native.Filter(())
            self._native = self._source().subscribe(filter_, self._buffer)
        return self._native

    def _take(self, native: _native.Subscription) -> None:
        rows = native.take(_TAKEN)
        if rows is None:
            self._ended = True
        else:
            self._waiting.extend(map(_to_event, rows))

    def _finish(self) -> None:
        """End the subscription for a store that is closed: the events that were taken are still returned."""
        if self._native is not None:
            self._native.close()

    def _end(self) -> None:
        self._ended = True
        self._waiting.clear()
        if self._native is not None:
            self._native.close()


class BlockingEvents(ProcessBound):
    """The events of a subscription that has begun, for a thread.

    Args:
        native: the native subscription.
    """

    def __init__(self, native: _native.Subscription) -> None:
        self._native = native

    def wait(self, seconds: float) -> list[Event] | None:
        """Wait for events for at most this time. Return the events that have arrived, or None if there will be no more."""
        self._native.wait(seconds)
        rows = self._native.take(_TAKEN)
        return None if rows is None else [_to_event(row) for row in rows]

    def close(self) -> None:
        """End the subscription; a second call does nothing."""
        self._native.close()


class EventSource:
    """The events of a store of your own, which calls `publish` after each change. Any thread may do so."""

    def __init__(self) -> None:
        self._native = _native.Events()
        self._subscribers: WeakSet[Events] = WeakSet()

    def publish(
        self,
        type: EventType,  # noqa: A002  # the name of the field
        *,
        digest: Digest | None = None,
        size: int | None = None,
        name: str | None = None,
        previous: Digest | None = None,
        lease: str | None = None,
        reason: Literal["deleted", "collected", "quarantined"] | None = None,
        labels: Labels = NO_LABELS,
    ) -> None:
        """Deliver an event to the subscribers. Without a subscriber it does nothing."""
        if self._native.active:
            digests = [None if each is None else str(each) for each in (digest, previous)]
            row = (type, time.time_ns(), digests[0], size, name, lease, digests[1], reason, dict(labels), 0)
            self._native.publish(row)

    def subscribe(self, filters: Iterable[str] = (), *, buffer: int) -> Events:
        """Return the events that match any of the filters; see `Store.events`."""
        events = Events(lambda: self._native, tuple(filters), buffer=buffer)
        self._subscribers.add(events)
        return events

    def end(self) -> None:
        """End the subscriptions that have begun, when the store is closed. Later ones begin as ever."""
        for events in list(self._subscribers):
            events._finish()  # noqa: SLF001  # the same module


def _to_event(row: _native._EventRow) -> Event:  # a name for type checkers only
    kind, at, digest, size, name, lease, previous, reason, labels, missed = row
    return Event(
        type=kind,
        at=datetime.now(UTC) if missed else _EPOCH + timedelta(microseconds=at // 1000),
        digest=None if digest is None else Digest.parse(digest),
        size=size,
        name=name,
        previous=None if previous is None else Digest.parse(previous),
        lease=lease,
        reason=reason,
        labels=Labels(labels) if labels else NO_LABELS,
        missed=missed,
    )
