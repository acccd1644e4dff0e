"""The end of a collection: the reports to the caller, and the result."""

from __future__ import annotations

from collections.abc import Sequence

from anyio.lowlevel import checkpoint

from steelyard._runtime.chunks import slices
from steelyard.collection import Collected, CollectOptions, Garbage, Kept

__all__ = ("finish",)

_AT_ONCE = 64
"""Blobs that are reported without a checkpoint."""


async def finish(  # most parameters are fields of the result
    options: CollectOptions,
    *,
    going: Sequence[Garbage],
    staying: Sequence[Garbage],
    left_bytes: int,
    kept: Kept,
    ingests: int,
    warnings: tuple[str, ...],
) -> Collected:
    """Report the garbage to the caller, and return the result.

    Args:
        options: the options of the collection.
        going: the garbage that was removed or, in a dry run, would be.
        staying: the garbage that stays. A dry run reports it, too.
        left_bytes: the bytes of the blobs that are left.
        kept: the blobs that roots keep.
        ingests: the number of ingests that were removed or, in a dry run, would be.
        warnings: see `Collected`.
    """
    size = sum(each.size for each in going)
    options.report("remove", size, size)
    for some in slices([*going, *(staying if options.dry_run else ())], _AT_ONCE):
        await checkpoint()
        for each in some:
            options.found(each)
    return Collected(
        blobs=len(going),
        bytes=size,
        ingests=ingests,
        kept=kept,
        spared=len(staying),
        spared_bytes=sum(each.size for each in staying),
        missed_bytes=0 if options.max_bytes is None else max(0, left_bytes - options.max_bytes),
        warnings=warnings,
        dry_run=options.dry_run,
    )
