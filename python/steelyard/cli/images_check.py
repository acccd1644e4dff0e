"""`images check`, `images usage` and `images convert`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from steelyard.cli.complete import complete_image
from steelyard.cli.context import Context
from steelyard.cli.explain import UsageError
from steelyard.cli.image_names import find_image, platforms_of, whole_name
from steelyard.cli.images import line_of
from steelyard.cli.names import counted, exact_size
from steelyard.cli.parameters import Parameter
from steelyard.cli.printing import shown
from steelyard.cli.records import CheckedImageRecord, ImagePart, ImageRecord, ImageUsageRecord
from steelyard.content import Store
from steelyard.errors import NotFound, SteelyardError
from steelyard.images import ImageCheck
from steelyard.images import check as check_image
from steelyard.images import convert as convert_image
from steelyard.images import usage as usage_of

__all__ = ("check", "convert", "usage")


async def check(
    *names: Annotated[str, Parameter(name="NAME", completer=complete_image)],
    platform: Annotated[list[str] | None, Parameter(name="--platform")] = None,
    context: Annotated[Context, Parameter(parse=False)],
) -> None:
    """Check whether images are complete, and list absent blobs.

    This command checks whether the blobs are stored with the right sizes; `steelyard verify` reads their bytes. The exit code
    is 3 if a blob is absent.

    Args:
        names: image names; all names by default.
        platform: check only the blobs of each image for this platform; may be repeated.
        context: the run.
    """
    platforms = platforms_of(platform or (), every=False)
    context.begin("checked", "images", "complete", "blobs", "bytes")
    async with context.open_store() as store:
        for name in await _all_names(store, names):
            try:
                found = await check_image(store, (await find_image(store, name)).name, platforms=platforms)
            except SteelyardError as error:
                context.fail(error, about=name)
                continue
            size = sum(node.descriptor.size for node in found.present)
            context.counts["images"] += 1
            context.counts["complete"] += found.complete
            context.counts["blobs"] += len(found.present)
            context.counts["bytes"] += size
            record = CheckedImageRecord(
                name=found.name,
                digest=found.target.digest,
                complete=found.complete,
                blobs=len(found.present),
                size=size,
                absent=[ImagePart.of(node, present=False) for node in found.absent],
                unmatched=[str(each) for each in found.unmatched],
            )
            await context.out.emit(record, shown(found.name) if context.quiet else _line_of(found, size))
            _fail(context, found)


async def usage(
    *names: Annotated[str, Parameter(name="NAME", completer=complete_image)],
    platform: Annotated[list[str] | None, Parameter(name="--platform")] = None,
    context: Annotated[Context, Parameter(parse=False)],
) -> None:
    """Count the blobs of images and their bytes.

    Each blob counts once in an image; a shared blob counts in each image.

    Args:
        names: image names; all names by default.
        platform: count only the blobs of each image for this platform; may be repeated.
        context: the run.
    """
    platforms = platforms_of(platform or (), every=False)
    context.begin("usages", "images")
    async with context.open_store() as store:
        for name in await _all_names(store, names):
            try:
                found = await usage_of(store, (await find_image(store, name)).name, platforms=platforms)
            except SteelyardError as error:
                context.fail(error, about=name)
                continue
            context.counts["images"] += 1
            record = ImageUsageRecord(
                name=found.name,
                blobs=found.blobs,
                size=found.size,
                absent=found.absent,
                absent_size=found.absent_size,
            )
            absent = f", {found.absent} absent" if found.absent else ""
            text = f"{shown(found.name)}  {exact_size(found.size)} in {counted(found.blobs, 'blob')}{absent}"
            await context.out.emit(record, shown(found.name) if context.quiet else text)


async def convert(
    name: Annotated[str, Parameter(name="NAME", completer=complete_image)],
    new_name: Annotated[str | None, Parameter(name="NEW-NAME")] = None,
    /,
    *,
    oci: bool = False,
    platform: Annotated[list[str] | None, Parameter(name="--platform")] = None,
    overwrite: bool = False,
    context: Annotated[Context, Parameter(parse=False)],
) -> None:
    """Convert an image to OCI's media types, or to some of its platforms.

    Manifests and indexes are rewritten; layers, labels and annotations do not change.

    Args:
        name: an image name.
        new_name: the name of the result; by default NAME.
        oci: convert Docker's media types to OCI's.
        platform: keep only this platform; may be repeated.
        overwrite: move a new name that holds another digest.
        context: the run.
    """
    platforms = platforms_of(platform or (), every=False)
    if not oci and platforms is None:
        raise UsageError("expected --oci or --platform, found neither", next_step="steelyard images convert --help")
    context.begin("images", "images")
    async with context.open_store(change=True) as store:
        image = await convert_image(
            store,
            (await find_image(store, name)).name,
            None if new_name is None else whole_name(new_name),
            oci=oci,
            platforms=platforms,
            overwrite=overwrite,
        )
        context.counts["images"] = 1
        await context.out.emit(ImageRecord.of(image), shown(image.name) if context.quiet else line_of(image))


async def _all_names(store: Store, names: Sequence[str]) -> Sequence[str]:
    return names or [image.name for image in await store.images.list()]


def _line_of(found: ImageCheck, size: int) -> str:
    state = "complete" if found.complete else "incomplete"
    return f"{shown(found.name)}  {state}  {exact_size(size)} in {counted(len(found.present), 'blob')}"


def _fail(context: Context, found: ImageCheck) -> None:
    """Report absent blobs, also by the exit code."""
    try:
        found.require()
        if found.unmatched:
            raise NotFound(f"{', '.join(map(str, found.unmatched))} in image {found.name}", kind="platform")
    except SteelyardError as error:
        context.fail(error, helps=False)
