"""ASGI servers as real processes, which stop with the test that started them."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ("SERVERS", "AsgiServer", "free_port", "serving")

SERVERS = ("uvicorn", "granian", "hypercorn-asyncio", "hypercorn-trio")
"""The servers, with the event loop where there is a choice."""

_HANG_SECONDS = 30


@dataclass
class AsgiServer:
    """A running server.

    Attributes:
        process: the process that was started; it leads a process group of its own.
        port: its port on 127.0.0.1, or None.
        unix: its Unix socket, or None.
        log: the file of its standard output and error.
    """

    name: str
    process: subprocess.Popen[bytes]
    port: int | None
    unix: Path | None
    log: Path

    @property
    def url(self) -> str:
        """The URL of its root, without the last slash. With a Unix socket the host means nothing."""
        return f"http://127.0.0.1:{self.port}" if self.port is not None else "http://server"

    def connect(self, timeout: float = 30) -> socket.socket:
        """Return a new connection."""
        if self.port is not None:
            return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)
        found = socket.socket(socket.AF_UNIX)
        try:
            found.settimeout(timeout)
            found.connect(str(self.unix))
        except OSError:
            found.close()
            raise
        return found

    def http(self, timeout: float = 30) -> http.client.HTTPConnection:
        """Return a new HTTP connection, which the caller closes."""
        connection = http.client.HTTPConnection("127.0.0.1", timeout=timeout)
        connection.sock = self.connect(timeout)
        return connection

    def pids(self) -> list[int]:
        """Return the processes of the server, the first one first; Granian has another one for the application."""
        found, new = [], [self.process.pid]
        while new:
            pid = new.pop()
            found.append(pid)
            with suppress(OSError):  # it has ended
                new.extend(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()))
        return found

    def worker(self) -> int:
        """Return the process that runs the application."""
        return self.pids()[-1]

    def said(self) -> str:
        """Return what it has printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        """Ask it to end, as an operator does, and wait."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):  # then it is killed
                self.process.wait(_HANG_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End all of its processes at once, as the kernel does, and wait."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        end = time.monotonic() + _HANG_SECONDS
        while _group_lives(self.process.pid):  # a worker's parent has gone, so that nothing else tells
            assert time.monotonic() < end, f"{self.name} does not end"
            time.sleep(0.005)


def _group_lives(group: int) -> bool:
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, found, *_ = entry.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if int(found) == group and state != "Z":
                return True
    return False


def free_port() -> int:
    """Return a port on 127.0.0.1 that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextmanager
def serving(
    name: str,
    app: str,
    directory: Path,
    *,
    unix: bool = False,
    port: int | None = None,
    environment: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
) -> Iterator[AsgiServer]:
    """Run an application in a server, wait until it answers, and stop it at the end.

    Args:
        name: one of `SERVERS`.
        app: ``module:attribute``. The module is found in `directory` and in the paths of this process.
        directory: the working directory; the log and the Unix socket are there, too.
        unix: listen on a Unix socket in place of a port.
        port: listen on this port, for example that of a server that was killed. None: a free one.
        environment: more variables for the process.
        options: more options of the server's command line.
    """
    tries = 1 if unix or port is not None else 3
    while True:
        server = _start(name, app, directory, unix=unix, port=port, environment=environment or {}, options=options)
        try:
            tries -= 1
            if _answers(server) or tries == 0:
                assert server.process.poll() is None, f"{name} did not start:\n{server.said()}"
                yield server
                return
        finally:
            server.stop()


def _start(
    name: str,
    app: str,
    directory: Path,
    *,
    unix: bool,
    port: int | None,
    environment: Mapping[str, str],
    options: Sequence[str],
) -> AsgiServer:
    place = directory / f"{name}.socket" if unix else None
    if place is None:
        port = port or free_port()
    else:
        place.unlink(missing_ok=True)  # a server that was killed leaves it
    log = directory / f"{name}.log"
    paths = os.pathsep.join([str(directory), *sys.path])
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *_command(name, app, port, place), *options],
            cwd=directory,
            env=os.environ | {"PYTHONPATH": paths} | dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    return AsgiServer(name=name, process=process, port=None if unix else port, unix=place, log=log)


def _command(name: str, app: str, port: int | None, place: Path | None) -> list[str]:
    where = f"127.0.0.1:{port}" if place is None else f"unix:{place}"
    match name:
        case "uvicorn":
            address = ["--port", str(port)] if place is None else ["--uds", str(place)]
            return ["uvicorn", app, *address, "--no-access-log"]
        case "granian":
            address = ["--port", str(port)] if place is None else ["--uds", str(place)]
            return ["granian", app, *address, "--interface", "asgi", "--no-ws"]
        case "hypercorn-asyncio" | "hypercorn-trio":
            return ["hypercorn", app, "--bind", where, "--workers", "0", "--worker-class", name.partition("-")[2]]
    raise ValueError(name)


def _answers(server: AsgiServer) -> bool:
    """Wait until the server answers any request. Returns False if it ends before."""
    end = time.monotonic() + _HANG_SECONDS
    while server.process.poll() is None:
        with suppress(OSError, http.client.HTTPException):
            connection = server.http(timeout=5)
            try:
                connection.request("HEAD", "/")
                connection.getresponse()
            finally:
                connection.close()
            return True
        assert time.monotonic() < end, f"{server.name} does not answer:\n{server.said()}"
        time.sleep(0.02)
    return False
