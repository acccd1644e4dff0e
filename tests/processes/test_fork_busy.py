"""Forks of a parent that is at work, and children that end as any program does.

`STEELYARD_FORKS=300` sets how often the parent at work is forked; by default it is 20 times for each event loop.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHILD_SECONDS = 30
"""A child that takes longer hangs, and SIGALRM ends it."""

FORKS = int(os.environ.get("STEELYARD_FORKS", "20"))

BUSY = """
import anyio, os, select, signal, sys, threading
from steelyard import FailedPrecondition, LocalStore

LIMIT_SECONDS = 30
root, backend, forks = sys.argv[1], sys.argv[2], int(sys.argv[3])
ended = threading.Event()
rounds = {"put": 0, "walk": 0}

def child(store):
    async def use_own():
        async with LocalStore(root) as own:
            assert (await own.put(b"of child %d" % os.getpid())).new
    try:
        store.notes()
    except FailedPrecondition:
        anyio.run(use_own, backend=backend)
        return 0
    return 1

def fork(store):
    made = os.fork()
    if made == 0:
        signal.alarm(LIMIT_SECONDS)  # it ends the child, whatever that hangs in
        status = []
        own = threading.Thread(target=lambda: status.append(child(store)))  # where no event loop seems to run
        own.start()
        own.join()
        os._exit(status[0] if status else 2)
    return os.waitstatus_to_exitcode(os.waitpid(made, 0)[1])

async def put(store, name):
    while not ended.is_set():
        await store.put(b"%d of %d" % (rounds["put"], name) * 20_000)
        rounds["put"] += 1

async def walk(store):
    while not ended.is_set():
        async for _ in store.walk():
            pass
        rounds["walk"] += 1

def work(kind):
    async def main():
        async with LocalStore(root, durability="process-crash") as own, anyio.create_task_group() as tasks:
            tasks.start_soon(put, own, kind)
            tasks.start_soon(walk, own)
    anyio.run(main, backend=backend)

async def main():
    async with LocalStore(root, durability="process-crash") as store:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        while not all(rounds.values()):
            await anyio.sleep(0.001)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(put, store, 9)
                codes = []
                for _ in range(forks):
                    codes.append(await anyio.to_thread.run_sync(fork, store))
                ended.set()
        finally:
            ended.set()
            for thread in threads:
                await anyio.to_thread.run_sync(thread.join)
        print(codes)
        print(len([each async for each in store.verify_all() if each.error]), "damaged")

anyio.run(main, backend=backend)
"""

ENDING = """
import anyio, os, signal, sys, threading
from steelyard import LocalStore

LIMIT_SECONDS, ready, ended = 30, threading.Event(), threading.Event()

def work():
    async def main():
        async with LocalStore(sys.argv[1]) as store, store.writer("ref") as writer:
            await writer.write(b"a" * 1_000_000)
            await writer.sync()
            ready.set()
            while not ended.is_set():
                await anyio.sleep(0.005)
            async with LocalStore(sys.argv[1]) as other:
                print([(each.ref, each.offset) for each in await other.list_statuses()])
            await writer.write(b"b")
            print((await writer.commit()).size)
    anyio.run(main, backend=sys.argv[2])

# A child that unwinds an event loop of its parent's stops that loop, with or without a store: the loop runs elsewhere.
worker = threading.Thread(target=work)
worker.start()
assert ready.wait(LIMIT_SECONDS)
child = os.fork()
if child == 0:
    signal.alarm(LIMIT_SECONDS)
    sys.exit(int(sys.argv[3]))
status = os.waitpid(child, 0)[1]
ended.set()
worker.join()
print(os.waitstatus_to_exitcode(status))
"""


def python(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-c", program, *map(str, arguments)]
    environment = os.environ | {"STEELYARD_ALLOW_DEBUG": "1"}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=(4 + FORKS // 20) * CHILD_SECONDS, check=False
    )


@pytest.mark.slow
@pytest.mark.timeout((6 + FORKS // 20) * CHILD_SECONDS)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_no_child_of_a_parent_at_work_hangs_or_is_let_in(backend: str, tmp_path: Path) -> None:
    done = python(BUSY, tmp_path, backend, str(FORKS))

    assert (0, "") == (done.returncode, done.stderr)
    codes, damaged = done.stdout.splitlines()
    assert str([0] * FORKS) == codes
    assert "0 damaged" == damaged


@pytest.mark.slow
@pytest.mark.parametrize("code", [0, 3])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_child_that_ends_as_programs_do_leaves_the_ingest_of_its_parent(
    backend: str, code: int, tmp_path: Path
) -> None:
    done = python(ENDING, tmp_path, backend, str(code))

    assert (0, "") == (done.returncode, done.stderr)
    assert ["[('ref', 1000000)]", "1000001", str(code)] == done.stdout.splitlines()
