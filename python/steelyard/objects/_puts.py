"""Storing blobs that are in memory. Each takes one request, and blobs that are stored together share one look at the collections."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from copy import copy
from pathlib import Path
from typing import Literal, NamedTuple

from steelyard._runtime.calls import run
from steelyard._runtime.concurrent import map_concurrently
from steelyard.digest import Algorithm, Digest
from steelyard.errors import UnexpectedDigest, UnexpectedSize
from steelyard.events import EventSource
from steelyard.model import NO_LABELS, Buffer, Info, Labels, PutManyResult, PutResult
from steelyard.objects._blobs import Blobs, Stored
from steelyard.objects._documents import may_name, register
from steelyard.objects._layout import blob_key
from steelyard.objects._requests import MARKED, Missing, Requests, Taken
from steelyard.objects._watch import Watch
from steelyard.options import PutOptions, name_of
from steelyard.transfer._batched import Item, Sent
from steelyard.transfer._small import Small, digest_now, digest_small, read_small

__all__ = ("Puts",)

_AT_ONCE = 32
"""The most blobs of a batch that make further requests at the same time."""

Enter = Callable[[Sequence[Digest]], Awaitable[object]]
"""A function that enters blobs into the lease, if there is one."""


class _Small(NamedTuple):
    """A source of a batch that has been read."""

    item: Item
    digest: Digest
    data: bytes


class _Put(Stored):
    """A blob that is being stored.

    Attributes:
        data: its bytes.
        is_document: whether it names blobs.
        is_new: whether any attempt has created it.
        info: its info, if it is new and has labels.
        error: the reason why it is not stored, or None.
    """

    is_document = is_new = False
    info: Info | None = None
    error: Exception | None = None

    def __init__(self, requests: Requests, blobs: Blobs, digest: Digest, data: Buffer) -> None:
        super().__init__(digest)
        self._requests, self._blobs = requests, blobs
        self.data = data
        self.key, self.size = blob_key(digest), memoryview(data).nbytes

    async def announce(self, labels: Labels) -> None:
        """Record its references, if it is a document, and write its labels, unless it is stored already."""
        self.is_document = await register(self._requests, self.digest, self.data)
        if labels and not await self._blobs.has(self.digest):
            await self._blobs.announce(self.digest, labels)

    async def label(self, labels: Labels) -> None:
        """Set its labels, now that it is stored."""
        info = await self._blobs.added(self.digest, self.size, labels)
        self.info, self.labels = self.info or info, labels

    async def compare(self) -> None:
        """Replace the object at the key if it is not the blob.

        The bytes of a small object are compared. A larger one is the blob if it has the mark of a store and the right size.
        """
        try:
            if self.size > MARKED:
                found = await self._requests.head(self.key)
                is_whole = found.is_ours and found.size == self.size
            else:
                _, there = await self._requests.get(self.key)
                is_whole = there == bytes(memoryview(self.data))
        except Missing:
            is_whole = False
        if not is_whole:
            await self._blobs.replace(self.digest, lambda: self._requests.put(self.key, self.data, create=False))

    async def again(self) -> None:
        await register(self._requests, self.digest, self.data)
        if self.labels:
            await self._blobs.added(self.digest, self.size, self.labels)


class Puts:
    """Stores blobs that are in memory.

    Args:
        requests: the server.
        blobs: the blobs of the store.
        watch: looks at collections.
        events: publishes the events of the blobs.
    """

    def __init__(self, requests: Requests, blobs: Blobs, watch: Watch, events: EventSource) -> None:
        self._requests, self._blobs, self._watch, self._events = requests, blobs, watch, events

    async def put(self, whole: Small, options: PutOptions, enter: Enter) -> PutResult:
        """Store bytes; see `Store.put`. A new blob without labels takes one request, and one look at the collections, which tasks share."""
        wanted = options.expected
        if wanted is not None:
            await enter([wanted])
            found = await self._blobs.find(wanted, options.size)
            if found is not None:
                return PutResult(digest=wanted, size=found.size, new=False)
        if options.size is not None and options.size != whole.size:
            raise UnexpectedSize(expected=options.size, actual=whole.size)
        digest = await digest_small(whole.data, options.algorithm if wanted is None else wanted.algorithm)
        if wanted is not None and digest != wanted:
            raise UnexpectedDigest(expected=wanted, actual=digest)
        await enter([digest])
        options.report("write", whole.name, whole.size, whole.size)
        new = await self.store(digest, whole.data, options.labels)
        options.report("commit", whole.name, whole.size, whole.size)
        return PutResult(digest=digest, size=whole.size, new=new is not None)

    async def put_batch(
        self, batch: Sequence[Item], options: PutOptions, enter: Enter, sent: Sent
    ) -> list[PutManyResult | None]:
        """Store sources together. Return a result for each, or None for a source that is a document, is large or cannot be read."""
        read = await run(_read, [item.small for item in batch], options.algorithm)
        small = [_Small(item, *each) for item, each in zip(batch, read, strict=True) if each is not None]
        outcomes: dict[int, PutResult | Exception] = {**_report(options, "write", small)}
        small = [each for each in small if each.item.index not in outcomes]
        indexes = [each.item.index for each in small]
        try:
            if small:
                await enter([each.digest for each in small])
            puts = await self._store([(each.digest, each.data) for each in small], options.labels, sent)
            ends = [put.error or PutResult(digest=put.digest, size=put.size, new=put.is_new) for put in puts]
            outcomes |= zip(indexes, ends, strict=True)
        except Exception as error:  # noqa: BLE001  # each result has its own copy
            outcomes |= {index: copy(error) for index in indexes}
        stored = [each for each in small if isinstance(outcomes[each.item.index], PutResult)]
        outcomes |= _report(options, "commit", stored)
        return [item.result(outcomes[item.index]) if item.index in outcomes else None for item in batch]

    async def store(self, digest: Digest, data: Buffer, labels: Labels) -> Info | None:
        """Store bytes, and return the info of the blob, or None if it is stored already."""
        [put] = await self._store([(digest, data)], labels, lambda: None)
        if put.error is not None:
            raise put.error
        if not put.is_new:
            return None
        return put.info or await self._blobs.added(digest, put.size, NO_LABELS)

    async def _store(self, blobs: Iterable[tuple[Digest, Buffer]], labels: Labels, sent: Sent) -> list[_Put]:
        """Store blobs, and return the state of each.

        An object that is there already is compared, because another program may have written other bytes at the key; see `_Put.compare`.

        Raises:
            SteelyardError: the look at the collections failed, so no blob is certain to stay.
        """
        puts = left = [_Put(self._requests, self._blobs, digest, data) for digest, data in blobs]
        while left:
            since = await self._watch.begin()
            await _each([put for put in left if labels or may_name(put.data)], lambda put: put.announce(labels))
            await self._create([put for put in left if put.error is None], labels)
            sent()
            left = [put for put in left if put.error is None]
            is_wide = any(put.is_document for put in left)
            left = await self._blobs.settle(since, left, is_wide=is_wide)
        for put in puts:
            if put.is_new and put.error is None:
                self._events.publish("created", digest=put.digest, size=put.size, labels=labels)
        return puts

    async def _create(self, puts: Sequence[_Put], labels: Labels) -> None:
        """Create the objects, and compare or label them."""
        outcomes = await self._requests.create_all([(put.key, put.data) for put in puts])
        for put, outcome in zip(puts, outcomes, strict=True):
            put.is_found, put.labels = isinstance(outcome, Taken), NO_LABELS
            if outcome is None:
                put.is_new = True
            elif not put.is_found:
                put.error = outcome
        await _each([put for put in puts if put.is_found], _Put.compare)
        if labels:
            await _each([put for put in puts if not put.is_found and put.error is None], lambda put: put.label(labels))


def _report(options: PutOptions, phase: Literal["write", "commit"], small: Iterable[_Small]) -> dict[int, Exception]:
    """Report progress, and return the errors of the caller's function, by the index of the source."""
    errors: dict[int, Exception] = {}
    for item, _, data in small if options.on_progress is not None else ():
        try:
            options.report(phase, name_of(item.source), len(data), len(data))
        except Exception as error:  # noqa: BLE001  # the result has it
            errors[item.index] = error
    return errors


async def _each(puts: Sequence[_Put], call: Callable[[_Put], Awaitable[None]]) -> None:
    """Call a function for each blob, several at once. An error becomes the error of its blob."""

    async def one(put: _Put) -> None:
        try:
            await call(put)
        except Exception as error:  # noqa: BLE001  # the caller gets it as the outcome
            put.error = error

    if puts:
        await map_concurrently(puts, one, concurrency=_AT_ONCE)


def _read(sources: Sequence[bytes | memoryview | str], algorithm: Algorithm) -> list[tuple[Digest, bytes] | None]:
    """Return the digest and bytes of each source, or None for a source that a batch cannot have. This reads and hashes files."""
    return [None if data is None else (digest_now(data, algorithm), data) for data in map(_content, sources)]


def _content(source: bytes | memoryview | str) -> bytes | None:
    if isinstance(source, str):
        try:
            data = read_small(Path(source), MARKED)
        except (OSError, ValueError):
            return None  # it is stored alone, and fails alone
    else:
        data = bytes(source)  # a copy, because the caller may change the buffer meanwhile
    # A document is stored alone, because it waits for every batch of a collection.
    return None if data is None or may_name(data) else data
