"""The store is made: what every other workload starts with."""

from __future__ import annotations

from powercut.history import Change
from powercut.work import Work


async def run(work: Work) -> None:
    begun = work.position()
    async with work.store():
        work.acknowledged(begun, Change("store:made", True))
