"""Connections: kept, ended, through proxies, and none left by a cancellation."""

from __future__ import annotations

import base64
from contextlib import ExitStack, aclosing

import anyio
import anyio.lowlevel
import httpx2
import pytest

from steelyard import MemoryStore
from steelyard.errors import InvalidArgument, Unreachable
from steelyard.fetch import Retries, fetch, fetch_many
from steelyard.fetch._address import parse_url
from steelyard.fetch._hosts import url_as_sent

from .conftest import QUICK
from .server import Reply, Server, content, ranged, running, stalled, whole

pytestmark = pytest.mark.anyio

MIB = 1 << 20


async def test_one_connection_serves_one_file_after_the_other(server: Server) -> None:
    urls = [server.plan(f"/{number}", whole(content(300_000, number))) for number in range(10)]
    async with MemoryStore() as store, aclosing(fetch_many(store, urls, per_host=1)) as results:
        assert 10 == len([one.result async for one in results])
    assert (10, 1) == (len(server.requests), server.connections)


async def test_a_connection_that_the_server_ended_is_not_used_again(server: Server) -> None:
    body = content(1000)
    urls = [server.plan(f"/{number}", lambda _: Reply(body=body, hang_up=True)) for number in range(10)]
    async with MemoryStore() as store, aclosing(fetch_many(store, urls, per_host=1, retries=QUICK)) as results:
        assert 10 == len([one.result async for one in results])
    assert 10 == len(server.requests)


async def test_a_connection_that_the_server_announces_to_end_is_not_used_again(server: Server) -> None:
    url = server.plan("/file", lambda _: Reply(headers={"Connection": "close"}, body=b"wool", hang_up=True))
    once = Retries(attempts=1)
    async with MemoryStore() as store, aclosing(fetch_many(store, [url] * 5, per_host=1, retries=once)) as results:
        assert 5 == len([one.result async for one in results])
    assert 5 == server.connections


@pytest.mark.parametrize(("most", "connections"), [(64, 1), (1, 3)])
async def test_idle_connections_are_limited_over_all_hosts(
    server: Server, monkeypatch: pytest.MonkeyPatch, most: int, connections: int
) -> None:
    monkeypatch.setattr("steelyard.fetch._hosts._MOST_IDLE", most)
    with ExitStack() as stack:
        servers = [server, *(stack.enter_context(running()) for _ in range(2))]
        urls = [each.plan(f"/{number}", whole(b"wool")) for number in range(3) for each in servers]
        async with MemoryStore() as store, aclosing(fetch_many(store, urls, concurrency=1)) as results:
            assert 9 == len([one.result async for one in results])
        assert [connections] * 3 == [each.connections for each in servers]


@pytest.mark.parametrize("name", ["http_proxy", "ALL_PROXY"])
async def test_a_proxy_of_the_environment_is_used(server: Server, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    server.plan("http://example.invalid/large", ranged(content(3 * MIB)))
    server.plan("http://example.invalid/file", whole(b"wool"))
    monkeypatch.setenv(name, server.url("", credentials="me:secret@"))
    async with MemoryStore() as store:
        assert 4 == (await fetch(store, "http://example.invalid/file")).size
        assert 3 * MIB == (await fetch(store, "http://example.invalid/large")).size
    basic = "Basic " + base64.b64encode(b"me:secret").decode()
    assert [basic, basic] == [request.headers["proxy-authorization"] for request in server.requests]
    assert {"example.invalid"} == {request.headers["host"] for request in server.requests}


async def test_a_host_without_a_proxy_is_asked_directly(
    server: Server, other: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", other.url(""))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    async with MemoryStore() as store:
        await fetch(store, server.plan("/file", whole(b"wool")))
    assert (1, 0) == (len(server.requests), len(other.requests))


async def test_a_proxy_that_does_not_answer_is_unreachable(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.url(""))
    server.close()
    async with MemoryStore() as store:
        with pytest.raises(Unreachable):
            await fetch(store, "http://example.invalid/", retries=QUICK)


@pytest.mark.parametrize(
    "proxy", ["ftp://me:secret@host", "//host", "http://", "http://127.0.0.1:99999", "http://[secret", "socks5://host"]
)
async def test_a_proxy_that_cannot_be_one_is_refused_without_repeating_it(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.setattr("steelyard.fetch._hosts.find_spec", lambda _: None)  # no SOCKS
    async with MemoryStore() as store:
        with pytest.raises((InvalidArgument, Unreachable)) as caught:
            await fetch(store, "http://example.invalid/", retries=QUICK)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["Range", "range", "Host", "Content-Length", "transfer-encoding", "accept-encoding"])
async def test_fields_that_a_fetch_writes_itself_are_refused(server: Server, name: str) -> None:
    async with MemoryStore() as store:
        with pytest.raises(InvalidArgument, match=f"found {name.lower()}"):
            await fetch(store, server.plan("/file", whole(b"wool")), headers={name: "5"})
    assert [] == server.requests


async def test_the_case_of_a_caller_s_field_does_not_count(server: Server) -> None:
    server.plan("/file", whole(b"wool"))
    async with MemoryStore() as store:
        url = server.url(credentials="me:secret@")
        await fetch(store, url, headers={"authorization": "Bearer one", "user-agent": "two"})
    (request,) = server.requests
    assert "Basic " + base64.b64encode(b"me:secret").decode() == request.headers["authorization"]
    assert "two" == request.headers["user-agent"]


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org",
        "http://Example.org:8080/a/b.tar.gz?x=1&y=%20",
        "http://example.org/gr\u00f6\u00dfe?q=\u00e9",
        "http://b\u00fccher.example/a",
        "http://example.org/a/../b/./c",
        "http://example.org/100%",
        "http://example.org/%zz/{a}|b",
        "http://[::1]:81/a",
        "http://example.org/a;b=c,d?e=[f]",
    ],
)
def test_a_url_is_sent_as_httpx2_sends_it(url: str) -> None:
    found, expected = url_as_sent(parse_url(url)), httpx2.URL(url)

    assert (expected.raw_host, expected.raw_path) == (found.host, found.target)


async def test_a_host_that_cannot_be_one_is_refused() -> None:
    async with MemoryStore() as store:
        with pytest.raises(InvalidArgument):
            await fetch(store, "http://\u00ad.example/")


async def test_the_host_is_named_with_its_port_and_in_brackets(server: Server) -> None:
    async with MemoryStore() as store:
        await fetch(store, server.plan("/file", whole(b"wool")))
    assert f"127.0.0.1:{server.port}" == server.requests[0].headers["host"]


@pytest.mark.parametrize("large", [False, True], ids=["small", "in parts"])
async def test_no_cancellation_leaves_a_connection(
    server: Server, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    """The fetch is cancelled after every number of steps of the event loop, until it ends before."""
    monkeypatch.setattr("steelyard.fetch._parts._PART_BYTES", MIB)
    monkeypatch.setattr("steelyard.fetch._transfer.LEAST_BYTES", MIB)
    data = content(3 * MIB if large else 1000)
    url = server.plan("/file", ranged(data, Accept_Ranges="bytes"))
    steps, is_complete = 0, False
    while not is_complete:
        async with MemoryStore() as store:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:

                    async def one() -> None:
                        nonlocal is_complete
                        await fetch(store, url)
                        is_complete = True
                        scope.cancel()

                    tasks.start_soon(one)
                    for _ in range(steps):
                        await anyio.lowlevel.checkpoint()
                    scope.cancel()
        await anyio.to_thread.run_sync(server.wait_for_end)
        steps += 1 + steps // 8
    print("cancelled at", steps)


async def test_a_cancelled_wait_for_a_connection_takes_none(server: Server) -> None:
    slow, quick = server.plan("/slow", stalled(whole(content(1000)), 10)), server.plan("/quick", whole(b"wool"))
    async with MemoryStore() as store:
        results = fetch_many(store, [slow, quick], per_host=1)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:

                async def wait() -> None:
                    await anyio.to_thread.run_sync(server.wait_for_requests, 1)
                    scope.cancel()

                tasks.start_soon(wait)
                async with aclosing(results):
                    async for _ in results:
                        pass
        assert scope.cancelled_caught
        assert 4 == (await fetch(store, quick)).size
    await anyio.to_thread.run_sync(server.wait_for_end)
