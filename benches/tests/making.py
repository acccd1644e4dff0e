"""Rows, contestants and results whose times are known."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from steelyard_bench._machine import Machine
from steelyard_bench._model import Contestant, Goal, H, Payload, Row, Scale, Start
from steelyard_bench._results import Report, RowResult, Sample, judge, result_of
from steelyard_bench._sources import blocking

TINY = Scale(1024)
PAYLOAD = Payload(count=2, size=1000)


@asynccontextmanager
async def nothing(folder: Path) -> AsyncIterator[None]:
    assert [] == names_in(folder)
    yield None


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.iterdir()}


def spend(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def doing(work: Callable[[], Mapping[str, float] | None]) -> Start[None]:
    return blocking(lambda _material, _place: work())


IDLE = doing(lambda: None)


def contestant(name: str, start: Start[None] = IDLE, **fields: Any) -> Contestant[None]:
    return replace(Contestant(name=name, kind="steelyard", start=start, durable=True), **fields)


def row_of(
    *contestants: Contestant[None], goals: tuple[Goal, ...] = (), payload: Payload | None = PAYLOAD
) -> Row[None]:
    return Row(number=1, title="work", payload=payload, material=nothing, contestants=contestants, goals=goals)


def result(goals: tuple[Goal, ...], **times: list[float]) -> RowResult:
    """Return a row in which each contestant took the times given; an underscore stands for a blank."""
    samples = {
        name.replace("_", " "): [Sample(round=n, seconds=s, cpu_seconds=s) for n, s in enumerate(seconds, 1)]
        for name, seconds in times.items()
    }
    entries = [contestant(name) for name in samples]
    row = row_of(*(entry for entry in entries if entry.name != H))
    alone = samples.get(H, ())
    found = [result_of(entry, row, samples[entry.name], alone=alone) for entry in entries]
    judged = [judge(goal, found) for goal in goals]
    return RowResult(number=1, title="work", note="", bytes=2000, contestants=found, goals=judged)


def report_of(*rows: RowResult, machine: Machine) -> Report:
    return Report(
        at=datetime(2026, 1, 2, tzinfo=UTC),
        command="steelyard-bench",
        backend="trio",
        divisor=1,
        rounds=3,
        machine=msgspec.to_builtins(machine),
        warnings=["a busy machine"],
        rows=list(rows),
    )
