"""Rows 15 to 17: images, out of an archive into a store and back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from steelyard.images import export_images, import_images
from steelyard.local import LocalStore
from steelyard_bench._inside import run
from steelyard_bench._model import Contestant, Goal, Material, Payload, Row, Scale, Start, Work
from steelyard_bench._peers import exporting, importing
from steelyard_bench._peers._images import IMAGE
from steelyard_bench._peers._layout import write_archive, write_layout
from steelyard_bench._sources import in_store, write_random
from steelyard_bench._text import size

__all__ = ("export", "large_layers", "small_layers")

KIB = 1 << 10
MIB = 1 << 20
PIECE = 1 << 20
VERIFIED = "steelyard, verified"
UNVERIFIED = "steelyard, unverified"


@dataclass(frozen=True)
class Images:
    """One image in several forms, all with the same layers.

    Attributes:
        archive: an OCI archive.
        layout: an OCI layout.
        store: a store that has it as `IMAGE`; only where it is asked for.
    """

    archive: Path
    layout: Path
    store: LocalStore | None = None


def large_layers(scale: Scale) -> Row[Images]:
    """Row 15: import 1 GiB in 4 layers, durable, at most 1.0 H."""
    payload = Payload(count=4, size=scale(256 * MIB))
    return Row(
        number=15,
        title=f"import an archive of {payload.count} layers of {size(payload.size)}",
        payload=payload,
        material=_images(payload),
        contestants=(*_ours(), *importing(payload, _paths)),
        goals=(
            Goal(contestant="steelyard", at_most=1.0),
            Goal(contestant="steelyard", at_most=1 / 10, to="ctr images import"),
            Goal(contestant="steelyard", at_most=1 / 5, to="skopeo copy"),
        ),
        space=5 * payload.total,
    )


def small_layers(scale: Scale) -> Row[Images]:
    """Row 16: import 1,000 layers of 4 KiB, durable, at most twice what ``tar -x`` and a sync take."""
    payload = Payload(count=scale(1000), size=4 * KIB)
    return Row(
        number=16,
        title=f"import an archive of {payload.count:,} layers of {size(payload.size)}",
        payload=payload,
        material=_images(payload),
        contestants=(*_ours(), *importing(payload, _paths)),
        goals=(
            Goal(
                contestant="steelyard",
                at_most=2.0,
                to="tar -x, then sync",
                reason="most of it is Python's work for each entry: its digest, its descriptor, its place in the plan",
            ),
            Goal(contestant="steelyard", at_most=1 / 35, to="ctr images import"),
        ),
        small_files=True,
    )


def export(scale: Scale) -> Row[Images]:
    """Row 17: export 1 GiB in 4 layers to a file, durable, at most 0.6 H, and 0.9 H with every blob verified."""
    payload = Payload(count=4, size=scale(256 * MIB))
    return Row(
        number=17,
        title=f"export an image of {payload.count} layers of {size(payload.size)} to an archive",
        payload=payload,
        material=_images(payload, stored=True),
        contestants=(
            Contestant(
                name=VERIFIED, kind="steelyard", start=_exporting(verify=True), durable=True, note="as by default"
            ),
            Contestant(
                name=UNVERIFIED,
                kind="steelyard",
                start=_exporting(verify=False),
                durable=True,
                algorithm="",
            ),
            *exporting(payload, _paths),
        ),
        goals=(
            Goal(
                contestant=VERIFIED,
                at_most=0.9,
                reason="hashing and copying share two processors, and each blob is hashed by one stream. "
                "Next: blobs side by side in lanes, as `verify_all` hashes them",
            ),
            Goal(
                contestant=UNVERIFIED,
                at_most=0.6,
                reason="a copy within the page cache and the disk's own speed bound it, where files cannot share "
                "their blocks",
            ),
        ),
        space=6 * payload.total,
    )


def _ours() -> tuple[Contestant[Images], ...]:
    def entry(
        name: str, work: Callable[[LocalStore, Images], Awaitable[None]], note: str = "", *, durable: bool = True
    ) -> Contestant[Images]:
        return Contestant(
            name=name, kind="steelyard", start=in_store(work, durable=durable), durable=durable, note=note
        )

    return (
        entry("steelyard", _import),
        entry("steelyard, one pass", _import_stream, f"a stream, in pieces of {size(PIECE)}"),
        entry("steelyard, unsynced", _import, durable=False),
    )


async def _import(store: LocalStore, images: Images) -> None:
    await import_images(store, images.archive)


async def _import_stream(store: LocalStore, images: Images) -> None:
    with await run(images.archive.open, "rb", 0) as file:
        await import_images(store, _pieces(partial(file.read, PIECE)))


async def _pieces(read: Callable[[], bytes]) -> AsyncIterator[bytes]:
    while piece := await run(read):
        yield piece


def _exporting(*, verify: bool) -> Start[Images]:
    @asynccontextmanager
    async def start(images: Images, place: Path) -> AsyncIterator[Work]:
        if images.store is None:
            raise RuntimeError("no store in the material of this row")
        yield partial(_export, images.store, place / "image.tar", verify=verify)

    return start


async def _export(store: LocalStore, target: Path, *, verify: bool) -> None:
    await export_images(store, target, [IMAGE], verify=verify)


def _images(payload: Payload, *, stored: bool = False) -> Material[Images]:
    """Return what makes an image of random bytes, and stores it if it is to be in a store."""

    @asynccontextmanager
    async def material(folder: Path) -> AsyncIterator[Images]:
        archive, layout = folder / "archive.tar", folder / "layout"
        await run(_write, folder, payload, archive, layout)
        if not stored:
            yield Images(archive, layout)
            return
        async with LocalStore(folder / "store") as store:
            await import_images(store, archive)
            yield Images(archive, layout, store)

    return material


def _paths(images: Images) -> list[Path]:
    return [images.archive, images.layout]


def _write(folder: Path, payload: Payload, archive: Path, layout: Path) -> None:
    paths = [folder / f"source-{number:05}" for number in range(payload.count)]
    for path in paths:
        write_random(path, payload.size)
    write_archive(paths, archive)
    write_layout(paths, layout)
