"""`quarantine`: list the damaged copies that were moved aside, or remove them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from steelyard.cli.context import Context
from steelyard.cli.names import human_size, timestamp
from steelyard.cli.parameters import Parameter
from steelyard.cli.printing import path_shown, path_text
from steelyard.cli.records import Record
from steelyard.local import Quarantined


class QuarantinedRecord(Record, frozen=True, tag="quarantined"):
    """A damaged copy of a blob that was moved aside, at a path or a key below the prefix; `removed` if the command removed it."""

    digest: str
    path: str
    size: int
    moved_at: datetime
    removed: bool


async def quarantine(*, empty: bool = False, context: Annotated[Context, Parameter(parse=False)]) -> None:
    """List damaged copies of blobs that were moved aside, or remove them.

    One line each: bytes, time, file, or key in a bucket. `verify` moves a damaged blob aside, and so does a `put` of the right bytes. Reads and
    collections ignore them.

    Args:
        empty: remove the copies, and print what was removed.
        context: the run.
    """
    context.begin("quarantined", "copies", "bytes")
    async with context.open_own(change=empty) as store:
        for copy in await (store.empty_quarantine() if empty else store.quarantined()):
            context.counts["copies"] += 1
            context.counts["bytes"] += copy.size
            path = path_text(copy.path) if isinstance(copy, Quarantined) else copy.key
            line = f"{human_size(copy.size):>10}  {timestamp(copy.moved_at)}  {path_shown(path)}"
            record = QuarantinedRecord(
                digest=str(copy.digest), path=path, size=copy.size, moved_at=copy.moved_at, removed=empty
            )
            await context.out.emit(record, str(copy.digest) if context.quiet else line)
