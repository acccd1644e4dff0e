"""Several ranges of one large file at once: in order, of one version, and one request for the rest where the server answers otherwise."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from steelyard import LocalStore, MemoryStore, Progress
from steelyard.errors import InvalidArgument, Unreachable
from steelyard.fetch import FetchItem, Retries, fetch, fetch_many

from .conftest import QUICK
from .server import Handler, Reply, Request, Server, content, dropped, ranged, stalled, status, whole

pytestmark = pytest.mark.anyio

MIB = 1 << 20
SIZE = 12 * MIB + 5
OLD, NEW = content(SIZE, 1), content(SIZE, 2)
EXPECTED = f"sha256:{hashlib.sha256(OLD).hexdigest()}"


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have parts of 1 MiB, so that files need not be large."""
    monkeypatch.setattr("steelyard.fetch._parts._PART_BYTES", MIB)
    monkeypatch.setattr("steelyard.fetch._transfer.LEAST_BYTES", 4 * MIB)


def offering(data: bytes, etag: str | None = '"one"', **headers: str) -> Handler:
    """Give a file, and say that there are ranges."""
    return ranged(data, etag, Accept_Ranges="bytes", **headers)


def after(number: int, before: Handler, then: Handler) -> Handler:
    """Answer so many parts by the first handler, and all others by the second one."""
    lock, count = threading.Lock(), 0

    def answer(request: Request) -> Reply:
        nonlocal count
        with lock:
            count += request.end is not None
            handler = then if count > number else before
        return handler(request)

    return answer


def parts(server: Server) -> list[tuple[int, int]]:
    """Return begin and end of all parts that were requested."""
    return sorted((request.offset, request.end) for request in server.requests if request.end is not None)


def rests(server: Server) -> list[int]:
    """Return the offsets of the requests for all that is left, without the first request."""
    return [request.offset for request in server.requests[1:] if request.end is None]


async def test_parts_are_fetched_at_once_and_stored_in_order(server: Server, tmp_path: Path) -> None:
    """The first four answers wait for each other."""
    good, together = offering(OLD), threading.Barrier(4)

    def answer(request: Request) -> Reply:
        if request.end is not None and request.offset < 4 * MIB:
            together.wait(timeout=60)
        return good(request)

    url = server.plan("/file", answer)
    reports: list[Progress] = []
    async with LocalStore(tmp_path / "store") as store:
        result = await fetch(store, url, on_progress=reports.append)
        assert (EXPECTED, True) == (str(result.digest), result.new)
        assert [] == await store.list_statuses()
    assert [(place, min(place + MIB, SIZE)) for place in range(0, SIZE, MIB)] == parts(server)
    assert {'"one"'} == {request.headers.get("if-range") for request in server.requests[1:]}
    done = [report.done for report in reports]
    assert sorted(done) == done
    assert (SIZE, SIZE, "commit") == (done[-1], reports[-1].total, reports[-1].phase)


@pytest.mark.parametrize(
    ("handler", "ranges"),
    [
        (offering(OLD), 1),
        (ranged(OLD), 4),
        (ranged(OLD, Accept_Ranges="none"), 4),
        (offering(OLD, 'W/"one"'), 4),
        (offering(OLD[: 4 * MIB - 1]), 4),
        (lambda request: replace(offering(OLD)(request), framing="chunked"), 4),
    ],
    ids=["one range", "not offered", "refused", "weak validator", "not so large", "unknown size"],
)
async def test_one_request_is_enough(server: Server, handler: Handler, ranges: int) -> None:
    async with MemoryStore() as store:
        await fetch(store, server.plan("/file", handler), ranges=ranges)
    assert [0] == server.ranges()


async def test_a_known_digest_needs_no_validator(server: Server) -> None:
    url = server.plan("/file", offering(OLD, None))
    async with MemoryStore() as store:
        await fetch(store, url, expected=EXPECTED)
    assert SIZE // MIB + 1 == len(parts(server))


async def test_what_is_left_of_an_ingest_is_fetched_in_parts(server: Server, tmp_path: Path) -> None:
    good = offering(OLD)
    url = server.plan("/file", dropped(good, 2 * MIB), good)
    async with LocalStore(tmp_path / "store") as store:
        with pytest.raises(Unreachable):
            await fetch(store, url, ranges=1, retries=Retries(attempts=1))
        assert EXPECTED == str((await fetch(store, url)).digest)
    assert [2 * MIB] == rests(server)
    assert 2 * MIB == parts(server)[0][0]
    assert 11 == len(parts(server))


def ignores_if_range(data: bytes, etag: str | None) -> Handler:
    good = ranged(data, etag)
    return lambda request: good(
        replace(request, headers={name: value for name, value in request.headers.items() if name != "if-range"})
    )


@pytest.mark.parametrize(
    "changed",
    [
        offering(NEW, '"two"'),
        whole(NEW, ETag='"two"'),
        ignores_if_range(NEW, '"two"'),
        ignores_if_range(NEW, None),
        ignores_if_range(NEW + b"more", '"two"'),
        ignores_if_range(NEW[: 5 * MIB], '"two"'),
    ],
    ids=["If-Range", "no ranges", "another entity tag", "none", "longer", "shorter"],
)
@pytest.mark.parametrize("number", [0, 1, 6])
async def test_a_change_in_between_is_never_mixed(server: Server, changed: Handler, number: int) -> None:
    url = server.plan("/file", after(number, offering(OLD), changed))
    digest = hashlib.sha256(changed(Request("/file", {})).body).hexdigest()
    async with MemoryStore() as store:
        assert f"sha256:{digest}" == str((await fetch(store, url, retries=QUICK)).digest)
        assert 1 == len([info async for info in store.walk()])
        assert [] == await store.list_statuses()


def lying(change: Callable[[Request, Reply], Reply]) -> Handler:
    """Give parts that are changed, and the rest of the file as it is."""
    good = offering(OLD)
    return lambda request: good(request) if request.end is None else change(request, good(request))


LIES: dict[str, Callable[[Request, Reply], Reply]] = {
    "all of the file": lambda request, _: offering(OLD)(Request(request.path, {})),
    "all that is left": lambda request, _: offering(OLD)(
        replace(request, headers=request.headers | {"range": f"bytes={request.offset}-"})
    ),
    "another range": lambda request, reply: replace(
        reply, headers=reply.headers | {"Content-Range": f"bytes {request.offset + 1}-{request.offset + MIB}/{SIZE}"}
    ),
    "a shorter range": lambda request, reply: replace(
        reply,
        headers=reply.headers | {"Content-Range": f"bytes {request.offset}-{request.offset + 9}/{SIZE}"},
        body=reply.body[:10],
    ),
    "another total": lambda _, reply: replace(
        reply,
        headers=reply.headers | {"Content-Range": reply.headers["Content-Range"].replace(str(SIZE), str(SIZE + 1))},
    ),
    "no Content-Range": lambda _, reply: replace(reply, headers={"ETag": '"one"'}),
    "more bytes": lambda _, reply: replace(reply, body=reply.body + b"more", framing="chunked"),
    "a content coding": lambda _, reply: replace(reply, headers=reply.headers | {"Content-Encoding": "gzip"}),
    "404": lambda request, _: status(404)(request),
    "416": lambda request, _: status(416)(request),
    "503": lambda request, _: status(503)(request),
    "429": lambda request, _: status(429, Retry_After="0")(request),
}


@pytest.mark.parametrize("number", [0, 5])
@pytest.mark.parametrize("change", LIES.values(), ids=LIES)
async def test_another_answer_ends_in_one_request_for_the_rest(
    server: Server, change: Callable[[Request, Reply], Reply], number: int
) -> None:
    url = server.plan("/file", after(number, offering(OLD), lying(change)))
    async with MemoryStore() as store:
        assert EXPECTED == str((await fetch(store, url, retries=QUICK)).digest)
        assert [] == await store.list_statuses()
    assert 1 == len(rests(server))


async def test_a_part_that_contradicts_the_digest_of_the_whole_is_not_used(server: Server) -> None:
    digests = {
        number: f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"
        for number, data in enumerate((OLD, NEW))
    }
    url = server.plan(
        "/file", after(5, offering(OLD, None, Repr_Digest=digests[0]), offering(NEW, None, Repr_Digest=digests[1]))
    )
    async with MemoryStore() as store:
        found = str((await fetch(store, url, retries=QUICK)).digest)
        assert f"sha256:{hashlib.sha256(NEW).hexdigest()}" == found


async def test_a_part_with_wrong_bytes_is_noticed_where_the_digest_is_known(server: Server) -> None:
    """All that says what they are is right, so the file is fetched again, by one request."""
    wrong = offering(NEW)
    url = server.plan("/file", lying(lambda request, _: wrong(request)))
    async with MemoryStore() as store:
        assert EXPECTED == str((await fetch(store, url, expected=EXPECTED)).digest)
        assert 1 == len([info async for info in store.walk()])
    assert [0] == rests(server)


async def test_connections_that_break_are_followed_by_more_parts(server: Server) -> None:
    good = offering(OLD)
    url = server.plan("/file", after(3, good, after(1, dropped(good, 1000), good)))
    async with MemoryStore() as store:
        assert EXPECTED == str((await fetch(store, url, retries=QUICK)).digest)
    assert 1 == len(rests(server))
    assert rests(server)[0] < parts(server)[-1][0]


async def test_a_part_that_ends_early_counts_as_a_break(server: Server) -> None:
    short = lying(lambda _, reply: replace(reply, body=reply.body[:-1], framing="chunked"))
    url = server.plan("/file", short)
    async with MemoryStore() as store:
        with pytest.raises(Unreachable, match="the response ended after"):
            await fetch(store, url, retries=Retries(attempts=2, first_seconds=0.001))


async def test_a_cancelled_fetch_ends_all_connections_and_keeps_what_is_in_order(
    server: Server, tmp_path: Path
) -> None:
    good = offering(OLD)
    url = server.plan("/file", after(6, good, stalled(good, 1000)))
    async with LocalStore(tmp_path / "store") as store:
        with anyio.CancelScope() as scope:
            await fetch(store, url, on_progress=lambda one: scope.cancel() if one.done > 2 * MIB else None)
        assert scope.cancelled_caught
        (kept,) = await store.list_statuses()
        assert 2 * MIB < kept.offset < 8 * MIB
        await anyio.to_thread.run_sync(server.wait_for_end)
        server.plan("/file", good)
        assert EXPECTED == str((await fetch(store, url)).digest)
    assert [kept.offset] == rests(server)


async def test_parts_take_connections_that_no_other_file_waits_for(server: Server) -> None:
    """One connection is enough for all files, and there are never more than allowed."""
    for per_host in (1, 2):
        server.most = 0
        items: list[FetchItem | str] = [server.plan("/large", offering(OLD)), server.plan("/other", offering(NEW))]
        items += [server.plan(f"/{number}", whole(content(1000, number))) for number in range(20)]
        async with (
            MemoryStore() as store,
            aclosing(fetch_many(store, items, per_host=per_host, ranges=4)) as results,
        ):
            assert 22 == len([one.result async for one in results])
        assert 1 <= server.most <= per_host


async def test_parts_follow_redirects_without_credentials(server: Server, other: Server) -> None:
    url = server.plan("/file", status(302, Location=other.plan("/there", offering(OLD))))
    async with MemoryStore() as store:
        await fetch(store, url, headers={"Authorization": "Bearer secret"})
    assert SIZE // MIB + 1 == len(parts(other))
    assert {None} == {request.headers.get("authorization") for request in other.requests}
    assert {"Bearer secret"} == {request.headers.get("authorization") for request in server.requests}


async def test_memory_holds_only_the_parts_that_are_next(server: Server) -> None:
    """The first part does not end, so only three others are requested."""
    good = offering(OLD)

    def answer(request: Request) -> Reply:
        return stalled(good, 1000)(request) if request.end == MIB else good(request)

    url = server.plan("/file", answer)
    async with MemoryStore() as store, anyio.create_task_group() as tasks:
        tasks.start_soon(fetch, store, url)
        await anyio.to_thread.run_sync(server.wait_for_requests, 5)
        for _ in range(100):
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert [(place, place + MIB) for place in range(0, 4 * MIB, MIB)] == parts(server)


async def test_at_least_one_range_is_expected(server: Server) -> None:
    async with MemoryStore() as store:
        with pytest.raises(InvalidArgument):
            await fetch(store, server.url(), ranges=0)
        with pytest.raises(InvalidArgument):
            fetch_many(store, [server.url()], ranges=0)
