"""`import`: import images from an archive, standard input, an image layout or another store."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Annotated

from steelyard._places import is_store
from steelyard._runtime.calls import run
from steelyard.cli import stdio
from steelyard.cli.addresses import open_root
from steelyard.cli.context import Context
from steelyard.cli.explain import NoSource, UsageError
from steelyard.cli.image_names import find_image, platforms_of
from steelyard.cli.meter import Meter
from steelyard.cli.names import amount, counted, labels_of
from steelyard.cli.parameters import Parameter
from steelyard.cli.printing import path_shown, quoted, shown
from steelyard.cli.records import ImportedBlobRecord, ImportedImageRecord
from steelyard.images import Imported, Naming, import_images
from steelyard.images.importing import ImagesOf, ImportSource
from steelyard.images.importing._first_look import look_first
from steelyard.images.layout._names import LAYOUT_FILE
from steelyard.model import Progress

__all__ = ("import_",)

_LISTED = 10
"""The most missing blobs of an image that are printed as text; the JSON record has all of them."""


async def import_(
    source: Annotated[str, Parameter(name="SRC")],
    name: Annotated[str | None, Parameter(name="NAME")] = None,
    /,
    *,
    platform: Annotated[list[str] | None, Parameter(name="--platform")] = None,
    all_platforms: bool = False,
    base_name: str | None = None,
    prefix: str | None = None,
    digests: bool = False,
    skip_digest_for_named: bool = False,
    index_name: str | None = None,
    only_referenced: bool = False,
    skip_missing: bool = False,
    overwrite: bool = False,
    label: Annotated[list[str] | None, Parameter(name="--label")] = None,
    context: Annotated[Context, Parameter(parse=False)],
) -> None:
    """Import images from an archive, standard input, an image layout or another store.

    All names are set after every blob that they need is stored, or none is set. Blobs that are already stored are not
    written again, so after an interruption the same command stores the rest.

    Args:
        source: an archive of OCI or of docker save, plain or compressed with gzip, zstd or xz; - for standard input; the directory of an
            image layout; the root or the address of a store.
        name: the new name of the image; @DIGEST selects one of several images. For a store, the name of an image there.
        platform: require only the blobs for this platform; may be repeated.
        all_platforms: require the blobs for every platform; the default without --platform.
        base_name: the repository for images that have only a tag in the source; skip names of other repositories.
        prefix: the same, but keep names of other repositories.
        digests: also name each image REPOSITORY@DIGEST.
        skip_digest_for_named: with --digests, only images without another name.
        index_name: a name for the index of the source.
        only_referenced: skip blobs that the images do not need.
        skip_missing: set names even if blobs are missing. Foreign layers may always be missing.
        overwrite: let names of the source move existing names to another digest; NAME always may.
        label: KEY=VALUE, set on the names; may be repeated.
        context: the run.
    """
    if source == "-" and stdio.is_terminal(stdio.STDIN):
        raise UsageError("standard input is a terminal: expected an archive", next_step="steelyard import --help")
    platforms = platforms_of(platform or (), every=all_platforms)
    naming = Naming(
        base_name=base_name,
        prefix=prefix,
        digests=digests,
        skip_digest_for_named=skip_digest_for_named,
        index_name=index_name,
    )
    meter = _Meter()
    context.display.begin(meter)
    context.on_interrupt(f"no name was set; complete blobs are kept; resume with: {context.same_command}")
    async with _opened(context, source, name) as place, context.open_store(create=True) as store:
        found = await import_images(
            store,
            place,
            name=None if isinstance(place, ImagesOf) else name,
            naming=naming,
            platforms=platforms,
            only_referenced=only_referenced,
            skip_missing=skip_missing,
            overwrite=overwrite,
            labels=labels_of(label) if label else None,
            on_progress=context.telling(meter.observe),
        )
    await _report(context, found)


class _Meter(Meter):
    """Counts blobs, and the bytes of the whole source."""

    def __init__(self) -> None:
        super().__init__(items="blob")

    def observe(self, report: Progress) -> None:
        """Take in a report of the import."""
        if report.phase == "commit":
            self.items_done += 1
        elif report.phase == "read":
            self.total = report.total
            self.take(report)


@asynccontextmanager
async def _opened(context: Context, source: str, name: str | None) -> AsyncIterator[ImportSource]:
    """Open and yield the source that the command line names. No store is made if the source is not an archive."""
    look = look_first if await context.makes_store() else _as_it_is
    if source == "-":
        async with aclosing(stdio.chunks()) as pieces:
            yield await look(pieces)
    elif await run(is_store, source):
        async with open_root(source, read_only=True) as store:
            images = [await find_image(store, name)] if name else await store.images.list()
            yield ImagesOf(store, tuple(image.name for image in images))
    else:
        await run(_check_source, Path(source))
        yield await look(Path(source))


async def _as_it_is(source: Path | AsyncIterable[bytes]) -> Path | AsyncIterable[bytes]:
    return source


def _check_source(path: Path) -> None:
    """Refuse a path that cannot be a source, before a store is made.

    Raises:
        FileNotFoundError: the path does not exist.
        NoSource: the path is a directory, but not an image layout.
    """
    is_directory = stat.S_ISDIR(path.stat().st_mode)
    if is_directory and not os.path.lexists(path / LAYOUT_FILE):
        message = f"{path_shown(path)}: neither an image layout, which has {LAYOUT_FILE}, nor a store"
        raise NoSource(str(path), message, next_step=f"ls -la {quoted(str(path))}")


async def _report(context: Context, found: Imported) -> None:
    counts = {status: sum(blob.status == status for blob in found.blobs) for status in ("new", "present", "skipped")}
    stray = sum(not blob.referenced and blob.status != "skipped" for blob in found.blobs)
    context.begin("imported", "images", "blobs", "bytes", *counts, "unreferenced")
    context.counts.update(
        images=len(found.images), blobs=len(found.blobs), bytes=found.new_bytes, **counts, unreferenced=stray
    )
    for image in found.images:
        digest = str(image.target.digest)
        record = ImportedImageRecord(
            names=list(image.names),
            digest=digest,
            size=image.target.size,
            media_type=image.target.media_type,
            absent=list(image.absent),
        )
        lines = [digest if context.quiet else f"{digest}  {shown(each)}" for each in image.names or ("-",)]
        await context.out.emit(record, "\n".join(dict.fromkeys(lines)))
        if not image.names:
            context.conclude(f"{digest} has no name: add a name after SRC, or a repository with --prefix")
        if image.absent:
            more = len(image.absent) - _LISTED
            listed = [*image.absent[:_LISTED], *([f"and {more} more"] if more > 0 else [])]
            context.conclude(f"{digest}: not stored: {', '.join(listed)}")
    for blob in found.blobs:
        record_of_blob = ImportedBlobRecord(
            digest=str(blob.digest),
            size=blob.size,
            status=blob.status,
            referenced=blob.referenced,
            seconds=blob.seconds,
        )
        await context.out.emit(record_of_blob, "")
    what = f"imported {counted(len(found.images), 'image')}, {counted(len(found.blobs), 'blob')}"
    totals = {**counts, "that no image needs": stray}
    context.conclude(
        f"{what}: "
        + ", ".join(f"{number} {word}" for word, number in totals.items() if number or word == "new")
        + f"; {amount(found.new_bytes)} stored"
    )
