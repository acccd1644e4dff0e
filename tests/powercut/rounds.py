"""A round: a file system on a logged disk, the workloads that run there, and the states that its log allows."""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import msgspec

from powercut.cuts import Cut, Image, choose
from powercut.disks import logged, make, mounted, needs_whole
from powercut.history import History, Record
from powercut.logged_disk import FLUSH, Operation, read_log

__all__ = ("TESTS", "Round")

TESTS = Path(__file__).parents[1]


class Round:
    """A finished round: the history of what was acknowledged, and the operations of the disk."""

    def __init__(self, scratch: Path, kind: str, seed: str, workloads: Sequence[str], drop: str | None) -> None:
        """Run the workloads two at a time, with the syncs of `drop` left out."""
        self.kind = kind
        self._scratch = scratch
        self._seed = seed
        self._drop = drop
        self._chance = Random(seed)
        image, first = scratch / "image", scratch / "first"
        make(kind, first)
        shutil.copyfile(first, image)
        self._position = scratch / "position"
        order = self._chance.sample(workloads, len(workloads))
        with (
            logged(image, scratch / "disk", scratch / "log", self._position),
            mounted(kind, scratch / "disk", scratch / "mounted"),
            ThreadPoolExecutor(2) as pool,
        ):
            self._start = self._operations_done()
            records = self._run("_make")
            for found in pool.map(self._run, order):
                records += found
            self._end = self._operations_done()
        image.unlink()
        self.history = History(records)
        with (scratch / "log").open("rb") as file:
            log = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        self.operations: list[Operation] = list(read_log(log))
        self._image = Image(first, self.operations)

    def cuts(self, count: int) -> list[Cut]:
        """Return random cuts: just after an acknowledgement, just before a flush, and anywhere.

        They are in the order of their flushes, as `state` needs them.
        """
        acknowledgements = [record.ended for record in self.history.records]
        whole = needs_whole(self.kind)
        chosen = []
        for _ in range(count):
            at = self._chance.randint(self._start, self._end)
            moment = self._chance.choice(["acknowledged", "before a flush", "anywhere"])
            if moment == "acknowledged":
                at = self._chance.choice(acknowledgements)
            elif moment == "before a flush":
                at = next((n for n in range(at, self._end) if self.operations[n].kind == FLUSH), self._end)
            chosen.append(choose(self.operations, at, self._chance, whole))
        return sorted(chosen, key=lambda cut: cut.flushed)

    def state(self, cut: Cut, path: Path) -> None:
        """Write the disk that a cut leaves to `path`; again for the same cut, or for one that follows it."""
        self._image.after(cut, path)

    def _run(self, workload: str) -> list[Record]:
        """Run a workload in a process of its own, and return what it reported."""
        ours, theirs = os.pipe()
        words = [workload, self._scratch / "mounted", self._seed, self._position, theirs]
        command = [sys.executable, str(TESTS / "powercut" / "work.py"), *map(str, words)]
        if self._drop:
            command[1:1] = [str(TESTS / "powercut" / "dropped_syncs.py"), self._drop]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
        process = subprocess.Popen(command, pass_fds=[theirs], env=environment)
        os.close(theirs)
        with open(ours, "rb") as reports:  # noqa: PTH123
            records = [msgspec.json.decode(line, type=Record) for line in reports]
        if code := process.wait():
            raise RuntimeError(f"the workload {workload} ended with exit code {code}")
        return records

    def _operations_done(self) -> int:
        return int.from_bytes(self._position.read_bytes(), "little")
