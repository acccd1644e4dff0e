"""`label --filter` and `rm --filter`: change and delete all blobs that match."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial

from steelyard.cli.ask import can_ask, confirmed
from steelyard.cli.collecting import phrase
from steelyard.cli.context import Context
from steelyard.cli.exits import BlobNeeded, NotConfirmed
from steelyard.cli.explain import UsageError
from steelyard.cli.listing import Walked
from steelyard.cli.look import line_of
from steelyard.cli.meter import Meter
from steelyard.cli.names import amount, check_fields, counted, exact_size
from steelyard.cli.records import BlobRecord, RemovedRecord
from steelyard.collection import Reason
from steelyard.content import Store
from steelyard.digest import Digest
from steelyard.errors import NotFound, Unsupported
from steelyard.filters import BLOB_FIELDS
from steelyard.model import Info

__all__ = ("label_all", "needed", "remove_all")

LISTED = 100_000
"""The most blobs that are listed before they are changed: memory is bounded, and `rm` marks the store once for all of them."""


async def label_all(context: Context, filters: Sequence[str], values: Mapping[str, str | None]) -> None:
    """Set and remove labels of all blobs that match a filter; see `edit.label`."""
    _check(filters)
    context.begin("blobs", "blobs", meter=Meter(items="blob", activity="labelling"), many=True)
    context.on_interrupt(f"the other blobs are as before; to change them: {context.same_command}")
    async with context.open_store(change=True) as store, aclosing(_matching(store, filters)) as parts:
        async for infos in parts:
            async with aclosing(store.update_many(infos, values, errors="yield")) as results:
                async for one in results:
                    if isinstance(one.error, NotFound):
                        continue  # deleted since it was listed
                    info = one.result
                    context.display.finished(str(info.digest), info.size)
                    context.counts["blobs"] += 1
                    await context.report(partial(BlobRecord.of, info), partial(line_of, info), str(info.digest))
    context.conclude(f"labelled {counted(context.counts['blobs'], 'blob')}")


async def remove_all(context: Context, filters: Sequence[str], *, dry_run: bool, force: bool, yes: bool) -> None:
    """Delete all blobs that match a filter; see `edit.rm`."""
    _check(filters)
    asks = not (dry_run or yes)
    if asks and not can_ask():
        raise UsageError(
            "rm --filter: expected --yes, because there is no terminal to ask on",
            next_step=f"{context.same_command} --dry-run",
        )
    removal = _Removal(context, dry_run=dry_run, force=force)
    if not dry_run:
        context.on_interrupt(f"the other blobs are as before; to delete them: {context.same_command}")
    async with context.open_store(change=not dry_run) as store:
        if asks:
            await removal.ask(store, filters)
        async with aclosing(_matching(store, filters)) as parts:
            async for infos in parts:
                await removal.remove(store, infos)
    removal.conclude()


async def needed(store: Store, digests: Iterable[Digest]) -> dict[Digest, Reason]:
    """Return the reason for each blob that is needed. A store that does not collect garbage cannot know it."""
    try:
        reasons = await store.reasons(digests)
    except Unsupported:
        return {}
    return {digest: reason for digest, reason in reasons.items() if reason.root is not None}


class _Removal:
    """The removal of all matching blobs that nothing needs."""

    def __init__(self, context: Context, *, dry_run: bool, force: bool) -> None:
        self._context = context
        self._dry_run = dry_run
        self._force = force
        self._counted_at: datetime | None = None
        self._needed: Reason | None = None
        meter = Meter(items="blob", activity="deleting")
        self._meter = context.begin("removed", "blobs", "bytes", "kept", meter=meter, many=not dry_run)

    async def ask(self, store: Store, filters: Sequence[str]) -> None:
        """Count the blobs that match, and ask the user to confirm their removal.

        Raises:
            NotConfirmed: the answer is not yes.
        """
        display = self._context.display
        counting = display.begin(Meter(items="blob", activity="counting"))
        self._counted_at = datetime.now(UTC)
        async with aclosing(store.walk(*filters)) as infos:
            async for info in infos:
                display.finished("", info.size)
        what = f"{counted(counting.items_done, 'blob')}, {amount(counting.done)}"
        rule = "including those that are needed" if self._force else "except those that are needed"
        if counting.items_done and not await confirmed(self._context, f"delete {what}, {rule}?"):
            raise NotConfirmed
        self._meter = display.begin(Meter(items="blob", items_total=counting.items_done, activity="deleting"))

    async def remove(self, store: Store, infos: Sequence[Info]) -> None:
        """Delete those of the blobs that nothing needs, and that have not changed since they were counted."""
        if self._counted_at is not None:
            # The user did not confirm the removal of blobs that were stored or labelled after the count.
            infos = [info for info in infos if info.updated_at <= self._counted_at]
        if not self._force:
            self._meter.phase = "checking"
            kept = await needed(store, [info.digest for info in infos])
            self._meter.phase = "deleting"
            self._context.counts["kept"] += len(kept)
            self._needed = self._needed or next(iter(kept.values()), None)
            infos = [info for info in infos if info.digest not in kept]
        if self._dry_run:
            for info in infos:
                await self._report(info)
            return
        async with aclosing(store.delete_many(infos, errors="yield")) as results:
            async for one in results:
                if one.error is None:
                    await self._report(one.blob)
                elif not isinstance(one.error, NotFound):
                    raise one.error

    def conclude(self) -> None:
        """Report how many blobs are deleted, and that others are needed."""
        context, counts = self._context, self._context.counts
        if self._needed is not None:
            digest = str(self._needed.digest)
            context.fail(BlobNeeded(digest, reason=phrase(self._needed), count=counts["kept"]))
        what = "would delete" if self._dry_run else "deleted"
        context.conclude(f"{what} {counted(counts['blobs'], 'blob')}, {amount(counts['bytes'])}")

    async def _report(self, info: Info) -> None:
        context = self._context
        context.display.finished(str(info.digest), info.size)
        context.counts["blobs"] += 1
        context.counts["bytes"] += info.size
        record = partial(RemovedRecord, digest=str(info.digest), size=info.size, dry_run=self._dry_run)
        await context.report(record, lambda: f"{info.digest}  {exact_size(info.size)}", str(info.digest))


def _check(filters: Sequence[str]) -> None:
    check_fields(filters, BLOB_FIELDS, "blobs")
    if not all(filters):
        # Most likely a variable without a value; it would match all blobs.
        raise UsageError("--filter: expected a filter, found an empty one", next_step="steelyard help filters")


async def _matching(store: Walked, filters: Sequence[str]) -> AsyncGenerator[list[Info], None]:
    """Yield the blobs that match, at most `LISTED` at a time."""
    found: list[Info] = []
    async with aclosing(store.walk(*filters)) as infos:
        async for info in infos:
            found.append(info)
            if len(found) == LISTED:
                yield found
                found = []
    if found:
        yield found
