"""`steelyard fetch`."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.fork_server import ForkServer
from cli.runner import Shell, end, sha256

from .server import Reply, Request, Server, content, ranged, stalled, status, whole

LARGE = content(12 << 20)
HUGE = content(72 << 20)


@pytest.fixture(scope="module")
def fork_server() -> Iterator[ForkServer]:
    """Give the process that all runs are forked from."""
    fork_server = ForkServer()
    yield fork_server
    fork_server.close()


@pytest.fixture
def shell(tmp_path: Path, fork_server: ForkServer) -> Shell:
    """Give a shell with no store yet."""
    return Shell(tmp_path, fork_server)


def until_written(shell: Shell) -> None:
    """Wait until some bytes of an ingest would outlive a crash of its process: it has noted how far it came."""
    while not any(path.stat().st_size for path in shell.store.glob("ingest/*/tail")):
        time.sleep(0.01)  # nothing tells when another process has written


def test_files_are_stored_and_reported(server: Server, shell: Shell) -> None:
    one, two = server.plan("/one", whole(b"one")), server.plan("/two", ranged(LARGE))

    done = shell.run("fetch", one, two)
    assert {f"{sha256(b'one')}  {one}", f"{sha256(LARGE)}  {two}"} == set(done.lines)
    assert "2 files, 12.0 MiB: 2 new, 0 already there" in done.err

    found = shell.run("fetch", one, "--name", "wool", "--label", "a=b", "--format", "json").document
    record = {"type": "downloaded", "url": one, "digest": sha256(b"one"), "size": 3, "new": False, "name": "wool"}
    assert [record] == found["downloaded"]
    assert {"command": "fetch", "files": 1, "bytes": 3, "new": 0, "existing": 1, "failed": 0} == {
        key: value for key, value in found["summary"].items() if key != "type"
    }
    assert ["wool"] == [image["name"] for image in shell.run("images", "ls", "--format", "json").document["images"]]
    assert [sha256(b"one")] == shell.run("fetch", one, "-q").lines


def test_a_killed_command_is_resumed_by_the_same_command(server: Server, shell: Shell) -> None:
    good = ranged(LARGE)
    url = server.plan("/file", stalled(good, 9 << 20), good)
    process = shell.start("fetch", url)
    until_written(shell)
    code, _, _ = end(process, signal.SIGKILL)
    assert -signal.SIGKILL == code

    shell.run("fetch", url)
    assert 0 < server.requests[1].offset <= 9 << 20
    assert '"one"' == server.requests[1].headers["if-range"]
    assert LARGE == shell.run("get", sha256(LARGE)).raw
    assert [] == shell.run("ingests", "--format", "json").document["ingests"]


def test_an_interrupted_command_says_how_to_resume_without_secrets(server: Server, shell: Shell) -> None:
    server.plan("/file", stalled(ranged(LARGE), 9 << 20))
    for url, line in (
        (server.url(), f"resume with: steelyard fetch {server.url()}"),
        (server.url("/file?key=secret"), ""),
    ):
        before = len(server.requests)
        process = shell.start("fetch", url)
        server.wait_for_requests(before + 1)
        code, _, err = end(process, signal.SIGINT)
        assert 130 == code
        assert line in err
        assert "secret" not in err


def test_sums_are_compared(server: Server, shell: Shell) -> None:
    one, two = server.plan("/one", whole(b"one")), server.plan("/two", whole(b"changed"))
    (shell.home / "SHA256SUMS").write_text(f"{sha256(b'one')[7:]}  one\n{sha256(b'two')[7:]}  two\n")

    done = shell.run("fetch", one, two, "--sums", "SHA256SUMS", "--format", "json", code=5)
    assert [one] == [record["url"] for record in done.document["downloaded"]]
    assert ["unexpected_digest"] == [error["code"] for error in done.document["errors"]]
    assert f"{two}: expected digest {sha256(b'two')}, found {sha256(b'changed')}" in done.err
    assert 2 == len(server.requests)

    done = shell.run("fetch", one, server.url("/three"), "--sums", "SHA256SUMS", code=2)
    assert "/three: no digest of it in SHA256SUMS" in done.err
    assert 2 == len(server.requests)
    assert [sha256(b"one")] == shell.run("fetch", one, "-q", "--sums", "SHA256SUMS").lines
    assert 2 == len(server.requests)  # stored already


@pytest.mark.parametrize(
    ("code", "headers", "expected"), [(404, {}, 3), (403, {}, 1), (503, {"Retry_After": "61"}, 7), (302, {}, 1)]
)
def test_exit_codes(server: Server, shell: Shell, code: int, headers: dict[str, str], expected: int) -> None:
    server.plan("/file", status(code, **headers))
    done = shell.run("fetch", server.url("/file?key=secret", credentials="me:secret@"), code=expected)

    assert f"steelyard: error: {'URL ' if code == 404 else ''}{server.url()}: " in done.err
    assert "secret" not in done.err + done.out
    assert "next:" not in done.err


def test_a_coding_and_a_wrong_digest_are_mismatches(server: Server, shell: Shell) -> None:
    assert (
        "Content-Encoding: gzip"
        in shell.run("fetch", server.plan("/file", whole(b"a", Content_Encoding="gzip")), code=5).err
    )
    url = server.plan("/file", whole(b"a"))
    refused = shell.run("fetch", url, "--expected", sha256(b"b"), code=5).err
    assert "expected digest" in refused
    assert "sha256sum" not in refused  # which reads files, not URLs
    shell.run("fetch", url, "--expected", sha256(b"a"))


@pytest.mark.parametrize(
    "words",
    [
        ["nosuch"],
        ["http://me:secret@host:secret/"],
        ["http://h/", "http://i/", "--ref", "a"],
        ["http://h/", "http://i/", "--name", "a"],
        ["http://h/", "--expected", "nonsense"],
        ["http://h/", "--sums", "a", "--expected", sha256(b"")],
        ["http://h/", "--ranges", "0"],
        ["http://h/", "--ranges", "many"],
    ],
)
def test_a_wrong_command_line_makes_no_store(shell: Shell, words: list[str]) -> None:
    assert "secret" not in shell.run("fetch", *words, code=2).err
    assert not shell.store.exists()


def test_a_ref_serves_urls_that_differ(server: Server, shell: Shell) -> None:
    good = ranged(LARGE)
    server.plan("/file", stalled(good, 9 << 20), good)
    process = shell.start("fetch", server.url("/file?at=1"), "--ref", "mine")
    until_written(shell)
    end(process, signal.SIGTERM)
    (found,) = shell.run("ingests", "--format", "json").document["ingests"]
    assert 'mine etag:"one"' == found["ref"]

    shell.run("fetch", server.url("/file?at=2"), "--ref", "mine")
    assert found["offset"] == server.requests[1].offset > 0


def test_a_command_tells_that_it_waits_for_another_process(server: Server, shell: Shell) -> None:
    good = ranged(LARGE)
    url = server.plan("/file", stalled(good, 9 << 20), good)
    first = shell.start("fetch", url)
    until_written(shell)
    second = shell.start("fetch", url)
    assert second.stderr is not None
    assert f"steelyard: {url}: another writer stores the same; waiting for it\n" == second.stderr.readline().decode()
    end(first, signal.SIGKILL)
    out, err = second.communicate(timeout=60)

    assert f"{sha256(LARGE)}  {url}\n" == out.decode()
    assert b"waiting" not in err


def test_the_number_of_ranges_of_a_large_file(server: Server, shell: Shell) -> None:
    good = ranged(HUGE, Accept_Ranges="bytes")
    url = server.plan("/file", good)
    assert [sha256(HUGE)] == shell.run("fetch", url, "-q", "--ranges", "1").lines
    assert [None] == [request.end for request in server.requests]

    together = threading.Barrier(8)

    def wait(request: Request) -> Reply:
        if request.end is not None and request.offset < 64 << 20:
            together.wait(60)  # all eight of them are requested before one is answered
        return good(request)

    server.plan("/file", wait)
    shell.run("rm", sha256(HUGE))
    assert [sha256(HUGE)] == shell.run("fetch", url, "-q", "--ranges", "8").lines
    assert not together.broken
    assert list(range(0, 72 << 20, 8 << 20)) == sorted(
        request.offset for request in server.requests if request.end is not None
    )


def test_only_a_fetch_loads_the_client(shell: Shell) -> None:
    for program in ("import steelyard.fetch", "from steelyard.cli import main; main(['fetch', '--help'])"):
        text = f"{program}\nimport sys; assert not {{'httpx2', 'httpcore2'}} & set(sys.modules)"
        subprocess.run([sys.executable, "-c", text], env=shell.environment, check=True, stdout=subprocess.DEVNULL)


def test_without_the_client_the_command_says_what_to_install(shell: Shell) -> None:
    program = "import sys; sys.modules['httpcore2'] = None\nfrom steelyard.cli import main; sys.exit(main(['fetch', 'http://h/']))"
    done = subprocess.run([sys.executable, "-c", program], env=shell.environment, capture_output=True, text=True)

    assert 2 == done.returncode
    assert "next: pip install 'steelyard[cli,http]'" in done.stderr
