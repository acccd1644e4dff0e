"""A call on a thread of the second pool, and the resources that a result may own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import anyio

from steelyard._native import mark_descriptor, unmark_descriptor
from steelyard._runtime.backend import outlast
from steelyard._runtime.fork import ProcessBound

__all__ = ("BlockingCall", "OpenFile", "closers")

ResultT = TypeVar("ResultT")


class BlockingCall(ProcessBound, Generic[ResultT]):
    """A call on a thread of its own, and its outcome.

    Args:
        end: makes the call end soon. Any thread may call it, any number of times.
        deliver_ends: `Loop.deliver_ends` of the loop that waits.
    """

    def __init__(self, end: Callable[[], object], deliver_ends: Callable[[], object]) -> None:
        self.end = end
        self._deliver_ends = deliver_ends
        self._ended = anyio.Event()
        self._value: Any = None
        self._error: BaseException | None = None

    @property
    def ended(self) -> bool:
        """Whether the call has ended."""
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
        """Make the call end, and wait until it has ended. Its result is dropped."""
        self.end()
        await outlast(self._ended, self._deliver_ends)

    def set_result(self, value: Any, error: BaseException | None) -> None:
        """Set the outcome of the call. A second call changes nothing."""
        self._value, self._error = value, error
        self._ended.set()


class OpenFile:
    """An open file that a call returns. It is closed when the result is dropped, when the object is collected, and in a
    child of a fork.

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
        """Close the file; may be called twice."""
        number, self._number = self._number, -1
        if number >= 0:
            unmark_descriptor(number)
            os.close(number)

    def __del__(self) -> None:
        self.close()


def closers(result: object) -> Iterator[Callable[[], object]]:
    """Iterate over the `close` methods of a result, or of the members of a tuple."""
    for part in result if isinstance(result, tuple) else (result,):
        close = getattr(part, "close", None)
        if close is not None:
            yield close
