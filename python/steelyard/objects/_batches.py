"""A running collection: its objects at the server, and the removal of blobs in batches that writers can see."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Literal
from uuid import uuid4

import anyio
import msgspec

from steelyard._runtime.chunks import slices
from steelyard._runtime.concurrent import map_concurrently
from steelyard.digest import Digest
from steelyard.errors import (
    CollectionBusy,
    CollectionRefused,
    DataCorrupt,
    ServerRefused,
    SteelyardError,
    Unreachable,
)
from steelyard.objects._decoding import decoded
from steelyard.objects._layout import COLLECTING, PROTECTED, blob_key, document_key
from steelyard.objects._requests import Missing, Object, Requests, Taken
from steelyard.objects._watch import Note, Seen, State, batch_key, decode_notes, server_time

__all__ = ("SIGNED_FOR", "Run")

SIGNED_FOR = 30
"""How long the signature of a removal is valid, in seconds. Then the server refuses it, even if this process was suspended meanwhile."""

MOST_SKEW = 15
"""The largest difference, in seconds, between the clocks of this machine and the server: this machine's clock dates the signatures."""

SILENT_FOR = 120
"""Seconds without a sign of life after which a collection counts as ended."""

_BEAT_SECONDS = 20
_AT_ONCE = 32
_CANCEL_SECONDS = 10
"""How long a cancelled collection waits for requests that are on their way."""

_SECOND = 10**9

_OVERTAKER = "a collection that began while this one was suspended"


class _Begin(msgspec.Struct, frozen=True, kw_only=True):
    """The content of the first object of a collection.

    Attributes:
        id: a random ID. After a lost answer, a collection recognizes its own object by it.
        host, process: the host and the process ID of the collector.
    """

    id: str
    host: str
    process: int


class Run:
    """A running collection.

    Args:
        requests: the server.
        number: its number.

    Attributes:
        number: its number.
        server_ns: the time of its start, by the server's clock.
    """

    def __init__(self, requests: Requests, number: int) -> None:
        self._requests = requests
        self.number = number
        self.server_ns = 0
        self._batch = 0
        self._is_overtaken = False

    @classmethod
    async def begin(cls, requests: Requests, own: set[str]) -> Run:
        """Begin a collection.

        Args:
            requests: the server.
            own: the IDs of earlier collections of this store object, which have all ended. The ID of the new one is added.

        Raises:
            CollectionBusy: another collection is running.
            CollectionRefused: the clocks of this machine and the server differ.
        """
        while True:
            state = State.of(await requests.every(COLLECTING))
            if not state.seen.is_over:
                await _check_silent(requests, state, own)
            number = state.seen.number + 1
            key, wall_ns = f"{COLLECTING}{number:016d}/begin", _wall_ns()
            begin = _Begin(id=uuid4().hex, host=socket.gethostname(), process=os.getpid())
            own.add(begin.id)
            if not await _create(requests, key, msgspec.json.encode(begin)):
                own.remove(begin.id)
                continue
            run = cls(requests, number)
            try:
                run.server_ns = await run._start_time(key)  # the same class
                _check_clock(requests.address, run.server_ns, wall_ns, _wall_ns())
                await run._clean_up()  # the same class
            except BaseException:
                await run.end()
                raise
            return run

    async def _start_time(self, key: str) -> int:
        try:
            return (await self._requests.head(key)).modified_ns
        except Missing:
            self._is_overtaken = True
            raise CollectionBusy(_OVERTAKER) from None

    async def _clean_up(self) -> None:
        """Remove the objects of earlier collections, except batches whose removals the server may still accept."""
        for each in await self._requests.every(COLLECTING):
            number, _, name = each.key.removeprefix(COLLECTING).partition("/")
            is_batch = name.startswith("batch-")
            if number < f"{self.number:016d}" and not (is_batch and not self._is_expired(each)):
                await self._requests.delete(each.key)
        for each in await self._requests.every(PROTECTED):
            if each.key < f"{PROTECTED}{self.number:016d}":
                await self._requests.delete(each.key)

    def _is_expired(self, batch: Object) -> bool:
        return self.server_ns - batch.modified_ns >= SILENT_FOR * _SECOND

    async def beat(self) -> None:
        """Show that this collection is alive, until the call is cancelled."""
        while True:
            await anyio.sleep(_BEAT_SECONDS)
            with suppress(SteelyardError):
                await self._requests.put(f"{COLLECTING}{self.number:016d}/beat", b"", create=False)

    async def notes(self) -> list[Note]:
        """Return the notes that writers have made since the last call."""
        found: list[Note] = []
        objects = await self._requests.every(f"{PROTECTED}{self.number:016d}/")

        async def read(each: Object) -> None:
            with suppress(Missing):
                _, data = await self._requests.get(each.key)
                found.extend(decode_notes(each.key, data))
            # The marks have the note from now on, so it is deleted: the next listing stays short.
            await self._requests.delete(each.key)

        await map_concurrently(objects, read, concurrency=_AT_ONCE)
        return found

    async def remove(
        self,
        digests: Sequence[Digest],
        follow: Callable[[list[Note]], Awaitable[object]],
        is_kept: Callable[[Digest], bool],
        is_document: Callable[[Digest], bool],
        forget: Callable[[Digest, int], Awaitable[object]],
    ) -> list[Digest]:
        """Remove a batch of blobs, and return those that were removed.

        Args:
            digests: the blobs. None of them names another one, except in a cycle.
            follow: called with the notes of writers, when writers can see the batch.
            is_kept: called after that; returns whether a blob stays.
            is_document: returns whether the references of a blob are recorded.
            forget: removes the labels and notes of a removed blob. It gets the time of the batch by the server's clock.

        Raises:
            CollectionBusy: this collection was suspended, and another one has taken over.
            CollectionRefused: the clocks of this machine and the server differ.
            Unreachable: the server's listing lacks the batch.
        """
        self._batch += 1
        key = batch_key(self.number, self._batch)
        wall_ns, began = _wall_ns(), _since_boot()
        keys = [key for digest in digests for key in (blob_key(digest), document_key(digest))]
        signed = await self._requests.sign_removals(keys, seconds=SIGNED_FOR)
        await self._requests.put(key, msgspec.json.encode(sorted(map(str, digests))), create=False)
        is_answered = True
        removed: list[Digest] = []
        try:
            state = State.of(await self._requests.every(COLLECTING))
            self._check_latest(state)
            batch = next((each for each in state.batches if each.key == key), None)
            if batch is None:
                # Writers may not see the batch either, and would rely on blobs that it removes.
                reason = f"{key} was just written and is not listed: the server's listings are out of date"
                raise Unreachable(self._requests.address, reason=reason)
            _check_clock(self._requests.address, batch.modified_ns, wall_ns, _wall_ns())
            await follow(await self.notes())
            going = [
                (digest, removal, is_document(digest) and of_document)
                for digest, removal, of_document in zip(digests, signed[::2], signed[1::2], strict=True)
                if not is_kept(digest)
            ]
            for some in slices(going, _AT_ONCE):
                if _since_boot() - began > SIGNED_FOR / 2:
                    break  # the server is slow: a later batch has the rest
                is_answered = False
                # CANCEL: the end of the batch waits for the removals on their way. Otherwise the server could carry one out after
                # writers have seen that the batch is over.
                with anyio.move_on_after(_CANCEL_SECONDS, shield=True):
                    gone = await map_concurrently(some, partial(self._remove, began), concurrency=_AT_ONCE)
                    for digest in filter(None, gone):
                        await forget(digest, batch.modified_ns)
                        removed.append(digest)
                    is_answered = True
                if not is_answered:
                    break
                await anyio.lowlevel.checkpoint()
        finally:
            if is_answered:
                with anyio.CancelScope(shield=True), anyio.move_on_after(_CANCEL_SECONDS):
                    await self._requests.delete(key)
        return removed

    async def _remove(self, began: float, going: tuple[Digest, str, str | Literal[False]]) -> Digest | None:
        """Remove a blob and the record of its references. Return the blob, or None if a removal was late and the server refused it."""
        digest, signed, of_document = going
        try:
            await self._requests.remove_signed(signed)
            if of_document:
                await self._requests.remove_signed(of_document)
        except ServerRefused:
            if _since_boot() - began < SIGNED_FOR / 2:
                raise
            return None
        return digest

    def _check_latest(self, state: State) -> None:
        if state.seen != Seen(self.number, is_over=False):
            self._is_overtaken = True
            raise CollectionBusy(_OVERTAKER)

    async def end(self) -> None:
        """End the collection: from then on writers make no notes."""
        if self._is_overtaken:
            return
        # CANCEL: without the end, writers would make notes until the next collection.
        with anyio.move_on_after(_CANCEL_SECONDS, shield=True), suppress(SteelyardError):
            await self._requests.put(f"{COLLECTING}{self.number:016d}/end", b"", create=False)


async def _create(requests: Requests, key: str, content: bytes) -> bool:
    """Create the first object of a collection; return whether it is ours."""
    try:
        await requests.put(key, content, create=True)
    except Taken:
        return await _content(requests, key) == content
    except BaseException:
        # CANCEL: the server may have created the object. Without an end, writers would make notes until the next collection.
        with anyio.move_on_after(_CANCEL_SECONDS, shield=True), suppress(SteelyardError):
            if await _content(requests, key) == content:
                await requests.put(f"{key.removesuffix('begin')}end", b"", create=False)
        raise
    return True


async def _check_silent(requests: Requests, state: State, own: set[str]) -> None:
    """Raise CollectionBusy unless the latest collection was started by this store object, or has been silent for `SILENT_FOR` seconds."""
    holder = "unknown"
    with suppress(DataCorrupt):
        key = f"{COLLECTING}{state.seen.number:016d}/begin"
        data = await _content(requests, key) or b""
        found = decoded(msgspec.json.Decoder(_Begin).decode, data, key=key, expected="the first object of a collection")
        if found.id in own:
            return
        holder = f"process {found.process} on {found.host}"
    latest = max((each.modified_ns for each in state.signs), default=0)
    if await server_time(requests) - latest < SILENT_FOR * _SECOND:
        raise CollectionBusy(holder)


def _check_clock(address: str, written_ns: int, before_ns: int, after_ns: int) -> None:
    """Compare the clock of this machine with the server's, by an object that the server wrote between two times of this machine.

    Raises:
        CollectionRefused: they differ by more than `MOST_SKEW`.
    """
    allowed = MOST_SKEW * _SECOND
    if not before_ns - allowed - _SECOND <= written_ns <= after_ns + allowed:
        seconds = (before_ns - written_ns) / _SECOND
        reason = f"the clock of this machine differs from the server's by {seconds:+.0f} s, at most {MOST_SKEW} s are allowed: set the clock"
        raise CollectionRefused(address, cause="clock", reason=reason)


async def _content(requests: Requests, key: str) -> bytes | None:
    try:
        return (await requests.get(key))[1]
    except Missing:
        return None


def _wall_ns() -> int:
    return time.time_ns()


def _since_boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
