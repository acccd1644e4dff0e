"""Start, command and kill `child.py` from a test."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

CHILD = Path(__file__).with_name("child.py")


class Child:
    """A running child."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin: IO[str] = process.stdin
        self._stdout: IO[str] = process.stdout

    @property
    def pid(self) -> int:
        return self.process.pid

    def send(self, *words: str) -> None:
        self._stdin.write(" ".join(words) + "\n")
        self._stdin.flush()

    def hear(self) -> str:
        """Return the next line without its end; nothing once the child has gone and all was read."""
        return self._stdout.readline().rstrip("\n")

    def ask(self, *words: str) -> str:
        self.send(*words)
        return self.hear()

    def kill(self) -> None:
        """End it as the kernel or an operator would, without a word."""
        self.process.kill()
        self.process.wait()

    def rest(self) -> list[str]:
        """Return the whole lines that it had still said before it was killed."""
        return [line[:-1] for line in self._stdout if line.endswith("\n")]


@contextmanager
def child(root: Path, backend: str = "asyncio") -> Iterator[Child]:
    """Run a child on a store, ready to be commanded, and make sure that it is gone afterwards."""
    process = subprocess.Popen(
        [sys.executable, str(CHILD), backend, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with process:
        try:
            running = Child(process)
            assert running.hear() == "ready"
            yield running
        finally:
            process.kill()
