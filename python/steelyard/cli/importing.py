"""`import`: images come from an archive, standard input, an image layout or another store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from steelyard._runtime.calls import run
from steelyard.cli import stdio
from steelyard.cli.addresses import is_store, open_root
from steelyard.cli.context import Context
from steelyard.cli.explain import UsageError
from steelyard.cli.image_names import find_image, platforms_of
from steelyard.cli.names import amount, counted, labels_of
from steelyard.cli.printing import shown
from steelyard.cli.progress import Meter
from steelyard.cli.records import ImportedBlobRecord, ImportedImageRecord
from steelyard.images import Imported, Naming, import_images
from steelyard.images.importing import ImagesOf, ImportSource
from steelyard.model import Progress

__all__ = ("import_",)

_LISTED = 10
"""Missing blobs of an image that a person is told; the record has them all."""


async def import_(
    source: Annotated[str, Parameter(name="SRC")],
    name: Annotated[str | None, Parameter(name="NAME")] = None,
    /,
    *,
    platform: Annotated[list[str] | None, Parameter(name="--platform", negative="")] = None,
    all_platforms: bool = False,
    base_name: str | None = None,
    prefix: str | None = None,
    digests: bool = False,
    skip_digest_for_named: bool = False,
    index_name: str | None = None,
    only_referenced: bool = False,
    skip_missing: bool = False,
    overwrite: bool = False,
    label: Annotated[list[str] | None, Parameter(name="--label", negative="")] = None,
    context: Annotated[Context, Parameter(parse=False)],
) -> None:
    """Bring images from an archive, standard input, an image layout or another store.

    Names are set when everything that they need is stored, all of them or none. Blobs that are there already are not
    written again; so, after an interruption, the same command does what is left.

    Args:
        source: an archive of OCI or of docker save, plain or in gzip, zstd or xz; - for standard input; the directory of an
            image layout; the root or the address of a store.
        name: what to name the one image that is meant; with @DIGEST it says which. Of a store, the name of an image there.
        platform: need only what is for this platform; may be repeated.
        all_platforms: need what is for every platform, as is done without --platform.
        base_name: a repository to name in what the source only tags; leave out names of other repositories.
        prefix: likewise, but leave nothing out.
        digests: name each image REPOSITORY@DIGEST, too.
        skip_digest_for_named: with --digests, only those that have no other name.
        index_name: a name for the index of the source.
        only_referenced: leave out blobs that the images do not need.
        skip_missing: set names also where something else is missing than a layer that its maker does not want passed on.
        overwrite: let names of the source move names that hold something else; NAME always does.
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
    context.on_interrupt(f"nothing was named; what is whole was kept, so go on with: {context.same_command}")
    async with _opened(source, name) as place, context.open_store(create=True) as store:
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
            on_progress=meter.observe,
        )
    await _tell(context, found)


class _Meter(Meter):
    """Counts blobs; bytes are those of the source as a whole."""

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
async def _opened(source: str, name: str | None) -> AsyncIterator[ImportSource]:
    """Give what the word on the command line means."""
    if source == "-":
        async with aclosing(stdio.chunks()) as pieces:
            yield pieces
    elif await run(is_store, source):
        async with open_root(source, read_only=True) as store:
            images = [await find_image(store, name)] if name else await store.images.list()
            yield ImagesOf(store, tuple(image.name for image in images))
    else:
        yield Path(source)


async def _tell(context: Context, found: Imported) -> None:
    counts = {status: sum(blob.status == status for blob in found.blobs) for status in ("new", "present", "skipped")}
    stray = sum(not blob.referenced and blob.status != "skipped" for blob in found.blobs)
    context.begin("imported", "images", "blobs", "bytes", *counts, "unreferenced")
    context.counts.update(
        images=len(found.images), blobs=len(found.blobs), bytes=found.bytes_new, **counts, unreferenced=stray
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
            context.conclude(f"{digest} has no name yet: give one after SRC, or a repository with --prefix")
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
    told = {**counts, "that no image needs": stray}
    context.conclude(
        f"{what}: "
        + ", ".join(f"{number} {word}" for word, number in told.items() if number or word == "new")
        + f"; {amount(found.bytes_new)} stored"
    )
