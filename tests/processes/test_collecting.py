"""Collections beside writers, all in processes of their own that are killed: nothing that was promised is lost, and all garbage goes.

`STEELYARD_COLLECTING_OPERATIONS` and `STEELYARD_COLLECTING_COLLECTIONS` make it longer; `STEELYARD_SEED` repeats what its processes choose.
It prints what it did (`pytest -s`).
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest
from support import collecting, own_clock
from support.collecting import AT_ONCE, boot_seconds

from steelyard import Digest, LocalStore

pytestmark = pytest.mark.slow

OPERATIONS = int(os.environ.get("STEELYARD_COLLECTING_OPERATIONS", "400"))
COLLECTIONS = int(os.environ.get("STEELYARD_COLLECTING_COLLECTIONS", "20"))
WRITERS, COLLECTORS = 3, 2
KILL_EVERY = max(120, OPERATIONS // 250)
"""After how many operations and collections a process is killed, at most."""
LOOK_SECONDS = 0.02


@dataclass
class Process:
    """A writer or a collector. What it says goes to a file, so that it never waits for a reader."""

    kind: str
    slot: int
    running: subprocess.Popen[bytes]
    said: Path
    read: int = 0

    def hear(self) -> list[list[str]]:
        """Return the words of the whole lines that it has said since the last call."""
        text = self.said.read_bytes()[self.read :]
        text = text[: text.rfind(b"\n") + 1]
        self.read += len(text)
        return [line.split() for line in text.decode().splitlines()]


@dataclass
class Soak:
    """The processes, what they did, and what they were promised."""

    folder: Path
    chance: random.Random
    processes: list[Process] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    names: dict[str, str] = field(default_factory=dict)
    leases: dict[str, tuple[float, set[str]]] = field(default_factory=dict)

    def start(self, kind: str, slot: int) -> None:
        """Start a process, on asyncio or trio."""
        said = self.folder / f"said-{self.done['starts']}"
        backend = ("asyncio", "trio")[self.done["starts"] % 2]
        self.done["starts"] += 1
        words = (backend, self.folder / "store", kind, self.chance.randrange(1 << 30), slot)
        command = [sys.executable, collecting.__file__, *map(str, words)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        with said.open("wb") as output:
            running = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        self.processes.append(Process(kind, slot, running, said))

    def look(self) -> None:
        """Read what all say; fail if one has ended."""
        for process in self.processes:
            ended = process.running.poll() is not None
            for words in process.hear():
                self._note(words)
            assert not ended, process.said.read_text()[-5000:]

    def _note(self, words: list[str]) -> None:
        match words:
            case ["did", count]:
                self.done["operations"] += int(count)
            case ["collected", count]:
                self.done["collections"] += 1
                self.done["removed blobs"] += int(count)
            case ["clock", seconds]:
                self.done["clock moves"] += seconds != "0"
            case ["naming", name]:
                self.names.pop(name, None)
            case ["named", name, root]:
                self.names[name] = root
            case ["leased", lease, until, *digests]:
                self.leases.setdefault(lease, (float(until), set()))[1].update(digests)
            case ["ending", lease]:
                self.leases.pop(lease, None)

    def kill(self, process: Process) -> None:
        """Kill a process wherever it is, and note the last that it said."""
        process.running.kill()
        process.running.wait()
        for words in process.hear():
            self._note(words)
        self.done[f"kills of {process.kind}"] += 1
        self.processes.remove(process)

    def run(self) -> None:
        """Work until enough was done, and kill a process each time that some more was done."""
        for slot in range(WRITERS):
            self.start("write", slot)
        for slot in range(COLLECTORS):
            self.start("collect", slot)
        next_kill = 1
        while self.done["operations"] < OPERATIONS or self.done["collections"] < COLLECTIONS:
            time.sleep(LOOK_SECONDS * self.chance.random())
            self.look()
            progress = self.done["operations"] + self.done["collections"]
            if progress >= next_kill:
                next_kill = progress + self.chance.randrange(KILL_EVERY)
                process = self.chance.choice(self.processes)
                if process.read:  # it has begun to work
                    self.kill(process)
                    self.start(process.kind, process.slot)

    async def check(self) -> None:
        """Check what must be left when all processes have ended, and that all the rest goes with one collection."""
        async with LocalStore(self.folder / "store", durability="process-crash") as store:
            images = {image.name: str(image.target.digest) for image in await store.images.list()}
            assert self.names.items() <= images.items()
            roots = [Digest.parse(root) for root in images.values()]
            await store.collect(grace=AT_ONCE, ingest_age=AT_ONCE)
            assert set(roots) == (await store.infos(roots)).keys()

            now = boot_seconds()
            lasting = {lease: digests for lease, (until, digests) in self.leases.items() if until > now + 60}
            listed = {lease.id: lease for lease in await store.leases.list()}
            assert lasting.keys() <= listed.keys()
            for digests in lasting.values():
                blobs = [Digest.parse(digest) for digest in digests]
                assert set(blobs) == (await store.infos(blobs)).keys()
            self.done["leases that lasted"] = len(lasting)

            for lease in listed:
                await store.leases.delete(lease)
            for name in images:
                await store.images.delete(name)
            await store.collect(grace=AT_ONCE, ingest_age=AT_ONCE)
            assert [] == [info.digest async for info in store.walk()]
            assert ([], []) == (await store.leases.list(), await store.list_statuses())
            assert [] == list((self.folder / "store" / "ingest").iterdir())
            assert [] == [path for path in (self.folder / "store" / "condemned").rglob("*") if path.is_file()]


async def prepare(root: Path) -> None:
    async with LocalStore(root, durability="process-crash") as store:
        await store.collect()  # the first one needs the store to itself


@pytest.mark.timeout(300 if OPERATIONS < 10_000 else 36_000)
def test_what_writers_were_told_stays_whatever_is_killed(tmp_path: Path) -> None:
    seed = int(os.environ.get("STEELYARD_SEED", time.time_ns() % 1_000_000))
    print(f"STEELYARD_SEED={seed}")
    anyio.run(prepare, tmp_path / "store")
    soak = Soak(tmp_path, random.Random(seed))
    begun = time.monotonic()
    try:
        soak.run()
    finally:
        for process in [*soak.processes]:
            soak.kill(process)
    print(*(f"{count} {what}," for what, count in sorted(soak.done.items())), f"{time.monotonic() - begun:.0f} s")

    anyio.run(soak.check)


@pytest.mark.skipif(not own_clock.CAN_MOVE, reason="a process can move its own clock only on x86-64")
def test_a_process_moves_its_own_clock(tmp_path: Path) -> None:
    """Otherwise the other test would move none."""
    program = (
        "import sys, time; from support import own_clock; own_clock.move(86400); ahead = time.time()\n"
        "from datetime import timedelta; from steelyard.local.blocking import BlockingStore, OpenOptions\n"
        "store = BlockingStore.open(OpenOptions.parse(sys.argv[1])); store.leases.create('a', expires=timedelta(hours=1))\n"
        "print(ahead, store.leases.list()[0].created_at.timestamp())"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    before = time.time()
    said = subprocess.check_output([sys.executable, "-c", program, str(tmp_path)], env=environment, text=True)

    for moved in map(float, said.split()):
        assert before + 86_000 < moved < time.time() + 86_500
