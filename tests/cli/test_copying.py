"""`cp` between directories."""

from __future__ import annotations

import hashlib

import anyio
import anyio.to_thread
from support.make_archives import layout, one_image, tar

from cli.runner import Shell
from steelyard import LocalStore


def test_the_content_root_of_a_containerd_is_copied_and_left_as_it_was(shell: Shell) -> None:
    digest = hashlib.sha256(b"wool\n").hexdigest()
    blobs = shell.home / "io.containerd.content.v1.content" / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    (blobs / digest).write_bytes(b"wool\n")

    assert [f"sha256:{digest}"] == shell.run("cp", str(blobs.parents[1]), "mine", "--all").lines
    assert b"wool\n" == shell.run("--store", "mine", "get", digest[:12]).raw
    assert {"blobs"} == {path.name for path in blobs.parents[1].iterdir()}


def test_a_directory_without_blobs_is_no_source(shell: Shell) -> None:
    (shell.home / "empty").mkdir()
    failed = shell.run("cp", "empty", "mine", "--all", code=3)

    assert "empty: not a store" in failed.err
    assert "next: ls -la " in failed.err
    assert "store absent: not found" in shell.run("cp", "absent", "mine", "--all", code=3).err


def test_cp_and_import_tell_that_they_wait_for_another_writer(shell: Shell) -> None:
    """The writers of both blobs are in this process, until the lines have come."""
    index, _, blobs = one_image([bytes(2 << 20)])
    (shell.home / "a.tar").write_bytes(tar(layout(index, blobs)))
    large = f"sha256:{hashlib.sha256(bytes(2 << 20)).hexdigest()}"
    (shell.home / "file").write_bytes(b"wool\n")
    copied = shell.run("--store", "other", "put", "file", "-q").out.strip()

    async def main() -> None:
        async with LocalStore(shell.store) as store:
            for ref, words in (
                (f"copy-{copied}", ["cp", "other", str(shell.store), "--all"]),
                (f"import-{large}", ["import", "a.tar"]),
            ):
                async with store.writer(ref):
                    process = shell.start(*words)
                    assert process.stderr is not None
                    line = await anyio.to_thread.run_sync(process.stderr.readline)
                name = ref.partition("-")[2]
                assert f"steelyard: {name}: another writer stores the same; waiting for it\n" == line.decode()
                await anyio.to_thread.run_sync(process.communicate)
                assert 0 == process.returncode

    anyio.run(main)
