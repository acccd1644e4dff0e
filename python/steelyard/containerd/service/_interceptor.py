"""The work around every call: the namespace header, the end of idle calls, errors, log, metrics."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from grpc import StatusCode

from steelyard._runtime.threads import start
from steelyard.containerd._namespaces import NAMESPACE, check_namespace
from steelyard.containerd.service._call import Call, Gone
from steelyard.containerd.service._codes import Busy, Exhausted, refusal
from steelyard.containerd.service._metrics import Meters

__all__ = ("Interceptor",)

logger = logging.getLogger("steelyard.containerd")


_EVERYDAY = {StatusCode.OK, StatusCode.NOT_FOUND, StatusCode.ALREADY_EXISTS, StatusCode.CANCELLED}
"""The codes of a normal end of a call; an operator should see the others."""

_OURS = {StatusCode.INTERNAL, StatusCode.DATA_LOSS, StatusCode.UNKNOWN}
"""The codes of a fault of the service."""

One = Callable[[Call, bytes], bytes]
"""Answers one request with one response."""

Many = Callable[[Call], None]
"""Receives requests and sends responses as it likes."""


_KINDS = {"writes": "Write calls", "calls": "calls other than Write"}
"""The names of the separate limits, in metrics and messages."""


def _kind(method: str) -> str:
    return "writes" if method.endswith("/Write") else "calls"


class _Limit:
    """How many calls of a kind there may be at a time."""

    def __init__(self, kind: str, most: int) -> None:
        self._kind = kind
        self._most = most
        self._free = threading.Semaphore(most)

    def take(self) -> None:
        """Count a call, or refuse it."""
        if not self._free.acquire(blocking=False):
            raise Busy(f"{self._most} {_KINDS[self._kind]} are open, the most that --calls allows", limit=self._kind)

    def give_back(self) -> None:
        """A call has ended."""
        self._free.release()


class Interceptor:
    """Runs the calls of a server.

    Args:
        calls: the most calls of a kind at a time: Writes, which may stay open for long, and all others.
        idle_seconds: how long a client may keep a call waiting.
        message_bytes: the most bytes of a response.
        meters: what is counted.
    """

    def __init__(self, *, calls: int, idle_seconds: float, message_bytes: int, meters: Meters) -> None:
        self._limits = {kind: _Limit(kind, calls) for kind in _KINDS}
        self._idle_seconds = idle_seconds
        self._message_bytes = message_bytes
        self._meters = meters
        self._calls: set[Call] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._reaper = threading.Thread(target=self._reap_idle, name="containerd-idle", daemon=True)

    def open(self) -> None:
        """Start to end calls that are idle for too long."""
        start(self._reaper)

    def close(self) -> None:
        """Stop the thread that ends idle calls."""
        self._stop.set()
        if self._reaper.ident is not None:
            self._reaper.join()

    def one(self, method: str, handler: One) -> grpc.RpcMethodHandler[Any, Any]:
        """Return a handler for a method of one request and one response."""

        def behavior(requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
            call = Call(method, requests, context, None, self._meters)
            self._enter(call)
            response = b""
            try:
                self._admit(call)
                check_namespace(call.header(NAMESPACE))  # any one: all share the store
                response = handler(call, call.receive_first())
                _check_size(response, self._message_bytes)
                call.count_sent(len(response))
                call.finish(StatusCode.OK)
            except Gone:
                call.finish(StatusCode.CANCELLED)
            except Exception as error:  # noqa: BLE001 - every error ends here, and is sent to the client
                call.fail(self._explain(call, error))
            finally:
                self._leave(call)
            return response

        return grpc.stream_unary_rpc_method_handler(behavior)

    def many(self, method: str, handler: Many) -> grpc.RpcMethodHandler[Any, Any]:
        """Return a handler for a method that streams responses, and perhaps requests."""

        def behavior(
            requests: Iterator[bytes], context: grpc.ServicerContext, send: Callable[[bytes | None], None]
        ) -> None:
            call = Call(method, requests, context, send, self._meters)
            self._enter(call)
            try:
                self._admit(call)
                check_namespace(call.header(NAMESPACE))  # any one: all share the store
                handler(call)
                call.end(None)
            except Gone:
                call.finish(StatusCode.CANCELLED)
            except Exception as error:  # noqa: BLE001 - every error ends here, and is sent to the client
                call.refuse(self._explain(call, error))
            finally:
                self._leave(call)

        # grpcio's own health service relies on this attribute: responses, and the end, then come by a call of `send`,
        # which any thread may do, also the one that ends idle calls.
        behavior.experimental_non_blocking = True  # type: ignore[attr-defined]
        return grpc.stream_stream_rpc_method_handler(behavior)

    def _enter(self, call: Call) -> None:
        with self._lock:
            self._calls.add(call)
        self._meters.begin(call.method)

    def _admit(self, call: Call) -> None:
        limit = self._limits[_kind(call.method)]
        limit.take()
        call.at_end = limit.give_back

    def _leave(self, call: Call) -> None:
        call.at_end()
        with self._lock:
            self._calls.discard(call)
        seconds, code = time.monotonic() - call.started, call.code or StatusCode.UNKNOWN
        self._meters.end(call.method, code.name, seconds)
        if code in _EVERYDAY or logger.isEnabledFor(logging.DEBUG):
            fields = {
                "method": call.method,
                "subject": call.subject,
                "code": code.name,
                "seconds": round(seconds, 6),
                "bytes_in": call.bytes_in,
                "bytes_out": call.bytes_out,
            }
            logger.debug("%s: %s", call.name, code.name, extra={"fields": fields})

    def _explain(self, call: Call, error: Exception) -> Any:
        refused = refusal(error)
        if isinstance(error, Exhausted):
            self._meters.refused(call.method, error.limit)
        level = logging.ERROR if refused.code in _OURS else logging.WARNING
        if refused.code not in _EVERYDAY:
            fields = {"method": call.method, "subject": call.subject, "code": refused.code.name}
            logger.log(
                level,
                "%s: %s: %s",
                call.name,
                refused.code.name,
                error if level == logging.ERROR else refused.message,
                extra={"fields": fields},
                exc_info=error if refused.code is StatusCode.INTERNAL else None,
            )
        return refused

    def _reap_idle(self) -> None:
        while not self._stop.wait(min(1.0, self._idle_seconds / 4)):
            now = time.monotonic()
            with self._lock:
                calls = list(self._calls)
            for call in calls:
                if (what := call.reap_idle(now, self._idle_seconds)) is not None:
                    fields = {"method": call.method, "subject": call.subject, "code": "DEADLINE_EXCEEDED"}
                    waited = "sent no message" if what == "request" else "took no message"
                    logger.warning(
                        "%s: the client %s for %g s", call.name, waited, self._idle_seconds, extra={"fields": fields}
                    )


def _check_size(response: bytes, most: int) -> None:
    if len(response) > most:
        text = f"the answer has {len(response)} bytes, of {most} that a message may have"
        raise Exhausted(text, limit="message_bytes")
