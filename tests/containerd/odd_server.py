"""A server that answers each call in its own way, on a thread: HTTP/2 by a library that is neither gRPC's nor ours."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived
from h2.exceptions import ProtocolError

__all__ = ("HEADERS", "OddServer", "message", "serving")

HEADERS = [(":status", "200"), ("content-type", "application/grpc")]
"""The headers of a response of gRPC."""

Answer = Callable[[H2Connection, int], None]
"""Answers a request on a connection, by the number of its stream."""


def message(data: bytes, *, length: int | None = None, compressed: bool = False) -> bytes:
    """Return a message with its prefix."""
    return struct.pack(">?I", compressed, len(data) if length is None else length) + data


class OddServer:
    """Takes connections one after the other, and answers their requests in turn; the last way of answering stays."""

    def __init__(self, listener: socket.socket, answers: list[Answer]) -> None:
        self._listener = listener
        self._answers = answers
        self.requests = 0
        self.connections = 0

    def run(self) -> None:
        """Serve until the listener is closed."""
        with suppress(OSError):
            while True:
                with self._listener.accept()[0] as connected:
                    self.connections += 1
                    with suppress(ProtocolError, ConnectionError):
                        self._serve(connected)

    def _serve(self, connected: socket.socket) -> None:
        connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        connected.sendall(connection.data_to_send())
        while data := connected.recv(65536):
            for event in connection.receive_data(data):
                if isinstance(event, RequestReceived):
                    answer = self._answers[min(self.requests, len(self._answers) - 1)]
                    self.requests += 1
                    answer(connection, event.stream_id)
            connected.sendall(connection.data_to_send())


@contextmanager
def serving(path: Path, *answers: Answer) -> Iterator[OddServer]:
    """Run such a server at a socket."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        server = OddServer(listener, list(answers))
        thread = threading.Thread(target=server.run, name="odd-server")
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
