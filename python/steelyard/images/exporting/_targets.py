"""Layouts and other stores as the target of an export: they get the blobs first, then the index or the names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing

from steelyard._runtime.chunks import in_batches
from steelyard._runtime.concurrent import map_concurrently
from steelyard.content import Store
from steelyard.errors import AlreadyExists, DataCorrupt, FailedPrecondition, NotFound
from steelyard.images.exporting._archive import WHOLE_BYTES, Report, blob_pieces
from steelyard.images.exporting._file import BATCH, BATCH_BYTES
from steelyard.images.exporting._plan import Plan, Root, reported
from steelyard.images.exporting._result import ExportedBlob
from steelyard.images.layout import LayoutDriver
from steelyard.images.layout._driver import put_descriptors
from steelyard.images.leases import LeaseGuard, lease_guard
from steelyard.images.node import Node
from steelyard.model import Labels, Progress
from steelyard.transfer import copy

__all__ = ("to_layout", "to_store")

CONCURRENCY = 4

IN_A_LAYOUT = 16
"""The number of blobs that are written to a layout at a time. Each is synced by itself, so most of them wait for the disk."""


async def to_layout(layout: LayoutDriver, plan: Plan, report: Report) -> tuple[ExportedBlob, ...]:
    """Write the blobs, and then the index."""
    await layout.init()

    async def write(node: Node) -> bool:
        if await _is_whole(layout, node):
            return False
        descriptor = node.descriptor
        async with layout.blob_writer(size=descriptor.size, expected=descriptor.blob) as writer:
            async with aclosing(blob_pieces(plan.content, descriptor, report, verify=True)) as pieces:
                async for piece in pieces:
                    await writer.write(piece)
            # CANCEL: the commit is not interrupted; the blob is complete in the layout, or not there.
            await writer.commit()
        return True

    blobs = await _each(plan, write, report, concurrency=IN_A_LAYOUT)
    await put_descriptors(layout, (image.target for image in plan.images))
    return blobs


async def to_store(target: Store, plan: Plan, report: Report, *, overwrite: bool) -> tuple[ExportedBlob, ...]:
    """Copy the blobs, and then set the names, each together with its labels.

    Raises:
        AlreadyExists: a name has another target; nothing was copied.
    """
    async with lease_guard(target) as guard:
        return await _to_store(guard, plan, report, overwrite=overwrite)


async def _to_store(guard: LeaseGuard, plan: Plan, report: Report, *, overwrite: bool) -> tuple[ExportedBlob, ...]:
    target = guard.store
    named = {root.name: root for root in plan.roots if root.name is not None}
    labels = {name: await _labels(target, root, overwrite=overwrite) for name, root in named.items()}

    async def write(node: Node) -> bool:
        def report_bytes(progress: Progress) -> None:
            report(node.descriptor, progress.done)

        return (await copy(plan.content, node.descriptor.blob, target, on_progress=report_bytes)).new

    small = [node for node in plan.blobs if node.document is None and node.descriptor.size <= WHOLE_BYTES]
    batches = in_batches(small, lambda node: node.descriptor.size, BATCH, BATCH_BYTES)
    new: dict[str, bool] = {}

    async def write_batch(nodes: Sequence[Node]) -> None:
        new.update(await _put_batch(guard, plan, nodes))
        for node in nodes:
            report(node.descriptor, node.descriptor.size)

    await map_concurrently(batches, write_batch, concurrency=CONCURRENCY)
    blobs = await _each(plan, write, report, concurrency=CONCURRENCY, done=new)
    await guard.refer(plan.blobs)
    # Names with the same labels are assigned in one call.
    for each in dict.fromkeys(labels.values()):
        targets = {name: root.found.target.target for name, root in named.items() if labels[name] == each}
        await target.images.assign(targets, labels=each, overwrite=overwrite)
    return blobs


async def _put_batch(guard: LeaseGuard, plan: Plan, nodes: Sequence[Node]) -> dict[str, bool]:
    """Copy small blobs through memory; return which of them were new."""
    sizes = {node.descriptor.blob: node.descriptor.size for node in nodes}
    present = await guard.find_stored(sizes)
    rest = [node.descriptor for node in nodes if node.descriptor.blob not in present]
    results = await guard.put_batch([(each.blob.algorithm, await plan.content.read(each)) for each in rest])
    new = {str(digest): False for digest in present}
    return new | {each.digest: result.new for each, result in zip(rest, results, strict=True)}


async def _labels(target: Store, root: Root, *, overwrite: bool) -> Labels | None:
    """Return the labels to set for a name, or None to keep its labels."""
    assert root.name is not None  # noqa: S101  # by the caller
    try:
        held = await target.images.get(root.name)
    except NotFound:
        return root.labels
    if not overwrite and held.target.digest != root.found.target.blob:
        raise AlreadyExists(held.target.digest, name=root.name)
    return None if held.labels else root.labels


async def _each(
    plan: Plan,
    write: Callable[[Node], Awaitable[bool]],
    report: Report,
    *,
    concurrency: int,
    done: Mapping[str, bool] | None = None,
) -> tuple[ExportedBlob, ...]:
    """Write all blobs but those that are `done`, children before their parents; return the results for all."""
    new = dict(done or {})

    async def write_one(node: Node) -> None:
        new[node.descriptor.digest] = await write(node)
        report(node.descriptor, node.descriptor.size)

    # Documents are in the order in which they are named, so in reverse order most children come before their parents.
    leaves = [node for node in plan.blobs if node.document is None and node.descriptor.digest not in new]
    await map_concurrently(leaves, write_one, concurrency=concurrency)
    for node in reversed(plan.blobs):
        if node.document is not None:
            await write_one(node)
    return tuple(reported(node, "written" if new[node.descriptor.digest] else "present") for node in plan.blobs)


async def _is_whole(layout: LayoutDriver, node: Node) -> bool:
    """Return whether the layout has the blob undamaged; its bytes are read and verified, so that damage is repaired."""
    try:
        async with layout.reader_at(node.descriptor.target) as reader, reader.stream() as stream:
            async for _ in stream:
                pass
    except (NotFound, DataCorrupt, FailedPrecondition):
        return False
    return True
