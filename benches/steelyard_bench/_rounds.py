"""The rounds of a row: interleaved, rotated, after a warm-up; wall time and processor time of each."""

from __future__ import annotations

import gc
import inspect
import resource
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import msgspec

from steelyard_bench._alone import alone
from steelyard_bench._ground import Ground, settle
from steelyard_bench._inside import run
from steelyard_bench._model import Contestant, H, Metrics, Row, Work
from steelyard_bench._results import ContestantResult, RowResult, Sample, judge, result_of

__all__ = ("Step", "Watch", "cpu_seconds", "measure", "one_round", "order")

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Step:
    """The next step of the run.

    Attributes:
        row: the row's number.
        filesystem: as in `RowResult`.
        round: the round, 0 for the warm-up.
        rounds: how many there are after it.
        contestant: whose turn it is.
        done: turns of this row that are over.
        turns: turns of this row, as far as can be foreseen.
        seconds_left: what the rest of this row will take by what the turns took so far; None in the warm-up.
    """

    row: int
    filesystem: str | None
    round: int
    rounds: int
    contestant: str
    done: int
    turns: int
    seconds_left: float | None


Watch = Callable[[Step], None]


class _Runner:
    """A contestant that takes part."""

    def __init__(self, contestant: Contestant[Any], rounds: int) -> None:
        self.contestant = contestant
        self.rounds = rounds if contestant.most_rounds is None else min(rounds, contestant.most_rounds)
        self.samples: list[Sample] = []
        self.failed: str | None = None
        self.spent_seconds = 0.0

    def takes_part(self, number: int) -> bool:
        return self.failed is None and number <= self.rounds


def order(entries: Sequence[T], number: int) -> list[T]:
    """Return whose turn it is in a round: another one begins each time, and every other round runs backwards.

    So no contestant is always first or last, or always after the same one.
    """
    size = len(entries)
    step = -1 if number % 2 else 1
    return [entries[(number + step * turn) % size] for turn in range(size)]


async def measure(
    row: Row[Any],
    ground: Ground,
    *,
    rounds: int,
    peers: bool = True,
    watch: Watch = lambda _: None,
) -> RowResult:
    """Run a row.

    Args:
        row: what to run.
        ground: where it writes.
        rounds: how many rounds count; one more comes before them.
        peers: whether other programs and packages take part.
        watch: called before each turn.
    """
    contestants = [entry for entry in row.contestants if peers or entry.kind != "peer"]
    if row.payload is not None:
        contestants.insert(0, alone(row.payload))
    missing = {entry.name: reason for entry in contestants if entry.missing and (reason := await run(entry.missing))}
    runners = [_Runner(entry, rounds) for entry in contestants if entry.name not in missing]
    folder = await ground.fresh(f"row-{row.number}")
    async with row.material(folder) as material:
        with _quick_collections():
            for number in range(rounds + 1):
                for runner in order(runners, number):
                    if runner.takes_part(number):
                        watch(_step(row, ground, runners, runner, number=number, rounds=rounds))
                        await _take_turn(row, runner, material, ground, number)
    await ground.spent(folder)
    return msgspec.structs.replace(_conclude(row, contestants, runners, missing), filesystem=ground.filesystem)


async def one_round(row: Row[Any], contestant: Contestant[Any], material: Any, ground: Ground) -> Sample:
    """Let a contestant do its work once, in a fresh place, when nothing that others wrote waits for the disk."""
    place = await ground.fresh("round")
    try:
        async with contestant.start(material, place) as work:
            if contestant.durable is not None:
                await run(settle, place, row.payload.total if row.payload else row.writes)
            return await _timed_round(contestant, work)
    finally:
        await ground.spent(place)


@contextmanager
def _quick_collections() -> Iterator[None]:
    """Keep the garbage collector from looking, again and again, at all that was there before the rounds."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


async def _timed_round(contestant: Contestant[Any], work: Work) -> Sample:
    gc.collect()
    if inspect.iscoroutinefunction(work):
        begun, cpu = time.perf_counter(), cpu_seconds()
        metrics = await work()
        seconds, cpu = time.perf_counter() - begun, cpu_seconds() - cpu
    else:
        seconds, cpu, metrics = await run(_timed, cast("Callable[[], Metrics | None]", work))
    told = dict(metrics or {})
    seconds, cpu = told.pop("seconds", seconds), told.pop("cpu_seconds", cpu)
    share = contestant.share
    return Sample(round=0, seconds=seconds / share, cpu_seconds=cpu / share, metrics=told)


def _timed(work: Callable[[], Metrics | Awaitable[Metrics | None] | None]) -> tuple[float, float, Metrics | None]:
    """Time a call on the thread that makes it, so that the way there and back is not in the number."""
    begun, cpu = time.perf_counter(), cpu_seconds()
    metrics = work()
    seconds, cpu = time.perf_counter() - begun, cpu_seconds() - cpu
    return seconds, cpu, cast("Metrics | None", metrics)


def cpu_seconds() -> float:
    """Return the processor time of this process, all its threads, and the programs that it has run and waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


async def _take_turn(row: Row[Any], runner: _Runner, material: Any, ground: Ground, number: int) -> None:
    begun = time.perf_counter()
    try:
        found = await one_round(row, runner.contestant, material, ground)
    except Exception as error:  # noqa: BLE001 - one that fails drops out and the others go on; the report tells of it
        runner.failed = _described(error)
        return
    runner.spent_seconds = time.perf_counter() - begun
    if number:
        sample = Sample(round=number, seconds=found.seconds, cpu_seconds=found.cpu_seconds, metrics=dict(found.metrics))
        runner.samples.append(sample)


def _described(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def _step(row: Row[Any], ground: Ground, runners: Sequence[_Runner], now: _Runner, *, number: int, rounds: int) -> Step:
    done = sum(len(runner.samples) for runner in runners)
    left = [max(0, runner.rounds - len(runner.samples)) for runner in runners if runner.failed is None]
    seconds = [runner.spent_seconds for runner in runners if runner.failed is None]
    return Step(
        row=row.number,
        filesystem=ground.filesystem,
        round=number,
        rounds=rounds,
        contestant=now.contestant.name,
        done=done,
        turns=done + sum(left),
        seconds_left=sum(map(float.__mul__, map(float, left), seconds)) if number else None,
    )


def _conclude(
    row: Row[Any],
    contestants: Sequence[Contestant[Any]],
    runners: Sequence[_Runner],
    missing: dict[str, str],
) -> RowResult:
    ran = {runner.contestant.name: runner for runner in runners}
    left_out = {entry.name for entry in row.contestants} - {entry.name for entry in contestants}
    h = next((runner.samples for runner in runners if runner.contestant.name == H), [])
    results: list[ContestantResult] = []
    for entry in contestants:
        runner = ran.get(entry.name)
        if runner is None:
            results.append(result_of(entry, row, missing=missing[entry.name]))
        else:
            results.append(result_of(entry, row, runner.samples, failed=runner.failed, alone=h))
    return RowResult(
        number=row.number,
        title=row.title,
        note=row.note,
        bytes=row.payload.total if row.payload else None,
        contestants=results,
        goals=[judge(goal, results) for goal in row.goals if goal.to not in left_out],
    )
