"""A collection of a large store, and what a writer in another process has to wait meanwhile.

`python -m steelyard_bench.collecting --blobs 1000000` fills a store with small blobs, of which a few hundred image names keep all but
`--garbage` percent. A collection without a grace time removes these, in a process of its own. A second process writes: alone for a while,
and then beside the collection; once with syncs, and once without. `why` and `rm` of one blob are measured last.

With `--containerd` a containerd collects as many blobs, which a lease keeps until it is deleted.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager
from datetime import timedelta
from pathlib import Path

import anyio
import msgspec

from steelyard.containerd import RemoteStore
from steelyard.content import Store
from steelyard.digest import Digest
from steelyard.local import LocalStore
from steelyard.model import Descriptor
from steelyard_bench import _text
from steelyard_bench._collection_process import Collecting, Measured
from steelyard_bench._ground import Ground, check_space, open_ground, settle
from steelyard_bench._inside import Durability, debug_build, run
from steelyard_bench._machine import look
from steelyard_bench._peers._containerd import available, ctr, daemon_of_round
from steelyard_bench._tied import tied
from steelyard_bench._writer_process import Pauses, Writing

__all__ = ("main",)

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"

_PARTS = 3000
"""The most blobs of an image."""

_DURABILITIES: tuple[Durability, ...] = ("process-crash", "power-loss")


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """A collection, with a writer beside it.

    Attributes:
        name: how the store is written to.
        blobs: how many blobs went.
        seconds: the time of the collection.
        alone: the calls of the writer before it, by their kinds.
        beside: the same beside it.
        measured: the collection from inside; None for containerd's.
    """

    name: str
    blobs: int
    seconds: float
    alone: dict[str, Pauses]
    beside: dict[str, Pauses]
    measured: Measured | None = None


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """All that was measured.

    Attributes:
        machine: where.
        blobs: how many there were before each collection.
        first: the first collection of the store, which reads all documents and removes nothing.
        rounds: the collections.
        questions: the times of `why` and of `steelyard rm`, in seconds.
    """

    machine: str
    blobs: int
    first: Measured | None
    rounds: list[Round]
    questions: dict[str, float]


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print the results and return the exit code."""
    options = _options(words)
    if debug_build and not os.environ.get("STEELYARD_ALLOW_DEBUG"):
        return _say("a debug build, so its numbers mean nothing; install it with pip install .")
    if options.containerd and (reason := available()):
        return _say(reason)
    try:
        results = anyio.run(_measure, options)
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        return _say(str(error))
    text = json.dumps(msgspec.to_builtins(results), indent=2) if options.json else "\n".join(_tables(results))
    sys.stdout.write(f"{text}\n")
    return 0


def _say(text: str) -> int:
    sys.stderr.write(f"steelyard_bench.collecting: {text}\n")
    return 2


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m steelyard_bench.collecting", description="Measure the collection of a large store."
    )
    parser.add_argument("--blobs", type=int, default=1_000_000, help="how many blobs there are")
    parser.add_argument("--garbage", type=int, default=10, metavar="PERCENT", help="how many of them nothing keeps")
    parser.add_argument("--size", type=int, default=512, help="bytes of each blob")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long the writer writes alone")
    parser.add_argument("--containerd", action="store_true", help="measure a containerd, as root")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--directory", type=Path, default=Path(), help="where to write, on the disk to measure")
    return parser.parse_args(words)


async def _measure(options: argparse.Namespace) -> Results:
    garbage = options.blobs * options.garbage // 100
    async with open_ground(options.directory.absolute()) as ground:
        check_space(ground.folder, large=0, small=options.blobs + garbage)
        seen = await run(look, ground.folder)
        build = "a debug build" if seen.debug_build else "a release build"
        machine = f"{seen.filesystem}; {seen.cores} cores, {seen.processor}; Steelyard at {seen.commit}, {build}"
        if options.containerd:
            rounds = [await _containerd(ground, options, garbage)]
            return Results(machine=machine, blobs=options.blobs, first=None, rounds=rounds, questions={})
        root = await ground.fresh("store")
        await _fill(root, range(options.blobs - garbage), options.size)
        # The one that raises the format, and remembers what documents name: stores that were collected before are measured.
        first = await run(_collect, Collecting(root=str(root), grace_seconds=86400, durability="process-crash"))
        rounds = []
        for number, durability in enumerate(_DURABILITIES, 1):
            begin = options.blobs * number
            await _fill(root, range(begin, begin + garbage), options.size, named=False)
            rounds.append(await run(_round, root, durability, options.seconds))
        questions = await _questions(root, options.size)
        return Results(machine=machine, blobs=options.blobs, first=first, rounds=rounds, questions=questions)


def _blob(number: int, size: int) -> bytes:
    return f"blob {number} ".encode().ljust(size, b".")


def _digest(data: bytes) -> Digest:
    return Digest.parse(f"sha256:{hashlib.sha256(data).hexdigest()}")


async def _fill(root: Path, numbers: range, size: int, *, named: bool = True) -> None:
    """Store blobs, and images of all of them."""
    async with LocalStore(root, durability="process-crash") as store:
        await _put_all(store, numbers, size)
        for begin in numbers[::_PARTS] if named else ():
            parts = [_digest(_blob(number, size)) for number in range(begin, min(begin + _PARTS, numbers.stop))]
            await _put_image(store, f"image {begin}", parts, size)
    await run(settle, root, 0)


async def _put_all(store: Store, numbers: range, size: int) -> None:
    async with aclosing(store.put_many(_blob(number, size) for number in numbers)) as results:
        async for _ in results:
            pass


async def _put_image(store: Store, name: str, parts: Sequence[Digest], size: int) -> None:
    layers = [{"mediaType": "application/octet-stream", "digest": str(part), "size": size} for part in parts]
    manifest = json.dumps({"schemaVersion": 2, "mediaType": _MANIFEST, "layers": layers}).encode()
    digest = (await store.put(manifest)).digest
    await store.images.create(name, Descriptor(digest=digest, size=len(manifest), media_type=_MANIFEST))


def _collect(job: Collecting) -> Measured:
    return msgspec.json.decode(_child("_collection_process", job).communicate()[0], type=Measured)


def _child(module: str, job: msgspec.Struct) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", f"steelyard_bench.{module}", msgspec.json.encode(job).decode()]
    return subprocess.Popen(tied(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@contextmanager
def _writer(job: Writing) -> Iterator[dict[str, Pauses]]:
    """Write in another process; the results are there afterwards."""
    pauses: dict[str, Pauses] = {}
    with _child("_writer_process", job) as child:
        try:
            _wait_for_start(child)
            yield pauses
            # The end of its input ends it.
            out, _ = child.communicate()
        except BaseException:
            child.kill()
            raise
    pauses.update(msgspec.json.decode(out, type=dict[str, Pauses]))


def _wait_for_start(child: subprocess.Popen[bytes]) -> None:
    if child.stdout is None or child.stdout.readline() != b"\n":
        raise OSError("the writer does not start")


def _round(root: Path, durability: Durability, seconds: float) -> Round:
    job = Writing(root=str(root), durability=durability)
    with _writer(job) as alone:
        time.sleep(seconds)
    with _writer(job) as beside:
        measured = _collect(Collecting(root=str(root), durability=durability))
    name = "synced" if durability == "power-loss" else "not synced"
    return Round(
        name=name, blobs=measured.blobs, seconds=measured.seconds, alone=alone, beside=beside, measured=measured
    )


async def _questions(root: Path, size: int) -> dict[str, float]:
    """Measure what it costs to ask about one blob: one that is kept, and one that is not."""
    times = {}
    async with LocalStore(root) as store:
        kept, garbage = _digest(_blob(0, size)), (await store.put(b"garbage")).digest
        for what, digest in (("why, kept", kept), ("why, garbage", garbage)):
            begun = time.perf_counter()
            await store.why(digest)
            times[what] = time.perf_counter() - begun
    for what, digest, exits in (("steelyard rm, kept", kept, 4), ("steelyard rm, garbage", garbage, 0)):
        command = [sys.executable, "-m", "steelyard", "--store", str(root), "rm", str(digest)]
        begun = time.perf_counter()
        done = await anyio.run_process(command, check=False)
        times[what] = time.perf_counter() - begun
        if done.returncode != exits:
            raise OSError(f"steelyard rm: exit code {done.returncode}, expected {exits}: {done.stderr.decode()}")
    return times


async def _containerd(ground: Ground, options: argparse.Namespace, garbage: int) -> Round:
    async with daemon_of_round(await ground.fresh("containerd")) as address:
        async with RemoteStore(address) as store:
            for lease, numbers in (("kept", range(garbage, options.blobs)), ("garbage", range(garbage))):
                await store.leases.create(lease, expires=timedelta(days=1))
                await _put_all(store.with_lease(lease), numbers, options.size)
        return await run(_round_of_containerd, address, garbage, options.seconds)


def _round_of_containerd(address: str, garbage: int, seconds: float) -> Round:
    job = Writing(address=address)
    with _writer(job) as alone:
        time.sleep(seconds)
    with _writer(job) as beside:
        begun = time.perf_counter()
        ctr(address, "leases", "delete", "--sync", "garbage")
        seconds = time.perf_counter() - begun
    return Round(name="containerd", blobs=garbage, seconds=seconds, alone=alone, beside=beside)


def _tables(results: Results) -> Iterator[str]:
    yield f"{results.blobs} blobs; {results.machine}"
    yield from (
        "",
        "| Collection | Blobs removed | Time | Steps | p99.9 step | Longest step | Its processor time | Memory |",
    )
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    if results.first is not None:
        yield _row("first", results.first.blobs, results.first.seconds, results.first)
    for each in results.rounds:
        yield _row(each.name, each.blobs, each.seconds, each.measured)
    yield from (
        "",
        "| Writer | Call | Calls | p50 | p99 | p99.9 | Longest |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    )
    for each in results.rounds:
        for where, all_pauses in (("alone", each.alone), ("beside", each.beside)):
            yield from (_line(f"{each.name}, {where}", call, pauses) for call, pauses in all_pauses.items())
    if results.questions:
        yield from ("", "| Question about one blob | Time |", "| --- | --- |")
        yield from (f"| {what} | {_text.seconds(taken)} |" for what, taken in results.questions.items())


def _row(name: str, blobs: int, seconds: float, measured: Measured | None) -> str:
    inside = "- | - | - | - | -"
    if measured is not None:
        times = (measured.step_p999, measured.step_longest, measured.step_longest_processor)
        inside = " | ".join([str(measured.steps), *map(_text.seconds, times), _text.size(measured.peak_bytes)])
    return f"| {name} | {blobs} | {_text.seconds(seconds)} | {inside} |"


def _line(writer: str, call: str, pauses: Pauses) -> str:
    times = map(_text.seconds, (pauses.p50, pauses.p99, pauses.p999, pauses.longest))
    return f"| {writer} | {call} | {pauses.count} | {' | '.join(times)} |"


if __name__ == "__main__":
    sys.exit(main())
