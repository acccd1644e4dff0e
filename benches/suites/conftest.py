"""The rows of `steelyard-bench` as suites of pytest-benchmark, to compare one version of the code with another.

A round is the framework's own, so that both measure the same: prepared and tidied up outside the time, on a disk that is at
rest. What it took is told to pytest-benchmark through a clock that only rounds move. H takes a turn in every round, and the
ratio to it is kept beside the times.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import anyio.from_thread
import pytest
from anyio.from_thread import BlockingPortal
from cases import Case, Take
from pytest_benchmark.fixture import BenchmarkFixture

from steelyard_bench._alone import alone
from steelyard_bench._ground import Ground, open_ground
from steelyard_bench._inside import __version__, debug_build
from steelyard_bench._model import Scale
from steelyard_bench._rounds import one_round
from steelyard_bench._rows import ROWS

BACKENDS = ("asyncio", "trio")
DIVISORS = [int(word) for word in os.environ.get("STEELYARD_BENCH_DIVISORS", "1024,128").split(",")]
PEERS = bool(os.environ.get("STEELYARD_BENCH_PEERS"))
ROUNDS = int(os.environ.get("STEELYARD_BENCH_ROUNDS", "3"))


class _Clock:
    """The time that rounds have taken."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


CLOCK = _Clock()


def pytest_configure() -> None:
    if debug_build:
        pytest.exit("benches need an optimised extension: pip install -e .", returncode=2)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give `test_row_NN_…` every contestant of row NN: ours on both backends, the others once."""
    number = int(metafunc.function.__name__.split("_")[2])
    cases = [
        Case(number, divisor, entry.name, backend)
        for divisor in DIVISORS
        for entry in ROWS[number](Scale(divisor)).contestants
        if PEERS or entry.kind != "peer"
        for backend in (BACKENDS if entry.kind == "steelyard" else BACKENDS[:1])
    ]
    metafunc.parametrize("case", cases, ids=[case.name for case in cases])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put those into one table that may be compared: of one row, section and size, durable or not alike."""
    for item in items:
        if isinstance(item, pytest.Function) and isinstance(case := item.callspec.params.get("case"), Case):
            durability = {True: "durable", False: "NOT DURABLE", None: "writes nothing"}[case.entry.durable]
            words = [f"row {case.number:02}", case.row.title, case.entry.section, durability]
            item.add_marker(pytest.mark.benchmark(timer=CLOCK, group=", ".join(word for word in words if word)))
            item.add_marker(pytest.mark.timeout(600))


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Write beside the numbers what they depend on."""
    del config
    machine_info["cores"] = os.cpu_count()
    machine_info["kernel"] = platform.release()
    machine_info["steelyard"] = __version__


class Stages:
    """Event loops, and what rows work on, made once for all of their contestants."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._directory = directory
        self._stack = stack
        self._portals: dict[str, tuple[BlockingPortal, Ground]] = {}
        self._materials: dict[tuple[str, int, int], Any] = {}

    def loop(self, backend: str) -> tuple[BlockingPortal, Ground]:
        if backend not in self._portals:
            portal = self._stack.enter_context(anyio.from_thread.start_blocking_portal(backend))
            ground = self._stack.enter_context(portal.wrap_async_context_manager(open_ground(self._directory)))
            self._portals[backend] = portal, ground
        return self._portals[backend]

    def material(self, case: Case) -> Any:
        key = (case.backend, case.number, case.divisor)
        if key not in self._materials:
            portal, ground = self.loop(case.backend)
            folder = portal.call(ground.fresh, f"row-{case.number}")
            making = portal.wrap_async_context_manager(case.row.material(folder))
            self._materials[key] = self._stack.enter_context(making)
        return self._materials[key]


@pytest.fixture(scope="session")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stages]:
    """Give the stages. What rounds wrote is removed at the very end: after many deletions ext4 makes files slowly."""
    with ExitStack() as stack:
        yield Stages(tmp_path_factory.mktemp("benches"), stack)


@pytest.fixture
def take(benchmark: BenchmarkFixture, stages: Stages) -> Take:
    """Give what has a case take its rounds."""

    def take(case: Case) -> None:
        if case.entry.missing is not None and (reason := case.entry.missing()):
            pytest.skip(reason)
        portal, ground = stages.loop(case.backend)
        material = stages.material(case)
        ratios: list[float] = []
        metrics: dict[str, list[float]] = {}

        def turn() -> None:
            h = None
            if case.row.payload is not None:
                h = portal.call(one_round, case.row, alone(case.row.payload), material, ground)
            sample = portal.call(one_round, case.row, case.entry, material, ground)
            CLOCK.seconds += sample.seconds
            if h is not None:
                ratios.append(sample.seconds / h.seconds)
            for name, value in sample.metrics.items():
                metrics.setdefault(name, []).append(value)

        benchmark.pedantic(turn, rounds=ROUNDS, warmup_rounds=1)
        # The warm-up is the first.
        if ratios[1:]:
            benchmark.extra_info["ratio_to_h"] = median(ratios[1:])
        benchmark.extra_info |= {name: median(values[1:] or values) for name, values in metrics.items()}

    return take
