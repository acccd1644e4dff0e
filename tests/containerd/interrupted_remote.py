"""Ctrl-C at the steps of a client of a service that another process runs: `python interrupted_remote.py BACKEND ADDRESS TRIES`.

The pieces of work and the steps are those of `processes/interrupted.py`. After each interruption a new client must find the ref free
and every blob whole; the caller looks at the service.
"""

from __future__ import annotations

import faulthandler
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import anyio
from processes.interrupted import DATA
from support.interruption import HANG_SECONDS, Place, Steps, complaints, each_step, fail_for_unawaited

from steelyard import AlreadyExists, NotFound, open_writer
from steelyard.containerd import RemoteStore

Work = Callable[[RemoteStore], Awaitable[None]]


async def put(store: RemoteStore) -> None:
    """Bytes and an iterable."""
    stored = [await store.put(b"small"), await store.put(iter([DATA] * 2), ref="pieces")]
    for result in stored:
        await store.delete(result.digest)  # so that the next run stores them again


async def commit(store: RemoteStore) -> None:
    """A writer that is committed."""
    async with store.writer("committed") as writer:
        await writer.truncate(0)  # an interrupted run left what it had written
        await writer.write(DATA)
        with suppress(AlreadyExists):
            await writer.commit()


async def read(store: RemoteStore) -> None:
    """A blob whole, in a range and as a stream."""
    digest = (await store.put(b"kept" * 100_000)).digest
    assert len(await store.get(digest)) == 400_000
    async with store.reader_at(digest) as reader:
        await reader.read_at(10, 200_000)
        async with reader.stream() as stream:
            async for _piece in stream:
                pass


async def walk(store: RemoteStore) -> None:
    """All blobs and all ingests."""
    async for _info in store.walk():
        pass
    await store.list_statuses()


WORKS: dict[str, Work] = {"put": put, "commit": commit, "read": read, "walk": walk}


def start(backend: str, address: str, work: Work, steps: Steps) -> bool:
    """Do the work in a new event loop; return whether Ctrl-C ended it."""

    async def main() -> None:
        steps.listen()
        async with RemoteStore(address) as store:
            await work(store)

    options = {"use_uvloop": True} if backend == "uvloop" else {}
    try:
        anyio.run(main, backend="asyncio" if backend == "uvloop" else backend, backend_options=options)
    except KeyboardInterrupt:
        return True
    return False


async def look(address: str) -> None:
    """Fail unless a new client can do all."""
    async with RemoteStore(address) as store:
        for ref in ("pieces", "committed"):
            with suppress(NotFound), anyio.fail_after(HANG_SECONDS):
                await store.status(ref)
                async with open_writer(store, ref) as writer:  # the service lets go of it soon
                    assert writer.offset <= 2 * len(DATA), (ref, writer.offset)
        async for info in store.walk():
            assert len(await store.get(info.digest)) == info.size


def main() -> None:
    backend, address, tries = sys.argv[1:]
    counts = {}
    fail_for_unawaited()
    for name, work in WORKS.items():
        with Steps() as steps:
            start(backend, address, work, steps)  # what is imported and kept
        runs = ended = 0
        for steps in each_step(partial(start, backend, address, work), int(tries)):
            runs += 1
            faulthandler.dump_traceback_later(2 * HANG_SECONDS, exit=True)
            with Place(f"{name}, instruction {steps.at}"):
                with steps:
                    ended += start(backend, address, work, steps)
                anyio.run(look, address)
                assert not complaints, complaints
            faulthandler.cancel_dump_traceback_later()
        print(f"{name}: {runs} runs, {ended} ended", file=sys.stderr, flush=True)
        counts[name] = runs, ended
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
