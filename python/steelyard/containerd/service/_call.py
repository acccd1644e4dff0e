"""One call: its requests and responses, the time of the last one, and its end.

Every method is registered with grpcio as one that streams its requests, also those with a single one: the wire does not
know the difference, and so a client that begins a call and never sends its request is found by the same watch as one that
leaves a stream open. grpcio itself would have a thread wait for it for ever.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import grpc
from grpc import StatusCode

from steelyard.containerd.service._codes import Refusal, refuse
from steelyard.containerd.service._last_message import FINISH_LIMIT, finish_stream
from steelyard.containerd.service._messages import Malformed
from steelyard.containerd.service._metrics import Meters

__all__ = ("ACTIVE_CHECK_SECONDS", "Call", "Gone")

ACTIVE_CHECK_SECONDS = 1.0
"""How often a call that waits for something to send looks whether its client is still there."""

REFUSED_SECONDS = 1.0
"""How long a refused call waits for its first request."""


def _nothing() -> None:
    pass


class Gone(Exception):
    """The client has gone or cancelled, or the service has ended the call."""


class Call:
    """A call under way.

    Attributes:
        method: its full name.
        subject: the ref, digest or name it is about, for the log.
        bytes_in: bytes of the requests so far.
        bytes_out: bytes of the responses so far.
        code: how it ended; None while it is under way.
        at_end: what is to be called when it has ended.
    """

    def __init__(
        self,
        method: str,
        requests: Iterator[bytes],
        context: grpc.ServicerContext,
        send: Callable[[bytes | None], None] | None,
        meters: Meters,
    ) -> None:
        self.method = method
        self.subject = ""
        self.bytes_in = 0
        self.bytes_out = 0
        self.code: StatusCode | None = None
        self.at_end: Callable[[], None] = _nothing
        self.started = time.monotonic()
        self._requests = requests
        self._context = context
        self._send = send
        self._meters = meters
        self._lock = threading.Lock()
        self._waiting: tuple[str, float] | None = None
        self._received = False
        self._refusal: Refusal | None = None

    # For the handler

    def receive(self) -> bytes | None:
        """Return the next request, or None when the client has sent its last.

        Raises:
            Gone: the client has gone.
        """
        self._waiting = ("request", time.monotonic())
        try:
            message = next(self._requests)
        except StopIteration:
            if self.code is not None:
                raise Gone from None
            return None
        except grpc.RpcError:
            raise Gone from None
        finally:
            self._waiting = None
            self._received = True
        self.bytes_in += len(message)
        self._meters.received(self.method, len(message))
        return message

    def receive_first(self) -> bytes:
        """Return the request of a call that has just one, or the first of a stream.

        Raises:
            Malformed: the client has sent none.
            Gone: the client has gone.
        """
        message = self.receive()
        if message is None:
            raise Malformed("the call ended without a request")
        return message

    def send(self, message: bytes) -> None:
        """Send a response, and wait until the transport has taken it.

        Raises:
            Gone: the client has gone.
        """
        assert self._send is not None  # noqa: S101 - only methods that stream their responses call this
        self._waiting = ("send", time.monotonic())
        try:
            self._send(message)
        finally:
            self._waiting = None
        if not self.is_active():
            raise Gone
        self.count_sent(len(message))

    def send_last(self, message: bytes) -> None:
        """Send the last response, and end the call, without a wait if the response is small.

        The call has ended well from here on, also if the client is gone by the time that the transport has sent it.

        Raises:
            Gone: the client has gone.
        """
        assert self._send is not None  # noqa: S101 - only methods that stream their responses call this
        with self._lock:
            if self.code is not None:
                raise Gone
            self.code = StatusCode.OK
        self.count_sent(len(message))
        end = finish_stream(self._context) if len(message) <= FINISH_LIMIT else None
        if end is not None:
            end(message)
            return
        self._waiting = ("send", time.monotonic())
        try:
            self._send(message)
        finally:
            self._waiting = None
        self._send(None)

    def header(self, name: str) -> str | None:
        """Return a header that the client has sent, if it has."""
        for key, value in self._context.invocation_metadata() or ():
            if key == name:
                return value if isinstance(value, str) else value.decode("ascii", "replace")
        return None

    def count_sent(self, size: int) -> None:
        """Count a response."""
        self.bytes_out += size
        self._meters.sent(self.method, size)

    def is_active(self) -> bool:
        """Return whether the client is still there."""
        return self.code is None and self._context.is_active()

    # For the code that runs the call

    def end(self, refused: Refusal | None) -> None:
        """End a call whose responses are streamed, with an error or without; only the first end counts."""
        with self._lock:
            if self.code is not None:
                return
            self.code = StatusCode.OK if refused is None else refused.code
        if refused is not None:
            self._send_error(refused)
        if self._send is not None:
            self._send(None)

    def refuse(self, refused: Refusal) -> None:
        """End a call whose responses are streamed with an error, after its first request if that comes soon.

        A client written in Go whose stream ends while it sends its first request sees EOF in place of the error. Then
        containerd does not try again after UNAVAILABLE.
        """
        if not self._received:
            self._refusal = refused
            with suppress(Gone):
                self.receive()
        self.end(refused)

    def fail(self, refused: Refusal) -> None:
        """End a call of one response with an error; raises what grpcio expects then."""
        with self._lock:
            if self.code is not None:
                raise Gone
            self.code = refused.code
        self._context.set_trailing_metadata(refused.metadata)
        self._context.abort(refused.code, refused.message)

    def finish(self, code: StatusCode) -> None:
        """Take down how the call ended, if that is not known yet."""
        with self._lock:
            if self.code is None:
                self.code = code

    def reap_idle(self, now: float, idle_seconds: float) -> str | None:
        """End the call if its client has kept it waiting for too long, and return what the call waited for.

        If the client does not send a request, the call ends with an error message. If the client does not take a response,
        a message would wait behind the response, so the call is cancelled. A refused call ends with its own error, soon.
        """
        waiting = self._waiting
        if self._refusal is not None:
            idle_seconds = min(idle_seconds, REFUSED_SECONDS)
        if waiting is None or now - waiting[1] < idle_seconds:
            return None
        if self._refusal is not None:
            self.end(self._refusal)
            return None
        what = waiting[0]
        if what == "request" and self._send is not None and self.code is None:
            self.end(refuse(StatusCode.DEADLINE_EXCEEDED, f"{self.name}: no message for {idle_seconds:g} s"))
            self._waiting = (what, now)  # if this does not end it, it is cancelled next time
        else:
            self.finish(StatusCode.DEADLINE_EXCEEDED)
            self._context.cancel()
        return what

    @property
    def name(self) -> str:
        """The call, for people."""
        name = self.method.rpartition("/")[2]
        return f"{name} {self.subject}" if self.subject else name

    def _send_error(self, refused: Refusal) -> None:
        self._context.set_code(refused.code)
        self._context.set_details(refused.message)
        self._context.set_trailing_metadata(refused.metadata)
