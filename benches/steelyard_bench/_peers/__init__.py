"""Other programs and packages that do the same work, and the goals that are about them.

Every one of them does its work as its own documentation shows it, on the files that ours works on, and says what it leaves
out. What is not installed does not take part, and says why. Durable and other work are never in one comparison but this:
ours, durable, is to be faster than every package for Python that is not.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from steelyard_bench._model import Contestant, Goal, Payload, Work
from steelyard_bench._peers import _packages as packages
from steelyard_bench._peers._containerd import ctr_import, ctr_ingest
from steelyard_bench._peers._images import exporting_images, importing_images
from steelyard_bench._peers._programs import b3sum, copy, sha256sum
from steelyard_bench._peers._shape import contestant, needs_package, on_thread
from steelyard_bench._peers._skopeo import skopeo_copy

__all__ = ("exporting", "importing", "peer_goals", "reading", "same", "storing", "verifying")

MaterialT = TypeVar("MaterialT")

_MANY = 256
"""From so many files on, a process for each would be what is measured."""

_THREADS_FROM = 1 << 20
"""Below this, threads of Python only wait for each other."""


def same(files: list[Path]) -> list[Path]:
    """Find the files in a material that is files and nothing else."""
    return files


def storing(
    payload: Payload,
    paths: Callable[[MaterialT], Sequence[Path]],
    *,
    section: str = "",
    synced_threads: int | None = None,
) -> tuple[Contestant[MaterialT], ...]:
    """Return the peers that store files.

    Args:
        payload: how many files, of what size.
        paths: finds them in the row's material.
        section: of the row.
        synced_threads: how many threads the plain way with its syncs has, where its calls are independent.
    """
    threads = 1 if payload.count == 1 or payload.size < _THREADS_FROM else 2 * (os.cpu_count() or 1)
    peers = (
        packages.plain_put(synced_threads or threads, durable=True),
        ctr_import() if payload.count >= _MANY else ctr_ingest(threads),
        skopeo_copy(),
        copy(durable=True),
        packages.plain_put(threads, durable=False),
        packages.aiofiles_put(),
        packages.obstore_put(threads),
        packages.dvc_put(),
        packages.hashfs_put(threads),
        copy(durable=False),
    )
    return tuple(contestant(peer, payload, paths, section=section) for peer in peers)


def verifying(
    payload: Payload, paths: Callable[[MaterialT], Sequence[Path]], *, section: str = ""
) -> tuple[Contestant[MaterialT], ...]:
    """Return the peers that read files and hash them; see `storing`."""
    threads = 1 if payload.count == 1 else os.cpu_count() or 1
    peers = (packages.file_digest(threads), sha256sum(), b3sum())
    return tuple(contestant(peer, payload, paths, section=section) for peer in peers)


def importing(payload: Payload, paths: Callable[[MaterialT], Sequence[Path]]) -> tuple[Contestant[MaterialT], ...]:
    """Return the peers that take an image's archive in; `paths` finds the archive, and maybe more, in the material."""
    return tuple(contestant(peer, payload, paths) for peer in importing_images())


def exporting(payload: Payload, paths: Callable[[MaterialT], Sequence[Path]]) -> tuple[Contestant[MaterialT], ...]:
    """Return the peers that make an image's archive; `paths` finds an archive and a layout of it in the material."""
    return tuple(contestant(peer, payload, paths) for peer in exporting_images())


def reading(
    paths: Callable[[MaterialT], Sequence[Path]], memory: Callable[[MaterialT], bytearray], *, section: str = ""
) -> tuple[Contestant[MaterialT], ...]:
    """Return the peers that read one file into memory.

    Args:
        paths: finds it in the row's material.
        memory: finds the memory there; it is as long as the file.
        section: of the row.
    """

    def reads(
        name: str, read: Callable[[Path, bytearray], None], note: str, available: Callable[[], str | None] | None = None
    ) -> Contestant[MaterialT]:
        @asynccontextmanager
        async def start(material: MaterialT, place: Path) -> AsyncIterator[Work]:
            del place
            yield on_thread(partial(read, paths(material)[0], memory(material)))

        return Contestant(
            name=name,
            kind="peer",
            start=start,
            durable=None,
            note=note,
            section=section,
            algorithm="",
            missing=available,
        )

    return (
        reads("plain Python, readinto", packages.plain_read, "no digest"),
        reads(
            "aiofiles, readinto",
            packages.aiofiles_read,
            "a trip to a thread for each MiB; no digest",
            needs_package("aiofiles", "aiofiles"),
        ),
    )


_UNSYNCED = (
    "what is not durable ends before the disk has begun: ours waits for the disk. Ours, unsynced, and `cp`, then sync, are the "
    "ones to compare with"
)


def peer_goals(ours: str, peers: Sequence[Contestant[Any]], *, times_ctr: float | None = None) -> tuple[Goal, ...]:
    """Return what ours, durable, is to reach beside its peers.

    Args:
        ours: the name of our contestant.
        peers: those of the row.
        times_ctr: how many times as fast as containerd it is to be.
    """
    beaten = [peer.name for peer in peers if peer.durable is False and not peer.name.startswith("cp")]
    goals = [Goal(contestant=ours, at_most=1.0, to=name, reason=_UNSYNCED) for name in beaten]
    if times_ctr is not None:
        goals += [
            Goal(contestant=ours, at_most=1 / times_ctr, to=peer.name) for peer in peers if peer.name.startswith("ctr ")
        ]
    return tuple(goals)
