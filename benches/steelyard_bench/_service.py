"""Our server as an operator runs it: a process of its own, of the command ``steelyard serve containerd``."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from steelyard_bench._server_process import ServerProcess, running

__all__ = ("Service", "service")


class Service(ServerProcess):
    """A server on a store in a folder; see `ServerProcess`.

    Args:
        place: the folder.
        options: further options of the command.

    Attributes:
        store: the root of the store.
    """

    def __init__(self, place: Path, *options: str) -> None:
        super().__init__("steelyard serve containerd", place / "steelyard.log", "content.sock")
        self._options = options
        self.store = place / "store"

    def line(self, *options: str) -> Sequence[str]:
        """Return the command line."""
        command = (sys.executable, "-m", "steelyard", "serve", "containerd")
        return (*command, "--store", str(self.store), "--address", self.address, *self._options, *options)

    def plugin(self) -> tuple[str, list[str]]:
        """Return what the command prints to be put into containerd's configuration: its block, and the plugins to disable."""
        block = subprocess.run(self.line("--print-config"), capture_output=True, check=True, text=True).stdout
        disabled = tomllib.loads(block).get("disabled_plugins", [])
        return re.sub(r"^(version|disabled_plugins) *=.*$", "", block, flags=re.MULTILINE), disabled

    def start(self) -> None:
        kept = {name: value for name, value in os.environ.items() if name not in {"STEELYARD_STORE", "PYTHONPATH"}}
        path = os.pathsep.join(entry for entry in sys.path if entry)
        self._start(self.line(), kept | {"PYTHONPATH": path})

    def _answers(self) -> bool:
        # The socket gets its name when the server is ready.
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(self.address)
            except OSError:
                return False
        return True


def service(place: Path) -> AbstractContextManager[str]:
    """Run a `Service` and give the address of its socket; it has ended afterwards."""
    return running(Service(place))
