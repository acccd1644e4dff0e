"""The service as a process of its own, whose descriptors, threads and memory can be counted from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from steelyard_bench._tied import tied

__all__ = ("Serving", "serving")


class Serving:
    """A running ``steelyard serve containerd``."""

    def __init__(self, process: subprocess.Popen[bytes], path: Path, log: Path) -> None:
        self.process = process
        self._log = log
        self.path = path
        self.address = f"unix://{path}"

    @property
    def descriptors(self) -> int:
        """How many descriptors it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))  # noqa: PTH208 - a count

    @property
    def threads(self) -> int:
        """How many threads it has."""
        return len(os.listdir(f"/proc/{self.process.pid}/task"))  # noqa: PTH208 - a count

    @property
    def memory(self) -> int:
        """How many bytes of memory it has."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    @property
    def peak(self) -> int:
        """How many bytes of memory it had at most, since the start or since `forget_peak`."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))

    def forget_peak(self) -> None:
        """Have `peak` begin with the memory that it has now."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5", encoding="ascii")

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal and return the exit code and what standard error has said since the start."""
        self.process.send_signal(number)
        return self.process.wait(timeout=60), self._log.read_text(encoding="utf-8")


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[Serving]:
    """Run the service on a store in this folder until the block ends."""
    path = folder / "content.sock"
    command = [sys.executable, "-m", "steelyard", "serve", "containerd", "--address", str(path)]
    command += ["--store", str(folder / "store"), "--durability", "process-crash", *options]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STEELYARD_")} | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "STEELYARD_ALLOW_DEBUG": "1",
        "XDG_CONFIG_HOME": str(folder),
    }
    before = identity(path)
    with tempfile.NamedTemporaryFile() as log, subprocess.Popen(tied(command), stderr=log, env=environment) as process:
        try:
            while identity(path) in {None, before}:
                assert process.poll() is None, Path(log.name).read_text(encoding="utf-8")
                time.sleep(0.01)  # its log may be silent
            yield Serving(process, path, Path(log.name))
        finally:
            process.kill()


def identity(path: Path) -> tuple[int, int] | None:
    """Return what tells this socket from one that had the path before it: that one's inode may be used again."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_ctime_ns
