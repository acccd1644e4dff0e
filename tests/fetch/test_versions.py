"""Downloads that go on after an interruption, and never mix two versions of a file."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from steelyard import LocalStore, MemoryStore, Store
from steelyard.errors import InvalidResponse, SteelyardError, UnexpectedDigest, UnexpectedSize, Unreachable
from steelyard.fetch import Retries, fetch

from .conftest import QUICK
from .server import Handler, Reply, Request, Server, content, dropped, ranged, stalled, status, whole

pytestmark = pytest.mark.anyio

MIB = 1 << 20
OLD, NEW = content(3 * MIB, 1), content(3 * MIB, 2)
DATES = {"Date": "Mon, 30 Nov 2026 12:00:00 GMT", "Last_Modified": "Sun, 29 Nov 2026 12:00:00 GMT"}
ONCE = Retries(attempts=1)


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def repr_digest(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


async def refs(store: Store) -> list[str]:
    return [found.ref for found in await store.list_statuses()]


async def interrupted(store: Store, url: str, **options: Any) -> int:
    """Fetch until the server drops the connection, and return what the ingest keeps."""
    with pytest.raises(Unreachable):
        await fetch(store, url, retries=ONCE, **options)
    return sum(found.offset for found in await store.list_statuses())


@pytest.mark.parametrize(
    ("headers", "validator"),
    [({"etag": '"one"'}, '"one"'), ({"etag": None} | DATES, DATES["Last_Modified"])],
    ids=["entity tag", "time"],
)
async def test_a_strong_validator_continues_in_another_fetch(
    server: Server, tmp_path: Path, headers: dict[str, Any], validator: str
) -> None:
    good = ranged(OLD, **headers)
    url = server.plan("/file", dropped(good, 2 * MIB), good)
    async with LocalStore(tmp_path / "store") as store:
        assert 2 * MIB == await interrupted(store, url)
    async with LocalStore(tmp_path / "store") as store:
        result = await fetch(store, url)

        assert (digest(OLD), True) == (str(result.digest), result.new)
        assert [0, 2 * MIB] == server.ranges()
        assert validator == server.requests[1].headers["if-range"]
        assert [] == await refs(store)


async def test_a_break_is_continued_by_the_same_fetch(server: Server) -> None:
    good = ranged(OLD)
    url = server.plan("/file", dropped(good, MIB + 5), dropped(good, MIB), good)
    async with MemoryStore() as store:
        assert OLD == await store.get((await fetch(store, url, retries=QUICK)).digest)
    assert [0, MIB + 5, 2 * MIB + 5] == server.ranges()


@pytest.mark.parametrize(
    "headers",
    [
        {"etag": None},
        {"etag": 'W/"one"'},
        {"etag": 'W/"one"'} | DATES,
        {"etag": None, "Last_Modified": DATES["Last_Modified"]},
        {"etag": None} | DATES | {"Last_Modified": "Mon, 30 Nov 2026 11:59:30 GMT"},
    ],
    ids=["none", "weak", "time beside a weak one", "time without a date", "time of just now"],
)
async def test_without_a_strong_validator_an_attempt_begins_at_the_start(
    server: Server, headers: dict[str, Any]
) -> None:
    good = ranged(OLD, **headers)
    url = server.plan("/file", dropped(good, 2 * MIB), good)
    async with MemoryStore() as store:
        assert 0 == await interrupted(store, url)
        assert [] == await refs(store)
        assert digest(OLD) == str((await fetch(store, url)).digest)
    assert [0, 0] == server.ranges()


async def test_a_known_digest_continues_without_a_validator(server: Server) -> None:
    good = ranged(OLD, etag=None)
    url = server.plan("/file", dropped(good, 2 * MIB), good)
    async with MemoryStore() as store:
        assert 2 * MIB == await interrupted(store, url, expected=digest(OLD))
        await fetch(store, url, expected=digest(OLD))
    assert [0, 2 * MIB] == server.ranges()
    assert "if-range" not in server.requests[1].headers


async def test_a_digest_of_the_server_continues_and_is_checked(server: Server) -> None:
    good = ranged(OLD, etag=None, Repr_Digest=repr_digest(OLD))
    url = server.plan("/file", dropped(good, 2 * MIB), good)
    async with MemoryStore() as store:
        assert 2 * MIB == await interrupted(store, url)
        await fetch(store, url)
    assert [0, 2 * MIB] == server.ranges()


@pytest.mark.parametrize("name", ["Repr_Digest", "Content_Digest"])
@pytest.mark.parametrize("size", [1000, 2 * MIB])
async def test_bytes_that_a_digest_of_the_server_does_not_fit_are_refused(server: Server, name: str, size: int) -> None:
    url = server.plan("/file", ranged(content(size, 1), **{name: repr_digest(content(size, 2))}))
    async with MemoryStore() as store:
        with pytest.raises(UnexpectedDigest) as caught:
            await fetch(store, url)
        assert [f"fetch: {url}"] == caught.value.__notes__
        assert [] == await refs(store)


async def test_a_content_digest_of_a_part_does_not_count(server: Server) -> None:
    good = ranged(OLD)

    def part(request: Request) -> Reply:
        reply = good(request)
        return replace(reply, headers=reply.headers | {"Content-Digest": repr_digest(reply.body)})

    url = server.plan("/file", dropped(good, 2 * MIB), part)
    async with MemoryStore() as store:
        assert digest(OLD) == str((await fetch(store, url, retries=QUICK)).digest)


@pytest.mark.parametrize("again", [ranged(NEW, '"two"'), whole(NEW, ETag='"two"')], ids=["ranges", "no ranges"])
async def test_a_changed_file_begins_at_its_start(server: Server, again: Handler) -> None:
    url = server.plan("/file", dropped(ranged(OLD), 2 * MIB), again)
    async with MemoryStore() as store:
        await interrupted(store, url)
        assert digest(NEW) == str((await fetch(store, url)).digest)
        assert [] == await refs(store)
    assert [0, 2 * MIB] == server.ranges()


def ignores_if_range(data: bytes, **headers: str) -> Handler:
    """Give ranges of whatever version there is."""
    good = ranged(data, etag=None, **headers)
    return lambda request: good(
        replace(request, headers={name: value for name, value in request.headers.items() if name != "if-range"})
    )


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (ranged(OLD), ignores_if_range(NEW, ETag='"two"')),
        (ranged(OLD), ignores_if_range(NEW)),
        (ranged(OLD, etag=None, **DATES), ignores_if_range(NEW, **DATES | {"Last_Modified": DATES["Date"]})),
        (ranged(OLD, etag=None, **DATES), ignores_if_range(NEW + b"more")),
        (ranged(OLD, etag=None, **DATES), ignores_if_range(NEW[:MIB])),
        (ranged(OLD, etag=None, **DATES), ignores_if_range(NEW[: 2 * MIB])),
    ],
    ids=["another entity tag", "none", "another time", "another size", "too short", "as long as the ingest"],
)
async def test_a_part_of_another_version_is_noticed(server: Server, first: Handler, again: Handler) -> None:
    """The server ignores If-Range, which it must not."""
    url = server.plan("/file", dropped(first, 2 * MIB), again)
    expected = digest(again(Request("/file", {})).body)
    async with MemoryStore() as store:
        await interrupted(store, url)
        assert expected == str((await fetch(store, url, retries=QUICK)).digest)
        assert [] == await refs(store)
    assert [0, 2 * MIB, 0] == server.ranges()


async def test_a_part_that_the_digest_finds_wrong_is_fetched_again_once(server: Server) -> None:
    url = server.plan("/file", dropped(ranged(OLD), 2 * MIB), ignores_if_range(NEW))
    async with MemoryStore() as store:
        await interrupted(store, url, expected=digest(NEW))
        assert digest(NEW) == str((await fetch(store, url, expected=digest(NEW))).digest)
    assert [0, 2 * MIB, 0] == server.ranges()


async def test_a_wrong_file_is_an_error_and_leaves_nothing(server: Server) -> None:
    url = server.plan("/file", ranged(OLD))
    async with MemoryStore() as store:
        with pytest.raises(UnexpectedDigest):
            await fetch(store, url, expected=digest(NEW))
        with pytest.raises(UnexpectedSize, match=f"expected 5 bytes, found {3 * MIB}"):
            await fetch(store, url, size=5)
        assert [] == await refs(store)
        assert [] == [info async for info in store.walk()]


async def test_the_whole_file_in_place_of_a_part_goes_on_where_the_version_is_the_same(server: Server) -> None:
    all_of_it = whole(OLD, ETag='"one"')
    url = server.plan("/file", dropped(all_of_it, 2 * MIB), all_of_it)
    async with MemoryStore() as store:
        assert digest(OLD) == str((await fetch(store, url, retries=QUICK)).digest)
    assert [0, 2 * MIB] == server.ranges()


async def test_an_ingest_that_has_all_bytes_asks_for_the_last_one(server: Server) -> None:
    good = ranged(OLD)
    url = server.plan("/file", dropped(good, 2 * MIB), good)
    async with MemoryStore() as store:
        await interrupted(store, url)
        (ref,) = await refs(store)
        async with store.writer(ref) as writer:
            await writer.write(OLD[2 * MIB :])
        assert digest(OLD) == str((await fetch(store, url)).digest)
    assert [0, 3 * MIB - 1] == server.ranges()


async def test_a_range_after_the_end_of_a_file_without_a_size_asks_for_its_last_byte(server: Server) -> None:
    good = ranged(OLD)

    def chunked(request: Request) -> Reply:
        return replace(good(request), framing="chunked")

    url = server.plan("/file", dropped(chunked, 3 * MIB), good)
    async with MemoryStore() as store:
        assert digest(OLD) == str((await fetch(store, url, retries=QUICK)).digest)
    assert [0, 3 * MIB, 3 * MIB - 1] == server.ranges()


def in_parts(total: str, framing: str) -> Handler:
    """Break off after 1 MiB, and give parts of 1 MiB from then on, whatever range is asked for."""

    def part(request: Request) -> Reply:
        if "range" not in request.headers:
            return Reply(200, {"ETag": '"one"'}, OLD, framing, drop_after=MIB + 5)
        first, last = request.offset, min(request.offset + MIB, len(OLD)) - 1
        return Reply(206, {"ETag": '"one"', "Content-Range": f"bytes {first}-{last}/{total}"}, OLD[first : last + 1])

    return part


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_parts_that_are_shorter_than_the_range_follow_each_other(server: Server, framing: str) -> None:
    """With the chunked coding the first of them says how large the file is."""
    url = server.plan("/file", in_parts(str(len(OLD)), framing))
    async with MemoryStore() as store:
        assert digest(OLD) == str((await fetch(store, url, retries=QUICK)).digest)
    assert [0, MIB + 5, 2 * MIB + 5] == server.ranges()


async def test_a_part_of_a_file_of_unknown_size_is_never_taken_for_its_end(server: Server) -> None:
    url = server.plan("/file", in_parts("*", "chunked"))
    async with MemoryStore() as store:
        with pytest.raises(InvalidResponse, match="expected a part of a known total"):
            await fetch(store, url, retries=QUICK)
        assert [] == [info async for info in store.walk()]


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Range": f"bytes {MIB}-{3 * MIB - 1}/{3 * MIB}"},
        {"Content-Range": "bytes 9-1/3"},
        {"Content-Range": "lines 1-2/3"},
        {},
        {"Content-Range": f"bytes {2 * MIB}-{3 * MIB - 2}/{3 * MIB}"},
    ],
    ids=["another range", "no range", "another unit", "none", "another length"],
)
async def test_a_part_that_contradicts_itself_is_an_error_and_keeps_what_is_proved(
    server: Server, headers: dict[str, str]
) -> None:
    good = ranged(OLD)

    def wrong(_: Request) -> Reply:
        return Reply(206, {"ETag": '"one"'} | headers, OLD[2 * MIB :])

    url = server.plan("/file", dropped(good, 2 * MIB), wrong, good)
    async with MemoryStore() as store:
        with pytest.raises(InvalidResponse) as caught:
            await fetch(store, url, retries=QUICK)
        assert url == caught.value.url
        await fetch(store, url)
    assert [0, 2 * MIB, 2 * MIB] == server.ranges()


async def test_more_bytes_than_the_part_has_are_an_error_and_nothing_is_kept(server: Server) -> None:
    good = ranged(OLD)

    def more(request: Request) -> Reply:
        reply = good(request)
        return replace(reply, body=reply.body + b"more", framing="chunked")

    url = server.plan("/file", dropped(good, 2 * MIB), more)
    async with MemoryStore() as store:
        with pytest.raises(InvalidResponse, match=f"expected {MIB} bytes"):
            await fetch(store, url, retries=QUICK)
        assert [] == await refs(store)


async def test_an_ingest_without_a_proof_is_discarded_by_the_next_fetch(server: Server, tmp_path: Path) -> None:
    """As after a crash: its fetch could not discard it."""
    url = server.plan("/file", whole(b"new"))
    async with LocalStore(tmp_path / "store") as store:
        async with store.writer(f"fetch:{url} once:1") as writer:
            await writer.write(b"old")
        async with store.writer(f"fetch:{url} once:2") as held:
            await held.write(b"another fetch is at it")
            await fetch(store, url)
            assert [f"fetch:{url} once:2"] == await refs(store)


async def test_two_fetches_of_one_url_share_an_ingest(server: Server) -> None:
    url = server.plan("/file", ranged(OLD))
    found = []

    async def one(store: Store) -> None:
        found.append(await fetch(store, url, retries=QUICK))

    async with MemoryStore() as store, anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(one, store)

    assert {digest(OLD)} == {str(result.digest) for result in found}
    assert 1 == sum(result.new for result in found)


async def test_a_cancelled_fetch_keeps_proved_bytes(server: Server) -> None:
    good = ranged(OLD)
    url = server.plan("/file", stalled(good, 2 * MIB), good)
    async with MemoryStore() as store:
        with anyio.CancelScope() as scope:
            await fetch(
                store, url, on_progress=lambda report: scope.cancel() if report.done >= 2 * MIB - 65536 else None
            )
        assert scope.cancelled_caught
        (kept,) = await store.list_statuses()
        await fetch(store, url)
    assert [0, kept.offset] == server.ranges()
    assert kept.offset >= MIB


@pytest.mark.parametrize("handler", [status(503), dropped(ranged(OLD), 2 * MIB)], ids=["refusal", "break"])
async def test_a_cancelled_pause_ends_a_fetch(server: Server, handler: Handler) -> None:
    url = server.plan("/file", handler)
    slow = Retries(first_seconds=1e6, most_seconds=1e6)
    async with MemoryStore() as store, anyio.create_task_group() as tasks:

        async def one() -> None:
            await fetch(store, url, retries=slow)

        tasks.start_soon(one)
        await anyio.to_thread.run_sync(server.wait_for_requests, 1)
        tasks.cancel_scope.cancel()
    assert [0] == server.ranges()


async def test_an_error_of_the_store_is_raised(server: Server) -> None:
    url = server.plan("/file", ranged(OLD))
    async with MemoryStore() as store:
        async with store.lease() as leased:
            pass
        with pytest.raises(SteelyardError):
            await fetch(leased, url)
