"""Runs the real command in a clean environment."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ("Result", "Shell", "sha256", "wait_for")

COMMAND = [sys.executable, "-m", "steelyard"]


@dataclass(frozen=True)
class Result:
    """What one command line gave."""

    code: int
    out: str
    err: str
    raw: bytes

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

    def __init__(self, home: Path) -> None:
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

    def run(
        self,
        *words: str | Path,
        code: int = 0,
        stdin: bytes = b"",
        environment: dict[str, str] | None = None,
        command: list[str] | None = None,
    ) -> Result:
        """Run a command line to its end, and insist on its exit code."""
        done = subprocess.run(
            [*(command or COMMAND), *map(str, words)],
            input=stdin,
            capture_output=True,
            cwd=self.home,
            env=self.environment | (environment or {}),
            timeout=30,
        )
        result = Result(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode(), done.stdout)
        assert result.code == code, f"exit code {result.code}\n{result.out}\n{result.err}"
        return result

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


def wait_for(process: subprocess.Popen[bytes], number: signal.Signals) -> tuple[int, str, str]:
    """Send a signal and return the exit code, standard output and standard error."""
    process.send_signal(number)
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        out, err = process.stdout.read().decode(), process.stderr.read().decode()
        return process.wait(10), out, err


def sha256(data: bytes) -> str:
    """Return a digest by the standard library's reckoning."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
