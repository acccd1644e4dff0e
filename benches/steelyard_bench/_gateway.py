"""A server of object storage as a process: versitygw, which keeps objects in files below a folder."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from unittest import mock

from steelyard_bench._server_process import ServerProcess, running

__all__ = ("BUCKET", "KEY", "REGION", "SECRET", "credentials", "gateway", "missing_gateway", "objects")

BUCKET = "bucket"
REGION = "us-east-1"
KEY, SECRET = "steelyardbench", "steelyardbenchkey"
"""The credentials of a server on loopback that lives for a round."""

_VARIABLES = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": REGION}


class Gateway(ServerProcess):
    """A versitygw on a folder, with an empty bucket; see `ServerProcess`.

    Args:
        place: the folder.
    """

    def __init__(self, place: Path) -> None:
        super().__init__("versitygw", place / "versitygw.log", "s")
        self._root = objects(place).parent
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self._port: int = found.getsockname()[1]
        self.address = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        (self._root / BUCKET).mkdir(parents=True, exist_ok=True)
        access = ["--access", KEY, "--secret", SECRET, "--region", REGION]
        listens = ["--port", f"127.0.0.1:{self._port}", "--quiet"]
        self._start([_program() or "versitygw", *access, *listens, "posix", str(self._root)])

    def _answers(self) -> bool:
        with socket.socket() as client:
            return not client.connect_ex(("127.0.0.1", self._port))


def gateway(place: Path) -> AbstractContextManager[str]:
    """Run a `Gateway` and give its URL; it has ended afterwards."""
    return running(Gateway(place))


def objects(place: Path) -> Path:
    """Return the folder of the objects of a server on a folder."""
    return place / "server" / BUCKET


@contextmanager
def credentials() -> Iterator[None]:
    """Have the environment tell the credentials of a `Gateway`, and nothing else about a server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    with mock.patch.dict(os.environ, kept | _VARIABLES, clear=True):
        yield


def missing_gateway() -> str | None:
    """Return why the server cannot run, or None."""
    return None if _program() else "versitygw is not installed, and STEELYARD_VERSITYGW is not its path"


def _program() -> str | None:
    return os.environ.get("STEELYARD_VERSITYGW") or shutil.which("versitygw")
