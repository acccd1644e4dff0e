"""Programs that take images in and give them out, and what the system has for the same archive."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from steelyard_bench._inside import run
from steelyard_bench._model import Work
from steelyard_bench._peers._containerd import available, ctr, daemon_of_round
from steelyard_bench._peers._shape import Peer, PeerStart, calling, needs_program, on_thread
from steelyard_bench._peers._skopeo import skopeo

__all__ = ("IMAGE", "exporting_images", "importing_images")

IMAGE = "docker.io/library/bench:latest"
"""The name of the image in the archives of `write_archive`, in full."""

_FOR_CTR = "bench:latest"
"""The same to ctr, which takes names as they are."""

_FSYNC = "fsync of each blob, not of its folder"


def importing_images() -> tuple[Peer, ...]:
    """Return the peers that take an archive apart; each works on one file, the archive."""
    return (
        Peer(
            name="ctr images import",
            start=_with_daemon(lambda address, archive, _: ctr(address, "images", "import", *_WHOLE, str(archive))),
            durable=True,
            note=f"not unpacked; {_FSYNC}; the daemon's processor time is not counted",
            most_rounds=2,
            available=available,
        ),
        Peer(
            name="skopeo copy",
            start=calling(lambda files, place: _skopeo_import(files[0], place)),
            durable=True,
            note=f"oci-archive to oci, by way of a temporary copy; {_FSYNC}",
            most_rounds=2,
            available=needs_program("skopeo"),
        ),
        _system("tar -x, then sync", "tar", ("--extract", "--file"), "--directory", durable=True),
        _system("cp, then sync", "cp", ("--",), "--target-directory", durable=True),
        _system("cp", "cp", ("--",), "--target-directory", durable=False),
    )


def exporting_images() -> tuple[Peer, ...]:
    """Return the peers that make an archive; the files of each are an archive and a layout of the same image."""
    return (
        Peer(
            name="ctr images export",
            start=_ctr_export,
            durable=False,
            note="no sync; the daemon's processor time is not counted",
            most_rounds=2,
            available=available,
        ),
        Peer(
            name="skopeo copy",
            start=calling(lambda files, place: _skopeo_export(files[1], place)),
            durable=False,
            note="oci to oci-archive, by way of a temporary copy; no sync of the archive",
            most_rounds=2,
            available=needs_program("skopeo"),
        ),
        _system("cp, then sync", "cp", ("--",), "--target-directory", durable=True),
        _system("cp", "cp", ("--",), "--target-directory", durable=False),
    )


_WHOLE = ("--no-unpack", "--all-platforms")


def _system(name: str, program: str, options: tuple[str, ...], target: str, *, durable: bool) -> Peer:
    """Give the archive to a program of the system's."""

    def work(files: Sequence[Path], place: Path) -> None:
        subprocess.run([program, f"{target}={place}", *options, str(files[0])], check=True)
        if durable:
            subprocess.run(["sync", "--file-system", str(place)], check=True)

    return Peer(
        name=name,
        start=calling(work),
        durable=durable,
        note="no digests" + (": syncs the whole file system" if durable else ", no sync"),
        algorithm="",
        available=needs_program(program),
    )


def _with_daemon(work: Callable[[str, Path, Path], object]) -> PeerStart:
    @asynccontextmanager
    async def start(files: Sequence[Path], place: Path) -> AsyncIterator[Work]:
        async with daemon_of_round(place) as address:
            yield on_thread(partial(work, address, files[0], place))

    return start


@asynccontextmanager
async def _ctr_export(files: Sequence[Path], place: Path) -> AsyncIterator[Work]:
    async with daemon_of_round(place) as address:
        await run(ctr, address, "images", "import", *_WHOLE, str(files[0]))
        yield on_thread(
            partial(ctr, address, "images", "export", "--all-platforms", str(place / "image.tar"), _FOR_CTR)
        )


def _skopeo_import(archive: Path, place: Path) -> None:
    skopeo(place, f"oci-archive:{archive}", f"oci:{place / 'to'}:bench")


def _skopeo_export(layout: Path, place: Path) -> None:
    skopeo(place, f"oci:{layout}:bench", f"oci-archive:{place / 'image.tar'}:bench")
