"""Blobs over HTTP under load: by the server itself beside nginx, and verified beside the same server sending from memory.

`python -m steelyard_bench.serving` stores a blob for each size, serves them with nginx and with each ASGI server that is installed, and loads one after
the other with wrk, in every round in another order. nginx is set up as Debian does it: `sendfile`, and a process for each processor. Granian has as
many where it is compared with nginx, and otherwise each server has one process. Before and after each measurement one response is compared with the
blob. Nothing but the loaded server has work. It needs nginx, wrk, and what `steelyard[dev]` installs.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import NamedTuple

import anyio

from steelyard.local import LocalStore
from steelyard_bench import _text
from steelyard_bench._inside import debug_build
from steelyard_bench._machine import look

__all__ = ("main",)

SERVERS = ("uvicorn", "granian", "hypercorn-asyncio", "hypercorn-trio")
GOAL = 0.8
_START_SECONDS = 60

_NGINX = """
{user}daemon off; worker_processes auto; pid {folder}/pid; error_log {folder}/error; worker_rlimit_nofile 1024;
events {{ worker_connections 768; }}
http {{
  sendfile on; tcp_nopush on; access_log off; keepalive_requests 1000000; types {{ }}
  default_type text/plain;
  client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3; uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
  server {{ listen 127.0.0.1:{port}; root {folder}/files; }}
}}
"""


class Contestant(NamedTuple):
    """A way to serve a blob.

    Attributes:
        name: the name of the way.
        blob: the name of the blob.
        url: where it is.
        pid: the process that serves it, or 0.
    """

    name: str
    blob: str
    url: str
    pid: int


class Load(NamedTuple):
    """A measurement: bytes in a second, processor seconds of the server for a GiB, and its memory and descriptors afterwards."""

    bytes_a_second: float
    processor_seconds: float
    memory: int
    descriptors: int


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print the tables and return the exit code."""
    options = _options(words)
    if debug_build and not os.environ.get("STEELYARD_ALLOW_DEBUG"):
        sys.stderr.write("steelyard_bench.serving: a debug build, so its numbers mean nothing\n")
        return 2
    programs = {name: shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin") for name in ("nginx", "wrk")}
    missing = [name for name, path in programs.items() if path is None]
    if missing:
        sys.stderr.write(f"steelyard_bench.serving: {' and '.join(missing)}: not installed\n")
        return 2
    folder = options.directory.absolute() / f"serving-{os.getpid()}"
    folder.mkdir()
    try:
        _measure(options, folder, {name: str(path) for name, path in programs.items()})
    finally:
        shutil.rmtree(folder)
    return 0


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m steelyard_bench.serving", description="Measure blobs over HTTP.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1 << 20, 1 << 30], metavar="BYTES")
    parser.add_argument("--servers", nargs="+", default=SERVERS, choices=SERVERS)
    parser.add_argument("--seconds", type=float, default=20, help="of load for each way in each round")
    parser.add_argument("--rounds", type=int, default=6, help="rounds that count, after a warm-up of a tenth")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--directory", type=Path, default=Path(), help="where to write the blobs, twice")
    return parser.parse_args(words)


def _measure(options: argparse.Namespace, folder: Path, programs: Mapping[str, str]) -> None:
    (folder / "files").mkdir()
    blobs = anyio.run(_stored, folder, options.sizes)
    with ExitStack() as stack:
        port = stack.enter_context(_nginx(programs["nginx"], folder))
        contestants = [Contestant("nginx", name, f"http://127.0.0.1:{port}/{name}", 0) for name in blobs]
        goals: list[tuple[str, str]] = []
        for server in options.servers:
            if find_spec(server.partition("-")[0]) is None:
                sys.stderr.write(f"steelyard_bench.serving: {server}: not installed\n")
                continue
            for way in ("memory", "verified"):
                address, pid = stack.enter_context(_asgi(server, folder, blobs, workers=1))
                contestants += [Contestant(f"{server}, {way}", name, f"{address}/{way}/{name}", pid) for name in blobs]
            goals.append((f"{server}, verified", f"{server}, memory"))
            if server == "granian":
                workers = len(os.sched_getaffinity(0))
                address, pid = stack.enter_context(_asgi(server, folder, blobs, workers=workers))
                contestants += [
                    Contestant("granian, pathsend", name, f"{address}/unverified/{name}", pid) for name in blobs
                ]
                goals.append(("granian, pathsend", "nginx"))
        found = _rounds(contestants, options, programs["wrk"], {name: digest[7:] for name, digest in blobs.items()})
    machine = look(folder)
    where = f"{machine.filesystem}; {machine.cores} cores, {machine.processor}; load {machine.load:.2f}"
    sys.stdout.write(
        f"{options.rounds} × {options.seconds:g} s, {options.connections} connections; {where}; Steelyard at {machine.commit}\n"
    )
    for line in _table(found, goals):
        sys.stdout.write(f"{line}\n")


async def _stored(folder: Path, sizes: Sequence[int]) -> dict[str, str]:
    """Write a file of each size, store it, and return names and digests."""
    digests = {}
    async with LocalStore(folder / "store", durability="process-crash") as store:
        for size in sizes:
            path = anyio.Path(folder / "files" / _text.size(size).replace(" ", "-"))
            async with await path.open("wb") as file:
                for start in range(0, size, 1 << 20):
                    await file.write(secrets.token_bytes(min(1 << 20, size - start)))
            digests[path.name] = str((await store.put(Path(path))).digest)
    return digests


def _rounds(
    contestants: Sequence[Contestant], options: argparse.Namespace, wrk: str, sums: Mapping[str, str]
) -> dict[Contestant, list[Load]]:
    found: dict[Contestant, list[Load]] = {one: [] for one in contestants}
    for number in range(options.rounds + 1):
        for turn in range(len(contestants)):
            one = contestants[(number + turn) % len(contestants)]
            _compare(one.url, sums[one.blob])
            load = _load(wrk, one, options.seconds if number else options.seconds / 10, options.connections)
            _compare(one.url, sums[one.blob])
            if number:  # the first round warms up
                found[one].append(load)
    return found


def _compare(url: str, expected: str) -> None:
    """Get the blob once, and compare its digest."""
    host, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=_START_SECONDS)
    try:
        connection.request("GET", f"/{path}")
        answer = connection.getresponse()
        hasher = hashlib.sha256()
        while data := answer.read(1 << 20):
            hasher.update(data)
    finally:
        connection.close()
    if (answer.status, hasher.hexdigest()) != (200, expected):
        raise AssertionError(f"{url}: status {answer.status}, other bytes than those stored")


def _load(wrk: str, one: Contestant, seconds: float, connections: int) -> Load:
    before = _processor_seconds(one.pid)
    command = [wrk, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "60s", one.url]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    match = re.search(r"([0-9.]+)([KMGT]?B) read", out)
    period = re.search(r"requests in ([0-9.]+)(m?s|m),", out)
    if match is None or period is None or "Non-2xx" in out:
        raise AssertionError(f"{one.url}: {out}")
    read = float(match[1]) * {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}[match[2]]
    length = float(period[1]) * {"ms": 0.001, "s": 1, "m": 60}[period[2]]
    tree = _tree(one.pid)
    processor = (_processor_seconds(one.pid) - before) / (read / (1 << 30))
    return Load(read / length, processor, sum(map(_resident, tree)), sum(map(_descriptors, tree)))


def _tree(pid: int) -> list[int]:
    """Return a process and those below it."""
    if pid == 0:
        return []
    found, new = [], [pid]
    while new:
        found.append(new.pop())
        with suppress(OSError):
            text = Path(f"/proc/{found[-1]}/task/{found[-1]}/children").read_text(encoding="ascii")
            new.extend(map(int, text.split()))
    return found


def _processor_seconds(pid: int) -> float:
    ticks = 0
    for one in _tree(pid):
        with suppress(OSError):
            fields = Path(f"/proc/{one}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@contextmanager
def _nginx(program: str, folder: Path) -> Iterator[int]:
    port = _free_port()
    user = "user root; " if os.getuid() == 0 else ""  # else its workers are a user who may not read the files
    (folder / "config").write_text(_NGINX.format(folder=folder, port=port, user=user), encoding="utf-8")
    with _running([program, "-c", str(folder / "config"), "-e", str(folder / "error")], {}, port, folder):
        yield port


@contextmanager
def _asgi(server: str, folder: Path, blobs: Mapping[str, str], *, workers: int) -> Iterator[tuple[str, int]]:
    """Run the application in a server; yield its URL and its process."""
    port, app = _free_port(), "steelyard_bench._serving_app:app"
    name, _, loop = server.partition("-")
    commands = {
        "uvicorn": [app, "--port", str(port), "--no-access-log", "--log-level", "error"],
        "granian": [
            app,
            "--port",
            str(port),
            "--interface",
            "asgi",
            "--no-ws",
            "--log-level",
            "error",
            "--workers",
            str(workers),
        ],
        "hypercorn": [
            app,
            "--bind",
            f"127.0.0.1:{port}",
            "--workers",
            "0",
            "--worker-class",
            loop,
            "--log-level",
            "ERROR",
        ],
    }
    environment = {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "STEELYARD_BENCH_STORE": str(folder / "store"),
        "STEELYARD_BENCH_BLOBS": json.dumps(blobs),
    }
    with _running([sys.executable, "-m", name, *commands[name]], environment, port, folder) as pid:
        yield f"http://127.0.0.1:{port}", pid


@contextmanager
def _running(command: Sequence[str], environment: Mapping[str, str], port: int, folder: Path) -> Iterator[int]:
    """Run a server until the end of the context; yield its process when it listens."""
    # Event loops report each send after wrk has gone.
    with (folder / "log").open("ab") as log:
        environment = os.environ | dict(environment)
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        end = time.monotonic() + _START_SECONDS
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > end:
                raise AssertionError(
                    f"{command[:4]}: it does not start:\n{(folder / 'log').read_text(encoding='utf-8')[-2000:]}"
                )
            time.sleep(0.02)
        yield process.pid
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_START_SECONDS)
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _table(found: Mapping[Contestant, list[Load]], goals: Sequence[tuple[str, str]]) -> list[str]:
    head = "| Served | By | Median in a second | Least | Greatest | Processor for a GiB | Memory, first and last | Descriptors, first and last |"
    lines = ["", head, "| --- " * 8 + "|"]
    for one, loads in found.items():
        speeds = [load.bytes_a_second for load in loads]
        speed = " | ".join(_text.size(round(value)) for value in (median(speeds), min(speeds), max(speeds)))
        processor = _text.seconds(median(load.processor_seconds for load in loads)) if one.pid else "-"
        memory = f"{_text.size(loads[0].memory)}, {_text.size(loads[-1].memory)}" if one.pid else "-"
        descriptors = f"{loads[0].descriptors}, {loads[-1].descriptors}" if one.pid else "-"
        lines.append(f"| {one.blob} | {one.name} | {speed} | {processor} | {memory} | {descriptors} |")
    lines += ["", "| Ours, beside | Size | Median of the rounds' ratios | Goal |", "| --- | --- | --- | --- |"]
    by_name = {(one.name, one.blob): loads for one, loads in found.items()}
    for ours, other in goals:
        for blob in dict.fromkeys(one.blob for one in found):
            pairs = zip(by_name[ours, blob], by_name[other, blob], strict=True)
            ratio = median(mine.bytes_a_second / theirs.bytes_a_second for mine, theirs in pairs)
            missed = "" if ratio >= GOAL else ", missed"
            lines.append(f"| {ours}, {other} | {blob} | {_text.ratio(ratio)} | ≥ {GOAL}{missed} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
