"""ObjectStore and MemoryStore say the same at each step of random programs."""

from __future__ import annotations

import pytest
from support.machine import some
from support.root_machine import RootMachine

from steelyard.objects import ObjectStore

from .bucket import in_memory


class BucketMachine(RootMachine):
    """A bucket in memory."""

    def __init__(self) -> None:
        self.patches = pytest.MonkeyPatch()
        in_memory(self.patches)
        super().__init__()

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self.patches.undo()

    async def opened(self) -> ObjectStore:
        return await ObjectStore("s3://bucket/prefix", spool=self.folder).aopen()


class TrioMachine(BucketMachine):
    """The same rules on trio."""

    backend = "trio"


TestOnAsyncio = pytest.mark.slow(BucketMachine.TestCase)
TestOnAsyncio.settings = some(12)
TestOnTrio = pytest.mark.slow(TrioMachine.TestCase)
TestOnTrio.settings = some(4)
