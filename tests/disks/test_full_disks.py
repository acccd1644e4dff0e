"""File systems without room for another byte: what is stored can be read and deleted, and nothing ends the process."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
from support.disks import KINDS, fill, mounted

from steelyard import Descriptor, LocalStore

SCRIPT = Path(__file__).with_name("full_disk.py")
STEPS = ["list", "get", "statuses", "abort", "list again", "delete", "delete another", "forget"]


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_is_read_and_emptied(kind: str, when: str, tmp_path: Path) -> None:
    with mounted(kind, tmp_path) as point:
        ended = subprocess.run(
            [sys.executable, str(SCRIPT), str(point), when],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )

        # A negative number: a signal, such as SIGBUS from a write to mapped memory without a block behind it.
        assert ended.returncode == 0, ended.stderr[-2000:] + ended.stdout

    said = dict(line.rsplit(" ", 1) for line in ended.stdout.splitlines())
    assert {name: said.get(name) for name in STEPS} == dict.fromkeys(STEPS, "ok")
    assert {"put", "relabel", "lease", "quarantine"} <= said.keys()


def command(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    line = (sys.executable, "-m", "steelyard", "--store", str(root), *words)
    return subprocess.run(line, capture_output=True, text=True, check=False, env=os.environ | {"LC_ALL": "C"})


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_the_commands_work_on_a_full_disk(kind: str, tmp_path: Path) -> None:
    async def prepare(root: Path) -> str:
        async with LocalStore(root) as store:
            return str((await store.put(b"x" * 100_000, labels={"a": "b"})).digest)

    with mounted(kind, tmp_path) as point:
        root = point / "store"
        digest = anyio.run(prepare, root)
        fill(point)

        for words in (["ls"], ["get", digest], ["doctor"], ["rm", digest]):
            ended = command(root, *words)
            assert ended.returncode == 0, (words, ended.stderr)

        assert command(root, "get", digest).returncode == 3


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_gc_frees_a_full_disk(kind: str, tmp_path: Path) -> None:
    """Its first steps write; an earlier collection has kept room for them."""

    async def prepare(root: Path) -> None:
        async with LocalStore(root) as store:
            await store.collect()
            async for _ in store.put_many(b"%d" % number * 2_000 for number in range(1_000)):
                pass
            await store.put(b"kept", labels={"containerd.io/gc.root": "yes"})

    with mounted(kind, tmp_path) as point:
        root = point / "store"
        anyio.run(prepare, root)

        left, times = 1_001, 0
        while left > 1:
            fill(point)
            ended = command(root, "gc", "--grace", "0s")
            assert ended.returncode == 0, (times, ended.stderr)
            # What a collection has no room to note goes with the next one.
            before, left, times = left, len(command(root, "ls").stdout.splitlines()), times + 1
            assert left <= max(1, before - 500), (times, ended.stderr)
            if kind == "btrfs":
                break  # What was freed is too little there for a new file, so that no reserve is left.


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_names_and_leases_are_removed_on_a_full_disk_and_gc_frees_what_they_kept(kind: str, tmp_path: Path) -> None:
    async def prepare(root: Path) -> None:
        async with LocalStore(root) as store:
            await store.collect()
            target = Descriptor(digest=(await store.put(b"x" * 300_000)).digest)
            await store.images.create("name", target)
            await store.leases.create("lease", expires=timedelta(hours=1))

    with mounted(kind, tmp_path) as point:
        root = point / "store"
        anyio.run(prepare, root)
        fill(point)

        for words in (["images", "rm", "name"], ["leases", "rm", "lease"], ["gc", "--grace", "0s"]):
            ended = command(root, *words)
            assert ended.returncode == 0, (words, ended.stderr)
        assert command(root, "ls").stdout == ""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_the_first_gc_on_a_full_disk_says_how_to_make_room(kind: str, tmp_path: Path) -> None:
    async def prepare(root: Path) -> str:
        async with LocalStore(root) as store:
            digests = [(await store.put(b"%d" % number * 1_500_000)).digest for number in range(2)]
            return str(digests[0])

    with mounted(kind, tmp_path) as point:
        root = point / "store"
        digest = anyio.run(prepare, root)
        fill(point)

        refused = command(root, "gc", "--grace", "0s")
        assert refused.returncode == 9
        assert "rm DIGEST" in refused.stderr, refused.stderr
        assert command(root, "rm", digest).returncode == 0
        freed = command(root, "gc", "--grace", "0s")
        assert freed.returncode == 0, freed.stderr
        assert command(root, "ls").stdout == ""
