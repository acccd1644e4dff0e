"""One Write stream: messages go out as they are made, answers are counted as they come.

gRPC takes the messages from our queue on a thread of its own. A thread of the pool reads the answers and notifies the
event loop. A task never waits for a thread. It waits for an answer, and its cancellation has no effect on the stream.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import anyio
import grpc
from anyio import CancelScope

from steelyard._runtime import calls
from steelyard._runtime.backend import EventLoop, uninterrupted
from steelyard._runtime.fork import ProcessBound
from steelyard.containerd.remote._calls import GRACE, Limits, refusal
from steelyard.containerd.remote._channel import Connection, Headers, method
from steelyard.containerd.remote._errors import Refused
from steelyard.containerd.remote._wire import Data

__all__ = ("WriteStream",)


class WriteStream(ProcessBound):
    """An open Write stream.

    Attributes:
        in_flight: bytes of data that were sent and not yet answered.
        last: the last answer, or None.
        failure: why the stream ended, or None.
    """

    @uninterrupted
    def __init__(self, connection: Connection, limits: Limits, headers: Headers = ()) -> None:
        self._limits = limits
        self._requests: SimpleQueue[Any] = SimpleQueue()
        called = method("Content", "Write")
        self._call = connection.converse(called, iter(self._requests.get, None), headers)
        self._arrived: deque[Any] = deque()
        self._notified = False
        self._loop = EventLoop()
        self._sizes: deque[int] = deque()
        self._sent = self._answered = 0
        self._changed = anyio.Event()
        self.in_flight = 0
        self.last: Any = None
        self.failure: Refused | None = None
        self.ended = False
        self._pump = calls.start(self._read, end=self._cancel)

    def send(self, message: Data) -> int:
        """Send a message, and return its number."""
        self._requests.put(message)
        self._sizes.append(message.size)
        self.in_flight += message.size
        self._sent += 1
        return self._sent

    async def answered(self, number: int | None = None) -> None:
        """Wait for the answer to a message, or to all that were sent, or for the end of the stream.

        Raises:
            Refused: the stream has failed.

        Cancellation:
            No effect.
        """
        wanted = self._sent if number is None else number
        await self._until(lambda: self._answered >= wanted)

    async def room(self, size: int, window: int) -> None:
        """Wait until `size` more bytes fit into the window, or until none are in flight.

        Raises and Cancellation are those of `answered`.
        """
        await self._until(lambda: self.in_flight + size <= window or not self.in_flight)

    async def finish(self) -> None:
        """Say that there are no more messages, and wait for the end of the stream, at which the server frees the ref.

        Cancellation:
            The server gets a moment, then the call is ended.
        """
        self._requests.put(None)
        try:
            await self._until(lambda: self.ended)
        except Refused:
            pass
        finally:
            try:
                # CANCEL: the server is given time to free the ref in good order; what it has not stored by then is lost.
                with CancelScope(shield=True), anyio.move_on_after(GRACE):
                    while not self.ended:
                        await self._changed.wait()
            finally:
                await self.aclose()

    async def aclose(self) -> None:
        """End the call, whatever it does; nothing of it is left when this returns."""
        self._requests.put(None)
        await self._pump.aclose()
        self._observe()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            if self.failure is not None:
                raise self.failure
            if self.ended:
                raise Refused(grpc.StatusCode.UNAVAILABLE, "the server ended the stream")
            seen = self._answered
            with anyio.move_on_after(self._limits.idle_timeout) as waiting:
                await self._changed.wait()
            if waiting.cancelled_caught and self._answered == seen:
                reason = f"silent for {self._limits.idle_timeout:g} s"
                self._call.cancel()
                raise Refused(grpc.StatusCode.UNAVAILABLE, reason)

    def _observe(self) -> None:
        """Take in what has arrived; in the event loop's thread."""
        self._notified = False  # before looking: later arrivals are notified of again
        while self._arrived:
            answer = self._arrived.popleft()
            if answer is None or isinstance(answer, Refused):
                self.ended, self.failure = True, answer
                continue
            self.last = answer
            if self._sizes:  # containerd says the last one twice
                self.in_flight -= self._sizes.popleft()
                self._answered += 1
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    def _read(self) -> None:
        """Read answers to the end of the stream; in a thread."""
        end = None
        try:
            for answer in self._call:
                self._notify(answer)
        except grpc.RpcError as error:
            end = refusal(error)
        finally:
            self._requests.put(None)  # gRPC's thread waits for messages, also of a call that has ended
            self._notify(end)

    def _notify(self, arrived: Any) -> None:
        self._arrived.append(arrived)
        if not self._notified:
            self._notified = True
            self._loop.try_call(self._observe)

    def _cancel(self) -> None:
        self._call.cancel()
        self._requests.put(None)
