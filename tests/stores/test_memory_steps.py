"""Collections of a store in memory happen in bounded steps, and stay right when the store changes between any two of them."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Coroutine, Generator
from contextlib import aclosing
from datetime import timedelta
from types import FrameType
from typing import Any

import pytest

from steelyard._collecting import pace
from steelyard.memory import MemoryStore
from steelyard.model import Descriptor
from steelyard.testing._collecting import AT_ONCE, INDEX, REFERENCE, ROOT, document, name
from steelyard.testing._moving import MovingContract
from steelyard.testing._values import digest_of, keep

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)
MOST_CALLS = 10_000
"""Calls of functions between two waits: far more than a step needs, far fewer than there are blobs times calls for each."""


class TestInSmallSteps(MovingContract):
    """The changes are made after each few units of work."""

    @pytest.fixture
    async def store(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        monkeypatch.setattr(pace, "_STEP", 3)
        return MemoryStore()


class _Calls(Awaitable[None]):
    """Awaits a coroutine, and counts the calls of functions between two of its waits."""

    def __init__(self, coroutine: Coroutine[Any, Any, object]) -> None:
        self._coroutine = coroutine
        self.steps: list[int] = []
        self._calls = 0

    def _count(self, frame: FrameType, event: str, argument: object) -> None:
        del frame, argument
        self._calls += event in {"call", "c_call"}

    def __await__(self) -> Generator[Any, Any, None]:
        value = None
        try:
            while True:
                self._calls = 0
                before = sys.getprofile()
                sys.setprofile(self._count)
                try:
                    trap = self._coroutine.send(value)
                finally:
                    sys.setprofile(before)
                    self.steps.append(self._calls)
                value = yield trap
        except StopIteration:
            return


async def store_of(count: int) -> MemoryStore:
    """Return a store with so many blobs, names, references, leases and ingests, all kinds of roots and of garbage."""
    store = MemoryStore()
    async with aclosing(store.put_many(b"%d" % number for number in range(count))) as results:
        blobs = [one.result.digest async for one in results]
    await store.images.assign({f"n{number}": Descriptor(digest=blobs[number]) for number in range(0, count, 4)})
    await name(store, "index", await keep(store, document(manifests=blobs[1::4])), INDEX)
    await store.leases.create("lease", expires=HOUR)
    await store.leases.add("lease", digests=blobs[2::8])
    for number in range(count // 8):
        await store.leases.create(f"lease {number}", expires=HOUR)
        await keep(store, b"root %d" % number, **{ROOT: "1"})
        following = digest_of(b"cycle %d" % ((number + 1) % (count // 8)))
        await keep(store, b"cycle %d" % number, **{REFERENCE: str(following)})
        async with store.writer(f"ref {number}"):
            pass
    await keep(store, document(layers=[digest_of(b"other %d" % number) for number in range(count)]))
    async with aclosing(store.put_many(b"other %d" % number for number in range(count))) as results:
        assert count == len([one async for one in results])
    return store


@pytest.mark.slow
async def test_the_work_between_two_waits_does_not_grow_with_the_store() -> None:
    waits = []
    for count in (400, 1600):
        store = await store_of(count)
        for options in (
            None,
            {"dry_run": True},
            {"grace": HOUR},
            {"grace": AT_ONCE, "max_bytes": 0, "ingest_age": AT_ONCE},
        ):
            calls = _Calls(store.why(digest_of(b"0")) if options is None else store.collect(**options))
            await calls
            print(count, options, max(calls.steps))
            assert max(calls.steps) < MOST_CALLS
            waits.append(len(calls.steps))
        assert count > len([info async for info in store.walk()])

    print(waits)
    assert all(3 * few < many for few, many in zip(waits[:4], waits[4:], strict=True))
