"""`cp`: copy blobs from one store to another."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Annotated

from steelyard._runtime.concurrent import map_concurrently
from steelyard.cli.addresses import check_store, open_root
from steelyard.cli.context import MOST_LISTED, Context
from steelyard.cli.explain import UsageError
from steelyard.cli.meter import Meter
from steelyard.cli.names import amount, counted, labels_of, resolve
from steelyard.cli.parameters import Parameter
from steelyard.cli.protecting import kept_for_a_day
from steelyard.cli.records import CopiedRecord
from steelyard.content import Store
from steelyard.digest import Digest
from steelyard.errors import DataCorrupt, SteelyardError, Unsupported
from steelyard.model import Labels
from steelyard.transfer import copy

_AT_ONCE = 4


async def cp(
    source: Annotated[str, Parameter(name="SRC")],
    target: Annotated[str, Parameter(name="DEST")],
    /,
    *digests: Annotated[str, Parameter(name="DIGEST")],
    every: Annotated[bool, Parameter(name="--all")] = False,
    with_labels: bool = False,
    label: Annotated[list[str] | None, Parameter(name="--label")] = None,
    context: Annotated[Context, Parameter(parse=False)],
) -> None:
    """Copy blobs from one store to another.

    A store is given by its root, or by an address: containerd:///run/containerd/containerd.sock?namespace=NAME. Blobs that
    the target already has are not read. Each copy is verified. The same command resumes an interrupted copy. Use import and
    export to copy images with their names.

    On a terminal, --all shows progress and a summary; --verbose prints the digests, too.

    Args:
        source: the store to copy from, or the content root of a containerd.
        target: the store to copy to; a missing root is created.
        digests: digests, or at least 8 hex digits of each.
        every: copy all blobs of the source.
        with_labels: give new blobs the labels that they have in the source.
        label: KEY=VALUE, set on new blobs; may be repeated.
        context: the run.
    """
    if bool(digests) == every:
        raise UsageError("expected digests, or --all", next_step="steelyard cp --help")
    more = Labels(labels_of(label or ()))
    many = every or len(digests) > MOST_LISTED
    meter = context.begin("copied", "blobs", "bytes", "new", "existing", meter=Meter(items="blob"), many=many)
    context.on_interrupt(f"copied blobs are kept; resume with: {context.same_command}")
    await check_store(source)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_root(source, read_only=True))
        durable = context.settings.durability_name == "power-loss"
        place = await stack.enter_async_context(open_root(target, durable=durable))
        place = await _leased(context, stack, place)
        await _copy_all(context, _Copying(context, meter, store, place, more, with_labels=with_labels), digests)
    counts = context.counts
    context.conclude(
        f"{counted(counts['blobs'], 'blob')}, {amount(counts['bytes'])}: {counts['new']} new, {counts['existing']} already there"
    )


class _Copying:
    """One run of the command."""

    def __init__(
        self, context: Context, meter: Meter, source: Store, target: Store, labels: Labels, *, with_labels: bool
    ) -> None:
        self.context, self.meter, self.source, self.target = context, meter, source, target
        self._labels, self._with_labels = labels, with_labels

    async def copy(self, digest: Digest) -> None:
        """Copy a blob, and report the result."""
        name = str(digest)
        try:
            labels = self._labels
            if self._with_labels:
                labels = Labels({**(await self.source.info(digest)).labels, **labels})
            report = self.context.display.follow(name)
            done = await copy(self.source, digest, self.target, labels=labels, on_progress=self.context.telling(report))
        except SteelyardError as error:
            self.context.fail(error, about=name)
            return
        self.meter.finished(name, done.size)
        counts = self.context.counts
        counts["blobs"] += 1
        counts["bytes"] += done.size
        counts["new" if done.new else "existing"] += 1
        record = CopiedRecord(digest=name, size=done.size, new=done.new)
        await self.context.out.emit(record, name if self.context.lists else "")


async def _copy_all(context: Context, copying: _Copying, digests: Sequence[str]) -> None:
    """Copy a few blobs at a time, in the order in which they are named or listed."""
    source = _listed(copying.source) if not digests else _resolved(context, copying.source, digests)
    await map_concurrently(source, copying.copy, concurrency=_AT_ONCE)


async def _listed(store: Store) -> AsyncGenerator[Digest, None]:
    async with aclosing(store.walk()) as infos:
        async for info in infos:
            yield info.digest


async def _resolved(context: Context, store: Store, digests: Sequence[str]) -> AsyncGenerator[Digest, None]:
    for text, name in zip(digests, await resolve(store, digests), strict=True):
        if isinstance(name, SteelyardError):
            context.fail(name, about=text)
        else:
            yield name


async def _leased(context: Context, stack: AsyncExitStack, target: Store) -> Store:
    """Protect the copied blobs while the command runs, or for a day if the store collects garbage by itself: no name refers to them."""
    if target.leases.collects:
        return await kept_for_a_day(context, target, "copied")
    try:
        return await stack.enter_async_context(target.lease())
    except (Unsupported, DataCorrupt):
        return target  # without leases, or with damaged metadata, nothing is collected
