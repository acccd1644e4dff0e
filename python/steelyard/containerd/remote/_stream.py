"""One Write stream. Messages are sent at once, and answers are counted as they arrive. Cancelling a wait has no effect on the stream."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import anyio
from anyio import CancelScope
from anyio.lowlevel import checkpoint

from steelyard._runtime.backend import uninterrupted
from steelyard._runtime.calls import run_job
from steelyard._runtime.fork import ProcessBound
from steelyard.containerd._code import Code
from steelyard.containerd.remote._calls import GRACE, Limits, Waker, settle
from steelyard.containerd.remote._channel import Connection, Headers, encode
from steelyard.containerd.remote._errors import Refused
from steelyard.containerd.remote._messages import method
from steelyard.model import Buffer

__all__ = ("WriteStream",)


class WriteStream(ProcessBound):
    """An open Write stream.

    Attributes:
        in_flight: the bytes of data that were sent and not yet answered.
        last: the last answer, or None.
        failure: the failure that ended the stream, or None.
    """

    @uninterrupted
    def __init__(self, connection: Connection, limits: Limits, headers: Headers = ()) -> None:
        self._limits = limits
        self._called = method("Content", "Write")
        self._call = connection.converse(self._called, headers)
        self._sizes: deque[int] = deque()
        self._sent = self._answered = 0
        self.in_flight = 0
        self.last: Any = None
        self.failure: Refused | None = None
        self.ended = False

    @uninterrupted
    def send(self, request: dict[str, Any], data: Sequence[Buffer] = (), size: int = 0) -> int:
        """Send a message with `size` bytes of data, and return its number."""
        self._call.send(encode(request), list(data))
        self._sizes.append(size)
        self.in_flight += size
        self._sent += 1
        return self._sent

    async def answered(self, number: int | None = None) -> None:
        """Wait for the answer to a message, by default the last one that was sent, or for the end of the stream.

        Raises:
            Refused: the stream has failed.

        Cancellation:
            No effect.
        """
        wanted = self._sent if number is None else number
        await self._until(lambda: self._answered >= wanted)

    async def room(self, size: int, window: int) -> None:
        """Wait until `size` more bytes fit into the window, or until none are in flight.

        Errors and cancellation are those of `answered`.
        """
        await self._until(lambda: self.in_flight + size <= window or not self.in_flight)

    async def finish(self) -> None:
        """End the messages, and wait for the end of the stream, at which the server frees the ref.

        Cancellation:
            The server gets `GRACE` seconds, and then the call is ended.
        """
        self._call.finish()
        try:
            await self._until(lambda: self.ended)
        except Refused:
            pass
        finally:
            try:
                # CANCEL: the server gets time to store the bytes and to free the ref. Bytes that it has not stored by then are lost.
                with CancelScope(shield=True), anyio.move_on_after(GRACE):
                    await settle(self._call)
            finally:
                self.close()

    def close(self) -> None:
        """End the call at once."""
        self._call.cancel()
        self.observe()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while True:
            seen = self._call.progress  # read before `observe`, so that later answers end the wait
            self.observe()
            if condition():
                return
            if self.failure is not None:
                raise self.failure
            if self.ended:
                raise Refused(Code.UNAVAILABLE, "the server ended the stream")
            with anyio.move_on_after(self._limits.idle_timeout) as waiting:
                await run_job(Waker(self._call), self._call.changed, seen)
                if self._call.progress == seen:
                    await checkpoint()
            if waiting.cancelled_caught and self._call.progress == seen:
                self._call.cancel()
                raise Refused(Code.UNAVAILABLE, f"silent for {self._limits.idle_timeout:g} s")

    @uninterrupted
    def observe(self) -> None:
        """Take the answers that have arrived."""
        outcome = self._call.outcome  # read before the answers: no answers arrive after the outcome
        for answer in self._call.take(1 << 20):
            if self.failure is not None:
                break
            try:
                self.last = self._called.read(answer)
            except ValueError as error:
                # Later answers are not read.
                self.ended, self.failure = True, Refused(Code.INTERNAL, f"answer: {error}")
                self._call.cancel()
                break
            if self._sizes:  # containerd sends the last answer twice
                self.in_flight -= self._sizes.popleft()
                self._answered += 1
        if outcome is not None and not self.ended:
            self.ended, self.failure = True, Refused.of(self._call)
