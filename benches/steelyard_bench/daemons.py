"""A containerd whose content is in our service, beside the same containerd with its own store.

`python -m steelyard_bench.daemons --programs DIR` runs the two in turns: `ctr content ingest` and `ctr content get` of one blob of each
size, `ctr images import` of an image with one layer, which is unpacked, and many small blobs by one client. Then it asks for the info of a blob, one call after the other and 64 at once, at the service's own socket
and at the containerd with its own store. It needs root. `--programs` is the folder of `containerd` and `ctr`, if they are not
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
import tarfile
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
from steelyard_bench._peers._layout import write_archive
from steelyard_bench._service import Service

__all__ = ("main",)

_MIB = 1 << 20
_SIZES = (128 * _MIB, 1024 * _MIB)
_BLOBS, _BLOB_BYTES = 500, 4096
_INFOS, _AT_ONCE = 6400, 64
_NAMES = ("own store", "our service")


def main(words: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="steelyard_bench.daemons", description=__doc__)
    parser.add_argument("--programs", type=Path, help="folder of containerd and ctr")
    parser.add_argument(
        "--directory", type=Path, default=Path(), help="folder on the disk to measure on (default: here)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each work, in turns (default: 3)")
    parser.add_argument("--image", type=int, default=1024, help="size of the image in MiB; 0: none (default: 1024)")
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
        image = options.image * _MIB
        _report(await run(_measure, ground.folder, options.programs, options.rounds, sizes, image))


Times = dict[str, dict[str, list[float]]]
"""By work and by store: the seconds of each round."""


def _measure(folder: Path, programs: Path | None, rounds: int, sizes: Sequence[int], image: int) -> Times:
    times: Times = {}
    with ExitStack() as stack:
        stores = {
            "own store": stack.enter_context(_own(folder / "own", programs)),
        }
        stores["our service"], direct = stack.enter_context(_proxied(folder / "ours", programs))
        infos = {"own store": stores["own store"].address, "our service": direct}
        for number in range(rounds):
            for size in sizes:
                source = folder / "source"
                digest = _write(source, size)
                for name in _turn(number):
                    _ingest_and_get(stores[name], name, source, digest, times)
                source.unlink()
                settle(folder, 0)
            if image:
                _write_image(folder / "image", image)
                for name in _turn(number):
                    _import(stores[name], name, folder / "image", times)
            for name in _turn(number):
                anyio.run(_small, stores[name].address, name, times)
            for name in _turn(number):
                anyio.run(_info, infos[name], name, times)
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


def _write_image(archive: Path, size: int) -> None:
    """Write an image with one layer, which has one file of bytes that no store has."""
    file, layer = archive.with_suffix(".file"), archive.with_suffix(".layer")
    _write(file, size)
    with tarfile.open(layer, "w") as written:
        written.add(file, "data", recursive=False)
    write_archive([layer], archive)
    file.unlink()
    layer.unlink()


def _import(daemon: Daemon, name: str, archive: Path, times: Times) -> None:
    """Import and unpack an image, and remove it and its garbage."""
    version = subprocess.run([daemon.program("ctr"), "--version"], capture_output=True, text=True, check=True).stdout
    # Since version 2 the daemon imports, with its own settings; the client does it as before.
    local = () if " 1." in version else ("--local",)
    with _timed(times, f"import and unpack {archive.stat().st_size // _MIB} MiB", name):
        _ctr(daemon, "images", "import", *local, "--snapshotter", "native", str(archive))
    _ctr(daemon, "images", "rm", "--sync", "docker.io/library/bench:latest")


async def _small(address: str, name: str, times: Times) -> None:
    blobs = [secrets.token_bytes(_BLOB_BYTES) for _ in range(_BLOBS)]
    async with RemoteStore(address) as store, store.lease() as leased:
        with _timed(times, f"write {_BLOBS} x 4 KiB", name):
            found = [one.result.digest async for one in leased.put_many(blobs)]
        with _timed(times, f"read {_BLOBS} x 4 KiB", name):
            for digest in found:
                await store.get(digest)


async def _info(address: str, name: str, times: Times) -> None:
    async with RemoteStore(address) as store:
        # A containerd collects soon after a deletion only, and there is none meanwhile.
        digest = (await store.put(secrets.token_bytes(_BLOB_BYTES))).digest

        async def ask(count: int) -> None:
            for _ in range(count):
                await store.info(digest)

        await ask(_AT_ONCE)
        with _timed(times, f"{_INFOS} x info, alone", name):
            await ask(_INFOS)
        with _timed(times, f"{_INFOS} x info, {_AT_ONCE} at once", name):
            async with anyio.create_task_group() as tasks:
                for _ in range(_AT_ONCE):
                    tasks.start_soon(ask, _INFOS // _AT_ONCE)


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
def _proxied(place: Path, programs: Path | None) -> Iterator[tuple[Daemon, str]]:
    """Run a containerd whose content is in our service, with the block that the service prints for it; yield the service's address, too."""
    place.mkdir()
    service = Service(place)
    try:
        block, disabled = service.plugin()
        service.start()
        daemon = Daemon(place, block, disabled=disabled, programs=programs)
        try:
            daemon.start()
            yield daemon, service.address
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
