"""`gc` as a new user tries it: three images, one name removed, ten writers and an import beside it, and `kill -9`."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest
from support.make_archives import layout, one_image, tar

from .runner import Shell, feed, sha256

WRITERS = 10
GARBAGE = 200
"""Layers of the image whose name is removed: several batches."""
HANG_SECONDS = 60

WRITER = """
import os, sys, threading, anyio
from steelyard import LocalStore
ends = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ends.set()), daemon=True).start()
async def main():
    async with LocalStore(sys.argv[1]) as store, store.lease() as leased:
        number = 0
        while not ends.is_set():
            stored = [await leased.put(b"%d %d" % (os.getpid(), number // 2)), await leased.put(b"shared")]
            assert stored[0].new == (number % 2 == 0)
            print(*(each.digest for each in stored), flush=True)
            number += 1
        for each in stored:
            assert await leased.exists(each.digest)
anyio.run(main)
"""


def layers_of(name: str) -> list[bytes]:
    own = GARBAGE if name == "two" else 5
    return [b"shared", *(b"%s %d" % (name.encode(), number) for number in range(own))]


def archive_of(name: str) -> tuple[bytes, set[str]]:
    """Return an archive of an image, and the digests of its blobs."""
    index, _, blobs = one_image(layers_of(name), org_opencontainers_image_ref_name=f"{name}:1")
    return tar(layout(index, blobs)), {sha256(each) for each in blobs}


def listed(shell: Shell) -> set[str]:
    return set(shell.run("ls", "-q").lines)


@dataclass
class Beside:
    """The processes beside a collection."""

    writers: list[subprocess.Popen[bytes]]
    importing: subprocess.Popen[bytes]
    rest: bytes
    """The bytes that the import has not been given yet."""
    told: set[str]
    """Digests that the writers were told."""

    def end(self) -> set[str]:
        """End all of it as usual, and return the digests that the writers were told. They look for their last ones themselves."""
        for writer in self.writers:
            assert writer.stdin is not None
            assert writer.stdout is not None
            writer.stdin.close()
            self.told.update(digest.decode() for digest in writer.stdout.read().split())
            assert writer.wait() == 0
        _, err = self.importing.communicate(self.rest)
        assert self.importing.returncode == 0, err
        return self.told


@contextmanager
def beside(shell: Shell) -> Iterator[Beside]:
    """Start ten writers, each under a lease, and an import that has half of its archive."""
    archive, _ = archive_of("four")
    half = len(archive) // 2
    with ExitStack() as stack:
        command = [sys.executable, "-c", WRITER, str(shell.store)]
        writers = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=shell.environment)
            for _ in range(WRITERS)
        ]
        importing = feed(shell, archive[:half], "import", "-")
        for process in (*writers, importing):
            stack.enter_context(process)
            stack.callback(process.kill)
        told = {sha256(b"shared")}
        for writer in writers:
            assert writer.stdout is not None
            told.add(writer.stdout.readline().split()[0].decode())  # it is at work
        yield Beside(writers, importing, archive[half:], told)


def kill_while_it_removes(shell: Shell, garbage: set[str]) -> None:
    """Kill a collection without a grace time when some garbage is gone, unless it has ended before."""
    blobs = shell.store / "blobs" / "sha256"
    before = [name for name in (digest.removeprefix("sha256:") for digest in garbage) if (blobs / name).exists()]
    process = shell.start("gc", "--grace", "0s")
    end = time.monotonic() + HANG_SECONDS
    while process.poll() is None and all((blobs / name).exists() for name in before):
        assert time.monotonic() < end
        time.sleep(0.0005)  # nothing else tells from outside how far it is
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("kills", [0, 3])
def test_exactly_what_the_removed_name_kept_goes_beside_ten_writers_and_an_import(shell: Shell, kills: int) -> None:
    blobs: dict[str, set[str]] = {}
    for name in ("one", "two", "three"):
        archive, blobs[name] = archive_of(name)
        shell.run("import", "-", stdin=archive)
    shell.run("images", "rm", "two:1")
    garbage = blobs["two"] - blobs["one"] - blobs["three"]
    kept = blobs["one"] | blobs["three"]

    done = shell.run("gc", "--dry-run", "--grace", "0s")
    assert garbage == {line.split()[0] for line in done.lines}
    assert f"would remove {len(garbage)} blobs" in done.err
    assert f"{len(kept)} blobs kept: {len(kept)} by image names" in done.err
    for digest in sorted(blobs["one"])[:3]:
        assert "image name docker.io/library/" in shell.run("why", digest).lines[0]
    assert "removed 0 blobs" in shell.run("gc").err  # the first collection needs the store to itself
    assert garbage | kept == listed(shell)

    with beside(shell) as running:
        for _ in range(kills):
            kill_while_it_removes(shell, garbage)
            assert kept <= listed(shell)
        left = garbage & listed(shell)
        done = shell.run("gc", "--grace", "0s", "-q")
        assert left == set(done.lines)
        assert not garbage & listed(shell)
        told = running.end()
    imported = archive_of("four")[1]
    assert kept | imported | told == listed(shell)
    assert 3 == shell.run("images", "check").out.count("complete")
    assert told - kept - imported == set(shell.run("gc", "--grace", "0s", "-q").lines)
    assert kept | imported == listed(shell)
