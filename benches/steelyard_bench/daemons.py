"""A containerd whose content is in our service, beside the same containerd with its own store.

`python -m steelyard_bench.daemons --programs DIR` runs the two in turns: `ctr content ingest` and `ctr content get` of one blob of each
size, and as many small blobs by one client. It needs root. `--programs` is the folder of `containerd` and `ctr`, if they are not
those on the path.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import anyio

from steelyard.containerd import RemoteStore
from steelyard_bench import _text
from steelyard_bench._ground import open_ground, settle
from steelyard_bench._inside import run
from steelyard_bench._machine import look
from steelyard_bench._peers._containerd import Daemon, available
from steelyard_bench._service import Service

__all__ = ("main",)

_MIB = 1 << 20
_SIZES = (128 * _MIB, 1024 * _MIB)
_SMALL, _SMALL_SIZE = 500, 4096
_NAMES = ("own store", "our service")


def main(words: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="steelyard_bench.daemons", description=__doc__)
    parser.add_argument("--programs", type=Path, help="folder of containerd and ctr")
    parser.add_argument(
        "--directory", type=Path, default=Path(), help="folder on the disk to measure on (default: here)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each work, in turns (default: 3)")
    parser.add_argument("--size", type=int, nargs="*", default=[size // _MIB for size in _SIZES], help="sizes in MiB")
    options = parser.parse_args(words)
    if (reason := available()) is not None:
        print(reason, file=sys.stderr)
        return 2
    anyio.run(_run, options)
    return 0


async def _run(options: argparse.Namespace) -> None:
    async with open_ground(options.directory.absolute()) as ground:
        machine = await run(look, ground.folder)
        print(f"{machine.processor}, {machine.filesystem}, load {machine.load:.1f}")
        sizes = [size * _MIB for size in options.size]
        _report(await run(_measure, ground.folder, options.programs, options.rounds, sizes))


Times = dict[str, dict[str, list[float]]]
"""By work and by store: the seconds of each round."""


def _measure(folder: Path, programs: Path | None, rounds: int, sizes: Sequence[int]) -> Times:
    times: Times = {}
    with ExitStack() as stack:
        stores = {
            "own store": stack.enter_context(_own(folder / "own", programs)),
            "our service": stack.enter_context(_proxied(folder / "ours", programs)),
        }
        for number in range(rounds):
            for size in sizes:
                source = folder / "source"
                digest = _write(source, size)
                for name in _turn(number):
                    _ingest_and_get(stores[name], name, source, digest, times)
                source.unlink()
                settle(folder, 0)
            for name in _turn(number):
                anyio.run(_small, stores[name].address, name, times)
    return times


def _turn(number: int) -> Sequence[str]:
    return _NAMES if number % 2 == 0 else tuple(reversed(_NAMES))


def _write(path: Path, size: int) -> str:
    """Write a file of bytes that no store has, and return its digest."""
    state = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(size // _MIB):
            block = os.urandom(_MIB)
            state.update(block)
            file.write(block)
    return f"sha256:{state.hexdigest()}"


def _ingest_and_get(daemon: Daemon, name: str, source: Path, digest: str, times: Times) -> None:
    size = f"{source.stat().st_size // _MIB} MiB"
    with source.open("rb") as file, _timed(times, f"ingest {size}", name):
        _ctr(daemon, "content", "ingest", digest, source=file.fileno())
    with _timed(times, f"get {size}", name):
        _ctr(daemon, "content", "get", digest)
    _ctr(daemon, "content", "delete", digest)


async def _small(address: str, name: str, times: Times) -> None:
    blobs = [secrets.token_bytes(_SMALL_SIZE) for _ in range(_SMALL)]
    async with RemoteStore(address) as store, store.lease() as leased:
        with _timed(times, f"write {_SMALL} x 4 KiB", name):
            found = [one.result.digest async for one in leased.put_many(blobs)]
        with _timed(times, f"read {_SMALL} x 4 KiB", name):
            for digest in found:
                await store.get(digest)


@contextmanager
def _timed(times: Times, work: str, name: str) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    times.setdefault(work, {}).setdefault(name, []).append(time.perf_counter() - begin)


def _ctr(daemon: Daemon, *words: str, source: int = subprocess.DEVNULL) -> None:
    command = [daemon.program("ctr"), "--address", daemon.address, *words]
    done = subprocess.run(command, stdin=source, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        raise RuntimeError(f"ctr {' '.join(words)}: {done.stderr.decode(errors='replace').strip()}")


@contextmanager
def _own(place: Path, programs: Path | None) -> Iterator[Daemon]:
    """Run a containerd with its own store."""
    place.mkdir()
    daemon = Daemon(place, programs=programs)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.close()


@contextmanager
def _proxied(place: Path, programs: Path | None) -> Iterator[Daemon]:
    """Run a containerd whose content is in our service, with the block that the service prints for it."""
    place.mkdir()
    service = Service(place)
    try:
        block, disabled = service.plugin()
        service.start()
        daemon = Daemon(place, block, disabled=disabled, programs=programs)
        try:
            daemon.start()
            yield daemon
        finally:
            daemon.close()
    finally:
        service.close()


def _report(times: Times) -> None:
    print(f"{'work':24} {'own store':>12} {'our service':>12} {'ours / own':>12}")
    for work, by_name in times.items():
        own, ours = (statistics.median(by_name[name]) for name in _NAMES)
        print(f"{work:24} {_text.seconds(own):>12} {_text.seconds(ours):>12} {_text.ratio(ours / own):>12}")


if __name__ == "__main__":
    sys.exit(main())
