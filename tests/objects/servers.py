"""Programs that we did not write and that speak S3's protocol, run on loopback. Each has a bucket of the name `bucket`."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

import pytest

from .s3 import KEYS, request

__all__ = ("free_port", "moto", "nanio", "rclone", "seaweedfs", "versitygw")

KEY, SECRET = KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"]


@contextmanager
def versitygw(root: Path, port: int | None = None) -> Iterator[str]:
    """Run a versitygw that keeps objects in files below a directory, and yield its URL. It is killed at the end."""
    found = os.environ.get("STEELYARD_VERSITYGW") or shutil.which("versitygw")
    if found is None:
        pytest.skip("versitygw is not installed: .ci/run builds it, and STEELYARD_VERSITYGW is its path")
    (root / "bucket").mkdir(exist_ok=True)
    port = free_port() if port is None else port
    options = ["--access", KEY, "--secret", SECRET, "--port", f"127.0.0.1:{port}", "--quiet", "posix", str(root)]
    with _running([found, *options], port) as url:
        yield url


@contextmanager
def seaweedfs(root: Path) -> Iterator[str]:
    """Run a SeaweedFS: a master, a volume server, a filer and the gateway in one process."""
    identity = {
        "name": "test",
        "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "List", "Tagging", "Write"],
    }
    (root / "s3.json").write_text(json.dumps({"identities": [identity]}), encoding="utf-8")
    ports = {
        f"{name}.port{kind}": free_port() for name in ("master", "volume", "filer", "s3") for kind in ("", ".grpc")
    }
    options = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={root}", "-filer", "-s3", f"-s3.config={root / 's3.json'}"]
    options += ["-volume.max=300", "-master.volumeSizeLimitMB=64", "-master.telemetry=false"]
    options += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
    options += [f"-{name}={port}" for name, port in ports.items()]
    with _running([_installed("weed"), "server", *options], ports["s3.port"]) as url:
        yield url


@contextmanager
def moto() -> Iterator[str]:
    """Run a moto, which keeps objects in memory and checks no signature."""
    port = free_port()
    with _running([_installed("moto_server"), "-H", "127.0.0.1", "-p", str(port)], port) as url:
        yield url


@contextmanager
def rclone(root: Path) -> Iterator[str]:
    """Run `rclone serve s3`, which ignores conditions."""
    port = free_port()
    options = ["--addr", f"127.0.0.1:{port}", "--auth-key", f"{KEY},{SECRET}", "--config", str(root / "none")]
    with _running([_installed("rclone"), "serve", "s3", *options, str(root)], port) as url:
        yield url


@contextmanager
def nanio(root: Path) -> Iterator[str]:
    """Run a nanio, which ignores conditions."""
    port = free_port()
    options = ["--data-dir", str(root), "--host", "127.0.0.1", "--port", str(port), "--no-access-log"]
    environment = {"NANIO_ACCESS_KEY": KEY, "NANIO_SECRET_KEY": SECRET}
    with _running([_installed("nanio"), "serve", *options], port, environment) as url:
        yield url


def _installed(program: str) -> str:
    found = Path(os.environ.get("STEELYARD_S3_SERVERS", ""), program)
    if not found.is_absolute() or not found.exists():
        pytest.skip(f"{program} is not installed: .ci/run installs it, and STEELYARD_S3_SERVERS is its directory")
    return str(found)


def free_port() -> int:
    """Return a port of loopback that was free a moment ago."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def _running(command: Sequence[str], port: int, environment: dict[str, str] | None = None) -> Iterator[str]:
    """Run a server until the end of the block, and yield its URL when a bucket can be created."""
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(
        command, env=os.environ | (environment or {}), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            _wait_for_bucket(server, url)
            yield url
        finally:
            server.kill()  # some take seconds to end, and nothing of theirs is wanted


def _wait_for_bucket(server: subprocess.Popen[bytes], url: str) -> None:
    answer: object = None
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        try:
            answer = request("PUT", url, "/bucket")
            # A server may listen before it can store anything.
            if request("PUT", url, "/bucket/ready", data=b"x")[0] == 200:
                return
        except (OSError, HTTPException) as error:
            answer = error
        time.sleep(0.05)
    pytest.fail(f"{url}: no bucket: {answer!r}, exit code {server.poll()}")
