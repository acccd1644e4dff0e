"""Beside a process that is suspended while it holds a lock: every wait can be cancelled, and others go on.

`STEELYARD_SUSPEND_TRIES` says how often a process is suspended at a random moment, `STEELYARD_SEED` repeats the moments.
Times are reported, and only a hang fails.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace
from support.suspended import HANG_SECONDS, HOLDS_LABELS, HOLDS_NAMES, Waits, held
from support.waiting import until_it_waits, until_threads_wait

from steelyard import Descriptor, Digest, Labels, LocalStore, NotFound
from steelyard.errors import WriterClosed

pytestmark = pytest.mark.anyio

_TRIES = int(os.environ.get("STEELYARD_SUSPEND_TRIES", "6"))

_DELETES = """
import sys
from steelyard.local.blocking import BlockingStore, OpenOptions, interruptible
store = BlockingStore.open(OpenOptions.parse(sys.argv[1]))
try:
    interruptible(store.delete, sys.argv[2])
except KeyboardInterrupt:
    print("interrupted", store.info(sys.argv[2]).size)
"""


async def _label(store: LocalStore, digest: Digest, value: str) -> None:
    await store.update(replace(await store.info(digest), labels=Labels({"a": value})))


async def test_puts_that_wait_are_cancelled_and_other_stores_go_on(tmp_path: Path) -> None:
    root, waits = tmp_path / "root", Waits()
    with anyio.fail_after(HANG_SECONDS):
        async with LocalStore(root) as store, LocalStore(tmp_path / "other") as other:
            old = await store.put(b"old")
            datas = [os.urandom(2_000_000 if number % 2 else 100) for number in range(60)]

            async def meanwhile() -> None:
                for number in range(40):
                    put = await other.put(os.urandom(2_000_000 if number % 20 == 0 else 100))
                assert await other.get(put.digest)
                assert await store.get(old.digest) == b"old"
                assert [info.digest async for info in store.walk()] == [old.digest]

            with held(HOLDS_NAMES, root):
                await waits.cancelled(
                    *(partial(store.put, data) for data in datas),
                    partial(store.delete, old.digest),
                    partial(_label, store, old.digest, "b"),
                    waiting=30,  # each large put has a thread of its own
                    meanwhile=meanwhile,
                )
            assert [info.digest async for info in store.walk()] == [old.digest]
            assert (await store.put(b"new")).new
    waits.report()


async def test_ctrl_c_ends_the_wait_of_a_blocking_call_in_the_main_thread(tmp_path: Path) -> None:
    async with LocalStore(tmp_path) as store:
        digest = (await store.put(b"old")).digest
    words = [sys.executable, "-c", _DELETES, str(tmp_path), str(digest)]

    with (
        held(HOLDS_NAMES, tmp_path),
        subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process,  # noqa: ASYNC220 - it only waits
    ):
        until_it_waits(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=HANG_SECONDS)[0] == "interrupted 3\n"


async def test_a_commit_that_waits_is_cancelled_and_its_ingest_kept(tmp_path: Path) -> None:
    root, waits, data = tmp_path / "root", Waits(), os.urandom(3_000_000)
    with anyio.fail_after(HANG_SECONDS):
        async with LocalStore(root) as store:
            for program, labels in [(HOLDS_NAMES, {}), (HOLDS_LABELS, {"a": "b"})]:
                writer = await store.writer("ref")
                await writer.write(data[writer.offset :])
                with held(program, root):
                    await waits.cancelled(lambda: writer.commit(labels=labels))  # noqa: B023
                    await writer.aclose()
                    assert (await store.status("ref")).offset == len(data)
            async with store.writer("ref") as writer:
                assert writer.offset == len(data)
                info = await writer.commit()
            assert await store.get(info.digest) == data
    waits.report()


async def test_calls_about_an_ingest_whose_commit_waits_are_cancelled_and_other_ingests_go_on(tmp_path: Path) -> None:
    root, waits = tmp_path / "root", Waits()
    with anyio.fail_after(HANG_SECONDS):
        async with LocalStore(root) as store, LocalStore(tmp_path / "other") as other:
            old = await store.put(b"old")
            writer, beside = await store.writer("ref"), await store.writer("beside")
            await writer.write(b"data")
            await beside.write(b"beside")

            async def meanwhile() -> None:
                assert (await store.status("beside")).offset == len(b"beside")
                assert await store.get(old.digest) == b"old"
                assert (await other.put(b"new")).new

            with held(HOLDS_NAMES, root):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(writer.commit)
                    await until_threads_wait()
                    # More at once than the pool has threads: none of them is one that counts.
                    about: list[Callable[[], Awaitable[object]]] = [
                        partial(store.status, "ref"),
                        store.list_statuses,
                        partial(store.abort, "ref"),
                    ]
                    await waits.cancelled(*about * 20, waiting=61, meanwhile=meanwhile)
                    tasks.cancel_scope.cancel()
            # No cancelled abort had an effect.
            assert (await store.status("ref")).offset == len(b"data")
            await store.abort("ref")
            await beside.aclose()
            assert [status.ref for status in await store.list_statuses()] == ["beside"]
            await writer.aclose()
    waits.report()


async def test_closing_a_writer_ends_its_commit_that_waits(tmp_path: Path) -> None:
    root, data = tmp_path / "root", os.urandom(3_000_000)
    with anyio.fail_after(HANG_SECONDS):
        async with LocalStore(root) as store:
            for program, labels in [(HOLDS_NAMES, {}), (HOLDS_LABELS, {"a": "b"})]:
                writer = await store.writer("ref")
                await writer.write(data[writer.offset :])

                async def commit() -> None:
                    with pytest.raises(WriterClosed):
                        await writer.commit(labels=labels)  # noqa: B023

                with held(program, root, suspended=True):
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(commit)
                        await until_threads_wait()
                        await writer.aclose()
                        assert (await store.status("ref")).offset == len(data)
            async with store.writer("ref") as writer:
                assert await store.get((await writer.commit()).digest) == data


async def test_closing_a_store_ends_a_commit_that_waits(tmp_path: Path) -> None:
    with anyio.fail_after(HANG_SECONDS):
        store = LocalStore(tmp_path / "root")
        async with store:
            writer = await store.writer("ref")
            await writer.write(b"data")

            async def commit() -> None:
                with pytest.raises(anyio.ClosedResourceError):
                    await writer.commit()

            with held(HOLDS_NAMES, tmp_path / "root", suspended=True):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(commit)
                    await until_threads_wait()
                    await store.aclose()
        async with LocalStore(tmp_path / "root") as store:
            assert (await store.status("ref")).offset == len(b"data")


async def test_changes_of_labels_and_names_that_wait_are_cancelled_and_reads_go_on(tmp_path: Path) -> None:
    root, waits = tmp_path / "root", Waits()
    with anyio.fail_after(HANG_SECONDS):
        async with LocalStore(root) as store:
            put = await store.put(b"labelled", labels={"a": "b"})
            target = Descriptor(media_type="application/octet-stream", digest=put.digest, size=put.size)
            with held(HOLDS_LABELS, root):
                for _ in range(3):
                    await waits.cancelled(lambda: store.put(os.urandom(9), labels={"a": "b"}))
                    await waits.cancelled(lambda: _label(store, put.digest, "c"))
                    await waits.cancelled(lambda: store.images.create("example.com/name:1", target))
                    assert await store.get(put.digest) == b"labelled"
                    assert (await store.info(put.digest)).labels == {"a": "b"}
                    assert put.digest in [info.digest async for info in store.walk()]
                    assert (await store.put(os.urandom(9))).new
            await _label(store, put.digest, "c")
            assert (await store.info(put.digest)).labels == {"a": "c"}
            assert await store.images.list() == []
    waits.report()


async def test_calls_that_wait_for_labels_do_not_lock_the_blob(tmp_path: Path) -> None:
    """The waiting calls belong to a second store, which is to the first what another process is."""
    root, waits = tmp_path / "root", Waits()
    with anyio.fail_after(HANG_SECONDS):
        async with LocalStore(root) as store, LocalStore(root) as beside:
            kept, old, gone = [await store.put(data, labels={"a": "b"}) for data in (b"kept", b"old", b"gone")]

            async def update() -> None:
                with pytest.raises(NotFound):
                    await _label(beside, old.digest, "c")

            async def put() -> None:
                assert not (await beside.put(b"new", labels={"a": "b"})).new

            with held(HOLDS_LABELS, root, suspended=True):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(update)
                    tasks.start_soon(put)
                    await until_threads_wait(2)
                    # Each needs the lock of a digest that one of the others waits about, and none waits for SQLite's.
                    new = await store.put(b"new")
                    assert new.new
                    await store.delete(old.digest)
                await beside.delete(gone.digest)
                await waits.cancelled(lambda: _label(beside, kept.digest, "c"))
                assert {info.digest async for info in beside.walk()} == {kept.digest, new.digest}
            for data, put_before in ((b"old", old), (b"gone", gone)):
                assert (await beside.put(data)).new
                assert (await store.info(put_before.digest)).labels == {}
            assert (await store.info(new.digest)).labels == {}
            assert (await store.info(kept.digest)).labels == {"a": "b"}
    waits.report()


async def test_those_who_go_on_waiting_are_stored_when_a_neighbour_has_given_up(tmp_path: Path) -> None:
    root, waits = tmp_path / "root", Waits()
    stored: list[int] = []

    async def put(store: LocalStore, number: int) -> None:
        result = await store.put(b"number %d" % number)
        assert result.new
        stored.append(number)

    with anyio.fail_after(HANG_SECONDS):
        async with LocalStore(root) as store, anyio.create_task_group() as tasks:
            await store.put(b"old")
            with held(HOLDS_NAMES, root):
                for number in range(20):
                    tasks.start_soon(put, store, number)
                await waits.cancelled(lambda: store.put(b"given up"))
                await waits.cancelled(lambda: store.put(b"given up, large" * 200_000))
                assert stored == []
    assert sorted(stored) == list(range(20))


_WRITES = """
import os, sys
import anyio, steelyard
async def main():
    async with steelyard.LocalStore(sys.argv[1]) as store:
        print("begun", flush=True)
        while True:
            async for _ in store.put_many([os.urandom(30) for _ in range(100)], labels={"a": "b"}):
                pass
anyio.run(main)
"""


async def test_a_process_that_is_suspended_at_any_moment_blocks_no_other(tmp_path: Path) -> None:
    root, seed = tmp_path / "root", int(os.environ.get("STEELYARD_SEED", time.time_ns() % 1_000_000))
    print(f"STEELYARD_SEED={seed}")
    chance, slowest, waited = random.Random(seed), 0.0, 0
    with anyio.fail_after(HANG_SECONDS + 10 * _TRIES):
        async with LocalStore(root) as store:
            old = await store.put(b"old")

            async def attempt(call: Callable[[], Awaitable[object]]) -> None:
                nonlocal slowest, waited
                begun = anyio.current_time()
                with anyio.move_on_after(0.5) as scope:
                    await call()
                waited += scope.cancelled_caught
                slowest = max(slowest, anyio.current_time() - begun)

            async def delete() -> None:
                with pytest.raises(NotFound):
                    await store.delete("sha256:" + "0" * 64)

            async def read() -> None:
                assert await store.get(old.digest) == b"old"
                assert [True async for info in store.walk("size==3") if info.digest == old.digest]

            command = [sys.executable, "-c", _WRITES, str(root)]
            with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: ASYNC220
                try:
                    assert process.stdout is not None
                    assert process.stdout.readline() == b"begun\n"
                    for _ in range(_TRIES):
                        await anyio.sleep(chance.random() * 0.2)
                        process.send_signal(signal.SIGSTOP)
                        async with anyio.create_task_group() as tasks:
                            tasks.start_soon(attempt, lambda: store.put(os.urandom(9)))
                            tasks.start_soon(attempt, lambda: store.put(os.urandom(9), labels={"c": "d"}))
                            tasks.start_soon(attempt, delete)
                            tasks.start_soon(attempt, read)
                        process.send_signal(signal.SIGCONT)
                finally:
                    process.kill()
    print(f"{_TRIES} times suspended, {waited} calls cancelled, slowest {slowest * 1000:.0f} ms of at least 500")


def test_the_first_ctrl_c_ends_a_command_that_waits(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"bytes")
    command = [sys.executable, "-m", "steelyard", "--store", str(tmp_path / "root")]
    subprocess.run([*command, "put", str(tmp_path / "file")], check=True, capture_output=True, timeout=HANG_SECONDS)
    digest = "sha256:277089d91c0bdf4f2e6862ba7e4a07605119431f5d13f726dd352b06f1b206a9"
    for words in (["put", "-"], ["rm", digest]):
        with (
            held(HOLDS_NAMES, tmp_path / "root"),
            subprocess.Popen([*command, *words], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process,
        ):
            try:
                assert process.stdin is not None
                process.stdin.write(b"other bytes")
                process.stdin.close()
                until_it_waits(process.pid)
                begun = time.monotonic()
                process.send_signal(signal.SIGINT)
                assert process.wait(HANG_SECONDS) == 130
                print(f"{words[0]} ended {time.monotonic() - begun:.2f} s after Ctrl-C")
            finally:
                process.kill()
