"""`steelyard put -r` of a real tree, beside `put_many` from a list of the same files, and beside `cp -r` and `sync`.

`python -m steelyard_bench.trees TREE` measures all three in turns, in every round in another order, on the disk of
`--directory`. All are durable when they end. The command line is measured as a whole process, with progress and with
a line for each file; `put_many` without the start of a process and without the list, which exists before.
"""

from __future__ import annotations

import argparse
import os
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from statistics import median

import anyio

from steelyard.local import LocalStore
from steelyard_bench import _text
from steelyard_bench._disks import KINDS, Disk, DiskError, bytes_needed, fresh
from steelyard_bench._ground import LARGE, SMALL_FILE_SPACE, Ground, check_space, open_ground, settle
from steelyard_bench._inside import debug_build, run
from steelyard_bench._machine import Machine, look

__all__ = ("files_below", "main")

COMMAND_LINE, LIST, COPY = "steelyard put -r", "put_many from a list", "cp -r, then sync"

GOALS = ((LIST, 1.3), (COPY, 2.0))
"""The contestants that the command line is compared with, and the goals for the ratios."""

Work = Callable[[Path], Awaitable[None]]


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print the table and return the exit code."""
    options = _options(words)
    if debug_build and not os.environ.get("STEELYARD_ALLOW_DEBUG"):
        return _say("a debug build, so its numbers mean nothing; install it with pip install .")
    try:
        anyio.run(_measure_tree, options)
    except DiskError as error:
        return _say(str(error))
    except KeyboardInterrupt:
        return 130
    return 0


async def _measure_tree(options: argparse.Namespace) -> None:
    files, sizes = await run(files_below, options.tree.absolute())
    runs = 3 * (options.rounds + 1)
    large, small = 3 * sum(sizes), runs * len(files)
    contestants: dict[str, Work] = {
        COMMAND_LINE: partial(_command_line, options.tree.absolute()),
        LIST: partial(_list, files),
        COPY: partial(_copy, options.tree.absolute()),
    }
    needed = large + runs * sum(SMALL_FILE_SPACE + min(size, LARGE) for size in sizes)
    async with _ground(options.directory.absolute(), options.fresh, needed) as ground:
        check_space(ground.folder, large=large, small=small)
        machine = await run(look, ground.folder)
        times = await _rounds(contestants, ground, options.rounds)
    for line in _table(times, machine, f"{len(files)} files, {_text.size(sum(sizes))}"):
        sys.stdout.write(f"{line}\n")


@asynccontextmanager
async def _ground(directory: Path, kind: str | None, needed: int) -> AsyncIterator[Ground]:
    """Give where the rounds write: a new folder, or a fresh file system in an image file there."""
    async with open_ground(directory) as outer:
        if kind is None:
            yield outer
            return
        async with fresh(Disk(outer.folder, bytes_needed(needed)), kind) as mounted, open_ground(mounted) as ground:
            yield ground


def _say(text: str) -> int:
    sys.stderr.write(f"steelyard_bench.trees: {text}\n")
    return 2


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m steelyard_bench.trees", description="Measure put -r of a tree.")
    parser.add_argument("tree", type=Path, metavar="TREE", help="a directory of real files; it is only read")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count, after a warm-up")
    parser.add_argument("--fresh", choices=KINDS, help="write to a fresh file system of this kind, as root")
    parser.add_argument("--directory", type=Path, default=Path(), help="where to write, on the disk to measure")
    return parser.parse_args(words)


def files_below(tree: Path) -> tuple[list[str], list[int]]:
    """Return the paths of the regular files below a directory, and their sizes."""
    found: list[str] = []
    sizes: list[int] = []
    for folder, folders, names in os.walk(tree):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)  # noqa: PTH118 - many files
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode):
                found.append(path)
                sizes.append(status.st_size)
    return found, sizes


async def _rounds(contestants: Mapping[str, Work], ground: Ground, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each contestant in each round. Nothing is deleted in between; see `Ground`."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    names = list(contestants)
    for number in range(rounds + 1):
        for turn in range(len(names)):
            name = names[(number + turn) % len(names)]
            place = await ground.fresh("tree")
            await run(settle, place, 0)
            begun = time.perf_counter()
            await contestants[name](place / "target")
            if number:  # the first round warms up
                times[name].append(time.perf_counter() - begun)
            await ground.spent(place)
    return times


async def _command_line(tree: Path, target: Path) -> None:
    command = [sys.executable, "-m", "steelyard", "--store", str(target), "put", "-r", str(tree)]
    await anyio.run_process(command, stdout=subprocess.DEVNULL)


async def _list(files: list[str], target: Path) -> None:
    async with LocalStore(target) as store, aclosing(store.put_many(files)) as results:
        async for _ in results:
            pass


async def _copy(tree: Path, target: Path) -> None:
    await anyio.run_process(["cp", "-r", str(tree), str(target)])
    await anyio.run_process(["sync", "--file-system", str(target)])


def _table(times: Mapping[str, list[float]], machine: Machine, what: str) -> list[str]:
    build = "a debug build" if machine.debug_build else "a release build"
    journal = " without a journal" if machine.journal is False else ""
    where = f"{machine.filesystem}{journal}; {machine.cores} cores, {machine.processor}; load {machine.load:.2f}"
    lines = [
        f"{what}; {where}; Steelyard at {machine.commit}, {build}",
        "",
        "| Work | Median | Least | Greatest |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {name} | {_text.seconds(median(taken))} | {_text.seconds(min(taken))} | {_text.seconds(max(taken))} |"
        for name, taken in times.items()
    ]
    lines += ["", f"| {COMMAND_LINE}, beside | Median of the rounds' ratios | Goal |", "| --- | --- | --- |"]
    for other, goal in GOALS:
        found = median(mine / theirs for mine, theirs in zip(times[COMMAND_LINE], times[other], strict=True))
        lines.append(f"| {other} | {_text.ratio(found)} | ≤ {goal}{'' if found <= goal else ', missed'} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
