"""The checks that `doctor` makes for every store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from steelyard.cli.context import Context
from steelyard.cli.printing import quoted
from steelyard.model import Status

STALE = timedelta(days=1)
"""An ingest that has not changed for this time is reported."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one check; `next` is a command that helps."""

    name: str
    ok: bool
    message: str
    next: str | None = None


def ingests_check(context: Context, statuses: Sequence[Status]) -> Check:
    """Return the check of the unfinished ingests. It never fails."""
    now = datetime.now(UTC)
    stale = [status for status in statuses if now - status.updated_at > STALE]
    message = f"{len(statuses)} unfinished, {len(stale)} without a change for a day"
    hint = f"{context.program} abort {quoted(stale[0].ref)}" if stale else None
    return Check(name="ingests", ok=True, message=message, next=hint)
