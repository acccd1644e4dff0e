"""`quarantine`: list the damaged copies that were moved aside, or remove them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from steelyard.cli.context import Context
from steelyard.cli.names import human_size, timestamp
from steelyard.cli.parameters import Parameter
from steelyard.cli.printing import path_shown, path_text
from steelyard.cli.records import Record

if TYPE_CHECKING:
    from steelyard.local import Quarantined


class QuarantinedRecord(Record, frozen=True, tag="quarantined"):
    """A damaged copy of a blob that was moved aside; `removed` if the command removed it."""

    digest: str
    path: str
    size: int
    moved_at: datetime
    removed: bool

    @classmethod
    def of(cls, copy: Quarantined, *, removed: bool) -> QuarantinedRecord:
        """Return the record of a damaged copy."""
        path = path_text(copy.path)
        return cls(digest=str(copy.digest), path=path, size=copy.size, moved_at=copy.moved_at, removed=removed)


async def quarantine(*, empty: bool = False, context: Annotated[Context, Parameter(parse=False)]) -> None:
    """List damaged copies of blobs that were moved aside, or remove them.

    One line each: bytes, time, file. `verify` moves a damaged blob aside, and so does a `put` of the right bytes. No read and no
    collection counts them.

    Args:
        empty: remove the copies, and print what was removed.
        context: the run.
    """
    context.begin("quarantined", "copies", "bytes")
    async with context.open_local(change=empty) as store:
        for copy in await (store.empty_quarantine() if empty else store.quarantined()):
            context.counts["copies"] += 1
            context.counts["bytes"] += copy.size
            line = f"{human_size(copy.size):>10}  {timestamp(copy.moved_at)}  {path_shown(copy.path)}"
            await context.out.emit(
                QuarantinedRecord.of(copy, removed=empty), str(copy.digest) if context.quiet else line
            )
