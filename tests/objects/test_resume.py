"""An upload goes on after its process was killed: parts that the server has are not sent again.

``STEELYARD_OBJECT_RESUME_BYTES`` is the size of the upload that is killed: with 5368709120 it takes three times as much of the disk.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from anyio import to_thread

from steelyard.digest import Digest
from steelyard.hashing import Hasher
from steelyard.objects import ObjectStore
from steelyard.testing._values import data_of, digest_of

from .proxy import FaultProxy, fault_proxy

pytestmark = [pytest.mark.slow, pytest.mark.anyio, pytest.mark.usefixtures("keys")]

PART = 8 << 20
DATA = data_of(6 * PART + 77, "resumed")
BYTES = int(os.environ.get("STEELYARD_OBJECT_RESUME_BYTES", str(len(DATA))))

PROGRAM = """
import sys, anyio
from steelyard.objects import ObjectStore
async def main(address, spool, source):
    async with ObjectStore(address, spool=spool) as store:
        await store.put(source, ref="upload")
anyio.run(main, *sys.argv[1:])
"""


@pytest.fixture
def proxy(versitygw: str) -> Iterator[FaultProxy]:
    with fault_proxy(versitygw) as running:
        yield running


@pytest.mark.timeout(3600)
async def test_a_killed_upload_sends_again_what_was_on_its_way(proxy: FaultProxy, tmp_path: Path) -> None:
    address, spool = f"s3://bucket/{uuid4().hex}?endpoint={proxy.address}", tmp_path / "spool"
    source = tmp_path / "source"
    digest = await to_thread.run_sync(_write, source)
    async with ObjectStore(address, spool=spool):
        pass  # it is made, and its server is checked
    proxy.plan(None)
    command = [sys.executable, "-c", PROGRAM, address, str(spool), str(source)]
    kills = await to_thread.run_sync(_killed_until_done, command, proxy)
    assert kills >= 1
    # Each kill loses at most the parts that were on their way, eight of them.
    sent, parts = len(proxy.part_numbers), -(-BYTES // PART)
    print(f"{parts} parts, {kills} kills: {sent - parts} sent again")
    assert sent <= parts + 8 * kills
    async with ObjectStore(address, spool=spool) as store:
        await store.verify(digest)
        assert BYTES == (await store.info(digest)).size
        assert [] == await store.list_statuses()
    assert [] == list((spool / "uploads").iterdir())


async def test_a_part_whose_answer_was_wrong_is_sent_again(proxy: FaultProxy, tmp_path: Path) -> None:
    """The note has another ETag than the server, which refuses to complete the upload."""
    proxy.plan(None)
    address = f"s3://bucket/{uuid4().hex}?endpoint={proxy.address}"
    async with ObjectStore(address, spool=tmp_path / "spool") as store, store.writer("upload") as writer:
        await writer.write(DATA)
        proxy.plan("etag", at=4)  # after a look and the beginning: a part
        await writer.commit()
        assert 1 == proxy.faults
        assert 14 == proxy.parts
        assert DATA == await store.get(digest_of(DATA))
        assert [] == [each async for each in store.uploads()]


def _write(path: Path) -> Digest:
    """Write so many bytes, in pieces that all differ, and return their digest."""
    hasher = Hasher()
    with path.open("wb") as file:
        for offset in range(0, BYTES, len(DATA)):
            piece = (offset.to_bytes(8, "big") + DATA[8:])[: BYTES - offset]
            file.write(piece)
            hasher.update(piece)
    return hasher.digest()


def _killed_until_done(command: list[str], proxy: FaultProxy) -> int:
    """Run the program until it ends, kill it up to three times, and return how often it was killed."""
    rng, kills = random.Random(7), 0
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    while True:
        with subprocess.Popen(command, env=environment) as process:
            wanted = proxy.parts + rng.randrange(1, BYTES // PART // 2 + 1)
            while process.poll() is None and (kills == 3 or proxy.parts < wanted):
                time.sleep(0.002)
            if process.poll() is None:
                process.kill()
                kills += 1
        if process.returncode == 0:
            return kills
        assert -signal.SIGKILL == process.returncode
