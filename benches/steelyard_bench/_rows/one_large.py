"""Rows 1 and 2: one large file, by one algorithm, and by three at once."""

from __future__ import annotations

import mmap
from functools import partial
from pathlib import Path

from steelyard.digest import Algorithm
from steelyard.hashing import Hasher
from steelyard.local import LocalStore
from steelyard_bench import _yardsticks
from steelyard_bench._model import Contestant, Goal, Payload, Row, Scale
from steelyard_bench._peers import peer_goals, same, storing
from steelyard_bench._sources import blocking, files, in_store
from steelyard_bench._text import size

__all__ = ("sha256", "three")

GIB = 1 << 30
THREE = ("sha256", "sha512", "blake3")


def sha256(scale: Scale) -> Row[list[Path]]:
    """Row 1: SHA-256, durable, at most 1.10 H."""
    payload = Payload(size=scale(GIB))
    peers = storing(payload, same)
    return Row(
        number=1,
        title=f"put one file of {size(payload.total)}, sha256",
        payload=payload,
        material=files(payload),
        contestants=(*_storing("steelyard", "hash beside read and write", "sha256"), *peers),
        goals=(Goal(contestant="steelyard", at_most=1.10), *peer_goals("steelyard", peers, times_ctr=8)),
    )


def three(scale: Scale) -> Row[list[Path]]:
    """Row 2: BLAKE3, durable, at most 0.50 H; digests by three algorithms in one pass, at most 1.9 H."""
    payload = Payload(size=scale(GIB))
    return Row(
        number=2,
        title=f"one file of {size(payload.total)}",
        payload=payload,
        material=files(payload),
        contestants=(
            *_storing("steelyard, blake3", "hash beside read and write", "blake3", section="put, blake3"),
            Contestant(
                name="steelyard, three",
                kind="steelyard",
                start=blocking(_digest_by_three),
                durable=None,
                section=f"digested by {' + '.join(THREE)} in one pass",
                algorithm="+".join(THREE),
            ),
        ),
        goals=(
            Goal(
                contestant="steelyard, blake3",
                at_most=0.50,
                reason="it is the disk: the bare pipeline of the yardsticks takes as long, and unsynced it is 0.40 H. "
                "Next: writes that leave nothing in the page cache (`RWF_DONTCACHE`), as a setting",
            ),
            Goal(
                contestant="steelyard, three",
                at_most=1.9,
                reason="our SHA-512 takes 1.2 to 1.35 times as long as OpenSSL's, and three hashes share two processors. "
                "Next: SHA-512 rounds scheduled by hand",
            ),
        ),
    )


def _storing(ours: str, yardstick: str, algorithm: str, *, section: str = "") -> tuple[Contestant[list[Path]], ...]:
    """Return ours and the yardstick, durable and not."""
    contestants: list[Contestant[list[Path]]] = []
    for durable in (True, False):
        suffix = "" if durable else ", unsynced"
        put = in_store(partial(_put, algorithm=Algorithm(algorithm)), durable=durable)
        plain = blocking(partial(_ingest, algorithm=algorithm, durable=durable))
        contestants += [
            Contestant(
                name=ours + suffix,
                kind="steelyard",
                start=put,
                durable=durable,
                section=section,
                algorithm=algorithm,
            ),
            Contestant(
                name=yardstick + suffix,
                kind="yardstick",
                start=plain,
                durable=durable,
                note="early writeback, fdatasync, rename, fsync" if durable else "",
                section=section,
                algorithm=algorithm,
            ),
        ]
    return tuple(contestants)


async def _put(store: LocalStore, paths: list[Path], *, algorithm: Algorithm) -> None:
    await store.put(paths[0], algorithm=algorithm)


def _ingest(paths: list[Path], place: Path, *, algorithm: str, durable: bool) -> None:
    _yardsticks.ingest(paths[0], place, algorithms=[algorithm], durable=durable)


def _digest_by_three(paths: list[Path], place: Path) -> None:
    del place
    hasher = Hasher(*THREE)
    with paths[0].open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
        hasher.update(data)
    hasher.digests()
