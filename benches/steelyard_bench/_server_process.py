"""A server in a process of its own, as an operator runs it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from steelyard_bench._tied import tied

__all__ = ("ServerProcess", "running")

_SECONDS = 60.0


class ServerProcess(ABC):
    """A server on data in a folder, which outlives it; it may be ended and started again on the same socket.

    The socket is in a folder of the system's for temporary files, because the path of one has at most 107 bytes.

    Args:
        name: what to call it in an error.
        log: the file that gets its output.
        socket: the name of its socket.

    Attributes:
        address: the path of its socket.
        log: its output.
    """

    def __init__(self, name: str, log: Path, socket: str) -> None:
        self._name = name
        self._folder = Path(tempfile.mkdtemp(prefix="sy-"))
        self.address = str(self._folder / socket)
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def start(self) -> None:
        """Start it, and wait until it answers."""

    @abstractmethod
    def _answers(self) -> bool:
        """Return whether it answers."""

    def _start(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(tied(command), stdout=output, stderr=output, env=environment)
        end = time.monotonic() + _SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
                raise RuntimeError(f"{self._name} does not start: {lines[-1] if lines else 'no output'}")
            time.sleep(0.02)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int | None:
        """End it, if it runs, as an operator does; return its exit code."""
        process, self._process = self._process, None
        if process is None:
            return None
        process.send_signal(number)
        try:
            return process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def kill(self) -> None:
        """Kill it, if it runs."""
        self.stop(signal.SIGKILL)

    def close(self) -> None:
        """End it and remove its socket; the data stays."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


@contextmanager
def running(server: ServerProcess) -> Iterator[str]:
    """Start a server and give the address of its socket; it has ended afterwards."""
    try:
        server.start()
        yield server.address
    finally:
        server.close()
