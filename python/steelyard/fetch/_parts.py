"""Several ranges of one version of a file at once.

Bytes are hashed and stored in order. So the file is split into **parts** of one range request each, and only the next few parts are requested
at a time. The bytes of the first part are passed on as they arrive. Those of the others wait in memory until all earlier bytes are stored.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import msgspec

from steelyard._runtime.scopes import task_group
from steelyard.digest import Digest
from steelyard.errors import SteelyardError
from steelyard.fetch._origin import Answer, Origin
from steelyard.fetch._pauses import Busy, Changed, Transient, Unsatisfiable
from steelyard.model import Buffer

__all__ = ("LEAST_BYTES", "Parts", "UnexpectedPart", "Version")

LEAST_BYTES = 64 << 20
"""The least size of a file, or of the rest of one, that is fetched in parts."""

_PART_BYTES = 8 << 20
"""The size of a part. On fast connections, the overhead of a request would count for smaller ones."""


class UnexpectedPart(Exception):  # it leads to one request for the rest, and the answer decides
    """An answer is not the part that was requested."""


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """The version of a file that the parts belong to.

    Attributes:
        validator: its strong validator, or None if only the digest of the whole proves that the parts belong together.
        digest: the digest of the whole, or None.
        total: the size.
    """

    validator: str | None
    digest: Digest | None
    total: int


class Parts:
    """The parts of a version from an offset on.

    Args:
        origin: the file.
        version: the version.
        begin: the offset.
        most: the most parts that are requested or in memory at once.

    Attributes:
        is_refused: whether a request for a part has failed before it was answered.
    """

    def __init__(self, origin: Origin, version: Version, *, begin: int, most: int) -> None:
        self._origin = origin
        self._version = version
        self._begin = begin
        self._most = most
        self._count = -(-(version.total - begin) // _PART_BYTES)
        self._next = self._first = 0
        self._returned: list[int] = []
        self._pieces: dict[int, deque[Buffer]] = {}
        self._ended: set[int] = set()
        self._workers = 0
        self._changed = anyio.Event()
        self.is_refused = False

    async def run(self, take: Callable[[Buffer], Awaitable[None]]) -> None:
        """Pass all bytes to `take`, in order.

        Raises:
            UnexpectedPart: the server has another version now, or does not return the requested ranges.
            Transient: a connection broke, or the server asks the client to wait.

        Cancellation:
            The bytes that were not passed on are dropped.
        """
        async with task_group() as tasks:
            tasks.start_soon(partial(self._work, spare=False))
            for number in range(self._count):
                for _ in range(self._most - max(1, self._workers)):
                    tasks.start_soon(partial(self._work, spare=True))
                while (piece := await self._piece(number)) is not None:
                    await take(piece)
                self._first = number + 1
                self._notify()

    async def _piece(self, number: int) -> Buffer | None:
        """Wait for the next piece of a part; None at its end."""
        while not self._pieces.get(number):
            if number in self._ended:
                self._ended.remove(number)
                del self._pieces[number]
                return None
            await self._changed.wait()
        return self._pieces[number].popleft()

    async def _work(self, *, spare: bool) -> None:
        """Fetch parts, on one connection at a time.

        Args:
            spare: whether to end when the host has no free connection. One worker is not spare, so that every part is fetched.
        """
        self._workers += 1
        try:
            while (number := await self._assigned(spare=spare)) is not None:
                try:
                    await self._fetch(number, spare=spare)
                except Busy:
                    heapq.heappush(self._returned, number)
                    self._notify()
                    return
        finally:
            self._workers -= 1

    async def _assigned(self, *, spare: bool) -> int | None:
        """Return the number of the next part, as soon as there is room for it."""
        while self._first < self._count:
            if self._returned:
                return heapq.heappop(self._returned)
            if self._next < min(self._count, self._first + self._most):
                self._next += 1
                return self._next - 1
            if spare and self._next == self._count:
                return None
            await self._changed.wait()
        return None

    async def _fetch(self, number: int, *, spare: bool) -> None:
        begin = self._begin + number * _PART_BYTES
        place, end = begin, min(begin + _PART_BYTES, self._version.total)
        pieces = self._pieces[number] = deque()
        is_open = False
        try:
            async with self._origin.open(begin, self._version.validator, end=end, spare=spare) as answer:
                self._check(answer, begin, end)
                is_open = True
                async for piece in answer.pieces:
                    place += len(memoryview(piece))
                    if place > end:
                        raise UnexpectedPart
                    pieces.append(piece)
                    if number == self._first:
                        self._notify()
        except (Changed, Unsatisfiable, SteelyardError):
            raise UnexpectedPart from None
        except Transient:
            self.is_refused = self.is_refused or not is_open
            raise
        if place < end:
            raise Transient(f"the response ended after {place - begin} bytes")
        self._ended.add(number)
        self._notify()

    def _check(self, answer: Answer, begin: int, end: int) -> None:
        version = self._version
        is_expected = (answer.offset, answer.end, answer.total) == (begin, end, version.total) and answer.is_part
        if not is_expected or (version.digest is not None and answer.digest not in {None, version.digest}):
            raise UnexpectedPart

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
