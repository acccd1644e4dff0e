"""The instruments of the rows: a bare thread, a watch on the event loop, a process that reports its memory."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from steelyard_bench._bare import bare_thread
from steelyard_bench._memory import Job, reset_peak, resident
from steelyard_bench._rows.many_streams import _race, streams
from steelyard_bench._rows.memories import _measure
from steelyard_bench._rows.stalls import Load, Traffic, Watched, _repeating, _watch

pytestmark = pytest.mark.anyio

MIB = 1 << 20


async def test_a_bare_thread_answers_every_question_and_ends() -> None:
    async with bare_thread() as ask:
        for _ in range(100):
            await ask()
        [thread] = [thread for thread in threading.enumerate() if thread.name == "steelyard-bench-bare"]

    assert not thread.is_alive()


async def test_a_loop_that_is_held_up_is_seen() -> None:
    async def hold() -> None:
        end = time.perf_counter() + 0.06
        while time.perf_counter() < end:
            hashlib.sha256(bytes(1 << 16))

    async def read(_: int) -> None:
        pass

    watched = Watched()
    await _watch(Traffic([hold], read), watched)
    metrics = watched.metrics(1)

    assert metrics["longest_stall_seconds"] > 0.05
    assert metrics["seconds"] > 0.05


async def test_a_round_puts_its_load_until_there_are_enough_beats(tmp_path: Path) -> None:
    loads: list[Path] = []

    async def put() -> None:
        await anyio.sleep(0.01)
        (loads[-1] / "large").write_bytes(bytes(1 << 17))

    async def read(_: int) -> None:
        pass

    @asynccontextmanager
    async def prepare(_: Load, folder: Path) -> AsyncIterator[Traffic]:
        loads.append(folder)
        yield Traffic([put], read)

    async with _repeating(prepare)(Load([], b"", 1, beats=50), tmp_path) as work:
        measured = work()
        assert isinstance(measured, Awaitable)
        metrics = await measured

    assert len(loads) > 1, "a load has ten beats or so"
    assert metrics is not None
    assert metrics["beats_count"] >= 50
    assert {0} == {(folder / "large").stat().st_size for folder in loads}


async def test_a_race_tells_how_much_later_the_last_is_done() -> None:
    first_is_done = anyio.Event()
    begun = time.perf_counter()

    async def work(number: int) -> None:
        if number == 0:
            first_is_done.set()
            return
        await first_is_done.wait()
        now = time.perf_counter()
        end = now + 0.05 + 3 * (now - begun)
        while time.perf_counter() < end:
            hashlib.sha256(bytes(1 << 16))

    assert (await _race(2, work))["slowest_to_fastest_ratio"] > 2


def test_streams_are_all_there_and_no_two_alike() -> None:
    some = streams(20, 4096)
    whole = [b"".join(some.pieces(number, 1000)) for number in range(20)]

    assert {4096} == set(map(len, whole))
    assert 20 == len(set(whole))


def test_the_peak_is_that_of_the_time_since_it_was_reset() -> None:
    held = bytearray(b"x") * (64 * MIB)
    with_it = resident("VmHWM")
    del held
    reset_peak()

    assert with_it - resident("VmHWM") > 32 * MIB


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_process_of_its_own_tells_the_memory_of_its_ingests(tmp_path: Path, backend: str) -> None:
    job = Job(count=3, size=2 * MIB, write=100_000, backend=backend, root=str(tmp_path / "store"))

    metrics = _measure(job)

    assert metrics["idle_bytes"] > MIB
    assert metrics["seconds"] > 0
    assert 4 == len([path for path in (tmp_path / "store" / "blobs").rglob("*") if path.is_file()])
