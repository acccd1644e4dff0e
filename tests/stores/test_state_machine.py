"""LocalStore and MemoryStore say the same at each step of random programs."""

from __future__ import annotations

import pytest
from support.machine import Machine, some

from steelyard.local import LocalStore


class LocalMachine(Machine):
    """Blobs, labels and ingests."""

    async def opened(self) -> LocalStore:
        return await LocalStore(self.folder, durability="process-crash").aopen()


class TrioMachine(LocalMachine):
    """The same rules on trio."""

    backend = "trio"


TestOnAsyncio = pytest.mark.slow(LocalMachine.TestCase)
TestOnAsyncio.settings = some(30)
TestOnTrio = pytest.mark.slow(TrioMachine.TestCase)
TestOnTrio.settings = some(30)
