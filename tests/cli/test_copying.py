"""`cp` between directories."""

from __future__ import annotations

import hashlib

from cli.runner import Shell


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
