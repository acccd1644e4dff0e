"""Files that the server sends by itself, as Granian does: when, and that the collector leaves them alone until they are open."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from steelyard import LocalStore, MemoryStore
from steelyard.web import BlobResponse, _paths

from .asking import Answer, ask

pytestmark = pytest.mark.anyio

OFFERED: dict[str, Any] = {"extensions": {"http.response.pathsend": {}}}
DATA = b"some bytes" * 1000


async def leased(store: LocalStore) -> set[str]:
    """Return the digests in all leases."""
    return {
        str(digest) for lease in await store.leases.list() for digest in (await store.leases.resources(lease.id)).blobs
    }


async def test_a_whole_file_is_sent_by_the_server(local: LocalStore) -> None:
    digest = (await local.put(DATA)).digest
    app = BlobResponse(local, digest, verify=False)
    answer = await ask(app, **OFFERED)

    assert str(await local.path_of(digest)) == answer.path
    assert (200, str(len(DATA)), 2) == (answer.status, answer.fields["content-length"], len(answer.messages))
    whole = await ask(app, headers={"Range": "bytes=0-"}, **OFFERED)
    assert (206, answer.path) == (whole.status, whole.path)
    assert f"bytes 0-{len(DATA) - 1}/{len(DATA)}" == whole.fields["content-range"]


@pytest.mark.parametrize(
    ("verify", "method", "headers", "more"),
    [
        (True, "GET", {}, OFFERED),
        (False, "HEAD", {}, OFFERED),
        (False, "GET", {"Range": "bytes=1-"}, OFFERED),
        (False, "GET", {"Range": "bytes=0-1,5000-"}, OFFERED),
        (False, "GET", {"Range": "bytes=99999-"}, OFFERED),
        (False, "GET", {"If-None-Match": "*"}, OFFERED),
        (False, "GET", {}, {}),
        (False, "GET", {}, {"extensions": None}),
        (False, "GET", {}, {"extensions": {}}),
        (False, "GET", {}, {"extensions": {"http.response.zerocopysend": {}}}),
    ],
)
async def test_nothing_else_is(
    local: LocalStore, verify: bool, method: str, headers: dict[str, str], more: dict[str, Any]
) -> None:
    digest = (await local.put(DATA)).digest
    answer = await ask(BlobResponse(local, digest, verify=verify), method, headers, **more)

    assert answer.path is None
    assert answer.is_complete
    assert set() == await leased(local)


async def test_a_store_without_files_reads_them(anyio_backend: str) -> None:  # noqa: ARG001
    async with MemoryStore() as store:
        answer = await ask(BlobResponse(store, (await store.put(DATA)).digest, verify=False), **OFFERED)

    assert (None, DATA) == (answer.path, answer.body)


async def test_a_store_that_is_open_read_only_has_no_leases_and_reads(local: LocalStore) -> None:
    digest = (await local.put(DATA)).digest
    async with LocalStore(local.path, read_only=True) as store:
        answer = await ask(BlobResponse(store, digest, verify=False), **OFFERED)

    assert (None, DATA) == (answer.path, answer.body)


async def test_the_collector_leaves_the_file_until_the_lease_ends(local: LocalStore) -> None:
    digest = (await local.put(DATA)).digest
    answer = await ask(BlobResponse(local, digest, verify=False), **OFFERED)
    assert answer.path is not None
    assert {str(digest)} == await leased(local)
    await local.collect(grace=timedelta())
    await local.collect(grace=timedelta())
    assert DATA == Path(answer.path).read_bytes()  # noqa: ASYNC240

    (lease,) = await local.leases.list()
    assert lease.process is not None, "it ends with the process"
    assert lease.expires_at is not None
    assert lease.expires_at - lease.created_at == timedelta(minutes=15)
    await local.leases.delete(lease.id)
    await local.collect(grace=timedelta())
    assert not Path(answer.path).exists()  # noqa: ASYNC240
    assert 404 == (await ask(BlobResponse(local, digest, verify=False), **OFFERED)).status


async def test_responses_share_a_lease(local: LocalStore) -> None:
    digests = [(await local.put(b"%d" % number)).digest for number in range(30)]
    answers: list[Answer] = []

    async def one(number: int) -> None:
        answers.append(await ask(BlobResponse(local, digests[number % 30], verify=False), **OFFERED))

    async with anyio.create_task_group() as tasks:
        for number in range(90):
            tasks.start_soon(one, number)
    assert 30 == len({answer.path for answer in answers})
    assert 1 == len(await local.leases.list())
    assert set(map(str, digests)) == await leased(local)


async def test_a_new_lease_is_made_in_time(local: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = (await local.put(DATA)).digest
    app = BlobResponse(local, digest, verify=False)
    await ask(app, **OFFERED)
    (first,) = await local.leases.list()
    await ask(app, **OFFERED)
    assert [first.id] == [lease.id for lease in await local.leases.list()]

    _paths._protected[local.direct()].renewed = 0
    await ask(app, **OFFERED)
    second = {lease.id for lease in await local.leases.list()}
    assert 2 == len(second)
    monkeypatch.setattr(_paths, "_BLOBS", 1)
    await ask(app, **OFFERED)
    assert 3 == len(await local.leases.list())


async def test_a_lease_that_an_operator_ended_is_replaced(local: LocalStore) -> None:
    first, second = (await local.put(b"1")).digest, (await local.put(b"2")).digest
    await ask(BlobResponse(local, first, verify=False), **OFFERED)
    (lease,) = await local.leases.list()
    await local.leases.delete(lease.id)
    answer = await ask(BlobResponse(local, second, verify=False), **OFFERED)

    assert answer.path is not None or answer.body == b"2"
    assert (await ask(BlobResponse(local, second, verify=False), **OFFERED)).path is not None
    assert str(second) in await leased(local)


async def test_leases_end_with_the_store(tmp_path: Path, anyio_backend: str) -> None:  # noqa: ARG001
    async with LocalStore(tmp_path / "store") as store:
        digest = (await store.put(DATA)).digest
        await ask(BlobResponse(store, digest, verify=False), **OFFERED)
        assert 1 == len(await store.leases.list())
    async with LocalStore(tmp_path / "store") as store:
        assert [] == await store.leases.list()


async def test_a_store_that_is_opened_again_has_a_new_lease(tmp_path: Path, anyio_backend: str) -> None:  # noqa: ARG001
    store = LocalStore(tmp_path / "store")
    async with store:
        digest = (await store.put(DATA)).digest
        await ask(BlobResponse(store, digest, verify=False), **OFFERED)
    async with store:
        assert (await ask(BlobResponse(store, digest, verify=False), **OFFERED)).path is not None
        assert {str(digest)} == await leased(store)


async def test_a_cancelled_response_leaves_the_next_one_a_lease(local: LocalStore) -> None:
    digest = (await local.put(DATA)).digest
    app = BlobResponse(local, digest, verify=False)
    made = local._begin_lease

    async def cancelled(*words: Any) -> None:
        await made(*words)
        scope.cancel()
        await anyio.lowlevel.checkpoint()

    with pytest.MonkeyPatch.context() as patch, anyio.CancelScope() as scope:
        patch.setattr(LocalStore, "_begin_lease", lambda _store, *words: cancelled(*words))
        await ask(app, **OFFERED)
    assert scope.cancelled_caught
    assert (await ask(app, **OFFERED)).path is not None
    assert {str(digest)} == await leased(local)
