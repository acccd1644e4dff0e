"""`verify`: compare stored blobs with their digests."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

from steelyard._places import is_object_storage
from steelyard.cli.complete import complete_digest
from steelyard.cli.context import MOST_LISTED, Context
from steelyard.cli.explain import UsageError
from steelyard.cli.meter import Meter
from steelyard.cli.names import amount, counted, resolve
from steelyard.cli.parameters import Parameter
from steelyard.cli.records import VerifiedRecord
from steelyard.digest import Digest
from steelyard.errors import DataCorrupt, SteelyardError
from steelyard.local import LocalStore
from steelyard.model import Verified

if TYPE_CHECKING:
    from steelyard.objects import ObjectStore


async def verify(
    *digests: Annotated[str, Parameter(name="DIGEST", completer=complete_digest)],
    all_: Annotated[bool, Parameter(name="--all")] = False,
    resume: bool = False,
    keep: bool = False,
    context: Annotated[Context, Parameter(parse=False)],
) -> None:
    """Read blobs again and compare them with their digests.

    A damaged blob is moved to quarantine/ in the store, and the exit code is 5. Store the right bytes again
    to repair it. With --quiet, only damaged blobs are printed. On a terminal, --all shows progress, damaged blobs and
    a summary; --verbose prints the others, too.

    Args:
        digests: digests, or at least 8 hex digits of each.
        all_: verify every blob.
        resume: skip blobs that an interrupted run of --all has verified.
        keep: leave damaged blobs in place.
        context: the run.
    """
    if all_ == bool(digests):
        found = "both" if digests else "neither"
        raise UsageError(
            f"verify: expected DIGEST… or --all, found {found}", next_step=f"{context.program} verify --all"
        )
    if resume and not all_:
        raise UsageError("--resume: expected --all, too", next_step=f"{context.program} verify --all --resume")
    many = all_ or len(digests) > MOST_LISTED
    context.begin("verified", "blobs", "bytes", "damaged", meter=Meter(items="blob"), many=many)
    change = (
        is_object_storage(context.settings.store.value) and not keep
    )  # a root that cannot be written can be verified, too
    async with context.open_own(change=change) as store:
        if all_:
            await _verify_all(context, store, resume=resume, keep=keep)
        else:
            async with aclosing(_verify_each(context, store, digests, keep=keep)) as results:
                async for result in results:
                    await _report(context, result, keep=keep or store.read_only)
    counts = context.counts
    what = counted(counts["blobs"], "blob")
    context.conclude(f"{what}, {amount(counts['bytes'])}: {counts['damaged']} damaged")


async def _verify_all(context: Context, store: LocalStore | ObjectStore, *, resume: bool, keep: bool) -> None:
    total = (await store.stats()).blob_bytes if isinstance(store, LocalStore) else None
    meter = context.display.begin(Meter(items="blob", total=None if resume else total))
    context.on_interrupt(f"resume with: {context.program} verify --all --resume")
    progress = None if context.quiet else meter.take
    async with aclosing(store.verify_all(resume=resume, quarantine=not keep, on_progress=progress)) as results:
        async for result in results:
            await _report(context, result, keep=keep or store.read_only)


async def _verify_each(
    context: Context, store: LocalStore | ObjectStore, texts: tuple[str, ...], *, keep: bool
) -> AsyncGenerator[Verified, None]:
    for text, name in zip(texts, await resolve(store, texts), strict=True):
        if isinstance(name, SteelyardError):
            context.fail(name, about=text)
            continue
        try:
            yield await _verify_one(context, store, name, keep=keep)
        except SteelyardError as error:
            context.fail(error, about=str(name))


async def _verify_one(context: Context, store: LocalStore | ObjectStore, name: Digest, *, keep: bool) -> Verified:
    size = (await store.info(name)).size
    try:
        await store.verify(name, quarantine=not keep, on_progress=context.display.follow(str(name)))
    except DataCorrupt as error:
        return Verified(digest=name, size=size, error=error)
    return Verified(digest=name, size=size)


async def _report(context: Context, result: Verified, *, keep: bool) -> None:
    digest = str(result.digest)
    context.display.finished(digest, result.size)
    context.counts["blobs"] += 1
    context.counts["bytes"] += result.size
    actual = None if result.error is None else result.error.actual
    record = VerifiedRecord(digest=digest, size=result.size, ok=result.error is None, actual=actual)
    if result.error is None:
        await context.out.emit(record, f"ok       {digest}" if context.lists and not context.quiet else "")
        return
    context.counts["damaged"] += 1
    await context.out.emit(record, digest if context.quiet else f"damaged  {digest}")
    context.fail(result.error, about=None if keep else f"blob {digest} (moved to quarantine)")
