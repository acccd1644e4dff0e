"""The metrics of the service, and the page on which Prometheus reads them."""

from __future__ import annotations

import logging
import re
import socket
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from steelyard._native import CALL_SECONDS, ContentServer
from steelyard._runtime.threads import start
from steelyard.errors import InvalidArgument, StorageError

__all__ = ("METRICS", "Collector", "Page", "parse_metrics_address")

logger = logging.getLogger("steelyard.containerd")

_PORT = re.compile(r"[0-9]{1,5}")
_TIMEOUT_SECONDS = 5
_POLL_SECONDS = 0.1

METRICS = {
    "calls": "Calls that have ended.",
    "call_seconds": "How long calls took.",
    "refused_calls": "Calls that a limit refused.",
    "received_bytes": "Bytes of requests.",
    "sent_bytes": "Bytes of responses.",
    "open_calls": "Calls in progress.",
    "open_ingests": "Ingests being written.",
}
"""The names without their prefix, each with its description."""


class Collector:
    """Reads the counts of the native server for a page."""

    def __init__(self, server: ContentServer) -> None:
        self._server = server

    def collect(self) -> Iterator[Any]:
        """Return all metrics."""
        from prometheus_client import core  # noqa: PLC0415 - slow to import, and seldom wanted

        methods, ingests = self._server.metrics()

        def named(kind: Any, name: str, *labels: str) -> Any:
            return kind(f"steelyard_containerd_{name}", METRICS[name], labels=labels)

        calls = named(core.CounterMetricFamily, "calls", "method", "code")
        seconds = named(core.HistogramMetricFamily, "call_seconds", "method")
        refused = named(core.CounterMetricFamily, "refused_calls", "method", "limit")
        received = named(core.CounterMetricFamily, "received_bytes", "method")
        sent = named(core.CounterMetricFamily, "sent_bytes", "method")
        opened = named(core.GaugeMetricFamily, "open_calls", "method")
        for method, count, bytes_in, bytes_out, codes, buckets, took, limits in methods:
            opened.add_metric([method], count)
            received.add_metric([method], bytes_in)
            sent.add_metric([method], bytes_out)
            seconds.add_metric([method], _cumulated(buckets), took)
            for code, number in codes:
                calls.add_metric([method, code], number)
            for limit, number in limits.items():
                refused.add_metric([method, limit], number)
        writing = core.GaugeMetricFamily("steelyard_containerd_open_ingests", METRICS["open_ingests"], value=ingests)
        yield from (calls, seconds, refused, received, sent, opened, writing)


def _cumulated(buckets: Iterable[int]) -> list[tuple[str, int]]:
    """Return for each bound the number of calls that took at most that time."""
    from prometheus_client.utils import floatToGoString  # noqa: PLC0415 - as above

    bounds = [*map(floatToGoString, CALL_SECONDS), "+Inf"]
    total, found = 0, []
    for bound, count in zip(bounds, buckets, strict=True):
        total += count
        found.append((bound, total))
    return found


class _Handler(WSGIRequestHandler):
    """Gives each client a limited time, because the page has one thread, and logs only at the debug level."""

    timeout = _TIMEOUT_SECONDS

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the library's
        logger.debug("metrics: " + format, *args)  # noqa: G003


class _Listener(WSGIServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        del request, client_address
        logger.debug("metrics: a request failed: %s", sys.exception())


class Page:
    """The metrics of a server, over HTTP.

    Raises (when it is made):
        StorageError: the address is in use, or is not an address of this machine.
        InvalidArgument: the host has no IPv4 address.
    """

    def __init__(self, address: tuple[str, int], server: ContentServer) -> None:
        try:
            import prometheus_client as prometheus  # noqa: PLC0415 - as above
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "a page of metrics needs the package prometheus_client: pip install 'steelyard[metrics]'",
                name=error.name,
            ) from error

        host, port = address
        registry = prometheus.CollectorRegistry()
        registry.register(Collector(server))
        try:
            app = prometheus.make_wsgi_app(registry)
            self._listener = make_server(host, port, app, server_class=_Listener, handler_class=_Handler)
        except socket.gaierror as error:  # an OSError whose number is not an errno
            raise InvalidArgument(f"metrics address {host}:{port}: {error.strerror}") from error
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
        """The host and the actual port, even if the system has chosen the port."""
        host, port = self._listener.server_address[:2]
        return str(host), int(port)

    def close(self) -> None:
        """Stop answering."""
        self._listener.shutdown()
        self._listener.server_close()
        self._thread.join()


def parse_metrics_address(text: str) -> tuple[str, int]:
    """Return the host and the port of ``HOST:PORT``. The default host is 127.0.0.1.

    Raises:
        InvalidArgument: the text does not have that form.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not _PORT.fullmatch(port) or int(port) > 65535:
        raise InvalidArgument(f"metrics address {text!r}: expected HOST:PORT, such as 127.0.0.1:9090")
    return host or "127.0.0.1", int(port)
