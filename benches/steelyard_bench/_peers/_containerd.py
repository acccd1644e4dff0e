"""containerd: a daemon of our own, on the disk under test, and its client `ctr`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

from anyio import CancelScope

from steelyard_bench._inside import run
from steelyard_bench._model import Work
from steelyard_bench._peers._layout import write_archive
from steelyard_bench._peers._shape import Peer, each, needs_program, on_thread
from steelyard_bench._server_process import ServerProcess, running

__all__ = ("Daemon", "available", "ctr", "ctr_import", "ctr_ingest", "daemon", "daemon_of_round")

_NOTE = "fsync of each blob, not of its folder; the daemon's processor time is not counted"

# What stores no content: it would only take time to start, and look at things that are not ours.
_DISABLED = (
    "io.containerd.grpc.v1.cri",
    "io.containerd.internal.v1.opt",
    "io.containerd.internal.v1.tracing",
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.tracing.processor.v1.otlp",
)

# `ctr content ingest` does not protect what it stores, and a round may look for it.
_COLLECTOR = """[plugins."io.containerd.gc.v1.scheduler"]
startup_delay = "24h"
deletion_threshold = 0
mutation_threshold = 0
"""


def ctr_ingest(threads: int) -> Peer:
    """Give each file to `ctr content ingest`."""

    @asynccontextmanager
    async def start(files: Sequence[Path], place: Path) -> AsyncIterator[Work]:
        async with daemon_of_round(place) as address:
            yield on_thread(partial(each, threads, partial(_ingest, address), files, place))

    return Peer(
        name="ctr content ingest",
        start=start,
        durable=True,
        note=f"a process for each file, {threads} at once; {_NOTE}",
        available=available,
    )


def ctr_import() -> Peer:
    """Give all files to `ctr images import`, as the layers of one image: one process, one connection."""

    @asynccontextmanager
    async def start(files: Sequence[Path], place: Path) -> AsyncIterator[Work]:
        archive = place / "image.tar"
        await run(write_archive, files, archive)
        async with daemon_of_round(place) as address:
            yield on_thread(partial(ctr, address, "images", "import", "--no-unpack", str(archive)))

    return Peer(
        name="ctr images import",
        start=start,
        durable=True,
        note=f"all files as layers of one image, not unpacked; {_NOTE}",
        most=1000,
        most_rounds=2,
        available=available,
    )


class Daemon(ServerProcess):
    """A containerd with its data in a folder; see `ServerProcess`.

    Args:
        place: the folder.
        more: what is put at the end of the configuration.
        disabled: plugins that do not run, beside those that store no content.
        programs: the folder of `containerd` and `ctr`, if they are not those on the path.
    """

    def __init__(
        self, place: Path, more: str = "", *, disabled: Sequence[str] = (), programs: Path | None = None
    ) -> None:
        super().__init__("containerd", place / "containerd.log", "s")
        self._programs = programs
        (self._folder / "config.toml").write_text(
            f"version = 2\nroot = {json.dumps(str(place / 'containerd'))}\n"
            f"state = {json.dumps(str(self._folder / 'state'))}\n"
            f"disabled_plugins = {json.dumps([*_DISABLED, *disabled])}\n"
            f"[grpc]\naddress = {json.dumps(self.address)}\n{_COLLECTOR}{more}",
            encoding="utf-8",
        )

    def start(self) -> None:
        self._start([self.program("containerd"), "--config", str(self._folder / "config.toml")])

    def program(self, name: str) -> str:
        """Return the word that starts one of its programs."""
        return name if self._programs is None else str(self._programs / name)

    def _answers(self) -> bool:
        # It answers when everything behind the socket is there.
        version = [self.program("ctr"), "--address", self.address, "--timeout", "1s", "version"]
        return subprocess.run(version, capture_output=True, check=False).returncode == 0


def daemon(place: Path, more: str = "") -> AbstractContextManager[str]:
    """Run a `Daemon` and give the address of its socket; it has ended afterwards."""
    return running(Daemon(place, more))


@asynccontextmanager
async def daemon_of_round(place: Path) -> AsyncIterator[str]:
    """Do the same on threads, also where a round is cancelled."""
    running = daemon(place)
    address = await run(running.__enter__)
    try:
        yield address
    finally:
        with CancelScope(shield=True):
            await run(running.__exit__, None, None, None)


def _ingest(address: str, file: Path, _: Path) -> None:
    with file.open("rb") as source:
        ctr(address, "content", "ingest", file.name, source=source.fileno())


def ctr(address: str, *arguments: str, source: int = subprocess.DEVNULL) -> None:
    """Run `ctr`, and raise what it says if it fails."""
    command = ["ctr", "--address", address, *arguments]
    done = subprocess.run(command, stdin=source, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ctr {arguments[0]} {arguments[1]}: {done.stderr.decode(errors='replace').strip()}")


def available() -> str | None:
    """Return why containerd cannot take part, or None."""
    return needs_program("containerd", root=True)() or needs_program("ctr", root=True)()
