"""Calls with one request. Each has a deadline, and ends when its caller is cancelled. No thread waits for a call."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import anyio
import msgspec
from anyio import CancelScope
from anyio.lowlevel import checkpoint

from steelyard._native import RemoteCall
from steelyard._runtime.calls import run, run_job
from steelyard.containerd._code import Code
from steelyard.containerd.remote._channel import Connection, Headers
from steelyard.containerd.remote._errors import About, Refused, error_of
from steelyard.containerd.remote._messages import Method
from steelyard.containerd.remote._values import check_subject
from steelyard.errors import InvalidArgument, SteelyardError, Unreachable
from steelyard.model import Buffer

__all__ = ("GRACE", "MOST_DATA", "Asked", "Limits", "Waker", "answers", "ask", "settle")

MOST_DATA = 8 << 20
"""The most data of a message: half of the protocol's limit, as in other clients."""

GRACE = 2.0
"""How long a cancelled call that changes something may still run, in seconds, so that a healthy server can finish the change."""

_END = sys.maxsize
"""More bytes than any answer has, to wait for the end of a call."""

_INLINE = 16 << 10
"""The most bytes of answers that are decoded on the event loop. Most answers have a few hundred bytes."""

_TAKEN = 1000
"""The most answers of a list that are taken at a time."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of time and size for calls.

    Attributes:
        timeout: the most seconds for a call with one answer.
        idle_timeout: the most seconds without progress, for a call with many answers.
        message_bytes: the bytes of data that a writer collects for a message.
        window_bytes: the most bytes of a writer in flight.

    Raises:
        InvalidArgument: a limit is not positive, or `message_bytes` exceeds the protocol's limit.
    """

    timeout: float
    idle_timeout: float
    message_bytes: int
    window_bytes: int

    def __post_init__(self) -> None:
        # This also refuses NaN.
        if not all(limit > 0 for limit in (self.timeout, self.idle_timeout, self.message_bytes, self.window_bytes)):
            raise InvalidArgument(f"{self}: expected more than 0")
        if self.message_bytes > MOST_DATA:
            raise InvalidArgument(f"message_bytes {self.message_bytes}: expected at most {MOST_DATA} bytes")


class Waker:
    """Ends the wait of a cancelled task, but not the call that it waits for."""

    def __init__(self, call: RemoteCall) -> None:
        self._call = call

    def cancel(self) -> None:
        """End the wait."""
        self._call.wake()


async def settle(call: RemoteCall, wanted: int = _END) -> None:
    """Wait until a call has `wanted` bytes of answers to take, or has ended.

    Cancellation:
        No effect on the call.
    """
    while not call.is_ready(wanted):
        await run_job(Waker(call), call.ready, wanted)
        if not call.is_ready(wanted):
            await checkpoint()


class Asked:
    """A call with one request, and its subject for errors.

    Attributes:
        native: the call.
    """

    def __init__(self, native: RemoteCall, about: About, connection: Connection, limits: Limits) -> None:
        self.native = native
        self._about, self._connection, self._limits = about, connection, limits

    async def attend(self, wanted: int) -> None:
        """Wait as `settle` does, as long as there is progress.

        Raises:
            Unreachable: there was no progress for too long, and the call was ended.
        """
        while not self.native.is_ready(wanted):
            seen = self.native.progress
            with anyio.move_on_after(self._limits.idle_timeout):
                await settle(self.native, wanted)
            if self.native.progress == seen and not self.native.is_ready(wanted):
                self.native.cancel()
                raise self.silent()

    def silent(self) -> Unreachable:
        """Return the error of a call without progress."""
        reason = f"{self._about.call}: silent for {self._limits.idle_timeout:g} s"
        return Unreachable(self._connection.address, reason=reason)

    async def values(self, called: Method, most: int) -> list[Any]:
        """Take at most `most` answers and return their values.

        Raises:
            StorageError: an answer has an invalid value, such as an invalid digest, or has another subject than the call.
        """
        try:
            if self.native.held <= _INLINE:
                return self._read(called, most)
            return await run(self._read, called, most)
        except ValueError as error:
            raise self._error(Refused(Code.INTERNAL, f"answer: {error}")) from error

    def _read(self, called: Method, most: int) -> list[Any]:
        values = called.read_all(self.native.take(most))
        if self._about.name and len(values) == 1:
            check_subject(values[0], self._about.name)
        return values

    def check_end(self) -> None:
        """Raise the error of the call, if it has ended with one.

        Raises:
            SteelyardError: by `error_of`.
        """
        refused = Refused.of(self.native)
        if refused is not None:
            raise self._error(refused)

    def _error(self, refused: Refused) -> SteelyardError:
        return error_of(refused, self._about, self._connection.address, self._connection.lease)


async def ask(
    connection: Connection,
    called: Method,
    request: dict[str, Any],
    about: About,
    limits: Limits,
    *,
    grace: float = 0.0,
    headers: Headers = (),
    data: Sequence[Buffer] = (),
) -> list[Any]:
    """Make a call and return its answers.

    Args:
        connection: the server.
        called: the method.
        request: the request.
        about: the subject of the call, for errors.
        limits: the limits of the call.
        grace: the seconds that a cancelled call may still run before it is ended, for calls that change something.
        headers: additional headers.
        data: the data of a Write. With data, the deadline is `idle_timeout`.

    Raises:
        SteelyardError: by `error_of`.

    Cancellation:
        The call is ended. Its change may have happened or not.
    """
    timeout = limits.idle_timeout if data else limits.timeout
    call = connection.ask(called, request, timeout=timeout, headers=headers, data=data)
    asked = Asked(call, about, connection, limits)
    try:
        await settle(call)
    finally:
        try:
            if grace and not call.is_ready(_END):
                # CANCEL: a healthy server answers soon. After that, the change has happened or it has not, and will not happen later.
                with CancelScope(shield=True), anyio.move_on_after(grace):
                    await settle(call)
        finally:
            call.cancel()
    refused = Refused.of(call)
    if refused is not None and refused.code is Code.DEADLINE_EXCEEDED:
        raise Unreachable(connection.address, reason=f"{about.call}: no answer within {timeout:g} s")
    asked.check_end()
    return await asked.values(called, _END)


async def answers(
    connection: Connection, called: Method, request: dict[str, Any], about: About, limits: Limits
) -> AsyncGenerator[list[Any], None]:
    """Make a call and yield its answers in batches, while further ones arrive.

    Raises:
        SteelyardError: by `error_of`.
    """
    asked = Asked(connection.ask(called, request), about, connection, limits)
    try:
        while True:
            await asked.attend(1)
            found = await asked.values(called, _TAKEN)
            if not found:
                break
            yield found
        asked.check_end()
    finally:
        asked.native.cancel()
