"""Run a collection in this process and tell how long its steps and how large its memory were.

``python -m steelyard_bench._collection_process JOB`` prints one `Measured`.
"""

from __future__ import annotations

import sys
import time
from datetime import timedelta

import msgspec

from steelyard.collection import CollectOptions
from steelyard_bench._inside import BlockingCollection, BlockingStore, Durability, OpenOptions
from steelyard_bench._memory import reset_peak, resident

__all__ = ("Collecting", "Measured")


class Collecting(msgspec.Struct, frozen=True, kw_only=True):
    """A collection.

    Attributes:
        root: of the store.
        grace_seconds: the grace time.
        durability: of the store.
    """

    root: str
    grace_seconds: int = 0
    durability: Durability = "power-loss"


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """A collection that has ended.

    Attributes:
        blobs: how many it removed.
        seconds: how long it took.
        steps: how many steps it had.
        step_p999: the time of a step that all but one in a thousand keep to, in seconds.
        step_longest: the time of the longest step.
        step_longest_processor: the most processor time of a step.
        peak_bytes: the most memory that was resident, less what was before.
    """

    blobs: int
    seconds: float
    steps: int
    step_p999: float
    step_longest: float
    step_longest_processor: float
    peak_bytes: int


def _run(job: Collecting) -> Measured:
    with BlockingStore.open(OpenOptions.parse(job.root, durability=job.durability)) as store:
        options = CollectOptions.parse(grace=timedelta(seconds=job.grace_seconds))
        idle = resident("VmRSS")
        reset_peak()
        begun = time.perf_counter()
        collection = BlockingCollection.start(store.native, options)
        try:
            times, longest = _steps(collection)
            seconds = time.perf_counter() - begun
            result = collection.result()
        finally:
            collection.close()
        peak = max(0, resident("VmHWM") - idle)
    times.sort()
    return Measured(
        blobs=result.blobs,
        seconds=seconds,
        steps=len(times),
        step_p999=times[len(times) * 999 // 1000],
        step_longest=times[-1],
        step_longest_processor=longest,
        peak_bytes=peak,
    )


def _steps(collection: BlockingCollection) -> tuple[list[float], float]:
    """Return the times of all steps, and the most processor time of one."""
    times: list[float] = []
    longest = 0.0
    has_ended = False
    while not has_ended:
        processor = time.thread_time()
        begun = time.perf_counter()
        has_ended = collection.step().ended
        times.append(time.perf_counter() - begun)
        longest = max(longest, time.thread_time() - processor)
    return times, longest


def _main() -> None:
    sys.stdout.write(msgspec.json.encode(_run(msgspec.json.decode(sys.argv[1], type=Collecting))).decode())


if __name__ == "__main__":
    _main()
