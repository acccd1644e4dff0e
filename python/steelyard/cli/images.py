"""`images ls`, `inspect`, `tag` and `rm`: image names and their blobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from steelyard._lazy import Module
from steelyard.cli.complete import complete_image
from steelyard.cli.context import Context
from steelyard.cli.image_names import find_image, whole_name
from steelyard.cli.names import check_fields, counted, human_size, timestamp
from steelyard.cli.parameters import Parameter
from steelyard.cli.printing import shown
from steelyard.cli.records import ImagePart, ImageRecord, InspectedRecord, RemovedImageRecord
from steelyard.errors import SteelyardError
from steelyard.filters import IMAGE_FIELDS
from steelyard.model import Image

if TYPE_CHECKING:
    from steelyard import images
    from steelyard.images import ImageCheck
else:
    images = Module("steelyard.images")

__all__ = ("inspect", "line_of", "ls", "rm", "tag")


async def ls(
    *filters: Annotated[str, Parameter(name="FILTER")],
    context: Annotated[Context, Parameter(parse=False)],
) -> None:
    """List image names.

    One line each, ordered by name: name, digest, time of the last change, labels. Several filters are alternatives: a name
    is listed if any of them matches.

    Args:
        filters: for example 'name~=alpine' or 'labels.kind==base'.
        context: the run.
    """
    context.begin("images", "images")
    check_fields(filters, IMAGE_FIELDS, "image names")
    async with context.open_listing() as store:
        for image in await store.images.list(*filters):
            context.counts["images"] += 1
            await context.out.emit(ImageRecord.of(image), shown(image.name) if context.quiet else line_of(image))


async def inspect(
    *names: Annotated[str, Parameter(name="NAME", completer=complete_image, required=True)],
    context: Annotated[Context, Parameter(parse=False)],
) -> None:
    """Show the blobs of an image.

    A line for each blob: digest, size, media type, platform, and whether it is absent. Each blob is shown once, below its parent.

    Args:
        names: image names.
        context: the run.
    """
    context.begin("images", "images")
    async with context.open_store() as store:
        for name in names:
            try:
                image = await find_image(store, name)
                found = await images.check(store, image.name)
            except SteelyardError as error:
                context.fail(error, about=name)
                continue
            context.counts["images"] += 1
            parts = _parts(found)
            record = InspectedRecord(image=ImageRecord.of(image), blobs=parts)
            text = "\n".join(part.digest for part in parts) if context.quiet else _block_of(image, parts)
            await context.out.emit(record, text)


async def tag(
    source: Annotated[str, Parameter(name="NAME", completer=complete_image)],
    /,
    *names: Annotated[str, Parameter(name="NEW-NAME", required=True)],
    overwrite: bool = False,
    context: Annotated[Context, Parameter(parse=False)],
) -> None:
    """Add names to an image.

    All names are added, or none if one of them is refused. New names get the labels of the existing name.

    Args:
        source: an image name.
        names: the new names.
        overwrite: move new names that hold another digest.
        context: the run.
    """
    context.begin("images", "images")
    async with context.open_store(change=True) as store:
        image = await find_image(store, source)
        targets = {whole_name(name): image.target for name in names}
        for made in await store.images.assign(targets, labels=image.labels, overwrite=overwrite):
            context.counts["images"] += 1
            await context.out.emit(ImageRecord.of(made), shown(made.name) if context.quiet else line_of(made))


async def rm(
    *names: Annotated[str, Parameter(name="NAME", completer=complete_image, required=True)],
    dry_run: bool = False,
    context: Annotated[Context, Parameter(parse=False)],
) -> None:
    """Remove image names; the blobs stay stored.

    Args:
        names: image names.
        dry_run: only print the names.
        context: the run.
    """
    context.begin("removed", "images")
    async with context.open_store(change=not dry_run) as store:
        for name in names:
            try:
                image = await find_image(store, name)
                if not dry_run:
                    await store.images.delete(image.name, expected=image.target.digest)
            except SteelyardError as error:
                context.fail(error, about=name)
                continue
            context.counts["images"] += 1
            record = RemovedImageRecord(name=image.name, digest=str(image.target.digest), dry_run=dry_run)
            line = shown(image.name)
            await context.out.emit(record, line if context.quiet else f"{line}  {image.target.digest}")
    what = "would remove" if dry_run else "removed"
    context.conclude(f"{what} {counted(context.counts['images'], 'image name')}")


def line_of(image: Image) -> str:
    """Return an image name as a line of `images ls`."""
    labels = ",".join(f"{shown(key)}={shown(value)}" for key, value in sorted(image.labels.items()))
    return f"{shown(image.name)}  {image.target.digest}  {timestamp(image.updated_at)}  {labels}".rstrip()


def _parts(found: ImageCheck) -> list[ImagePart]:
    """Return the blobs in the order of a tree: each below its parent."""
    nodes = [(node, True) for node in found.present] + [(node, False) for node in found.absent]
    below: dict[str | None, list[ImagePart]] = {}
    for node, present in nodes:
        parent = None if node.parent is None else node.parent.digest
        below.setdefault(parent, []).append(ImagePart.of(node, present=present))
    ordered: list[ImagePart] = []
    waiting = list(reversed(below.get(None, [])))
    while waiting:
        part = waiting.pop()
        ordered.append(part)
        waiting += reversed(below.get(part.digest, []))
    return ordered


def _block_of(image: Image, parts: list[ImagePart]) -> str:
    lines = [
        f"name     {shown(image.name)}",
        f"digest   {image.target.digest}",
        f"created  {timestamp(image.created_at)}",
        f"updated  {timestamp(image.updated_at)}",
        *(f"label    {shown(key)}={shown(value)}" for key, value in sorted(image.labels.items())),
    ]
    for part in parts:
        words = [
            part.digest,
            human_size(part.size),
            part.media_type,
            part.platform or "",
            "" if part.present else "absent",
        ]
        lines.append("  " * part.depth + shown("  ".join(filter(None, words))))
    return "\n".join(lines)
