"""Cut the power of a disk at random moments, and check what is left: `python tests/powercut/explore.py ext4 --states 1000`.

It needs root, /dev/fuse and loop devices. Each round makes a file system on a logged disk, runs all workloads there, two at a
time, and checks 50 states of that log. All of it is in a mount and a process namespace of its own, so the kernel removes the
mounts, the loop devices and the processes when this process ends, however it ends.

`--seed` repeats the choices of the workloads and of the cuts. The log depends on the machine's timing too, so a repeated run is
alike, not the same. `--keep DIR` keeps the disk of each state with a problem.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import uuid
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    os.environ["STEELYARD_ALLOW_DEBUG"] = "1"

from powercut.checks import Checks
from powercut.cuts import Cut
from powercut.disks import KINDS, lost_blocks, mounted, run
from powercut.dropped_syncs import DROPS
from powercut.rounds import Round
from powercut.work import WORKLOADS

__all__ = ("main",)

STATES_OF_A_ROUND = 50
_INSIDE = "STEELYARD_POWER_CUT_SCRATCH"
"""Set in the namespaces: a directory to mount a file system in memory on."""
_NAMESPACES = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
_PR_SET_PDEATHSIG = 1
_BOOT_ID = "/proc/sys/kernel/random/boot_id"


class Explorer:
    """Counts what was found in the states of all rounds."""

    def __init__(self, kind: str, scratch: Path, *, drop: str | None, keep: Path | None, first: bool) -> None:
        run("mount", "-t", "tmpfs", "-o", "mode=0700", "powercut", str(scratch))
        self._kind = kind
        self._scratch = scratch
        self._drop = drop
        self._keep = keep
        self._first = first
        self._checks = Checks(scratch / "mounted", scratch, kind)
        self.states = self.damaged = self.unrepaired = self.torn = self.dropped = self.calls = 0

    @property
    def ended(self) -> bool:
        """Whether one problem is enough, and was found."""
        return self._first and self.damaged > 0

    def explore(self, count: int, made: Round) -> None:
        """Check that many states of a round, and print each problem as JSON."""
        self.calls += len(made.history.records)
        # The machine that comes back has another boot ID.
        (self._scratch / "boot_id").write_text(f"{uuid.uuid4()}\n")
        run("mount", "--bind", str(self._scratch / "boot_id"), _BOOT_ID)
        for cut in made.cuts(count):
            problems, checked = self._problems(made, cut)
            self.states, self.torn, self.dropped = self.states + 1, self.torn + cut.torn, self.dropped + cut.dropped
            if problems and lost_blocks(checked) and not self._drop:
                self.unrepaired += 1
            elif problems:
                self.damaged += 1
                print(json.dumps({"cut": repr(cut), "problems": problems, "checked": checked}), flush=True)
                if self._keep is not None:
                    made.state(cut, self._keep / f"{self._kind}-{self.states}-{cut.at}")
            if self.ended:
                break
        run("umount", _BOOT_ID)

    def _problems(self, made: Round, cut: Cut) -> tuple[list[str], str]:
        """Mount the disk that a cut left, and return what is wrong there, and what the check of the file system printed."""
        state = self._scratch / "state"
        made.state(cut, state)
        try:
            with mounted(self._kind, state, self._scratch / "mounted") as checked:
                return self._checks.problems(made.history, cut.at), checked
        except RuntimeError as error:
            return [str(error)], ""

    def close(self) -> None:
        """End the process that runs the commands."""
        self._checks.close()


def main() -> int:
    """Parse the command line, enter the namespaces, and explore."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("kind", choices=KINDS, help="the file system")
    parser.add_argument("--states", type=int, default=STATES_OF_A_ROUND)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workload", action="append", choices=WORKLOADS, help="only this one; may be repeated")
    parser.add_argument("--drop", choices=DROPS, help="leave out these syncs of the workloads")
    parser.add_argument("--first", action="store_true", help="end after the first state with a problem")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the disk of each state with a problem there")
    given = parser.parse_args()
    if _INSIDE not in os.environ:
        return _enter()
    began = time.monotonic()
    scratch = Path(os.environ[_INSIDE])
    explorer = Explorer(given.kind, scratch, drop=given.drop, keep=given.keep, first=given.first)
    number = 0
    while explorer.states < given.states and not explorer.ended:
        folder = scratch / str(number)
        folder.mkdir()
        made = Round(folder, given.kind, f"{given.seed}/{number}", given.workload or WORKLOADS, given.drop)
        explorer.explore(min(STATES_OF_A_ROUND, given.states - explorer.states), made)
        shutil.rmtree(folder)
        number += 1
    explorer.close()
    counts = {name: getattr(explorer, name) for name in ("states", "damaged", "unrepaired", "torn", "dropped", "calls")}
    seconds = round(time.monotonic() - began)
    print(json.dumps({"kind": given.kind, "seed": given.seed, "rounds": number, **counts, "seconds": seconds}))
    return 1 if explorer.damaged else 0


def _enter() -> int:
    """Run the same command in namespaces of its own, which end with this process, and return its exit code."""
    with tempfile.TemporaryDirectory(prefix="steelyard-powercut-") as scratch:
        child = os.fork()
        if child == 0:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            os.environ[_INSIDE] = scratch
            os.execvp(_NAMESPACES[0], [*_NAMESPACES, sys.executable, *sys.argv])
        try:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        except BaseException:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise


if __name__ == "__main__":
    sys.exit(main())
