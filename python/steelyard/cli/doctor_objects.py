"""`doctor` for a store in a bucket: the server and its check, its clock, unfinished uploads, damaged copies, and the spool."""

from __future__ import annotations

import os
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steelyard._places import written_out
from steelyard._runtime.calls import run
from steelyard.cli.context import Context
from steelyard.cli.doctor_checks import Check, ingests_check
from steelyard.cli.names import counted, exact_size, timestamp
from steelyard.cli.printing import path_text
from steelyard.errors import ServerRefused

if TYPE_CHECKING:
    from steelyard.objects import ObjectStore, ServerCheck

__all__ = ("examine",)

_MOST_AHEAD = 60
"""The seconds by which clocks may differ. Servers refuse requests if the difference reaches 15 minutes."""


async def examine(context: Context, facts: dict[str, Any], checks: list[Check]) -> None:
    """Fill in the facts of a store in a bucket and its checks, as far as they are known before an error is raised."""
    from steelyard.objects import ObjectStore  # noqa: PLC0415 - other commands do not need it

    store = ObjectStore(written_out(context.settings.store.value), read_only=True)
    facts |= {"address": store.address, "spool": path_text(store.spool), "free": await run(_free, store.spool)}
    checks.append(_server_check(await store.check()))
    async with store:
        server = await store.server()
        facts |= {"server": server.name, "clock_ahead": server.clock_ahead}
        checks.append(_clock_check(server.clock_ahead))
        copies = await store.quarantined()
        size = exact_size(sum(copy.size for copy in copies))
        checks.append(
            Check(name="quarantine", ok=True, message=f"{len(copies)} damaged" + (f", {size}" if copies else ""))
        )
        checks.append(ingests_check(context, await store.list_statuses()))
        checks.append(await _uploads_check(context, store))


def _free(path: Path) -> int | None:
    """Return the free bytes of the file system that has, or will have, the spool."""
    for place in (path, *path.parents):
        try:
            disk = os.statvfs(place)
        except OSError:
            continue
        return disk.f_frsize * disk.f_bavail
    return None


def _server_check(check: ServerCheck | None) -> Check:
    if check is None:
        message = "not checked from this machine; the first command that changes the store checks it"
        return Check(name="server", ok=True, message=message)
    if check.fault is not None:
        return Check(name="server", ok=False, message=f"{check.fault} (checked {timestamp(check.at)})")
    message = (
        f"checked {timestamp(check.at)}: one of {check.racers} racing writers created each of {counted(check.rounds, 'object')}; "
        "ranges and listings are right"
    )
    return Check(name="server", ok=True, message=message)


def _clock_check(ahead: int | None) -> Check:
    if ahead is None:
        return Check(name="clock", ok=True, message="the server does not say its time")
    if abs(ahead) <= _MOST_AHEAD:
        return Check(name="clock", ok=True, message=f"{abs(ahead)} s from this machine's")
    side = "ahead of" if ahead > 0 else "behind"
    return Check(
        name="clock",
        ok=False,
        message=f"the server's is {abs(ahead)} s {side} this machine's",
        next="timedatectl status",
    )


async def _uploads_check(context: Context, store: ObjectStore) -> Check:
    total = abandoned = others = 0
    try:
        async with aclosing(store.uploads()) as uploads:
            async for each in uploads:
                total += 1
                abandoned += each.abandoned
                others += each.ref is None and not each.abandoned
    except ServerRefused as refused:
        return Check(
            name="uploads", ok=True, message=f"the server does not list them: {refused.server_code or refused.reason}"
        )
    message = f"{total} unfinished, {abandoned} abandoned, {others} perhaps in use by other machines"
    next_step = f"{context.program} abort --uploads" if abandoned else None
    return Check(name="uploads", ok=True, message=message, next=next_step)
