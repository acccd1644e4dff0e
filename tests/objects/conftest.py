"""Servers of object storage, started once for each worker, on loopback; a bucket for each worker and a prefix for each test."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from .s3 import KEYS


def free_port() -> int:
    """Return a port of loopback that was free a moment ago."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def versitygw_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of versitygw."""
    return tmp_path_factory.mktemp("versitygw")


@pytest.fixture(scope="session")
def versitygw(versitygw_root: Path) -> Iterator[str]:
    """Run a versitygw, and return its URL."""
    program = os.environ.get("STEELYARD_VERSITYGW") or shutil.which("versitygw")
    if program is None:
        pytest.skip("versitygw is not installed: .ci/run builds it, and STEELYARD_VERSITYGW is its path")
    (versitygw_root / "bucket").mkdir()
    port = free_port()
    command = [program, "--access", KEYS["AWS_ACCESS_KEY_ID"], "--secret", KEYS["AWS_SECRET_ACCESS_KEY"]]
    command += ["--port", f"127.0.0.1:{port}", "--quiet", "posix", str(versitygw_root)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            wait_for(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def wait_for(port: int) -> None:
    """Wait until a server listens."""
    for _ in range(600):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail(f"no server on port {port}")


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Set the credentials of the servers, and no others."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))


@pytest.fixture
def address(versitygw: str, keys: None, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the address of a new, empty store. Its server is checked in one round: `test_open.py` has the whole check."""
    del keys
    monkeypatch.setattr("steelyard.objects._probe._ROUNDS", 1)
    return f"s3://bucket/{uuid4().hex}?endpoint={versitygw}"
