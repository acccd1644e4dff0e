"""Downloads beside httpx2 alone, from an nginx on loopback.

`python -m steelyard_bench.downloads` measures in turns, in every round in another order: `fetch_many` of `--files` files of 4 KiB into a
durable store, beside httpx2's client that reads the same bodies and drops them, with as many connections; and `fetch` of one file of
`--size` bytes, with several ranges at once and with one, beside httpx2's client, SHA-256 on one thread (H), and a durable `put` of the file.
All is done in one process with one event loop; nginx has one worker. The processor time is that of this process.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from statistics import median

import anyio
import anyio.abc
import msgspec

from steelyard.fetch import fetch, fetch_many
from steelyard.local import LocalStore
from steelyard_bench import _text
from steelyard_bench._ground import Ground, check_space, open_ground, settle
from steelyard_bench._inside import debug_build, run
from steelyard_bench._machine import look
from steelyard_bench._nginx import available, nginx

__all__ = ("main",)

MANY, MANY_ALONE = "fetch_many", "httpx2, many"
LARGE, ONE_RANGE, LARGE_ALONE, HASH, PUT = "fetch", "fetch, one range", "httpx2, large", "H", "put"
PAIRS = ((MANY, MANY_ALONE), (LARGE, LARGE_ALONE), (LARGE, PUT), (LARGE, HASH), (LARGE, ONE_RANGE))
"""The contestants that are compared."""

MANY_GOAL, LARGE_GOAL, PUT_GOAL = 1.2, 1.15, 1.3
"""`fetch_many` beside httpx2; `fetch` beside httpx2 or beside `put`, whichever of the two takes longer by its goal."""

_FILE_BYTES = 4096
_PIECE_BYTES = 1 << 20


class Taken(msgspec.Struct, frozen=True):
    """The time of a contestant in a round, and the processor time of this process, in seconds."""

    seconds: float
    processor: float


Work = Callable[[Path], Awaitable[None]]


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print the tables and return the exit code."""
    options = _options(words)
    if debug_build and not os.environ.get("STEELYARD_ALLOW_DEBUG"):
        return _say("a debug build, so its numbers mean nothing")
    if reason := available():
        return _say(reason)
    try:
        lines = anyio.run(_measure, options, backend=options.backend)
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        return _say(str(error))
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


def _say(text: str) -> int:
    sys.stderr.write(f"steelyard_bench.downloads: {text}\n")
    return 2


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m steelyard_bench.downloads", description="Measure downloads.")
    parser.add_argument("--files", type=int, default=3000, help="how many small files there are")
    parser.add_argument("--size", type=int, default=1 << 30, help="bytes of the large file")
    parser.add_argument("--connections", type=int, default=6, help="connections at a time for the small files")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count, after a warm-up")
    parser.add_argument("--backend", choices=("asyncio", "trio"), default="asyncio", help="the event loop")
    parser.add_argument("--directory", type=Path, default=Path(), help="where to write, on the disk to measure")
    return parser.parse_args(words)


async def _measure(options: argparse.Namespace) -> list[str]:
    rounds = options.rounds + 1
    async with open_ground(options.directory.absolute()) as ground:
        check_space(ground.folder, large=4 * options.size, small=(1 + rounds) * options.files)
        files = await ground.fresh("files")
        await run(_make_files, files, options.files, options.size)
        with nginx(files, ground.folder / "nginx") as url:
            small = [f"{url}/{number}" for number in range(options.files)]
            contestants: dict[str, Work] = {
                MANY: partial(_fetch_many, small, options.connections),
                MANY_ALONE: partial(_many_alone, small, options.connections),
                LARGE: partial(_fetch, f"{url}/large", 4),
                ONE_RANGE: partial(_fetch, f"{url}/large", 1),
                LARGE_ALONE: partial(_large_alone, f"{url}/large"),
                HASH: partial(_hash, files / "large"),
                PUT: partial(_put, files / "large"),
            }
            found = await _rounds(contestants, ground, rounds, options.size)
        seen = await run(look, ground.folder)
    where = f"{seen.filesystem}; {seen.cores} cores, {seen.processor}; load {seen.load:.2f}"
    what = f"{options.files} files of {_text.size(_FILE_BYTES)}, one of {_text.size(options.size)}; {options.backend}"
    return _table(found, f"{what}; {where}; Steelyard at {seen.commit}")


def _make_files(files: Path, count: int, size: int) -> None:
    for number in range(count):
        (files / f"{number}").write_bytes(f"file {number} ".encode().ljust(_FILE_BYTES, b"."))
    with (files / "large").open("wb") as file:
        for _ in range(size // _PIECE_BYTES):
            file.write(os.urandom(_PIECE_BYTES))
        file.write(os.urandom(size % _PIECE_BYTES))


async def _fetch_many(urls: Sequence[str], connections: int, place: Path) -> None:
    async with (
        LocalStore(place / "store") as store,
        aclosing(fetch_many(store, urls, per_host=connections)) as results,
    ):
        assert len(urls) == len([one.result async for one in results])


async def _many_alone(urls: Sequence[str], connections: int, _: Path) -> None:
    import httpx2  # noqa: PLC0415 - an extra

    free = anyio.Semaphore(connections)
    async with httpx2.AsyncClient(limits=httpx2.Limits(max_connections=connections)) as client:

        async def one(url: str) -> None:
            async with free:
                response = await client.get(url, headers={"Accept-Encoding": "identity"})
                assert _FILE_BYTES == len(response.content)

        async with anyio.create_task_group() as tasks:
            for url in urls:
                tasks.start_soon(one, url)


async def _fetch(url: str, ranges: int, place: Path) -> None:
    async with LocalStore(place / "store") as store:
        await fetch(store, url, ranges=ranges)


async def _large_alone(url: str, _: Path) -> None:
    import httpx2  # noqa: PLC0415 - an extra

    async with (
        httpx2.AsyncClient() as client,
        client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response,
    ):
        async for _piece in response.aiter_raw():
            pass


async def _hash(path: Path, _: Path) -> None:
    def work() -> None:
        with path.open("rb") as file:
            hashlib.file_digest(file, "sha256")

    await run(work)


async def _put(path: Path, place: Path) -> None:
    async with LocalStore(place / "store") as store:
        await store.put(path)


async def _rounds(contestants: Mapping[str, Work], ground: Ground, rounds: int, size: int) -> dict[str, list[Taken]]:
    """Return what each contestant took in each round."""
    found: dict[str, list[Taken]] = {name: [] for name in contestants}
    names = list(contestants)
    for number in range(rounds):
        for turn in range(len(names)):
            name = names[(number + turn) % len(names)]
            place = await ground.fresh("round")
            await run(settle, place, size)
            begun, before = time.perf_counter(), time.process_time()
            await contestants[name](place)
            if number:  # the first round warms up
                found[name].append(Taken(time.perf_counter() - begun, time.process_time() - before))
            await ground.spent(place)
    return found


def _table(found: Mapping[str, list[Taken]], what: str) -> list[str]:
    lines = [what, "", "| Work | Median | Least | Greatest | Processor time |", "| --- | --- | --- | --- | --- |"]
    for name, taken in found.items():
        times = [one.seconds for one in taken]
        columns = (median(times), min(times), max(times), median(one.processor for one in taken))
        lines.append(f"| {name} | {' | '.join(map(_text.seconds, columns))} |")
    lines += ["", "| Ours, beside | Median of the rounds' ratios | Goal |", "| --- | --- | --- |"]
    for ours, other in PAIRS:
        ratio = _ratio(found[ours], [one.seconds for one in found[other]])
        lines.append(f"| {ours}, {other} | {_text.ratio(ratio)} | {_kept(ratio, MANY_GOAL) if ours == MANY else '-'} |")
    pairs = zip(found[LARGE_ALONE], found[PUT], strict=True)
    limits = [max(LARGE_GOAL * alone.seconds, PUT_GOAL * put.seconds) for alone, put in pairs]
    ratio = _ratio(found[LARGE], limits)
    limit = f"the larger of {LARGE_GOAL} × {LARGE_ALONE} and {PUT_GOAL} × {PUT}"
    return [*lines, f"| {LARGE}, {limit} | {_text.ratio(ratio)} | {_kept(ratio, 1.0)} |"]


def _ratio(ours: Sequence[Taken], seconds: Sequence[float]) -> float:
    return median(one.seconds / theirs for one, theirs in zip(ours, seconds, strict=True))


def _kept(ratio: float, goal: float) -> str:
    return f"≤ {goal:g}{'' if ratio <= goal else ', missed'}"


if __name__ == "__main__":
    sys.exit(main())
