"""The base of both kinds of event loop: a port to each pool, and the delivery of results from a port to the callers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import chain, starmap
from typing import Any

from steelyard._native import Pool, Port
from steelyard._runtime.backend import EventLoop
from steelyard._runtime.calls._call import BlockingCall

__all__ = ("Loop",)


class Loop(ABC):
    """One event loop, its ports to the pools, and the results that arrive.

    Args:
        pool: has threads for calls that end by themselves.
        waits: has threads for blocking calls.
    """

    def __init__(self, pool: Pool, waits: Pool) -> None:
        self._event_loop = EventLoop()
        self._port = pool.port(self._wake)
        self._cancel, self._forget = self._port.cancel, self._port.forget
        self._waits = waits.port(self._wake_waits)
        self._arrivals = _Arrivals(self._give, self._wake)
        self._ends = _Arrivals(BlockingCall.set_result, self._wake_waits)

    @abstractmethod
    def is_here(self) -> bool:
        """Return whether the caller is a task of this loop."""

    @abstractmethod
    async def run(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        *,
        cancel: Callable[[], object] | None = None,
        always: bool = False,
    ) -> Any:
        """Call a function on a thread, and return its result.

        Args:
            function: the function.
            args: its arguments.
            cancel: called when the caller is cancelled meanwhile.
            always: run the function even if Ctrl-C is pending; the caller has a shield.
        """

    @abstractmethod
    def _give(self, ticket: Any, value: Any, error: BaseException | None) -> None:
        """Give a result to the caller that waits; a second time changes nothing."""

    def start(self, function: Callable[..., Any], args: tuple[Any, ...], call: BlockingCall[Any]) -> None:
        """Have the function called on a thread of the second pool, and its result set on `call`."""
        self._waits.submit(function, args, call)

    def deliver_ends(self) -> None:
        """Set the results of blocking calls that have ended. A waiting task may also call it, in case the loop has lost the scheduled call."""
        self._ends.deliver(self._waits)

    # A pool calls the next two methods. If they raise RuntimeError, the loop has ended, and the pool drops its results.

    def _wake(self) -> None:
        self._event_loop.call(self._deliver)

    def _wake_waits(self) -> None:
        self._event_loop.call(self.deliver_ends)

    def _deliver(self) -> None:
        self._arrivals.deliver(self._port)


class _Arrivals:
    """Results that were taken from a port and not yet given to the callers.

    An exception from a signal handler (Ctrl-C) can be raised between any two steps of Python. No result is lost then:
    a result stays in the queue until it is given to the caller.

    Args:
        give: gives a result to the caller that waits; a second time changes nothing.
        again: schedules another call of `deliver`.
    """

    def __init__(self, give: Callable[[Any, Any, BaseException | None], object], again: Callable[[], object]) -> None:
        self._give = give
        self._again = again
        self._waiting: deque[tuple[Any, Any, BaseException | None]] = deque()

    def deliver(self, port: Port) -> None:
        """Give all results that are there."""
        waiting = self._waiting
        try:
            # A single call of native code: no Python code runs before the results are in the queue.
            waiting.extend(chain.from_iterable(starmap(port.take, ((),))))
            while waiting:
                self._give(*waiting[0])
                waiting.popleft()
        except BaseException:
            with suppress(RuntimeError):  # the event loop has ended
                self._again()
            raise
