"""Our server as an operator runs it: a process of its own, of the command ``steelyard serve containerd``."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from steelyard_bench._tied import tied

__all__ = ("Service", "service")

_SECONDS = 60.0


class Service:
    """A server on a store in a folder, which outlives it; it may be ended and started again on the same socket.

    The socket is in a folder of the system's for temporary files, because the path of one has at most 107 bytes.

    Args:
        place: the folder.
        options: further options of the command.

    Attributes:
        store: the root of the store.
        address: the path of the socket.
        log: what the server says.
    """

    def __init__(self, place: Path, *options: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="sy-"))
        self._options = options
        self.store = place / "store"
        self.log = place / "steelyard.log"
        self.address = str(self._folder / "content.sock")
        self._process: subprocess.Popen[bytes] | None = None

    def line(self, *options: str) -> Sequence[str]:
        """Return the command line."""
        command = (sys.executable, "-m", "steelyard", "serve", "containerd")
        return (*command, "--store", str(self.store), "--address", self.address, *self._options, *options)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        kept = {name: value for name, value in os.environ.items() if name not in {"STEELYARD_STORE", "PYTHONPATH"}}
        path = os.pathsep.join(entry for entry in sys.path if entry)
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                tied(self.line()), stdout=output, stderr=output, env=kept | {"PYTHONPATH": path}
            )
        end = time.monotonic() + _SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                said = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
                raise RuntimeError(f"steelyard serve containerd does not start: {said[-1] if said else 'no word'}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        # The socket gets its name when the server is ready.
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(self.address)
            except OSError:
                return False
        return True

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
        """End it as the kernel would, without a word."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def close(self) -> None:
        """End it and remove its socket; the store stays."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


@contextmanager
def service(place: Path) -> Iterator[str]:
    """Run a `Service` and give the address of its socket; it has ended afterwards."""
    running = Service(place)
    try:
        running.start()
        yield running.address
    finally:
        running.close()
