"""Runs the real command in a clean environment."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import termios
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .fork_server import ForkServer

__all__ = ("Result", "Shell", "end", "feed", "sha256")

COMMAND = [sys.executable, "-m", "steelyard"]


@dataclass(frozen=True)
class Result:
    """The result of one command line."""

    code: int
    out: str
    err: str
    raw: bytes

    @classmethod
    def of(cls, expected: int, code: int, out: bytes, err: bytes) -> Result:
        """Return what a command gave, if it ended with the expected exit code."""
        result = cls(code, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"), out)
        assert expected == code, f"exit code {code}\n{result.out}\n{result.err}"
        return result

    @property
    def lines(self) -> list[str]:
        """Standard output, line by line."""
        return self.out.splitlines()

    @property
    def document(self) -> dict[str, Any]:
        """Standard output as one JSON document; nothing else may be there."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found

    @property
    def records(self) -> list[dict[str, Any]]:
        """Standard output as JSON Lines."""
        return [json.loads(line) for line in self.lines]


class Shell:
    """A place to run commands in: a home, a store and a working directory of their own."""

    def __init__(self, home: Path, fork_server: ForkServer) -> None:
        self._fork_server = fork_server
        self.home = home
        self.store = home / "store"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("STEELYARD_", "XDG_"))}
        self.environment = {name: value for name, value in kept.items() if name not in {"CI", "NO_COLOR"}} | {
            "HOME": str(home),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "PYTHON": sys.executable,
            "STEELYARD_ALLOW_DEBUG": "1",
            "STEELYARD_STORE": str(self.store),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_DATA_HOME": str(home / "data"),
            "TERM": "xterm",
            "COLUMNS": "100",
        }

    def run(self, *words: str | Path, code: int = 0, stdin: bytes = b"", **environment: str) -> Result:
        """Run a command line to its end, and insist on its exit code."""
        return Result.of(
            code,
            *self._fork_server.run(
                [str(word) for word in words],
                stdin=stdin,
                directory=self.home,
                environment=self.environment | environment,
            ),
        )

    def execute(self, *command: str, code: int = 0) -> Result:
        """Run a program of any kind to its end, with nothing to read, and insist on its exit code."""
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, cwd=self.home, env=self.environment, timeout=60
        )
        return Result.of(code, done.returncode, done.stdout, done.stderr)

    def start(self, *words: str | Path) -> subprocess.Popen[bytes]:
        """Start a command line and leave it running, its three streams as pipes."""
        return subprocess.Popen(
            [*COMMAND, *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.home,
            env=self.environment,
        )

    def offset(self, ref: str) -> int:
        """Return what an ingest holds, as `ingests` tells."""
        records = self.run("ingests", "--format", "json").document["ingests"]
        return next((record["offset"] for record in records if record["ref"] == ref), -1)


def feed(shell: Shell, data: bytes, *words: str) -> subprocess.Popen[bytes]:
    """Start a command, give it some bytes but not their end, and return when it has taken all of them."""
    process = shell.start(*words)
    assert process.stdin is not None
    process.stdin.write(data)
    process.stdin.flush()
    while int.from_bytes(fcntl.ioctl(process.stdin.fileno(), termios.FIONREAD, bytes(4)), "little"):
        assert process.poll() is None
        time.sleep(0.01)  # nothing tells when a pipe has run empty
    return process


def end(process: subprocess.Popen[bytes], number: signal.Signals) -> tuple[int, str, str]:
    """Send a signal and return the exit code, standard output and standard error."""
    process.send_signal(number)
    stdin, process.stdin = process.stdin, None  # left open: the end of the input must not be what ends it
    out, err = process.communicate(timeout=60)
    if stdin is not None:
        stdin.close()
    return process.returncode, out.decode(), err.decode()


def sha256(data: bytes) -> str:
    """Return a digest by the standard library's reckoning."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
