"""A call on a thread of the second pool, what a loop has to offer, and how results get from a port to those who wait."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain, starmap
from typing import Any, Generic, Protocol, TypeVar

import anyio

from steelyard._native import Port, mark_descriptor, unmark_descriptor
from steelyard._runtime.backend import outlast
from steelyard._runtime.fork import ProcessBound

__all__ = ("Arrivals", "Begun", "Loop", "OpenFile", "closers", "give_begun")

ResultT = TypeVar("ResultT")


class Loop(Protocol):
    """The way to the pool from one event loop."""

    def is_here(self) -> bool:
        """Return whether the caller is a task of that loop."""
        ...

    async def run(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        *,
        cancel: Callable[[], object] | None = None,
        always: bool = False,
    ) -> Any:
        """Run one piece.

        Args:
            function: the piece.
            args: its arguments.
            cancel: called when the caller is cancelled meanwhile.
            always: run it even if Ctrl-C is pending; the caller has a shield.
        """
        ...

    def begin(self, function: Callable[..., Any], args: tuple[Any, ...], begun: Begun[Any]) -> None:
        """Have the function called on a thread of the second pool, and its end told to `begun`."""
        ...

    def soon(self, function: Callable[[], object]) -> None:
        """Have the function called in the loop's thread; from any thread. RuntimeError: the loop has ended."""
        ...

    def look(self) -> None:
        """Give the ends that are there to those who wait, should the loop have lost the call that was to do it."""
        ...


class Begun(ProcessBound, Generic[ResultT]):
    """A call that was begun, and how it ended.

    Args:
        end: makes the call end soon; from any thread, any number of times.
        look: `Loop.look` of the loop that waits.
    """

    def __init__(self, end: Callable[[], object], look: Callable[[], object]) -> None:
        self.end = end
        self._look = look
        self._ended = anyio.Event()
        self._value: Any = None
        self._error: BaseException | None = None

    @property
    def ended(self) -> bool:
        """Whether the result is there."""
        return self._ended.is_set()

    async def result(self) -> ResultT:
        """Wait for the call's end and return its result.

        Cancellation:
            The call goes on, and may be waited for again.
        """
        await self._ended.wait()
        if self._error is not None:
            raise self._error
        value: ResultT = self._value
        return value

    async def aclose(self) -> None:
        """Make the call end, and wait until it has, whatever it gives."""
        self.end()
        await outlast(self._ended, self._look)

    def _tell(self, value: Any, error: BaseException | None) -> None:
        self._value, self._error = value, error
        self._ended.set()


def give_begun(begun: Begun[Any], value: Any, error: BaseException | None) -> None:
    """Give a call that was begun its end; a second time changes nothing."""
    begun._tell(value, error)  # noqa: SLF001  # one of our own


class Arrivals:
    """Results that were taken from a port, on their way to those who wait.

    An exception from a signal handler (Ctrl-C) can be raised between any two steps of Python. No result is lost to it:
    what was taken stays here until it was given.

    Args:
        give: gives a result to the one who waits; a second time changes nothing.
        again: has `deliver` called soon.
    """

    def __init__(self, give: Callable[[Any, Any, BaseException | None], object], again: Callable[[], object]) -> None:
        self._give = give
        self._again = again
        self._waiting: deque[tuple[Any, Any, BaseException | None]] = deque()

    def deliver(self, port: Port) -> None:
        """Give all results that are there."""
        waiting = self._waiting
        try:
            # A single call of native code: Python's own steps begin when the results are in the queue.
            waiting.extend(chain.from_iterable(starmap(port.take, ((),))))
            while waiting:
                self._give(*waiting[0])
                waiting.popleft()
        except BaseException:
            with suppress(RuntimeError):  # the event loop has ended
                self._again()
            raise


class OpenFile:
    """An open file as what a piece returns: it closes when nobody gets it, or nobody has it any more. A child of a fork has
    it closed.

    Args:
        number: the descriptor, which belongs to this object from now on.
    """

    _number = -1

    def __init__(self, number: int) -> None:
        self._number = number
        mark_descriptor(number)

    def fileno(self) -> int:
        """Return the descriptor, or -1 after `close`."""
        return self._number

    def close(self) -> None:
        """Close it; may be called twice."""
        number, self._number = self._number, -1
        if number >= 0:
            unmark_descriptor(number)
            os.close(number)

    def __del__(self) -> None:
        self.close()


def closers(result: object) -> Iterator[Callable[[], object]]:
    """Iterate over what closes the things that a result owns: the result itself, or what a tuple holds."""
    for part in result if isinstance(result, tuple) else (result,):
        close = getattr(part, "close", None)
        if close is not None:
            yield close
