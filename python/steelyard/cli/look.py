"""`ls`, `info` and `stat`: list and count blobs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, closing, suppress
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from steelyard._places import is_object_storage, written_out
from steelyard.cli.complete import complete_digest
from steelyard.cli.context import Context
from steelyard.cli.explain import UsageError
from steelyard.cli.listing import Walked
from steelyard.cli.names import check_fields, counted, exact_size, human_size, resolve, timestamp
from steelyard.cli.parameters import Parameter
from steelyard.cli.printing import path_shown, path_text, shown
from steelyard.cli.records import BlobRecord
from steelyard.errors import NotFound, SteelyardError
from steelyard.filters import BLOB_FIELDS
from steelyard.model import Info

if TYPE_CHECKING:
    from steelyard.local.blocking import BlockingStore


async def ls(
    *filters: Annotated[str, Parameter(name="FILTER")],
    sort: Literal["digest", "size", "created", "updated", "used"] = "digest",
    reverse: Annotated[bool, Parameter(name=["--reverse", "-r"])] = False,
    context: Annotated[Context, Parameter(parse=False)],
) -> None:
    """List blobs.

    One line each: digest, size, time of creation, labels. Several filters are alternatives: a blob is
    listed if any filter matches. See `steelyard help filters`.

    Args:
        filters: for example 'labels.kind==layer,size>1048576'.
        sort: the order, ascending; by default that of the digests. used is the time of the last use; only for a store on this machine's disk.
        reverse: reverse the order: the largest or the newest first.
        context: the run.
    """
    context.begin("blobs", "blobs", "bytes")
    check_fields(filters, BLOB_FIELDS, "blobs")
    if sort == "used":
        found = await context.with_blocking(lambda store: _by_use(store, filters))
        for info in reversed(found) if reverse else found:
            await _list(context, info)
        return
    async with context.open_listing() as store, aclosing(_sorted(store, filters, sort, reverse=reverse)) as infos:
        async for info in infos:
            await _list(context, info)


async def _list(context: Context, info: Info) -> None:
    context.counts["blobs"] += 1
    context.counts["bytes"] += info.size
    await context.out.emit(BlobRecord.of(info), str(info.digest) if context.quiet else line_of(info))


async def info(
    *digests: Annotated[str, Parameter(name="DIGEST", completer=complete_digest, required=True)],
    context: Annotated[Context, Parameter(parse=False)],
) -> None:
    """Show size, times and labels of blobs.

    Args:
        digests: digests, or at least 8 hex digits of each.
        context: the run.
    """
    context.begin("blobs", "blobs", "bytes")
    async with context.open_listing() as store:
        names = await resolve(store, digests)
        known = await store.infos(name for name in names if not isinstance(name, SteelyardError))
        for name in names:
            if isinstance(name, SteelyardError):
                context.fail(name)
            elif name not in known:
                context.fail(NotFound(name))
            else:
                found = known[name]
                context.counts["blobs"] += 1
                context.counts["bytes"] += found.size
                await context.out.emit(BlobRecord.of(found), str(name) if context.quiet else block_of(found))


async def stat(*, by: str | None = None, context: Annotated[Context, Parameter(parse=False)]) -> None:
    """Count the blobs, ingests and quarantined copies of the store, and their bytes.

    Args:
        by: labels.KEY counts the blobs of each value of that label, and the blobs without it; values with the most bytes come first.
        context: the run.
    """
    if by is not None:
        await _stat_by(context, by)
        return
    if is_object_storage(context.settings.store.value):
        place = written_out(context.settings.store.value)
        async with context.open_own() as store:
            found = await store.stats()
    else:
        found = await context.with_blocking(lambda store: store.stats())
        place = path_text(context.settings.store_path.absolute())
    stats: dict[str, int] = msgspec.to_builtins(found)
    lines = [f"{'store':<18}{path_shown(place)}"]
    for name, number in stats.items():
        size = name == "size" or name.endswith("bytes")
        label = name.replace("_", " ")
        lines.append(f"{label:<18}{exact_size(number) if size else number}")
    await context.out.document({"type": "stat", "store": place, **stats}, "\n".join(lines))


async def _sorted(store: Walked, filters: Sequence[str], sort: str, *, reverse: bool) -> AsyncGenerator[Info, None]:
    """Yield the matching blobs in the requested order. Every order but that of the digests needs a list of all of them in memory."""
    async with aclosing(store.walk(*filters)) as infos:
        if sort == "digest" and not reverse:
            async for info in infos:
                yield info
            return
        found = [info async for info in infos]
    if sort != "digest":
        found.sort(key=attrgetter("size" if sort == "size" else f"{sort}_at"))
    for info in reversed(found) if reverse else found:
        yield info


def _by_use(store: BlockingStore, filters: Sequence[str]) -> list[Info]:
    """Return the matching blobs, the least recently used first. This call does not count as a use."""
    found = []
    pages = store.pages(*filters)
    while infos := pages.next():
        for info in infos:
            with suppress(NotFound), closing(store.inspect(info.digest)) as blob:  # it may have been deleted
                found.append((blob.used_ns(), info))
    found.sort(key=itemgetter(0))
    return [info for _, info in found]


async def _stat_by(context: Context, by: str) -> None:
    """Print the number and bytes of the blobs of each value of a label."""
    key = by.removeprefix("labels.").strip('"')
    if not key or not by.startswith("labels."):
        raise UsageError(f"stat --by {by!r}: expected labels.KEY", next_step="steelyard stat --help")
    counts: dict[str | None, list[int]] = {}
    async with context.open_listing() as store, aclosing(store.walk()) as infos:
        async for info in infos:
            count = counts.setdefault(info.labels.get(key), [0, 0])
            count[0] += 1
            count[1] += info.size
    without = counts.pop(None, [0, 0])
    ordered = sorted(counts.items(), key=lambda item: (-item[1][1], item[0] or ""))
    names = [f"{shown(key)}={shown(value or '')}" for value, _ in ordered]
    rows = [*zip(names, (count for _, count in ordered), strict=True), (f"without {shown(key)}", without)]
    width = max(len(name) for name, _ in rows) + 2
    lines = [f"{name:<{width}}{counted(blobs, 'blob')}, {exact_size(size)}" for name, (blobs, size) in rows]
    document: dict[str, Any] = {
        "type": "stat_by",
        "by": f"labels.{key}",
        "values": [{"value": value, "blobs": blobs, "bytes": size} for value, (blobs, size) in ordered],
        "without": {"blobs": without[0], "bytes": without[1]},
    }
    await context.out.document(document, "\n".join(lines))


def line_of(info: Info) -> str:
    """Return a blob as a line of `ls`."""
    labels = ",".join(f"{shown(key)}={shown(value)}" for key, value in sorted(info.labels.items()))
    return f"{info.digest}  {human_size(info.size):>10}  {timestamp(info.created_at)}  {labels}".rstrip()


def block_of(info: Info) -> str:
    """Return a blob as the lines of `info`."""
    lines = [
        f"digest   {info.digest}",
        f"size     {exact_size(info.size)}",
        f"created  {timestamp(info.created_at)}",
        f"updated  {timestamp(info.updated_at)}",
    ]
    lines += [f"label    {shown(key)}={shown(value)}" for key, value in sorted(info.labels.items())]
    return "\n".join(lines)
