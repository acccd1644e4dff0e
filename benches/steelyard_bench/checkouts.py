"""A tree that is put again, beside `find`, git and restic; and its checkout, beside `cp -r`.

`python -m steelyard_bench.checkouts TREE` copies TREE to the disk of `--directory`, and stores the copy with each contestant once. Then it measures in
turns, in every round in another order: `put_tree` of the unchanged copy with its cache, `find` that prints the status of each file, `git add` and
`restic backup` of the same copy; and `checkout` beside `cp -r --reflink=never` of the same files. Nothing of it is synced, neither the store.
Our calls are measured in a process that has started; the other programs are measured as processes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import anyio

from steelyard._runtime.calls import run
from steelyard.local import LocalStore
from steelyard.trees import checkout, put_tree
from steelyard_bench import _text
from steelyard_bench._inside import debug_build
from steelyard_bench._machine import look
from steelyard_bench.trees import files_below

__all__ = ("main",)

AGAIN, CHECKOUT = "put_tree, unchanged", "checkout"
FIND, GIT, RESTIC, COPY = "find -printf", "git add", "restic backup", "cp -r --reflink=never"
GOALS = ((AGAIN, FIND, 5.0), (AGAIN, GIT, None), (AGAIN, RESTIC, None), (CHECKOUT, COPY, 1.3))
"""The contestants that are compared, and the goals for the ratios."""

Work = Callable[[], Awaitable[object]]


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print the table and return the exit code."""
    options = _options(words)
    if debug_build and not os.environ.get("STEELYARD_ALLOW_DEBUG"):
        sys.stderr.write("steelyard_bench.checkouts: a debug build, so its numbers mean nothing\n")
        return 2
    folder = options.directory.absolute() / f"checkouts-{os.getpid()}"
    folder.mkdir()
    try:
        anyio.run(_measure, options, folder)
    finally:
        shutil.rmtree(folder)
    return 0


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m steelyard_bench.checkouts", description="Measure trees.")
    parser.add_argument("tree", type=Path, metavar="TREE", help="a directory of real files; it is only read")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count, after a warm-up")
    parser.add_argument("--directory", type=Path, default=Path(), help="where to write, on the disk to measure")
    return parser.parse_args(words)


async def _measure(options: argparse.Namespace, folder: Path) -> None:
    source = folder / "source"
    await anyio.run_process(["cp", "-a", "--reflink=never", str(options.tree.absolute()), str(source)])
    files, sizes = await run(files_below, source)
    await anyio.sleep(2.5)  # files that have just changed are read again
    async with LocalStore(folder / "store", durability="process-crash") as store:
        again = partial(put_tree, store, source, name="tree", cache=folder / "cache")
        stored = await again()
        contestants: dict[str, Work] = {
            AGAIN: again,
            FIND: partial(_program, "find", str(source), "-type", "f", "-printf", "%D %i %s %T@ %C@ %p\n"),
            **await _others(source, folder),
            CHECKOUT: partial(_checked_out, store, folder / "out"),
            COPY: partial(_program, "cp", "-r", "--reflink=never", str(source), str(folder / "out")),
        }
        times = await _rounds(contestants, folder / "out", options.rounds)
        assert (await again()).read == 0, "nothing was read"
        assert stored.files == len(files)
    machine = await run(look, folder)
    where = f"{machine.filesystem}; {machine.cores} cores, {machine.processor}; load {machine.load:.2f}"
    what = f"{len(files)} files, {_text.size(sum(sizes))}; {where}; Steelyard at {machine.commit}"
    for line in _table(times, what):
        sys.stdout.write(f"{line}\n")


async def _others(source: Path, folder: Path) -> dict[str, Work]:
    """Store the tree with other programs, and return how each stores it again; without those that are not installed."""
    found: dict[str, Work] = {}
    if shutil.which("git"):
        git = ("git", f"--git-dir={folder / 'git'}", f"--work-tree={source}")
        await _program(*git, "init", "--quiet")
        found[GIT] = partial(_program, *git, "add", "--all", "--force")
        await found[GIT]()
    if shutil.which("restic"):
        restic = ("restic", "--repo", str(folder / "restic"), "--password-command", "echo tree", "--quiet")
        await _program(*restic, "init")
        found[RESTIC] = partial(_program, *restic, "--cache-dir", str(folder / "restic-cache"), "backup", str(source))
        await found[RESTIC]()
    return found


async def _program(*words: str) -> None:
    await anyio.run_process(words, stdout=subprocess.DEVNULL)


async def _checked_out(store: LocalStore, target: Path) -> None:
    await checkout(store, "tree", target)


async def _rounds(contestants: Mapping[str, Work], out: Path, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each contestant in each round."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    names = list(contestants)
    for number in range(rounds + 1):
        for turn in range(len(names)):
            name = names[(number + turn) % len(names)]
            await run(partial(shutil.rmtree, out, ignore_errors=True))
            begun = time.perf_counter()
            await contestants[name]()
            if number:  # the first round warms up
                times[name].append(time.perf_counter() - begun)
    return times


def _table(times: Mapping[str, list[float]], what: str) -> list[str]:
    lines = [what, "", "| Work | Median | Least | Greatest |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {name} | {_text.seconds(median(taken))} | {_text.seconds(min(taken))} | {_text.seconds(max(taken))} |"
        for name, taken in times.items()
    ]
    lines += ["", "| Ours, beside | Median of the rounds' ratios | Goal |", "| --- | --- | --- |"]
    for ours, other, goal in GOALS:
        if other in times:
            found = median(mine / theirs for mine, theirs in zip(times[ours], times[other], strict=True))
            missed = "-" if goal is None else f"≤ {goal}{'' if found <= goal else ', missed'}"
            lines.append(f"| {ours}, {other} | {_text.ratio(found)} | {missed} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
