"""The stores are made: what every other workload starts with. One is collected once, while no other process has it open."""

from __future__ import annotations

from powercut.history import Change
from powercut.work import STORES, Work


async def run(work: Work) -> None:
    for place in STORES:
        work.use(place)
        begun = work.position()
        async with work.store() as store:
            if place == "collected":
                await store.collect()
            work.acknowledged(begun, Change("store:made", True))
