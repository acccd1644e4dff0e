"""`export`: export images to an archive, standard output, an image layout or another store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Literal

import anyio
from anyio.abc import ByteSendStream

from steelyard._places import is_address
from steelyard._runtime.calls import run
from steelyard.cli import stdio
from steelyard.cli.addresses import open_root
from steelyard.cli.complete import complete_digest, complete_image
from steelyard.cli.context import Context
from steelyard.cli.explain import UsageError
from steelyard.cli.image_names import find_image, platforms_of
from steelyard.cli.meter import Meter
from steelyard.cli.names import amount, counted, resolve_one
from steelyard.cli.parameters import Parameter
from steelyard.cli.printing import quoted, shown
from steelyard.cli.records import ExportedBlobRecord, ExportedImageRecord
from steelyard.images import DirectoryLayout, Exported, export_images
from steelyard.images.exporting import ExportTarget
from steelyard.model import Progress


async def export(
    target: Annotated[str, Parameter(name="DEST")],
    /,
    *names: Annotated[str, Parameter(name="NAME", completer=complete_image)],
    manifest: Annotated[list[str] | None, Parameter(name="--manifest", completer=complete_digest)] = None,
    manifest_type: str | None = None,
    platform: Annotated[list[str] | None, Parameter(name="--platform")] = None,
    all_platforms: bool = False,
    oci_ref_name: str | None = None,
    oci: bool = False,
    skip_manifest_json: bool = False,
    skip_non_distributable: bool = False,
    skip_missing: bool = False,
    compress: Literal["gzip", "zstd"] | None = None,
    no_verify: bool = False,
    overwrite: bool = False,
    context: Annotated[Context, Parameter(parse=False)],
) -> None:
    """Export images to an archive, standard output, an image layout or another store.

    If a blob is missing, nothing is written. The same images always give the same bytes. A file gets its name only when
    it is complete; on standard output, exit code 0 proves that the archive is complete.

    Args:
        target: a file; - for standard output; a directory, or a name that ends in /, for an image layout; the root or
            the address of a store.
        names: image names.
        manifest: the digest of an index or manifest to export without a name; may be repeated.
        manifest_type: the media type of --manifest, if its document does not give it.
        platform: export only the blobs of each image for this platform; may be repeated.
        all_platforms: export the blobs for every platform; the default without --platform.
        oci_ref_name: the name of the only image in the target's index, in place of its tag.
        oci: convert Docker's media types to OCI's.
        skip_manifest_json: do not write manifest.json, which docker load reads.
        skip_non_distributable: skip layers that are marked as non-distributable.
        skip_missing: skip blobs that are not stored.
        compress: compress the archive with gzip or zstd.
        no_verify: do not compare blobs with their digests while they are copied to an archive.
        overwrite: move names of the other store that hold another digest.
        context: the run.
    """
    if target == "-" and stdio.is_terminal(stdio.STDOUT):
        next_step = f"{context.program} export FILE {' '.join(map(quoted, names or ()))}".strip()
        raise UsageError("standard output is a terminal: expected a file or a pipe for an archive", next_step=next_step)
    platforms = platforms_of(platform or (), every=all_platforms)
    async with context.open_store() as store, _opened(context, target) as place:
        meter = _Meter()
        context.display.begin(meter)
        found = await export_images(
            store,
            place,
            [(await find_image(store, name)).name for name in names or ()],
            manifests=[await resolve_one(store, text) for text in manifest or ()],
            manifest_type=manifest_type,
            platforms=platforms,
            oci_ref_name=oci_ref_name,
            oci=oci,
            skip_manifest_json=skip_manifest_json,
            skip_non_distributable=skip_non_distributable,
            skip_missing=skip_missing,
            compress=compress,
            verify=not no_verify,
            overwrite=overwrite,
            on_progress=meter.observe,
        )
    await _report(context, found, None if target == "-" else target)


class _Meter(Meter):
    """The progress of the whole export; the first report is about it."""

    @property
    def activity(self) -> str:
        """The current step: after all bytes are written, they are made durable."""
        return "starting" if self.total is None else "finishing" if self.done >= self.total else "writing"

    def observe(self, report: Progress) -> None:
        """Take in a report of the export."""
        if self.name in {"", report.name}:
            self.take(report)


class _Sink(ByteSendStream):
    """A descriptor to which an archive is written."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    async def send(self, item: bytes) -> None:
        await stdio.write(item, self._descriptor)

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def _opened(context: Context, target: str) -> AsyncIterator[ExportTarget]:
    """Open and yield the target that the command line names."""
    if target == "-":
        yield _Sink(stdio.STDOUT)
        return
    kind = await run(_kind_of, target)
    if kind == "store":
        async with open_root(target, durable=context.settings.durability_name == "power-loss") as store:
            yield store
    elif kind == "directory":
        async with DirectoryLayout(target) as layout:
            yield layout
    elif kind == "special":
        file = await stdio.open_special(Path(target))
        try:
            yield _Sink(file.fileno())
        finally:
            file.close()
    else:
        yield Path(target)


def _kind_of(target: str) -> Literal["store", "directory", "special", "file"]:
    if is_address(target):
        return "store"
    path = Path(target)
    if path.is_dir() or target.endswith("/"):
        return "store" if (path / "steelyard.json").is_file() else "directory"
    return "special" if path.exists() and not path.is_file() else "file"


async def _report(context: Context, found: Exported, target: str | None) -> None:
    """Report the result, but not on standard output if the archive was written there."""
    written = [blob for blob in found.blobs if blob.status == "written"]
    size = sum(blob.descriptor.size for blob in written)
    what = f"exported {counted(len(found.images), 'image')}, {counted(len(written), 'blob')}, {amount(size)}"
    states = {state: sum(blob.status == state for blob in found.blobs) for state in ("present", "skipped", "absent")}
    context.conclude(what + "".join(f", {number} {state}" for state, number in states.items() if number))
    if target is None:
        return
    context.begin("exported", "images", "blobs", "bytes", *states)
    context.counts.update(images=len(found.images), blobs=len(written), bytes=size, **states)
    for image in found.images:
        record = ExportedImageRecord(
            name=image.name, digest=image.target.digest, size=image.target.size, media_type=image.target.media_type
        )
        text = image.target.digest if context.quiet else f"{image.target.digest}  {shown(image.name or '-')}"
        await context.out.emit(record, text)
    for blob in found.blobs:
        await context.out.emit(
            ExportedBlobRecord(
                digest=blob.descriptor.digest,
                size=blob.descriptor.size,
                media_type=blob.descriptor.media_type,
                status=blob.status,
                platform=None if blob.platform is None else str(blob.platform),
                parent=blob.parent,
            ),
            "",
        )
