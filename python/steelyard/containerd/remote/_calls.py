"""Calls on threads: one request, and one answer or many; each has a deadline, and ends when its result is not wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Generic, TypeVar

import anyio
import grpc
import msgspec
from anyio import CancelScope

from steelyard._runtime import calls
from steelyard._runtime.backend import EventLoop, uninterrupted
from steelyard._runtime.fork import ProcessBound
from steelyard.containerd.remote._channel import Connection, Headers, Method
from steelyard.containerd.remote._errors import About, Refused, error_of
from steelyard.errors import InvalidArgument, Unreachable

__all__ = ("GRACE", "MOST_DATA", "Answers", "Limits", "ask", "attend", "collect", "refusal")

MOST_DATA = 8 << 20
"""The most data of a message: half of what one may have, as other clients have it."""

GRACE = 2.0
"""Seconds that a cancelled call which changes something is waited for, so that a healthy server leaves no doubt."""

ResultT = TypeVar("ResultT")
ItemT = TypeVar("ItemT")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How long a server may be silent, and how much it is sent at once.

    Attributes:
        timeout: seconds for a call with one answer.
        idle_timeout: seconds without a sign of progress, for a call with many.
        message_bytes: bytes of data that a writer gathers for a message.
        window_bytes: the most bytes that a writer has on their way.

    Raises:
        InvalidArgument: one is not positive, or a message would be over the protocol's limit.
    """

    timeout: float
    idle_timeout: float
    message_bytes: int
    window_bytes: int

    def __post_init__(self) -> None:
        if not min(self.timeout, self.idle_timeout, self.message_bytes, self.window_bytes) > 0:
            raise InvalidArgument(f"{self}: expected more than 0")
        if self.message_bytes > MOST_DATA:
            raise InvalidArgument(f"message_bytes {self.message_bytes}: expected at most {MOST_DATA} bytes")


def refusal(error: grpc.RpcError) -> Refused:
    """Return what gRPC's error says, without what it holds."""
    error.__traceback__ = None  # it is the call itself, which would keep itself alive
    return Refused.of(error)


async def ask(
    connection: Connection,
    called: Method,
    request: Any,
    about: About,
    limits: Limits,
    *,
    grace: float = 0.0,
    headers: Headers = (),
) -> Any:
    """Make a call with one answer and return that.

    Args:
        connection: the server.
        called: the method.
        request: the request.
        about: what it is about, for errors.
        limits: how long it may take.
        headers: what else is said.
        grace: seconds for which a cancelled call is waited for before it is ended: for what changes something.

    Raises:
        SteelyardError: by `error_of`.

    Cancellation:
        The call is ended. Its change may have happened or not.
    """
    call = connection.ask(called, request, limits.timeout, headers)
    done, loop = anyio.Event(), EventLoop()
    call.add_done_callback(lambda _: loop.try_call(done.set))
    try:
        await done.wait()
    finally:
        try:
            if grace and not done.is_set():
                with CancelScope(shield=True), anyio.move_on_after(grace):
                    await done.wait()
        finally:
            if not done.is_set():
                call.cancel()
    if call.code() is grpc.StatusCode.OK:
        return call.result()
    raise _explained(Refused.of(call), about, connection, limits)


async def collect(
    connection: Connection,
    called: Method,
    request: Any,
    about: About,
    limits: Limits,
    *,
    consume: Callable[[Iterator[Any]], ResultT],
    grace: float = 0.0,
) -> ResultT:
    """Make a call with many answers, have them consumed in a thread, and return what comes of it.

    Raises:
        SteelyardError: by `error_of`, or what `consume` raises.

    Cancellation:
        The call is ended, and `consume` has ended with it when this returns.
    """
    call = connection.start(called, request)
    counted = _Counted(call)
    reading = calls.start(_consumed, consume, counted, end=call.cancel)
    try:
        try:
            return await attend(reading, lambda: counted.count, limits, connection, about)
        finally:
            try:
                if grace and not reading.ended:
                    with CancelScope(shield=True), anyio.move_on_after(grace), suppress(Exception):
                        await reading.result()
            finally:
                # Also when all was consumed: a call that has not been read to its end is ended here.
                call.cancel()
                if not reading.ended:
                    await reading.aclose()
    except Refused as refused:
        raise _explained(refused, about, connection, limits) from None


async def attend(
    reading: calls.BlockingCall[ResultT],
    progress: Callable[[], int],
    limits: Limits,
    connection: Connection,
    about: About,
) -> ResultT:
    """Wait for the result as long as there is progress.

    Raises:
        Unreachable: there was none for too long; the call was ended.
    """
    while True:
        seen = progress()
        with anyio.move_on_after(limits.idle_timeout):
            return await reading.result()
        if progress() == seen and not reading.ended:
            await reading.aclose()
            raise Unreachable(connection.address, reason=f"{about.call}: silent for {limits.idle_timeout:g} s")


class Answers(ProcessBound, Generic[ItemT]):
    """The answers of a call in batches; the next batch is read by a thread while the last is looked at.

    Args:
        connection: the server.
        called: the method.
        request: the request.
        about: what it is about, for errors.
        limits: how long the server may be silent.
        take: takes a batch from the iterator, in a thread; what it returns is false at the end, and only then.
    """

    @uninterrupted
    def __init__(
        self,
        connection: Connection,
        called: Method,
        request: Any,
        about: About,
        limits: Limits,
        *,
        take: Callable[[Iterator[Any]], ItemT],
    ) -> None:
        self._connection, self._about, self._limits = connection, about, limits
        self._call = connection.start(called, request)
        self._counted = _Counted(self._call)
        self._take = take
        self._reading = self._read_on()

    async def next(self) -> ItemT:
        """Return the next batch.

        Raises:
            SteelyardError: by `error_of`, or what `take` raises; again on every further call.

        Cancellation:
            No effect.
        """
        try:
            batch = await attend(
                self._reading, lambda: self._counted.count, self._limits, self._connection, self._about
            )
        except Refused as refused:
            raise _explained(refused, self._about, self._connection, self._limits) from None
        if batch:
            self._reading = self._read_on()
        return batch

    async def aclose(self) -> None:
        """End the call; its thread has ended when this returns."""
        self._call.cancel()
        await self._reading.aclose()

    def _read_on(self) -> calls.BlockingCall[ItemT]:
        return calls.start(_consumed, self._take, self._counted, end=self._call.cancel)


class _Counted(Iterator[Any]):
    """Counts the answers, as the sign of progress."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self.count = 0

    def __next__(self) -> Any:
        answer = next(self._call)
        self.count += 1
        return answer


def _consumed(consume: Callable[[Iterator[Any]], ResultT], answers: Iterator[Any]) -> ResultT:
    try:
        return consume(answers)
    except grpc.RpcError as error:
        raise refusal(error) from None


def _explained(refused: Refused, about: About, connection: Connection, limits: Limits) -> Exception:
    if refused.code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Unreachable(connection.address, reason=f"{about.call}: no answer within {limits.timeout:g} s")
    return error_of(refused, about, connection.address, connection.lease)
