"""Responses that are no file: retries, refusals, codings, lengths and redirects."""

from __future__ import annotations

import base64
import logging
import shutil
import socket
import ssl
import subprocess
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from steelyard import MemoryStore, Progress
from steelyard.errors import InvalidArgument, InvalidResponse, NotFound, ServerRefused, SteelyardError, Unreachable
from steelyard.fetch import Retries, fetch

from .conftest import QUICK
from .server import Handler, Reply, Server, content, dropped, ranged, stalled, status, whole

pytestmark = pytest.mark.anyio

SMALL = b"ten pounds of wool\n"
LARGE = content(3 << 20)
SECRET = "me:pa55word@"


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
async def test_a_status_that_may_pass_is_followed_by_another_attempt(server: Server, code: int) -> None:
    url = server.plan("/file", status(code), status(code), whole(SMALL))
    async with MemoryStore() as store:
        assert SMALL == await store.get((await fetch(store, url, retries=QUICK)).digest)
    assert [0, 0, 0] == server.ranges()
    assert server.connections < 3


async def test_attempts_are_limited(server: Server) -> None:
    url = server.plan("/file", status(503))
    async with MemoryStore() as store:
        with pytest.raises(Unreachable, match="503 Reason, after 0 bytes") as caught:
            await fetch(store, url, retries=QUICK)
    assert url == caught.value.address
    assert QUICK.attempts == len(server.requests)


@pytest.mark.parametrize(
    "handler", [dropped(ranged(LARGE), 0), dropped(whole(LARGE), 2 << 20)], ids=["at the start", "in between"]
)
async def test_a_server_that_always_breaks_off_is_given_up(server: Server, handler: Handler) -> None:
    """In the second case each attempt brings the same 2 MiB: that is progress only once."""
    url = server.plan("/file", handler)
    async with MemoryStore() as store:
        with pytest.raises(Unreachable, match="the connection broke"):
            await fetch(store, url, retries=QUICK)
        assert [] == await store.list_statuses()
    assert QUICK.attempts <= len(server.requests) <= QUICK.attempts + 1


async def test_progress_is_not_limited(server: Server) -> None:
    good = ranged(content(9 << 20))
    url = server.plan("/file", *[dropped(good, 1 << 20)] * 8, good)
    async with MemoryStore() as store:
        await fetch(store, url, retries=Retries(attempts=2, first_seconds=0.001))
    assert [number << 20 for number in range(9)] == server.ranges()


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "61"},
        {"Retry-After": "Mon, 30 Nov 2020 12:01:01 GMT", "Date": "Mon, 30 Nov 2020 12:00:00 GMT"},
    ],
    ids=["seconds", "time of the server's clock"],
)
async def test_a_pause_longer_than_the_limit_ends_the_fetch(server: Server, headers: dict[str, str]) -> None:
    url = server.plan("/file", lambda _: Reply(429, headers), whole(SMALL))
    async with MemoryStore() as store:
        with pytest.raises(Unreachable, match="429 Reason, and it asks to wait 61 s"):
            await fetch(store, url)


async def test_silence_counts_as_a_break(server: Server) -> None:
    good = ranged(LARGE)
    url = server.plan("/file", stalled(good, 2 << 20), good)
    async with MemoryStore() as store:
        result = await fetch(store, url, retries=Retries(first_seconds=0.001, silence_seconds=0.3))
        assert LARGE == await store.get(result.digest)
    assert 2 <= len(server.requests)  # on a slow machine there may be more silence


async def test_a_server_that_does_not_run_is_unreachable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        async with MemoryStore() as store:
            with pytest.raises(Unreachable, match=f"http://127.0.0.1:{port}/: "):
                await fetch(store, f"http://127.0.0.1:{port}", retries=QUICK)


@pytest.mark.parametrize("code", [404, 410])
async def test_a_missing_file_is_not_found(server: Server, code: int) -> None:
    async with MemoryStore() as store:
        with pytest.raises(NotFound) as caught:
            await fetch(store, server.plan("/file", status(code)))
    assert ("URL", server.url()) == (caught.value.kind, caught.value.name)
    assert 1 == len(server.requests)


@pytest.mark.parametrize("code", [204, 206, 300, 304, 400, 401, 403, 416, 501])
async def test_another_status_is_a_refusal(server: Server, code: int) -> None:
    async with MemoryStore() as store:
        with pytest.raises((ServerRefused, InvalidResponse)):
            await fetch(store, server.plan("/file", lambda _: Reply(code, {}, b"", "none")))
        assert [] == [info async for info in store.walk()]
    assert 1 == len(server.requests)


@pytest.mark.parametrize("coding", ["gzip", "br", "identity, gzip"])
async def test_a_content_coding_is_refused(server: Server, coding: str) -> None:
    async with MemoryStore() as store:
        with pytest.raises(InvalidResponse, match=f"found Content-Encoding: {coding}") as caught:
            await fetch(store, server.plan("/file", whole(SMALL, Content_Encoding=coding)))
    assert ("no content coding", server.url()) == (caught.value.expected, caught.value.url)
    assert "identity" == server.requests[0].headers["accept-encoding"]


@pytest.mark.parametrize("size", [0, 5, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_file_of_any_size_arrives(server: Server, size: int, framing: str) -> None:
    data = content(size)
    url = server.plan("/file", lambda _: Reply(body=data, framing=framing))
    reports: list[Progress] = []
    async with MemoryStore() as store:
        result = await fetch(store, url, on_progress=reports.append)
        assert (size, True) == (result.size, result.new)
        assert data == await store.get(result.digest)
        assert not (await fetch(store, url)).new
    assert {url} == {report.name for report in reports}
    assert size == reports[-1].done


async def test_an_end_that_looks_like_a_break_needs_a_size_or_a_digest(server: Server) -> None:
    url = server.plan("/file", lambda _: Reply(body=LARGE, framing="none"))
    async with MemoryStore() as store:
        with pytest.raises(InvalidResponse, match="expected a Content-Length, a size or a digest"):
            await fetch(store, url)
        found = await fetch(store, url, size=len(LARGE))
        await store.delete(found.digest)
        assert (await fetch(store, url, expected=found.digest)).new


@pytest.mark.parametrize("size", [100, 3 << 20])
async def test_a_part_that_was_not_asked_for_is_no_whole_file(server: Server, size: int) -> None:
    url = server.plan("/file", lambda _: Reply(206, {"Content-Range": f"bytes 0-{size - 1}/*"}, content(size)))
    async with MemoryStore() as store:
        with pytest.raises(InvalidResponse, match="a part of a known total"):
            await fetch(store, url, retries=QUICK)
        assert size == (await fetch(store, url, size=size, retries=QUICK)).size


async def test_a_body_that_is_too_short_is_an_error(server: Server) -> None:
    for data in (SMALL, LARGE):
        url = server.plan("/file", whole(data, Content_Length=str(len(data) + 1)))
        short = Retries(attempts=2, first_seconds=0.001, silence_seconds=0.1)
        async with MemoryStore() as store:
            with pytest.raises(Unreachable):
                await fetch(store, url, retries=short)
            assert [] == await store.list_statuses()


async def test_redirects_are_followed(server: Server, other: Server) -> None:
    other.plan("/there", status(302, Location="/deeper/../file?key=1"))
    other.plan("/file", ranged(LARGE))
    for code in (301, 302, 303, 307, 308):
        url = server.plan("/here", status(code, Location=other.url("/there")))
        async with MemoryStore() as store:
            assert len(LARGE) == (await fetch(store, url)).size


async def test_credentials_go_to_their_own_host_only(server: Server, other: Server) -> None:
    """Not to another one, and not back from there."""
    server.plan("/here", status(302, Location="/near"))
    server.plan("/near", status(302, Location=other.url("/far", credentials="they:chose@")))
    other.plan("/far", status(302, Location=server.url("/back")))
    server.plan("/back", whole(SMALL))
    async with MemoryStore() as store:
        await fetch(store, server.url("/here", credentials=SECRET), headers={"X-Key": "secret"})

    basic = "Basic " + base64.b64encode(b"me:pa55word").decode()
    found = [
        (request.path, request.headers.get("authorization"), request.headers.get("x-key"))
        for request in (*server.requests, *other.requests)
    ]
    assert [
        ("/here", basic, "secret"),
        ("/near", basic, "secret"),
        ("/back", None, None),
        ("/far", None, None),
    ] == found


async def test_a_caller_s_authorization_is_sent_in_place_of_none(server: Server) -> None:
    url = server.plan("/file", whole(SMALL))
    async with MemoryStore() as store:
        await fetch(store, url, headers={"Authorization": "Bearer secret"})
    assert "Bearer secret" == server.requests[0].headers["authorization"]


@pytest.mark.parametrize(
    ("location", "actual"),
    [
        ("/file", "more"),
        ("ftp://example.org/a", "something else"),
        ("http://[", "something else"),
        ("http://" + "\u00fc" * 70, "something else"),
    ],
)
async def test_redirects_that_lead_nowhere_are_refused(server: Server, location: str, actual: str) -> None:
    url = server.plan("/file", status(302, Location=location))
    async with MemoryStore() as store:
        with pytest.raises(InvalidResponse, match=f"found .*{actual}"):
            await fetch(store, url)


@contextmanager
def in_tls(folder: Path, location: str) -> Iterator[tuple[int, ssl.SSLContext]]:
    """Answer one request by TLS with a redirect; give the port and a context that trusts the certificate."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: it makes the certificate")
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key -out cert -days 2"
    subprocess.run(
        [*make.split(), "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert", folder / "key")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, context.wrap_socket(connection, server_side=True) as encrypted:
                encrypted.recv(65536)
                encrypted.sendall(f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode())
                encrypted.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        trusted = ssl.create_default_context(cafile=str(folder / "cert"))
        yield listener.getsockname()[1], trusted
        thread.join()


async def test_a_redirect_from_https_to_http_is_refused(server: Server, tmp_path: Path) -> None:
    server.plan("/file", whole(SMALL))
    with in_tls(tmp_path, server.url("/file?key=secret")) as (port, trusted):
        async with MemoryStore() as store:
            with pytest.raises(InvalidResponse, match="found a redirect from https to http:") as caught:
                await fetch(store, f"https://localhost:{port}/a?key=secret", tls=trusted)
    assert "secret" not in str(caught.value)
    assert [] == server.requests


@pytest.mark.parametrize(
    "url",
    ["", "file", "ftp://host/a", "http://", "http:///a", "http://me:secret@host:port/", "http://h/a b", "http://h/\n"],
)
async def test_text_that_is_no_url_is_refused_without_repeating_it(url: str) -> None:
    async with MemoryStore() as store:
        with pytest.raises(InvalidArgument) as caught:
            await fetch(store, url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "handler",
    [
        status(404),
        status(403),
        status(503),
        status(302, Location="ftp://h/?key=pa55word"),
        dropped(whole(SMALL), 2),
        whole(SMALL, Content_Encoding="gzip"),
        whole(SMALL),
    ],
    ids=["404", "403", "503", "redirect", "break", "coding", "size"],
)
async def test_secrets_are_in_no_error_and_no_log(
    server: Server, handler: Handler, caplog: pytest.LogCaptureFixture
) -> None:
    server.plan("/file", handler)
    caplog.set_level(logging.INFO)
    url = server.url("/file?key=pa55word", credentials=SECRET)
    async with MemoryStore() as store:
        with pytest.raises(SteelyardError) as caught:
            await fetch(store, url, size=5, retries=Retries(attempts=2, first_seconds=0.001))
    error = caught.value
    assert "pa55word" not in "".join(traceback.format_exception(error)) + repr(vars(error))
    assert "pa55word" not in caplog.text
    assert server.url() in "".join(traceback.format_exception_only(error))
