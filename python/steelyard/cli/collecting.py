"""`gc` and `why`: remove blobs that nothing needs, and report why a blob is kept."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from steelyard._units import Duration, Size, span
from steelyard.cli.complete import complete_digest
from steelyard.cli.context import Context
from steelyard.cli.exits import OverBudget
from steelyard.cli.meter import Meter
from steelyard.cli.names import amount, counted, exact_size, human_size, resolve, timestamp
from steelyard.cli.parameters import Parameter
from steelyard.cli.printing import shown
from steelyard.cli.records import GarbageRecord, ReasonRecord, WarningRecord
from steelyard.collection import Collected, Garbage, Reason
from steelyard.errors import InvalidArgument, NotFound, SteelyardError
from steelyard.model import Progress

__all__ = ("gc", "phrase", "why")


async def gc(
    *,
    dry_run: bool = False,
    max_bytes: Size | None = None,
    grace: Duration | None = None,
    ingest_age: Duration | None = None,
    set_defaults: bool = False,
    accept_roots: bool = False,
    take_back: bool = False,
    context: Annotated[Context, Parameter(parse=False)],
) -> None:
    """Remove blobs that nothing needs any more, beside all other work on the store.

    Image names, leases, ingests and labels keep blobs, and a kept blob keeps the blobs that it names; `steelyard why` says why a
    blob is kept. On a terminal a summary is printed; --verbose and --dry-run print the digests. The exit code is 10 if the store
    is still larger than --max-bytes.

    Args:
        dry_run: only print what would be removed; with --verbose, also garbage that stays.
        max_bytes: remove garbage only until the store has at most this size, for example 50GiB; the least recently used first.
        grace: how long garbage stays after the first collection that finds it, for example 0s, 90m, 24h (the default), 7d.
        ingest_age: remove ingests without a writer that have not changed for this time, 7d by default.
        set_defaults: make the given --grace and --ingest-age the defaults of this store, for every later collection by any program.
        accept_roots: collect although names, labels or leases may be missing; look at --dry-run first.
        take_back: collect a store that a containerd has collected so far; from now on this command collects it; look at --dry-run first.
        context: the run.
    """
    if set_defaults and (dry_run or grace is ingest_age is None):
        raise InvalidArgument("--set-defaults: expected --grace or --ingest-age beside it, and no --dry-run")
    counts = ("blobs", "bytes", "ingests", "kept", "spared", "spared_bytes", "missed_bytes", "warnings")
    context.begin("garbage", *counts, meter=_Meter(), many=not dry_run)

    def found(garbage: Garbage) -> None:
        if garbage.goes:
            context.display.finished(str(garbage.digest), garbage.size)
        if context.out.shape != "text":
            context.out.add(GarbageRecord.of(garbage, dry_run=dry_run))
        elif context.lists if garbage.goes else context.options.verbose:
            context.out.add_line(str(garbage.digest) if context.quiet else _line_of(garbage))

    async with context.open_store(change=not dry_run) as store:
        if set_defaults:
            await store.set_collect_defaults(grace=grace, ingest_age=ingest_age)
        result = await store.collect(
            grace=grace,
            max_bytes=max_bytes,
            ingest_age=ingest_age,
            dry_run=dry_run,
            accept_roots=accept_roots,
            take_back=take_back,
            on_garbage=found,
            on_progress=context.display.follow("collection"),
        )
        waits = _why_spared((await store.collect_defaults()).changed(grace, None).grace)
    await context.out.flush()
    for warning in result.warnings:
        context.note(f"warning: {warning}")
        if context.out.shape != "text":
            context.out.add(WarningRecord(message=warning))
    _count(context, result)
    is_small = max_bytes is not None and not result.missed_bytes
    for line in summary_of(result, why_spared="--max-bytes is reached" if is_small else waits):
        context.conclude(line)
    if max_bytes is not None and result.missed_bytes:
        context.fail(OverBudget(max_bytes, missed=result.missed_bytes))


async def why(
    *digests: Annotated[str, Parameter(name="DIGEST", completer=complete_digest, required=True)],
    context: Annotated[Context, Parameter(parse=False)],
) -> None:
    """Say what keeps blobs, or since when they are garbage.

    The first line is the root that keeps the blob. The lines below it are the blobs from the root to this one: each names the next.

    Args:
        digests: digests, or at least 8 hex digits of each.
        context: the run.
    """
    context.begin("reasons", "blobs", "garbage")
    async with context.open_store() as store:
        names = await resolve(store, digests)
        reasons = await store.reasons([name for name in names if not isinstance(name, SteelyardError)])
        for text, name in zip(digests, names, strict=True):
            if isinstance(name, SteelyardError):
                context.fail(name, about=text)
            elif name not in reasons:
                context.fail(NotFound(name), about=text)
            else:
                reason = reasons[name]
                context.counts["blobs"] += 1
                context.counts["garbage"] += reason.root is None
                await context.out.emit(ReasonRecord.of(reason), str(name) if context.quiet else _text_of(reason))


def _why_spared(grace: timedelta) -> str:
    """Return why garbage stays. Without a grace time, only other programs that store blobs at that moment keep it."""
    return f"the grace time is {span(grace)}" if grace else "other programs were storing blobs; collect again"


def summary_of(result: Collected, *, why_spared: str) -> list[str]:
    """Return sentences that say what a collection did, or would do, and why the remaining garbage stays."""
    did = "would remove" if result.dry_run else "removed"
    lines = [f"{did} {counted(result.blobs, 'blob')}, {amount(result.bytes)}"]
    if result.ingests:
        lines[0] += f", and {counted(result.ingests, 'abandoned ingest')}"
    kept = result.kept
    parts = [
        f"{number} {what}"
        for number, what in (
            (kept.image_names, "by image names"),
            (kept.labels, "by labels"),
            (kept.leases, "by leases"),
            (kept.ingests, "by ingests"),
        )
        if number
    ]
    if parts:
        lines.append(f"{counted(kept.blobs, 'blob')} kept: {', '.join(parts)}")
    if result.spared:
        what = f"{counted(result.spared, 'blob')} of garbage, {amount(result.spared_bytes)}, stay"
        lines.append(f"{what}{'s' if result.spared == 1 else ''} for now: {why_spared}")
    return lines


def phrase(reason: Reason) -> str:
    """Return a text that says what keeps a blob, or since when it is garbage."""
    root = reason.root
    if root is None:
        since = "no collection has found it yet" if reason.since is None else f"since {timestamp(reason.since)}"
        return f"garbage: nothing keeps it; {since}"
    what = "label containerd.io/gc.root of" if root.kind == "label" else root.kind
    until = "" if root.until is None else f", until {timestamp(root.until)}"
    return f"{what} {shown(root.name)}{until}"


def _text_of(reason: Reason) -> str:
    chain = [f"{'  ' * depth}{digest}" for depth, digest in enumerate(reason.chain or (reason.digest,), 1)]
    return "\n".join([phrase(reason), *chain])


def _line_of(garbage: Garbage) -> str:
    since = "" if garbage.since is None else f", garbage since {timestamp(garbage.since)}"
    return f"{garbage.digest}  {exact_size(garbage.size)}{since}{'' if garbage.goes else ', stays'}"


def _count(context: Context, result: Collected) -> None:
    context.counts.update(
        blobs=result.blobs,
        bytes=result.bytes,
        ingests=result.ingests,
        kept=result.kept.blobs,
        spared=result.spared,
        spared_bytes=result.spared_bytes,
        missed_bytes=result.missed_bytes,
        warnings=len(result.warnings),
    )


class _Meter(Meter):
    """The progress of a collection: first the blobs that were marked, then the bytes that were removed."""

    def __init__(self) -> None:
        super().__init__(items="blob", activity="marking")
        self._marked = 0

    @property
    def line(self) -> str:
        """The text for both phases."""
        if self.phase == "marking":
            return f"marking, {counted(self._marked, 'blob')}"
        return f"removing, {counted(self.items_done, 'blob')}, {human_size(self.done)}"

    def _take(self, name: str, report: Progress) -> None:
        del name
        self.phase = "marking" if report.phase == "mark" else "removing"
        if report.phase == "mark":
            self._marked = report.done
