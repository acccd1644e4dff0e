"""HTTP/2 frame by frame over a Unix socket, also where they break its rules: a client that no library would be.

Spec: RFC 9113 (frames and codes), RFC 7541 (headers, here never compressed), gRPC's ``PROTOCOL-HTTP2.md`` (messages).
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from itertools import count
from pathlib import Path
from typing import Self

__all__ = (
    "END_HEADERS",
    "END_STREAM",
    "PREFACE",
    "Code",
    "Kind",
    "Peer",
    "Setting",
    "call",
    "frame",
    "header",
    "headers",
    "message",
    "new_streams",
    "repeated",
    "request",
    "reset",
    "settings",
    "window",
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
END_STREAM, ACK, END_HEADERS = 1, 1, 4
CHUNK = 64 << 10
GONE_SECONDS = 0.3
"""How long to read the last words of a server that takes no more."""


class Kind(IntEnum):
    """Types of frames."""

    DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)


class Code(IntEnum):
    """Codes of errors."""

    NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED = range(6)
    FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM = range(6, 12)


class Setting(IntEnum):
    """Settings of a connection."""

    HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = range(1, 6)


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    """Return a frame."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def settings(values: dict[int, int] | None = None) -> bytes:
    """Return a SETTINGS frame."""
    return frame(Kind.SETTINGS, b"".join(struct.pack(">HI", *each) for each in (values or {}).items()))


def window(size: int, stream: int = 0) -> bytes:
    """Return a WINDOW_UPDATE."""
    return frame(Kind.WINDOW_UPDATE, struct.pack(">I", size), stream=stream)


def reset(stream: int, code: int = Code.CANCEL) -> bytes:
    """Return a RST_STREAM."""
    return frame(Kind.RST_STREAM, struct.pack(">I", code), stream=stream)


def text(value: bytes) -> bytes:
    """Return a string of a header: its length, and itself."""
    size = len(value)
    if size < 127:
        return bytes((size,)) + value
    size -= 127
    length = bytearray(b"\x7f")
    while size >= 128:
        length.append(size % 128 + 128)
        size //= 128
    return bytes(length) + bytes((size,)) + value


def header(name: bytes, value: bytes, *, first: int = 0) -> bytes:
    """Return a header with its name in full; with 0x40 as its first byte it is put into the table."""
    return bytes((first,)) + text(name) + text(value)


def request(path: str) -> bytes:
    """Return the headers of a call."""
    known = b"\x83\x86"  # :method POST, :scheme http
    names = header(b":path", path.encode()) + header(b":authority", b"localhost")
    return known + names + header(b"te", b"trailers") + header(b"content-type", b"application/grpc")


def headers(block: bytes, stream: int, flags: int = END_HEADERS) -> bytes:
    """Return a HEADERS frame."""
    return frame(Kind.HEADERS, block, flags=flags, stream=stream)


def message(data: bytes, stream: int, *, ends: bool = True) -> bytes:
    """Return a DATA frame with one message of gRPC."""
    prefixed = struct.pack(">BI", 0, len(data)) + data
    return frame(Kind.DATA, prefixed, flags=END_STREAM if ends else 0, stream=stream)


def call(path: str, data: bytes, stream: int, *, ends: bool = True) -> bytes:
    """Return a call with one message."""
    return headers(request(path), stream) + message(data, stream, ends=ends)


def repeated(piece: bytes) -> Iterator[bytes]:
    """Give the same frames again and again, many at a time."""
    chunk = piece * max(1, CHUNK // len(piece))
    while True:
        yield chunk


def new_streams(make: Callable[[int], bytes], begin: int = 1) -> Iterator[bytes]:
    """Give frames that are made for one new stream after the other, many at a time."""
    chunk: list[bytes] = []
    size = 0
    for stream in count(begin, 2):
        chunk.append(make(stream))
        size += len(chunk[-1])
        if size >= CHUNK:
            yield b"".join(chunk)
            chunk, size = [], 0


class Peer:
    """A connection.

    Attributes:
        frames: how many frames of each type have come.
        ended: how many streams have ended as they should.
        resets: how many streams were reset, by code.
        goaway: the code with which the server has ended the connection.
        is_closed: whether the server has closed it.
        received: the bytes of all frames together.
        data: the bytes of DATA.
        windows: how many bytes more the server has allowed by WINDOW_UPDATE, by stream.
    """

    def __init__(self, path: Path, first: bytes = PREFACE + settings()) -> None:
        self.frames: Counter[int] = Counter()
        self.resets: Counter[int] = Counter()
        self.windows: Counter[int] = Counter()
        self.goaway: int | None = None
        self.is_closed = False
        self.received = self.data = self.ended = 0
        self._rest = self._unsent = b""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._socket.setblocking(False)
        self.send([first])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    @property
    def has_ended(self) -> bool:
        """Whether the server has ended the connection."""
        return self.is_closed or self.goaway is not None

    def send(self, chunks: Iterable[bytes], *, reads: bool = True, seconds: float = 60, patience: float = 60) -> int:
        """Send all chunks, or for so long, or until the server ends the connection or takes no more; return how many bytes.

        A chunk that was cut short is ended by the next call, so that no frame is cut.

        Args:
            chunks: bytes, whole frames or not.
            reads: whether to read what the server sends meanwhile.
            seconds: the longest time.
            patience: how long the server may take nothing.
        """
        sent = 0
        over = time.monotonic() + seconds
        for chunk in chunks:
            self._unsent += chunk
            while self._unsent and not self.has_ended and time.monotonic() < over:
                if not self._wait(writes=True, reads=reads, seconds=patience):
                    return sent
                done = self._write(self._unsent)
                sent += done
                self._unsent = self._unsent[done:]
            if self.has_ended or time.monotonic() >= over:
                break
        return sent

    def read(self, until: Callable[[], bool], seconds: float = 10) -> bool:
        """Read until something is so, or for so long; return whether it is."""
        over = time.monotonic() + seconds
        while not until() and not self.is_closed and (left := over - time.monotonic()) > 0:
            self._wait(writes=False, reads=True, seconds=left)
        return until()

    def answers(self, seconds: float = 10) -> bool:
        """Return whether the server still answers a PING."""
        before = self.frames[Kind.PING]
        self.send([frame(Kind.PING, b"\0" * 8)])
        return self.read(lambda: self.frames[Kind.PING] > before or self.has_ended, seconds) and not self.has_ended

    def outcome(self, seconds: float = 60) -> str:
        """Return how the server has taken what was sent: the code of the end, or of a reset, or ``open``."""
        is_open = self.answers(seconds)
        if self.goaway is not None:
            return f"GOAWAY {Code(self.goaway).name}"
        if not is_open:
            return "closed"
        # With NO_ERROR a server ends a call whose client has not ended its part.
        errors = set(self.resets) - {Code.NO_ERROR}
        return " ".join(f"RST_STREAM {Code(code).name}" for code in errors) or "open"

    def _wait(self, *, writes: bool, reads: bool, seconds: float) -> bool:
        """Read what there is, and wait until there is room, if that is asked for; False: nothing has happened."""
        events = (select.POLLOUT if writes else 0) | (select.POLLIN if reads else 0)
        poll = select.poll()
        poll.register(self._socket, events)
        over = time.monotonic() + seconds
        while True:
            found = poll.poll(max(0, over - time.monotonic()) * 1000)
            if not found:
                return False
            happened = found[0][1]
            if reads and happened & select.POLLIN:
                self._read()
            if self.is_closed or not writes or happened & (select.POLLOUT | select.POLLERR):
                return True

    def _write(self, data: bytes) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except (BrokenPipeError, ConnectionResetError):
            # What it has said before may still be there.
            self.read(lambda: False, GONE_SECONDS)
            self.is_closed = True
            return 0

    def _read(self) -> None:
        try:
            data = self._socket.recv(1 << 20)
        except (BlockingIOError, InterruptedError):
            return
        except ConnectionResetError:
            data = b""
        if not data:
            self.is_closed = True
            return
        self.received += len(data)
        self._rest += data
        at = 0
        while len(self._rest) - at >= 9:
            size = int.from_bytes(self._rest[at : at + 3], "big")
            if len(self._rest) - at < 9 + size:
                break
            stream = int.from_bytes(self._rest[at + 5 : at + 9], "big")
            self.ended += self._rest[at + 3] in {Kind.DATA, Kind.HEADERS} and self._rest[at + 4] & END_STREAM
            self._take(self._rest[at + 3], stream, self._rest[at + 9 : at + 9 + size])
            at += 9 + size
        self._rest = self._rest[at:]

    def _take(self, kind: int, stream: int, payload: bytes) -> None:
        self.frames[kind] += 1
        if kind == Kind.DATA:
            self.data += len(payload)
        elif kind == Kind.WINDOW_UPDATE:
            self.windows[stream] += int.from_bytes(payload, "big")
        elif kind == Kind.RST_STREAM:
            self.resets[int.from_bytes(payload, "big")] += 1
        elif kind == Kind.GOAWAY:
            self.goaway = int.from_bytes(payload[4:8], "big")
