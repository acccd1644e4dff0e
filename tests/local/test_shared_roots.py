"""Several processes on one root keep the same rules as several tasks."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import anyio
import pytest
from support.processes import child

from steelyard import LocalStore, Unavailable, read_blob
from steelyard.errors import Aborted

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

PROCESSES = 4
FREED_SECONDS = 30.0


def test_of_many_processes_one_holds_a_ref_and_the_others_learn_who(tmp_path: Path) -> None:
    with ExitStack() as stack:
        children = [stack.enter_context(child(tmp_path / "store")) for _ in range(PROCESSES)]
        for running in children:
            running.send("hold", "a-ref")
        heard = [running.hear() for running in children]
        [holder] = [running for running, line in zip(children, heard, strict=True) if line == "held 0"]
        refused = [running for running in children if running is not holder]

        assert ["Unavailable"] * (PROCESSES - 1) == [line.split()[0] for line in heard if line != "held 0"]
        # A call at the moment at which the ref is taken may get "unknown"; from then on the name is there.
        assert {f"Unavailable process {holder.pid}"} == {running.ask("hold", "a-ref") for running in refused}


def test_of_many_commits_of_one_digest_one_stores_it_and_the_others_learn_that_it_exists(tmp_path: Path) -> None:
    with ExitStack() as stack:
        children = [stack.enter_context(child(tmp_path / "store")) for _ in range(PROCESSES)]
        for number, running in enumerate(children):
            assert running.ask("hold", f"ref-{number}") == "held 0"
            assert running.ask("write", f"ref-{number}", "the-same-bytes") == "wrote 14"
        for number, running in enumerate(children):
            running.send("commit", f"ref-{number}")
        heard = sorted(running.hear().split()[0] for running in children)

        assert ["AlreadyExists"] * (PROCESSES - 1) + ["committed"] == heard


async def test_a_ref_is_free_when_its_holder_is_killed(tmp_path: Path) -> None:
    async with LocalStore(tmp_path / "store") as store:
        with child(tmp_path / "store") as holder:
            assert holder.ask("hold", "a-ref") == "held 0"
            assert holder.ask("write", "a-ref", "kept") == "wrote 4"
            assert holder.ask("sync", "a-ref") == "synced 4"
            assert holder.ask("write", "a-ref", "perhaps-lost") == "wrote 16"
            with pytest.raises(Unavailable) as caught:
                await store.writer("a-ref")
            holder.kill()

        assert caught.value.holder == f"process {holder.pid}"
        with anyio.fail_after(FREED_SECONDS):
            async with store.writer("a-ref") as writer:
                assert writer.offset >= 4


async def test_an_ingest_of_another_process_cannot_be_aborted(tmp_path: Path) -> None:
    async with LocalStore(tmp_path / "store") as store:
        with child(tmp_path / "store") as holder:
            assert holder.ask("hold", "a-ref") == "held 0"
            with pytest.raises(Unavailable):
                await store.abort("a-ref")
            assert holder.ask("write", "a-ref", "unharmed") == "wrote 8"


async def test_no_blob_changes_when_the_lock_file_is_removed_under_a_writer(tmp_path: Path) -> None:
    async with LocalStore(tmp_path / "store") as store:
        writer = await store.writer("a-ref")
        await writer.write(b"f" * 1000)
        await writer.sync()
        (tmp_path / "store" / "lock").unlink()
        with child(tmp_path / "store") as other:
            assert other.ask("hold", "a-ref") == "held 1000"
            assert other.ask("write", "a-ref", "s" * 2000) == "wrote 3000"
            digest = other.ask("commit", "a-ref").removeprefix("committed ")
        await writer.write(b"F" * 300_000)
        with pytest.raises(Aborted):
            await writer.sync()
        await writer.aclose()

        assert await read_blob(store, digest) == b"f" * 1000 + b"s" * 2000


async def test_a_rebuild_does_not_wait_for_other_processes_or_disturb_them(tmp_path: Path) -> None:
    async with LocalStore(tmp_path / "store") as store:
        await store.put(b"a blob")
        with child(tmp_path / "store") as other:
            assert other.ask("rebuild").startswith("Unavailable")
            with pytest.raises(Unavailable):
                await store.rebuild()


async def test_what_one_process_commits_another_reads_at_once(tmp_path: Path) -> None:
    async with LocalStore(tmp_path / "store") as store:
        with child(tmp_path / "store") as other:
            other.ask("hold", "a-ref")
            other.ask("write", "a-ref", "hello")
            word, digest = other.ask("commit", "a-ref").split()

            assert word == "committed"
            assert b"hello" == await store.get(digest)


async def test_a_reader_without_write_access_sees_what_a_writer_adds(tmp_path: Path) -> None:
    with child(tmp_path / "store") as writer:
        async with LocalStore(tmp_path / "store", read_only=True) as store:
            assert [] == [info async for info in store.walk()]
            writer.ask("hold", "a-ref")
            digest = writer.ask("commit", "a-ref").split()[1]

            assert [digest] == [str(info.digest) async for info in store.walk()]
