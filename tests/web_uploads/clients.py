"""The clients of others: curl, tus-js-client and tuspy, as processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

__all__ = ("CLIENTS", "curl", "finished", "started", "uploaded")

CLIENTS = ("tuspy", "tus-js-client")
_HERE = Path(__file__).parent
_TUS = ("-H", "Tus-Resumable: 1.0.0")


def _missing(program: str) -> None:
    if os.environ.get("STEELYARD_ALL_PROGRAMS"):
        pytest.fail(f"not installed: {program}")
    pytest.skip(f"not installed: {program}")


def started(client: str, url: str, file: Path, **options: object) -> subprocess.Popen[str]:
    """Start an upload of a file; options are those of the client."""
    if client == "tuspy":
        pytest.importorskip("tusclient")
        line = [sys.executable, str(_HERE / "tus_py.py")]
    else:
        if "STEELYARD_TUS_JS" not in os.environ:
            pytest.skip("STEELYARD_TUS_JS is not set: the folder of tus-js-client, which .ci/run installs")
        line = ["node", str(_HERE / "tus_js.cjs")]
    line += [url, str(file), json.dumps(options)]
    return subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(process: subprocess.Popen[str]) -> str:
    """Wait for an upload, and return its URL."""
    out, err = process.communicate(timeout=240)
    assert 0 == process.returncode, err
    return out.strip()


def uploaded(client: str, url: str, file: Path, **options: object) -> str:
    """Upload a file, and return the URL of the upload."""
    return finished(started(client, url, file, **options))


class Response:
    """A response to curl.

    Attributes:
        status: the status code.
        headers: the fields.
        text: the content.
    """

    def __init__(self, output: bytes) -> None:
        # curl shows a 100 Continue, too.
        while output.startswith(b"HTTP/1.1 100"):
            output = output.partition(b"\r\n\r\n")[2]
        head, _, content = output.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines}
        self.text = content.decode()


def curl(*words: str, data: Path | bytes | None = None) -> Response:
    """Send a request with curl, and return the response."""
    if shutil.which("curl") is None:
        _missing("curl")
    line = ["curl", "--silent", "--show-error", "--include", "--max-time", "120", *_TUS, *words]
    if isinstance(data, Path):
        line += ["--data-binary", f"@{data}"]
    elif data is not None:
        line += ["--data-binary", "@-"]
    if data is not None:
        line += ["-H", "Content-Type: application/offset+octet-stream"]
    done = subprocess.run(line, input=data if isinstance(data, bytes) else b"", capture_output=True)
    assert 0 == done.returncode, done.stderr.decode()
    return Response(done.stdout)
