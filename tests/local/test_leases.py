"""Leases of LocalStore: several processes, hops, forks, older files."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
from support.forks import forked_run

from local.make_golden import GOLDEN
from steelyard import FailedPrecondition, Labels, LocalStore, digest_of
from steelyard._runtime import calls
from steelyard.errors import DataCorrupt, LeaseEnded, Unsupported
from steelyard.local.blocking import BlockingStore, OpenOptions
from steelyard.testing._steps import every_wait

pytestmark = pytest.mark.anyio
HOUR = timedelta(hours=1)

HOLDER = """
import sys, anyio
from steelyard import LocalStore
async def main():
    async with LocalStore(sys.argv[1]) as store, store.lease() as leased:
        await leased.put(b"data")
        print(leased.lease_id, flush=True)
        await anyio.to_thread.run_sync(sys.stdin.read)
anyio.run(main)
"""


FORKED = """
import os, sys, time
from steelyard.local.blocking import BlockingStore, OpenOptions
store = BlockingStore.open(OpenOptions.parse(sys.argv[1]))
store.leases.begin("lease")
if not os.fork():  # the child says so itself, when it no longer has what it inherited
    print("lease", os.getpid(), flush=True)
    sys.stdout.close()
time.sleep(600)
"""


@contextmanager
def budget(hops: int) -> Iterator[None]:
    before = calls.counts()["hops"]
    yield
    assert calls.counts()["hops"] - before == hops


@contextmanager
def holder(root: Path, program: str = HOLDER) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run another process that works under a lease, and give its first line: the ID of the lease."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("end", ["kill", "return"])
@pytest.mark.parametrize("read_only", [False, True])
async def test_a_lease_of_a_process_dies_with_it(tmp_path: Path, *, end: str, read_only: bool) -> None:
    async with LocalStore(tmp_path):
        pass
    async with LocalStore(tmp_path, read_only=read_only) as store:
        with holder(tmp_path) as (process, lease):
            found = await store.leases.get(lease)
            assert (process.pid, [lease]) == (found.process, [each.id for each in await store.leases.list()])
            assert {await digest_of(b"data")} == set((await store.leases.resources(lease)).blobs)
            if end == "kill":
                process.kill()
            else:
                assert process.stdin is not None
                process.stdin.close()
            await anyio.to_thread.run_sync(process.wait)

            assert [] == await store.leases.list()
        assert await store.exists(await digest_of(b"data"))


@pytest.mark.parametrize("notices", ["collect", "begin"])
async def test_a_lease_whose_process_was_killed_has_an_event_where_it_is_removed(tmp_path: Path, notices: str) -> None:
    async with LocalStore(tmp_path) as store:
        await store.collect()  # the first one needs the store to itself
        async with store.events("lease") as events:
            with holder(tmp_path) as (process, lease):
                process.kill()
                await anyio.to_thread.run_sync(process.wait)
            if notices == "collect":
                await store.collect()
            async with store.lease() as leased:
                own = leased.lease_id
            found = [await anext(events) for _ in range(3)]

        assert [("lease_ended", lease), ("lease_begun", own), ("lease_ended", own)] == [
            (event.type, event.lease) for event in found
        ]


async def test_a_suspended_process_keeps_its_lease_until_it_is_killed(tmp_path: Path) -> None:
    async with LocalStore(tmp_path) as store:
        with holder(tmp_path) as (process, lease):
            process.send_signal(signal.SIGSTOP)
            assert [lease] == [each.id for each in await store.leases.list()]
            async with store.lease() as leased:
                assert not (await leased.put(b"data")).new
            process.kill()
            await anyio.to_thread.run_sync(process.wait)
            assert [] == await store.leases.list()
            with pytest.raises(LeaseEnded) as caught:
                await store.with_lease(lease).put(b"data")
            assert caught.value.reason == "its process has ended"


async def test_a_child_that_outlives_its_parent_keeps_no_lease(tmp_path: Path) -> None:
    async with LocalStore(tmp_path) as store:
        with holder(tmp_path, FORKED) as (process, line):
            lease, child = line.split()
            try:
                assert [lease] == [each.id for each in await store.leases.list()]
                process.kill()
                await anyio.to_thread.run_sync(process.wait)
                os.kill(int(child), 0)  # it lives
                assert [] == await store.leases.list()
            finally:
                os.kill(int(child), signal.SIGKILL)


async def test_a_caller_in_another_process_is_told_that_its_lease_was_deleted(tmp_path: Path) -> None:
    async with LocalStore(tmp_path) as store, store.lease() as leased:
        program = "import sys; from steelyard.local.blocking import *\n"
        program += "with BlockingStore.open(OpenOptions.parse(sys.argv[1])) as store: store.leases.delete(sys.argv[2])"
        await anyio.run_process([sys.executable, "-c", program, str(tmp_path), leased.lease_id or ""])
        with pytest.raises(LeaseEnded) as caught:
            await leased.put(b"data")

        assert (leased.lease_id, "deleted") == (caught.value.lease, caught.value.reason)
        assert not await store.exists(await digest_of(b"data"))


async def test_a_lease_with_an_id_outlives_its_process(tmp_path: Path) -> None:
    program = "import sys; from datetime import timedelta; from steelyard.local.blocking import *\n"
    program += "with BlockingStore.open(OpenOptions.parse(sys.argv[1])) as store:\n"
    program += "    store.leases.create('nightly', expires=timedelta(hours=1), labels={'k': 'v'})\n"
    program += "    store.with_lease('nightly').protect([])"
    await anyio.run_process([sys.executable, "-c", program, str(tmp_path)])
    async with LocalStore(tmp_path) as store:
        (lease,) = await store.leases.list()
        assert ("nightly", Labels({"k": "v"}), None) == (lease.id, lease.labels, lease.process)
        digest = (await store.with_lease("nightly").put(b"data")).digest
        assert (digest,) == (await store.leases.resources("nightly")).blobs


async def test_a_put_under_a_lease_takes_no_hop_more(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"file")
    (tmp_path / "large").write_bytes(bytes(9 << 20))
    async with LocalStore(tmp_path / "store", durability="process-crash") as store:
        for leased in (store, store.with_lease((await store.leases.create(expires=HOUR)).id)):
            with budget(1):
                await leased.put(b"bytes")
            with budget(1):
                await leased.put(tmp_path / "file")
            with budget(2):
                await leased.put([b"pieces", b"of an iterable"])
            with budget(2):
                await leased.put(b"under a ref", ref="ref")
            with budget(1):
                await leased.put(b"bytes", expected=await digest_of(b"bytes"))
            with budget(3):
                async with aclosing(leased.put_many([b"%d" % number for number in range(600)])) as results:
                    assert 600 == len([result async for result in results])
            with budget(2):
                async with leased.writer("ref") as writer:
                    await writer.write(b"a small write")
                    await writer.commit()
            for digest in [info.digest async for info in store.walk()]:
                await store.delete(digest)
        with budget(2):
            async with store.lease() as leased:
                pass


async def test_concurrent_puts_under_a_lease_share_hops(tmp_path: Path) -> None:
    async with LocalStore(tmp_path, durability="process-crash") as store, store.lease() as leased:
        before = calls.counts()["hops"]
        async with anyio.create_task_group() as tasks:
            for number in range(1000):
                tasks.start_soon(leased.put, b"%d" % number)

        assert calls.counts()["hops"] - before < 100
        assert 1000 == len((await store.leases.resources(leased.lease_id or "")).blobs)


async def test_a_read_only_store_lists_leases_and_has_none_of_its_own(tmp_path: Path) -> None:
    async with LocalStore(tmp_path) as store:
        lease = await store.leases.create("a", expires=HOUR)
        async with LocalStore(tmp_path, read_only=True) as other:
            assert [lease] == await other.leases.list()
            with pytest.raises(Unsupported):
                async with other.lease():
                    pass
            with pytest.raises(OSError, match="read-only"):
                await other.leases.delete("a")


async def test_a_store_with_a_lease_ends_with_the_store(tmp_path: Path) -> None:
    async with LocalStore(tmp_path) as store, store.lease() as leased:
        await store.aclose()
        with pytest.raises(FailedPrecondition):
            await leased.put(b"data")
        with pytest.raises(FailedPrecondition):
            await store.leases.list()
    async with LocalStore(tmp_path) as store:
        assert [] == await store.leases.list()


async def test_a_child_of_a_fork_neither_uses_nor_ends_a_lease(tmp_path: Path) -> None:
    async with LocalStore(tmp_path) as store:
        context = store.lease()
        leased = await context.__aenter__()

        async def child() -> list[str]:
            found = []
            for use in (lambda: leased.put(b"data"), store.leases.list, lambda: leased.leases.delete("a")):
                try:
                    await use()
                    found.append("nothing")
                except FailedPrecondition:
                    found.append("refused")
            await context.__aexit__(None, None, None)
            return found

        assert ["refused"] * 3 == forked_run(child)
        assert [leased.lease_id] == [lease.id for lease in await store.leases.list()]
        await leased.put(b"data")
        await context.__aexit__(None, None, None)
        assert [] == await store.leases.list()


async def test_a_root_of_the_first_release_gets_leases(tmp_path: Path) -> None:
    root = tmp_path / "store"
    shutil.copytree(GOLDEN, root)
    async with LocalStore(root, read_only=True) as store:
        assert [] == await store.leases.list()
    async with LocalStore(root) as store:
        assert [] == await store.leases.list()
        lease = await store.leases.create(expires=HOUR)
    async with LocalStore(root) as store:
        assert [lease] == await store.leases.list()


async def test_the_tables_are_readable_with_any_sqlite(tmp_path: Path) -> None:
    async with LocalStore(tmp_path) as store:
        await store.leases.create("a", expires=HOUR, labels={"k": "v"})
        digest = (await store.with_lease("a").put(b"data")).digest
        await store.leases.add("a", refs=["ref"])
    connection = sqlite3.connect(tmp_path / "meta.db")
    leases = connection.execute("SELECT id, process, labels FROM leases").fetchall()
    resources = connection.execute("SELECT lease, kind, name FROM lease_resources ORDER BY kind").fetchall()
    connection.close()

    assert [("a", None, '{"k":"v"}')] == leases
    assert [("a", "blob", str(digest)), ("a", "ingest", "ref")] == resources


async def test_damaged_metadata_refuses_leases_and_what_works_under_them(tmp_path: Path) -> None:
    async with LocalStore(tmp_path) as store:
        await store.leases.create("a", expires=HOUR)
    (tmp_path / "meta.db").write_bytes(b"nothing of ours")
    async with LocalStore(tmp_path) as store:
        with pytest.raises(DataCorrupt):
            await store.leases.list()
        with pytest.raises(DataCorrupt):
            async with store.lease():
                pass
        with pytest.raises(DataCorrupt):
            await store.with_lease("a").put(b"data")
        assert (await store.put(b"data")).new


async def test_of_many_stores_that_begin_leases_each_sees_those_that_live(tmp_path: Path) -> None:
    """A store that begins a lease removes the rows of those that have ended, and never those of others that live."""
    ends = anyio.Event()
    begun = []

    async def hold() -> None:
        async with LocalStore(tmp_path, durability="process-crash") as store, store.lease() as leased:
            begun.append(leased.lease_id)
            if len(begun) == 20:
                ends.set()
            await ends.wait()
            assert {*begun} == {lease.id for lease in await store.leases.list()}
            listed.append(leased.lease_id)
            if len(listed) == len(begun):
                all_listed.set()
            await all_listed.wait()

    all_listed = anyio.Event()
    listed: list[str | None] = []
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(hold)


async def test_a_cancelled_lease_frees_its_byte(tmp_path: Path) -> None:
    async with LocalStore(tmp_path, durability="process-crash") as store:

        async def run(step: int) -> None:
            del step
            async with store.lease():
                pass

        async for _ in every_wait(run):
            pass
        with BlockingStore.open(OpenOptions.parse(tmp_path)) as other:
            assert [] == other.leases.list()
        connection = sqlite3.connect(tmp_path / "meta.db")
        assert [] == connection.execute("SELECT id FROM leases").fetchall()
        connection.close()
