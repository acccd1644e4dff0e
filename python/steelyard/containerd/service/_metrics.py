"""The metrics of the service, and the page on which Prometheus reads them."""

from __future__ import annotations

import logging
import sys
import threading
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from steelyard._runtime.threads import start
from steelyard.errors import InvalidArgument, StorageError

__all__ = ("Counting", "Meters", "Page", "parse_metrics_address")

logger = logging.getLogger("steelyard.containerd")

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)
_TIMEOUT_SECONDS = 5
_POLL_SECONDS = 0.1


class Meters:
    """Counts nothing, for a server without metrics."""

    def begin(self, method: str) -> None:
        """A call has begun."""

    def end(self, method: str, code: str, seconds: float) -> None:
        """A call has ended."""

    def refused(self, method: str, limit: str) -> None:
        """A call was refused, because of a limit."""

    def received(self, method: str, size: int) -> None:
        """A request of so many bytes has come."""

    def sent(self, method: str, size: int) -> None:
        """A response of so many bytes was sent."""

    def ingests(self, change: int) -> None:
        """An ingest was opened or closed."""


class Counting(Meters):
    """Counts for Prometheus, in a registry of its own."""

    def __init__(self) -> None:
        import prometheus_client as prometheus  # noqa: PLC0415 - slow to import, and seldom wanted

        self.registry = registry = prometheus.CollectorRegistry()
        prefix = "steelyard_containerd"
        self._calls = prometheus.Counter(
            f"{prefix}_calls", "Calls that have ended.", ("method", "code"), registry=registry
        )
        self._seconds = prometheus.Histogram(
            f"{prefix}_call_seconds", "How long calls took.", ("method",), buckets=_SECONDS, registry=registry
        )
        self._refused = prometheus.Counter(
            f"{prefix}_refused_calls", "Calls that a limit refused.", ("method", "limit"), registry=registry
        )
        self._received = prometheus.Counter(
            f"{prefix}_received_bytes", "Bytes of requests.", ("method",), registry=registry
        )
        self._sent = prometheus.Counter(f"{prefix}_sent_bytes", "Bytes of responses.", ("method",), registry=registry)
        self._open = prometheus.Gauge(f"{prefix}_open_calls", "Calls under way.", ("method",), registry=registry)
        self._ingests = prometheus.Gauge(f"{prefix}_open_ingests", "Ingests being written.", registry=registry)

    def begin(self, method: str) -> None:
        """A call has begun."""
        self._open.labels(method).inc()

    def end(self, method: str, code: str, seconds: float) -> None:
        """A call has ended."""
        self._calls.labels(method, code).inc()
        self._seconds.labels(method).observe(seconds)
        self._open.labels(method).dec()  # last: a page that shows no open call has counted all of them

    def refused(self, method: str, limit: str) -> None:
        """A call was refused, because of a limit."""
        self._refused.labels(method, limit).inc()

    def received(self, method: str, size: int) -> None:
        """A request of so many bytes has come."""
        self._received.labels(method).inc(size)

    def sent(self, method: str, size: int) -> None:
        """A response of so many bytes was sent."""
        self._sent.labels(method).inc(size)

    def ingests(self, change: int) -> None:
        """An ingest was opened or closed."""
        self._ingests.inc(change)


class _Handler(WSGIRequestHandler):
    """Answers within a time, as the page has one thread, and logs nothing but errors."""

    timeout = _TIMEOUT_SECONDS

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the library's
        logger.debug("metrics: " + format, *args)  # noqa: G003


class _Listener(WSGIServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        del request, client_address
        logger.debug("metrics: a request failed: %s", sys.exception())


class Page:
    """The metrics, over HTTP.

    Raises (when it is made):
        StorageError: the address is taken, or none of this machine's.
    """

    def __init__(self, address: tuple[str, int], counting: Counting) -> None:
        import prometheus_client as prometheus  # noqa: PLC0415 - as above

        host, port = address
        try:
            app = prometheus.make_wsgi_app(counting.registry)
            self._listener = make_server(host, port, app, server_class=_Listener, handler_class=_Handler)
        except OSError as error:
            raise StorageError.of(error, operation="bind", path=f"{host}:{port}") from error
        self._thread = threading.Thread(
            target=self._listener.serve_forever, args=(_POLL_SECONDS,), name="containerd-metrics", daemon=True
        )
        try:
            start(self._thread)
        except StorageError:
            self._listener.server_close()
            raise

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, also where the port was left to the system."""
        host, port = self._listener.server_address[:2]
        return str(host), int(port)

    def close(self) -> None:
        """Stop answering."""
        self._listener.shutdown()
        self._listener.server_close()
        self._thread.join()


def parse_metrics_address(text: str) -> tuple[str, int]:
    """Return the host and the port of ``HOST:PORT``; without a host, that of this machine to itself.

    Raises:
        InvalidArgument: it is not of that form.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise InvalidArgument(f"metrics address {text!r}: expected HOST:PORT, such as 127.0.0.1:9090")
    return host or "127.0.0.1", int(port)
