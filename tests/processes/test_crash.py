"""kill -9 of a writing process, again and again on one root; after each, what must be true is true.

`STEELYARD_SEED` repeats a run's choices, `STEELYARD_CRASH_ROUNDS` makes it longer. The moment of a kill depends on the
machine too, so a repeated run is alike, not the same.
"""

from __future__ import annotations

import hashlib
import os
import random
import stat
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest
from support.child import content
from support.processes import child

from steelyard import AlreadyExists, Digest, LocalStore

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ROUNDS = int(os.environ.get("STEELYARD_CRASH_ROUNDS", "8"))
FREED_SECONDS = 30.0
STREAM_MIB = 20
"""Several notes of how far the stream has come, and no checkpoint."""


@dataclass
class Heard:
    """The messages of the killed processes, over all rounds."""

    stored: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """Digest to seed, number, size."""
    leaving: set[str] = field(default_factory=set)
    """Digests whose delete had begun and was not acknowledged: they may be there or not."""
    synced: dict[str, int] = field(default_factory=dict)
    """Ref to the offset that the last sync acknowledged."""

    def take(self, seed: int, line: str) -> None:
        match line.split():
            case ["stored", digest, number, size]:
                self.stored[digest] = (seed, int(number), int(size))
                self.leaving.discard(digest)
                self.synced.pop(f"{seed}/{number}/{size}", None)
            case ["deleting", digest]:
                self.stored.pop(digest, None)
                self.leaving.add(digest)
            case ["deleted", digest]:
                self.leaving.discard(digest)
            case ["synced", ref, offset]:
                self.synced[ref] = int(offset)


async def test_nothing_acknowledged_is_lost_and_nothing_unfinished_is_seen(tmp_path: Path, anyio_backend: str) -> None:
    first = int(os.environ.get("STEELYARD_SEED", time.time_ns() % 1_000_000))
    print(f"STEELYARD_SEED={first}")
    heard = Heard()
    for seed in range(first, first + ROUNDS):
        _run_and_kill(tmp_path / "store", seed, heard, anyio_backend)
        async with LocalStore(tmp_path / "store") as store:
            assert store.notes() == []
            await _check_blobs(store, heard)
            await _check_ingests(store, heard)
    assert heard.stored, "no round came to store anything"


def _run_and_kill(root: Path, seed: int, heard: Heard, backend: str) -> None:
    """Let a process work for a while, kill it in the midst, and take down what it said until then."""
    chance = random.Random(f"{seed}/kill")
    with child(root, backend) as writer:
        writer.send("churn", str(seed))
        for _ in range(chance.randrange(1, 120)):
            heard.take(seed, writer.hear())
        # The next few milliseconds hold the moments between two lines: within a write, a sync, a rename.
        time.sleep(chance.uniform(0, 0.02))
        writer.kill()
        for line in writer.rest():
            heard.take(seed, line)


async def _check_blobs(store: LocalStore, heard: Heard) -> None:
    seen = {}
    async for info in store.walk():
        seen[str(info.digest)] = info
        data = await store.get(info.digest)
        assert len(data) == info.size
        # Labels are there from the first moment; `update` takes "number" away, never "size".
        assert info.labels.get("size") == str(info.size), info
    for digest, (seed, number, size) in heard.stored.items():
        assert digest in seen, f"acknowledged, but gone: {digest} ({seed}/{number}/{size})"
        assert seen[digest].size == size
    for path in (Path(store.path) / "blobs").rglob("*"):
        if path.is_file():
            assert stat.S_IMODE(path.stat().st_mode) == 0o444
            assert f"{path.parent.name}:{path.name}" in seen, f"not a blob: {path}"


async def _check_ingests(store: LocalStore, heard: Heard) -> None:
    """Every ingest is free, stands at or after its last sync, and can be finished to the right digest."""
    for status in await store.list_statuses():
        seed, number, size = map(int, status.ref.split("/"))
        with anyio.fail_after(FREED_SECONDS):
            writer = await store.writer(status.ref)
        async with writer:
            assert writer.offset >= heard.synced.pop(status.ref, 0)
            assert writer.offset == status.offset
            assert status.total == size
            data = content(seed, number, size)
            await writer.write(data[writer.offset :])
            digest = _digest(data)
            with suppress(AlreadyExists):
                await writer.commit(size=size, expected=digest, labels={"size": str(size)})
            heard.stored[str(digest)] = (seed, number, size)
    assert await store.list_statuses() == []
    for ref in heard.synced:
        # The process died between the commit and its word of it: the ingest has become the blob.
        assert await store.exists(_digest(content(*map(int, ref.split("/"))))), f"synced, but gone: {ref}"
    heard.synced.clear()


def _digest(data: bytes) -> Digest:
    return Digest.parse(f"sha256:{hashlib.sha256(data).hexdigest()}")


@pytest.mark.parametrize("altered", [False, True])
async def test_a_killed_stream_goes_on_with_bytes_that_no_checkpoint_covers(tmp_path: Path, altered: bool) -> None:
    data = content(0, 0, STREAM_MIB << 20)
    with child(tmp_path) as writer:
        assert writer.ask("hold", "a-ref") == "held 0"
        assert writer.ask("write", "a-ref", "x") == "wrote 1"
        assert writer.ask("sync", "a-ref") == "synced 1"
        assert writer.ask("fill", "a-ref", str(STREAM_MIB)) == f"filled {len(data) + 1}"
        writer.kill()
    if altered:
        _overwrite(tmp_path, 1_000_000, b"altered")

    async with LocalStore(tmp_path) as store:
        assert (await store.status("a-ref")).offset == 1
        with anyio.fail_after(FREED_SECONDS):
            async with store.writer("a-ref") as resumed:
                print(f"resumed at {resumed.offset} of {len(data) + 1}")
                if altered:
                    assert resumed.offset == 1
                else:
                    assert 1 << 20 < resumed.offset <= len(data) + 1
                await resumed.write((b"x" + data)[resumed.offset :])
                info = await resumed.commit(verify=True)
        assert await store.get(info.digest) == b"x" + data


def _overwrite(root: Path, offset: int, data: bytes) -> None:
    [path] = root.glob("ingest/*/data")
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)
