"""A process that the tests command line by line, and may kill: `python child.py BACKEND ROOT`.

Each line on stdin is a command; each gets one line on stdout, except `churn`, which goes on until the process is killed.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import anyio
from anyio import to_thread

from steelyard import AlreadyExists, LocalStore, SteelyardError, Unavailable, Writer

PIECE = 128 << 10


def content(seed: int, number: int, size: int) -> bytes:
    """Return the bytes of the blob of that number: parent and child make the same ones."""
    return random.Random(f"{seed}/{number}").randbytes(size)


def plan(seed: int) -> Iterator[tuple[str, int, int]]:
    """Yield without end what `churn` does: an action, a blob's number, its size in bytes."""
    chance = random.Random(seed)
    for number in range(1_000_000):
        action = chance.choice(("put", "put", "many", "crowd", "ingest", "ingest", "delete", "update"))
        most = 3_000_000 if action == "ingest" else 40_000
        yield action, number, chance.choice((0, 1, chance.randrange(most), most))


def say(*words: object) -> None:
    """Write one line at once: a line that the parent has read was true when it was written."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def churn(store: LocalStore, seed: int) -> None:
    """Put, ingest, relabel and delete without end, telling what is acknowledged and what is about to go."""
    chance = random.Random(f"{seed}/choices")
    stored: dict[str, None] = {}  # in order, as a set is not
    for action, number, size in plan(seed):
        if action == "put":
            result = await store.put(content(seed, number, size), labels=_labels(number, size))
            stored[str(result.digest)] = None
            say("stored", result.digest, number, size)
        elif action == "many":
            stored.update(await _put_many(store, seed, number, size))
        elif action == "crowd":
            stored.update(await _crowd(store, seed, number, chance))
        elif action == "ingest":
            stored[await _ingest(store, seed, number, size, chance)] = None
        elif action == "delete" and stored:
            digest = chance.choice(list(stored))
            del stored[digest]
            say("deleting", digest)
            await store.delete(digest)
            say("deleted", digest)
        elif action == "update" and stored:
            digest = chance.choice(list(stored))
            info = await store.info(digest)
            await store.update(info, "labels.number")
            say("updated", digest)


async def _put_many(store: LocalStore, seed: int, number: int, size: int) -> dict[str, None]:
    """Put blobs of one size in batches."""
    numbers = _numbers(number)
    blobs = [content(seed, each, size) for each in numbers]
    stored: dict[str, None] = {}
    async with aclosing(store.put_many(blobs, labels=_labels(number, size), concurrency=16)) as results:
        async for done in results:
            stored[str(done.result.digest)] = None
            say("stored", done.result.digest, numbers[done.index], size)
    return stored


async def _crowd(store: LocalStore, seed: int, number: int, chance: random.Random) -> dict[str, None]:
    """Put blobs of many sizes at the same time, so that they share hops and flushes."""
    stored: dict[str, None] = {}

    async def put(each: int, size: int) -> None:
        result = await store.put(content(seed, each, size), labels=_labels(each, size))
        stored[str(result.digest)] = None
        say("stored", result.digest, each, size)

    async with anyio.create_task_group() as tasks:
        for each in _numbers(number):
            tasks.start_soon(put, each, chance.randrange(1, 20_000))
    return stored


def _numbers(number: int) -> list[int]:
    """Number the blobs of an action that stores many; no other action has these."""
    return [(number + 1) * 1_000_000 + each for each in range(20)]


async def _ingest(store: LocalStore, seed: int, number: int, size: int, chance: random.Random) -> str:
    data = content(seed, number, size)
    async with store.writer(f"{seed}/{number}/{size}", size=size) as writer:
        say("began", writer.ref)
        while writer.offset < size:
            await writer.write(data[writer.offset : writer.offset + PIECE])
            if chance.random() < 0.2:
                await writer.sync()
                say("synced", writer.ref, writer.offset)
        try:
            digest = str((await writer.commit(size=size, labels=_labels(number, size))).digest)
        except AlreadyExists as error:  # blobs of no bytes or one byte repeat
            digest = str(error.digest)
    say("stored", digest, number, size)
    return digest


def _labels(number: int, size: int) -> dict[str, str]:
    return {"number": str(number), "size": str(size)}


async def obey(store: LocalStore, held: dict[str, Writer], stack: AsyncExitStack, words: list[str]) -> str:
    """Carry out one command and return what to say."""
    match words:
        case ["hold", ref]:
            held[ref] = await stack.enter_async_context(await store.writer(ref))
            return f"held {held[ref].offset}"
        case ["write", ref, text]:
            await held[ref].write(text.encode())
            return f"wrote {held[ref].offset}"
        case ["fill", ref, mib]:
            data = content(0, 0, int(mib) << 20)
            for start in range(0, len(data), PIECE):
                await held[ref].write(data[start : start + PIECE])
            return f"filled {held[ref].offset}"
        case ["sync", ref]:
            await held[ref].sync()
            return f"synced {held[ref].offset}"
        case ["commit", ref]:
            return f"committed {(await held[ref].commit()).digest}"
        case ["abort", ref]:
            await store.abort(ref)
            return "aborted"
        case ["rebuild"]:
            await store.rebuild()
            return "rebuilt"
    raise ValueError(words)


async def main(root: str) -> None:
    """Open the store, say so, and obey until stdin ends."""
    held: dict[str, Writer] = {}
    async with LocalStore(Path(root)) as store, AsyncExitStack() as stack:
        say("ready")
        while line := await to_thread.run_sync(sys.stdin.readline):
            words = line.split()
            if words[0] == "churn":
                await churn(store, int(words[1]))
            try:
                say(await obey(store, held, stack, words))
            except Unavailable as error:
                say("Unavailable", error.holder)
            except SteelyardError as error:
                say(type(error).__name__)


if __name__ == "__main__":
    anyio.run(main, sys.argv[2], backend=sys.argv[1])
