"""`doctor`: the facts for a bug report, and the repair of the store's metadata."""

from __future__ import annotations

import os
import platform
import sys
from functools import partial
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from typing import Annotated, Any

import msgspec

from steelyard import __version__
from steelyard._places import config_path, is_address, is_object_storage, written_out
from steelyard._runtime.calls import run
from steelyard.cli.context import Context
from steelyard.cli.doctor_checks import Check, ingests_check
from steelyard.cli.doctor_objects import examine
from steelyard.cli.explain import explain
from steelyard.cli.mounts import mount_of
from steelyard.cli.names import exact_size, human_size
from steelyard.cli.parameters import Parameter
from steelyard.cli.printing import printable
from steelyard.errors import NotFound, SteelyardError
from steelyard.local import sqlite_version
from steelyard.local.blocking import BlockingStore


async def doctor(
    *,
    rebuild: bool = False,
    context: Annotated[Context, Parameter(parse=False)],
) -> None:
    """Show versions, settings and the store's health; rebuild its metadata.

    The exit code is 1 if the store has a problem. Paste the output into bug reports.

    Args:
        rebuild: rebuild the metadata from the blobs and the readable part of the old file.
        context: the run.
    """
    report: dict[str, Any] = {
        "type": "doctor",
        "versions": await run(versions),
        "settings": msgspec.to_builtins(context.settings),
        "config_file": str(config_path()),
    }
    checks: list[Check] = []
    rebuilt: list[str] = []
    place = context.settings.store.value
    facts = {"address": written_out(place)} if is_address(place) else await run(store_facts, place)
    report["store"] = facts
    try:
        if rebuild:
            rebuilt = await context.with_blocking(lambda store: store.rebuild(), change=True, print_notes=False)
        if is_object_storage(place):
            await examine(context, facts, checks)
        else:
            checks = await context.with_blocking(partial(_checks, context), print_notes=False)
    except (SteelyardError, OSError) as error:
        found = explain(error, program=context.program)
        helps = not (isinstance(error, NotFound) and error.kind == "store")  # this command is the next step there
        next_step = found.next_step if helps else None
        checks.append(Check(name="store", ok=False, message=found.message, next=next_step))
        context.fail(error, helps=helps)
    report["checks"] = msgspec.to_builtins(checks)
    report["rebuilt"] = rebuilt
    report["ok"] = all(check.ok for check in checks)
    await context.out.document(report, _text(report, checks))
    if not report["ok"] and not context.failures:
        context.fail(Unhealthy(", ".join(f"{check.name}: {check.message}" for check in checks if not check.ok)))


class Unhealthy(SteelyardError):
    """The store has a problem, but the command worked."""

    code = "unhealthy"


def _checks(context: Context, store: BlockingStore) -> list[Check]:
    checks = [
        Check(name="metadata", ok=False, message=printable(note), next=f"{context.program} doctor --rebuild")
        for note in store.notes()
    ] or [Check(name="metadata", ok=True, message="readable")]
    stats = store.stats()
    checks.append(Check(name="blobs", ok=True, message=f"{stats.blobs}, {exact_size(stats.blob_bytes)}"))
    quarantined = stats.quarantined
    checks.append(Check(name="quarantine", ok=True, message=f"{quarantined} damaged"))
    checks.append(ingests_check(context, store.statuses()))
    return checks


def versions() -> dict[str, str]:
    """Return the versions of the program, its packages and the system."""
    found = {
        "steelyard": __version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "executable": sys.executable,
        "sqlite": sqlite_version,
    }
    for package in ("anyio", "trio", "msgspec", "rich"):
        try:
            found[package] = version_of(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def store_facts(path: str) -> dict[str, Any]:
    """Return facts of the operating system about the root."""
    facts: dict[str, Any] = {"path": path, "exists": os.path.isdir(path)}  # noqa: PTH112 - on a thread already
    if not facts["exists"]:
        return facts
    disk = os.statvfs(path)
    mount = mount_of(path)
    return facts | {
        "writable": os.access(path, os.W_OK),
        "filesystem": None if mount is None else mount.kind,
        "size": disk.f_frsize * disk.f_blocks,
        "free": disk.f_frsize * disk.f_bavail,
    }


def _text(report: dict[str, Any], checks: list[Check]) -> str:
    lines = [f"{name:<12}{value}" for name, value in report["versions"].items()]
    lines += ["", f"{'config file':<12}{report['config_file']}"]
    for name, setting in report["settings"].items():
        lines.append(f"{name:<12}{setting['value']}  (from {setting['origin']})")
    lines.append("")
    for name, value in report["store"].items():
        shown = human_size(value) if name in {"size", "free"} and value is not None else value
        lines.append(f"{name.replace('_', ' '):<12}{shown}")
    lines += [""] if checks else []
    for check in checks:
        lines.append(f"{'ok' if check.ok else 'WRONG':<6}{check.name}: {check.message}")
        if check.next is not None:
            lines.append(f"      next: {check.next}")
    lines += [f"rebuilt: {line}" for line in report["rebuilt"]]
    return printable_lines(lines)


def printable_lines(lines: list[str]) -> str:
    """Return lines as text, each safe for a terminal."""
    return "\n".join(map(printable, lines))
