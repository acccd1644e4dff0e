"""`ingests` and `abort`: list and discard unfinished ingests."""

from __future__ import annotations

import sys
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Annotated

import anyio

from steelyard.cli import stdio
from steelyard.cli.complete import complete_ref
from steelyard.cli.context import Context
from steelyard.cli.explain import UsageError
from steelyard.cli.listing import Listing
from steelyard.cli.names import check_fields, human_size, timestamp
from steelyard.cli.parameters import Parameter
from steelyard.cli.printing import shown
from steelyard.cli.records import AbortedRecord, IngestGoneRecord, IngestRecord, Record
from steelyard.errors import SteelyardError
from steelyard.filters import INGEST_FIELDS
from steelyard.model import Status


class AbortedUploadRecord(Record, frozen=True, tag="aborted_upload"):
    """An unfinished upload to a bucket that was discarded, or would be discarded."""

    digest: str
    id: str
    begun_at: datetime
    dry_run: bool


async def ingests(
    *filters: Annotated[str, Parameter(name="FILTER")],
    watch: bool = False,
    interval: float = 1.0,
    context: Annotated[Context, Parameter(parse=False)],
) -> None:
    """List unfinished ingests.

    One line each, ordered by ref: bytes held, total bytes, time of the last change, ref.

    Args:
        filters: for example 'ref~=^put:'; see `steelyard help filters`.
        watch: update until Ctrl-C, and report every change.
        interval: seconds between two updates with --watch.
        context: the run.
    """
    if watch and context.out.shape == "json":
        raise UsageError("--watch: expected --format text or jsonl, found json", next_step="steelyard ingests --watch")
    if not 0.05 <= interval <= 3600:
        raise UsageError(f"--interval {interval}: expected 0.05 to 3600 seconds", next_step="steelyard ingests --help")
    context.begin("ingests", "ingests", "bytes")
    check_fields(filters, INGEST_FIELDS, "ingests")
    async with context.open_listing() as store:
        statuses = await store.list_statuses(*filters)
        context.counts.update(ingests=len(statuses), bytes=sum(status.offset for status in statuses))
        if not watch:
            for status in statuses:
                await _emit(context, status)
        elif context.out.shape == "text" and stdio.is_terminal(stdio.STDOUT):
            await _watch_screen(store, filters, interval)
        else:
            await _watch_changes(context, store, filters, interval)


async def abort(
    *refs: Annotated[str, Parameter(name="REF", completer=complete_ref)],
    uploads: bool = False,
    dry_run: bool = False,
    context: Annotated[Context, Parameter(parse=False)],
) -> None:
    """Discard unfinished ingests, or abandoned uploads to object storage.

    Args:
        refs: refs, as shown by `ingests`.
        uploads: discard the unfinished uploads to a bucket whose ingest in this machine's spool is gone, and those of other machines
            that were started more than 7 days ago; `doctor` counts them.
        dry_run: only print what would be discarded.
        context: the run.
    """
    if uploads == bool(refs):
        found = "both" if refs else "neither"
        raise UsageError(f"abort: expected REF… or --uploads, found {found}", next_step=f"{context.program} ingests")
    if uploads:
        await _abort_uploads(context, dry_run=dry_run)
        return
    context.begin("aborted", "ingests", "bytes")
    async with context.open_store(change=not dry_run) as store:
        for ref in refs:
            try:
                offset = (await store.status(ref)).offset
                if not dry_run:
                    await store.abort(ref)
            except SteelyardError as error:
                context.fail(error)
                continue
            context.counts["ingests"] += 1
            context.counts["bytes"] += offset
            record = AbortedRecord(ref=ref, offset=offset, dry_run=dry_run)
            await context.out.emit(record, shown(ref) if context.quiet else f"{shown(ref)}  {human_size(offset)}")


async def _abort_uploads(context: Context, *, dry_run: bool) -> None:
    context.begin("aborted", "uploads")
    async with context.open_objects(change=not dry_run) as store:
        results = store.uploads() if dry_run else store.abort_uploads()
        async with aclosing(results) as found:
            async for each in found:
                if not each.abandoned:
                    continue
                context.counts["uploads"] += 1
                record = AbortedUploadRecord(
                    digest=str(each.digest), id=each.id, begun_at=each.begun_at, dry_run=dry_run
                )
                line = f"{each.digest}  {timestamp(each.begun_at)}  {shown(each.id)}"
                await context.out.emit(record, str(each.digest) if context.quiet else line)


def _line(status: Status) -> str:
    total = "?" if status.total is None else human_size(status.total)
    share = f"{100 * status.offset / status.total:.0f} %" if status.total else ""
    held = human_size(status.offset)
    return f"{held:>10} of {total:<10} {share:>5}  {timestamp(status.updated_at)}  {shown(status.ref)}"


async def _emit(context: Context, status: Status) -> None:
    await context.out.emit(IngestRecord.of(status), shown(status.ref) if context.quiet else _line(status))


async def _watch_changes(context: Context, store: Listing, filters: tuple[str, ...], interval: float) -> None:
    """Report each ingest when it is new, when it changes, and when it is gone."""
    before: dict[str, Status] = {}
    while True:
        now = {status.ref: status for status in await store.list_statuses(*filters)}
        for ref in before.keys() - now.keys():
            await context.out.emit(IngestGoneRecord(ref=ref), "" if context.quiet else f"gone: {shown(ref)}")
        for ref, status in now.items():
            if before.get(ref) != status:
                await _emit(context, status)
        before = now
        await anyio.sleep(interval)


async def _watch_screen(store: Listing, filters: tuple[str, ...], interval: float) -> None:
    """Redraw the list, with rates."""
    before: dict[str, Status] = {}
    drawn = 0
    while True:
        statuses = await store.list_statuses(*filters)
        lines = [_line(status) + _rate(status, before.get(status.ref), interval) for status in statuses]
        lines = lines or [f"no ingests at {timestamp(datetime.now(UTC))}"]
        up = f"\x1b[{drawn}F\x1b[J" if drawn else ""
        await stdio.write((up + "\n".join(lines) + "\n").encode(sys.stdout.encoding, "backslashreplace"))
        drawn, before = len(lines), {status.ref: status for status in statuses}
        await anyio.sleep(interval)


def _rate(status: Status, before: Status | None, interval: float) -> str:
    if before is None or status.offset <= before.offset:
        return ""
    return f"  {human_size((status.offset - before.offset) / interval)}/s"
