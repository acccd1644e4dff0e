"""The program that does one job or one row: `python -m gate.child job|row INDEX FOLDER`; it prints JSON.

On two processors at most, whatever the machine has: how work is divided depends on their number.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anyio
import msgspec

from gate.calls import BEGIN, END
from gate.jobs import JOBS
from gate.ratios import ROUNDS, measure
from steelyard._runtime import calls

PROCESSORS = 2


async def _job(number: int, place: Path) -> dict[str, int]:
    async with JOBS[number].start(place) as work:
        before = calls._pool.counts()
        os.access(BEGIN, os.F_OK)
        await work()
        os.access(END, os.F_OK)
        after = calls._pool.counts()
    return {"hops": after[0] - before[0], "wakes": after[3] - before[3]}


def _main() -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:PROCESSORS])
    what, number, place = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    found = anyio.run(_job, number, place) if what == "job" else anyio.run(measure, number, place, ROUNDS)
    sys.stdout.write(msgspec.json.encode(found).decode())


if __name__ == "__main__":
    _main()
