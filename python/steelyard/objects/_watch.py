"""The writer's side of garbage collection: after a change, a writer checks whether a collection could have removed a blob that it relies on.

Object storage has no transactions. So a writer and a collector each write first and look afterwards: then at least one sees the other.

* A collection creates ``collecting/<number>/begin``, and ``…/end`` at its end. Before it removes blobs, it writes their digests to
  ``…/batch-<number>``. Then it reads the notes of writers, removes the blobs that nothing protects, and removes the object of the batch.
* A writer makes its change, and then looks at ``collecting/``. If nothing has changed there since it began, no blob that it found or
  stored was removed. If a collection is running, the writer notes the blobs that it relies on below ``protected/``, looks again, and waits
  until no batch concerns them. Later batches respect its note. Finally the writer checks that its blob is still there.

`docs/object-storage.md` describes the whole protocol.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Literal, NamedTuple
from uuid import uuid4

import anyio
import msgspec

from steelyard.errors import ServerRefused
from steelyard.objects._decoding import decoded
from steelyard.objects._layout import COLLECTING, PROTECTED
from steelyard.objects._requests import Missing, Object, Requests
from steelyard.objects._shared import Shared

__all__ = (
    "BATCH_EXPIRES",
    "Note",
    "Seen",
    "State",
    "Watch",
    "batch_key",
    "decode_batch",
    "decode_notes",
    "server_time",
)

BATCH_EXPIRES = 90
"""The seconds after which the server accepts no removal of a batch any more; see `_batches.SIGNED_FOR`."""

_LONGEST_PAUSE = 1.0

_ASKED_AFTER = 5
"""The seconds after which a waiting task requests the server's time again."""


class Note(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A blob that a writer relies on.

    Attributes:
        kind: ``"stored"``: the blob was stored or found; ``"labels"``: its labels were set; ``"root"``: a name or a lease protects it from now on.
        digest: the blob.
    """

    kind: Literal["stored", "labels", "root"]
    digest: str


class Seen(NamedTuple):
    """The latest known collection.

    Attributes:
        number: the number of the latest one; 0 if there never was one.
        is_over: whether it has ended.
    """

    number: int = 0
    is_over: bool = True


class State(NamedTuple):
    """The collections that the server knows.

    Attributes:
        seen: the latest collection.
        batches: the objects of the unfinished batches of all collections.
        signs: the objects of the latest collection that show that it is alive.
    """

    seen: Seen
    batches: tuple[Object, ...]
    signs: tuple[Object, ...]

    @classmethod
    def of(cls, objects: Iterable[Object]) -> State:
        """Return the state that a listing shows."""
        named = []
        for each in objects:
            number, _, name = each.key.removeprefix(COLLECTING).partition("/")
            if number.isdecimal():
                named.append((int(number), name, each))
        latest = max((number for number, name, _ in named if name == "begin"), default=0)
        is_over = not latest or any(number == latest and name == "end" for number, name, _ in named)
        batches = tuple(each for _, name, each in named if name.startswith("batch-"))
        signs = tuple(each for number, name, each in named if number == latest and name != "end")
        return cls(Seen(latest, is_over), batches, signs)


class Watch:
    """Looks at the collections of a store for its writers.

    Args:
        requests: the server.
    """

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._known: Seen | None = None
        self._share = Shared(self._read)
        self._batches: dict[str, frozenset[str]] = {}

    async def begin(self) -> Seen:
        """Return the latest known collection, before a change begins. Only the first call makes a request."""
        return (await self._share()).seen if self._known is None else self._known

    async def look(self) -> State:
        """Return the collections that the server has now."""
        return await self._share()

    async def settle(self, since: Seen, notes: Iterable[Note], *, is_wide: bool) -> bool:
        """Wait after a change until no collection can remove the blobs that it relies on.

        Args:
            since: the latest collection that was known before the change began.
            notes: the blobs that the change relies on.
            is_wide: whether it also relies on the blobs that these blobs name.

        Returns:
            Whether a collection that did not know of the change may have removed a blob. Then the caller must look for its blobs again.
        """
        state = await self._share()
        if state.seen == since and since.is_over and not state.batches:
            return False
        noted = tuple(notes)
        while not state.seen.is_over:
            number = state.seen.number
            key = f"{PROTECTED}{number:016d}/{uuid4().hex}"
            await self._requests.put(key, msgspec.json.encode(noted), create=False)
            state = await self._share()
            if state.seen.number == number:
                break
        await self._wait({note.digest for note in noted}, state, is_wide=is_wide)
        return True

    async def _wait(self, digests: set[str], state: State, *, is_wide: bool) -> None:
        """Wait until no batch concerns these digests, or the time of its removals has passed."""
        pause, waited, asked = 0.02, 0.0, 0.0
        while concerning := [
            each for each in state.batches if is_wide or not digests.isdisjoint(await self._batch(each))
        ]:
            if waited >= asked:
                asked = waited + _ASKED_AFTER
                now = await server_time(self._requests)
                if all(now - each.modified_ns >= BATCH_EXPIRES * 10**9 for each in concerning):
                    return
            waited += pause
            await _sleep(random.uniform(pause / 2, pause))  # noqa: S311  # jitter
            pause = min(_LONGEST_PAUSE, 2 * pause)
            state = await self._share()

    async def _read(self) -> State:
        state = State.of(await self._requests.every(COLLECTING))
        if self._known is None or state.seen >= self._known:
            self._known = state.seen
        present = {each.key for each in state.batches}
        self._batches = {key: digests for key, digests in self._batches.items() if key in present}
        return state

    async def _batch(self, found: Object) -> frozenset[str]:
        if found.key not in self._batches:
            try:
                _, data = await self._requests.get(found.key)
            except Missing:
                return frozenset()  # the batch is finished
            self._batches[found.key] = decode_batch(found.key, data)
        return self._batches[found.key]


def batch_key(number: int, batch: int) -> str:
    """Return the key of a batch of a collection."""
    return f"{COLLECTING}{number:016d}/batch-{batch:08d}"


_sleep = anyio.sleep

_to_batch = msgspec.json.Decoder(frozenset[str]).decode
_to_notes = msgspec.json.Decoder(tuple[Note, ...]).decode


def decode_batch(key: str, data: bytes) -> frozenset[str]:
    """Return the digests of a batch; raises DataCorrupt."""
    return decoded(_to_batch, data, key=key, expected="digests that a collection removes")


def decode_notes(key: str, data: bytes) -> tuple[Note, ...]:
    """Return the notes of a writer; raises DataCorrupt."""
    return decoded(_to_notes, data, key=key, expected="blobs that a writer relies on")


async def server_time(requests: Requests) -> int:
    """Return the server's time, in nanoseconds since the epoch. This takes one request, or four if the server does not report its time."""
    _, now_ns = await requests.server()
    if now_ns is not None:
        return now_ns
    key = f"probe/{uuid4().hex}"
    await requests.put(key, b"", create=False)
    try:
        return (await requests.head(key)).modified_ns
    except Missing:
        raise ServerRefused(requests.address, reason=f"{key}: an object that was just written does not exist") from None
    finally:
        await requests.delete(key)
