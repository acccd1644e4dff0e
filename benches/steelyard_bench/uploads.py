"""Uploads by tus, beside the same server that reads the body and throws it away.

`python -m steelyard_bench.uploads` sends 1 GiB to Uvicorn in one PATCH by curl, and in PATCHes of 8 MiB over one connection. The applications take
turns, each in a server and a store of its own. Acknowledged bytes are durable, as far as the disk of `--directory` is. The processor time is that of the
server, all its threads together, during the upload. It needs curl and Uvicorn.
"""

from __future__ import annotations

import argparse
import http.client
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

from steelyard import LocalStore
from steelyard.errors import Unsupported
from steelyard.web import Receive, Scope, Send
from steelyard.web.uploads import Uploads
from steelyard_bench import _text
from steelyard_bench._inside import debug_build
from steelyard_bench._machine import look

__all__ = ("drop", "main", "uploads")

OURS, DROP = "Uploads", "read and throw away"
WHOLE, CHUNKS = "one PATCH, curl", "PATCHes of 8 MiB"
_CHUNK = 8 << 20
_LEAST_BYTES = 128 << 20
_TYPE = "application/offset+octet-stream"
_START_SECONDS = 30


def uploads() -> Uploads:
    """Return the application: the factory that Uvicorn calls."""
    return Uploads(LocalStore(os.environ["STEELYARD_BENCH_STORE"]))


def drop() -> Callable[[Scope, Receive, Send], object]:
    """Return an application that reads each body and throws it away."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            raise Unsupported("drop", operation="connections of type lifespan")  # the server then goes on without
        while (await receive()).get("more_body", False):
            pass
        fields = [(b"location", b"x"), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 201, "headers": fields})
        await send({"type": "http.response.body"})

    return app


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print the table and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m steelyard_bench.uploads", description="Measure uploads.")
    parser.add_argument("--size", type=int, default=1 << 30, help="the size of the upload in bytes")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count, after a warm-up")
    parser.add_argument("--directory", type=Path, default=Path(), help="where the store is, on the disk to measure")
    options = parser.parse_args(words)
    if options.size < _LEAST_BYTES:
        parser.error(f"--size {options.size}: expected {_LEAST_BYTES} or more, as processor time has steps of 10 ms")
    if debug_build and not os.environ.get("STEELYARD_ALLOW_DEBUG"):
        sys.stderr.write("steelyard_bench.uploads: a debug build, so its numbers mean nothing\n")
        return 2
    folder = options.directory.absolute() / f"uploads-{os.getpid()}"
    folder.mkdir()
    try:
        times = _rounds(folder, options.size, options.rounds)
        machine = look(folder)
    finally:
        shutil.rmtree(folder)
    where = f"{machine.filesystem}; {machine.cores} cores, {machine.processor}; load {machine.load:.2f}"
    what = f"{_text.size(options.size)}; {where}; Steelyard at {machine.commit}"
    for line in _table(times, options.size, what):
        sys.stdout.write(f"{line}\n")
    return 0


Taken = tuple[float, float]
"""The seconds of an upload, and those of processors."""


def _rounds(folder: Path, size: int, rounds: int) -> dict[tuple[str, str], list[Taken]]:
    """Return the times of each application with each way to send, in each round."""
    file = folder / "file"
    block = os.urandom(1 << 20)
    with file.open("wb") as output:
        for number in range(0, size, len(block)):
            output.write((number.to_bytes(8) + block[8:])[: size - number])
    contestants = [(app, way) for way in (WHOLE, CHUNKS) for app in (OURS, DROP)]
    times: dict[tuple[str, str], list[Taken]] = {contestant: [] for contestant in contestants}
    for number in range(rounds + 1):
        for turn in range(len(contestants)):
            app, way = contestant = contestants[(number + turn) % len(contestants)]
            with _serving("uploads" if app == OURS else "drop", folder) as (port, pid):
                begun, busy = time.perf_counter(), _busy(pid)
                (_whole if way == WHOLE else _chunks)(port, file, size)
                if number:  # the first round warms up
                    times[contestant].append((time.perf_counter() - begun, _busy(pid) - busy))
    return times


def _busy(pid: int) -> float:
    """Return the processor time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _serving(factory: str, folder: Path) -> Iterator[tuple[int, int]]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
    store = folder / "store"
    line = [sys.executable, "-m", "uvicorn", "--factory", f"steelyard_bench.uploads:{factory}", "--port", str(port)]
    process = subprocess.Popen(
        [*line, "--no-access-log", "--log-level", "warning"],
        env=os.environ | {"STEELYARD_BENCH_STORE": str(store), "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + _START_SECONDS
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("uvicorn does not start")
            time.sleep(0.02)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(store, ignore_errors=True)


def _created(connection: http.client.HTTPConnection, size: int) -> str:
    connection.request("POST", "/", headers={"Tus-Resumable": "1.0.0", "Upload-Length": str(size)})
    response = connection.getresponse()
    response.read()
    return response.headers["location"]


def _whole(port: int, file: Path, size: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    url = f"http://127.0.0.1:{port}/{_created(connection, size)}"
    connection.close()
    fields = ("Tus-Resumable: 1.0.0", "Upload-Offset: 0", f"Content-Type: {_TYPE}", "Expect:", "Transfer-Encoding:")
    line = ["curl", "--silent", "--show-error", "--fail", "--request", "PATCH", "--upload-file", str(file)]
    subprocess.run([*line, *(word for field in fields for word in ("--header", field)), url], check=True)


def _chunks(port: int, file: Path, size: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    location = _created(connection, size)
    with file.open("rb") as source:
        for offset in range(0, size, _CHUNK):
            fields = {"Tus-Resumable": "1.0.0", "Upload-Offset": str(offset), "Content-Type": _TYPE}
            connection.request("PATCH", f"/{location}", source.read(_CHUNK), fields)
            response = connection.getresponse()
            response.read()
            if response.status not in {201, 204}:
                raise RuntimeError(f"status {response.status}")
    connection.close()


def _table(times: Mapping[tuple[str, str], list[Taken]], size: int, what: str) -> list[str]:
    head = "| Way | Application | Median | Least | Greatest | Rate | Processor time |"
    lines = [what, "", head, "| --- | --- | --- | --- | --- | --- | --- |"]
    for (app, way), found in times.items():
        taken, busy = zip(*found, strict=True)
        rate = f"{_text.size(size / median(taken))}/s"
        spread = f"{_text.seconds(median(taken))} | {_text.seconds(min(taken))} | {_text.seconds(max(taken))}"
        lines.append(f"| {way} | {app} | {spread} | {rate} | {_text.seconds(median(busy))} |")
    lines.append("")
    for way in (WHOLE, CHUNKS):
        pairs = list(zip(times[OURS, way], times[DROP, way], strict=True))
        longer, busier = (_text.ratio(median(mine[part] / theirs[part] for mine, theirs in pairs)) for part in (0, 1))
        lines.append(
            f"{way}: {longer} times as long as without a store, {busier} times the processor time (medians of the rounds' ratios)"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
