"""`put -r --name`, `checkout`, `diff` and `ls-tree`, as a person meets them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from .runner import Shell, end, sha256

PROGRAM = b"#!/bin/sh\n"


@pytest.fixture
def own_tree(shell: Shell, tree: Path) -> Path:
    """Give a copy of real files, with a link and a program."""
    top = shell.home / "src"
    shutil.copytree(tree, top)
    (top / "link").symlink_to("json/__init__.py")
    (top / "run").write_bytes(PROGRAM)
    (top / "run").chmod(0o755)
    return top


def test_a_directory_goes_in_and_comes_out_the_same(shell: Shell, own_tree: Path) -> None:
    put = shell.run("put", "-r", "src", "--name", "sources")
    shutil.copytree(own_tree, shell.home / "kept", symlinks=True)
    shutil.rmtree(own_tree)
    out = shell.run("checkout", "sources", "src")
    number = sum(path.is_file() and not path.is_symlink() for path in own_tree.rglob("*"))

    assert put.lines[0].split() == [out.lines[0].split()[0], "sources"]
    assert f"steelyard: {number} files, " in put.err
    assert f": {number + 1} written" in out.err
    assert "" == shell.run("diff", "sources", "src").out == shell.run("diff", "kept", "./src").out
    subprocess.run(["diff", "-r", "--no-dereference", shell.home / "kept", own_tree], check=True)
    assert ": 0 written" in shell.run("checkout", "sources", "src").err


def test_the_second_put_reads_nothing_that_has_not_changed(shell: Shell, own_tree: Path) -> None:
    shell.run("put", "-r", "src", "--name", "sources")
    # The files are new: until the clock has moved on, each counts as changed.
    while (document := shell.run("put", "-r", "src", "--name", "sources", "--format", "json").document)["summary"][
        "read"
    ]:
        pass
    (record,) = document["trees"]
    reread = shell.run("put", "-r", "src", "--name", "sources", "--reread", "--format", "json").document

    assert (0, 0) == (record["read"], record["new"])
    assert record["files"] == reread["summary"]["read"] > 0
    assert record["digest"] == reread["trees"][0]["digest"]
    assert [shell.home / ".cache" / "steelyard" / "trees"] == list((shell.home / ".cache" / "steelyard").iterdir())
    (own_tree / "run").write_bytes(b"#!/bin/sh\necho\n")
    assert 1 == shell.run("put", "-r", "src/", "--name", "sources", "--format", "json").document["summary"]["read"]


def test_differences_have_a_line_each_and_an_exit_code(shell: Shell, own_tree: Path) -> None:
    shell.run("put", "-r", "src", "--name", "sources")
    (own_tree / "run").chmod(0o644)
    (own_tree / "new").write_bytes(b"1")
    (own_tree / "link").unlink()
    done = shell.run("diff", "sources", "./src", code=1)
    shell.run("put", "-r", "src", "--name", "changed")

    assert ["D  link", "A  new", "M  run"] == done.lines
    assert done.out == shell.run("diff", "sources", "changed", code=1).out
    assert ["link", "new", "run"] == shell.run("diff", "-q", "sources", "src", code=1).lines
    document = shell.run("diff", "sources", "src", "--format", "json", code=1).document
    assert ["removed", "added", "changed"] == [each["change"] for each in document["changes"]]
    assert (True, False) == tuple(document["changes"][2][side]["executable"] for side in ("before", "after"))
    assert {"added": 1, "removed": 1, "changed": 1} == {
        key: document["summary"][key] for key in ("added", "removed", "changed")
    }
    assert "image name none: not found" in shell.run("diff", "none", "src", code=3).err
    # The name of a tree counts more than a directory of that name.
    shell.run("put", "-r", "src/json", "--name", "src")
    assert "D  json/__init__.py" in shell.run("diff", "sources", "src", code=1).lines
    assert done.lines == shell.run("diff", "sources", "src/", code=1).lines


def test_a_tree_is_listed(shell: Shell, own_tree: Path) -> None:
    shell.run("put", "-r", "src", "--name", "sources")
    lines = shell.run("ls-tree", "sources").lines

    assert "link -> json/__init__.py" in lines
    assert f"{sha256(PROGRAM)}  10 bytes  run*" in lines
    (own_tree / "json").rename(own_tree / "other")
    assert [line for line in lines if "  json/" in line] == shell.run("ls-tree", "sources", "json/").lines
    assert [sha256(PROGRAM)] == shell.run("ls-tree", "sources", "run", "-q").lines
    assert "entry of the tree none: not found" in shell.run("ls-tree", "sources", "none", code=3).err
    (entry,) = shell.run("ls-tree", "sources", "link", "--format", "json").document["entries"]
    assert ("link", "json/__init__.py", None) == (entry["kind"], entry["target"], entry["digest"])


def test_what_is_in_the_way_is_named_and_the_rest_is_written(shell: Shell, own_tree: Path) -> None:
    shell.run("put", "-r", "src", "--name", "sources")
    (shell.home / "out" / "run" / "x").mkdir(parents=True)
    done = shell.run("checkout", "sources", "out", code=2)

    assert "error: checkout: Is a directory: out/run" in done.err
    assert "next: ls -ld out/run" in done.err
    assert own_tree.exists()
    assert ["A  run", "D  run/x"] == shell.run("diff", "out", "sources", code=1).lines
    shell.run("checkout", "sources", "out", "--delete")
    assert "" == shell.run("diff", "sources", "out").out


def test_a_file_whose_blob_is_missing_is_named(shell: Shell, own_tree: Path) -> None:
    shell.run("put", "-r", "src", "--name", "sources")
    blob = sha256(PROGRAM)
    shell.run("rm", "--force", blob)
    done = shell.run("checkout", "sources", "out", code=3)

    assert f"error: run: blob {blob}: not found" in done.err
    assert ["D  run"] == shell.run("diff", "sources", own_tree.parent / "out", code=1).lines


def test_all_failures_are_counted_beyond_those_that_are_listed(shell: Shell) -> None:
    for number in range(101):
        (shell.home / "many" / str(number)).mkdir(parents=True)
        (shell.home / "many" / str(number) / "file").write_bytes(b"1")
    shell.run("put", "-r", "many", "--name", "many")
    shutil.rmtree(shell.home / "many")
    (shell.home / "many").mkdir()
    for number in range(101):
        (shell.home / "many" / str(number)).write_bytes(b"in the way")
    done = shell.run("checkout", "many", "many", code=3)

    assert "error: checkout: Not a directory: many/0/file\n  next: ls -ld many/0\n" in done.err
    assert "steelyard: 101 entries of the tree could not be written; the first 100 errors follow" in done.err


def test_a_file_in_the_place_of_the_directory_is_named(shell: Shell, own_tree: Path) -> None:
    shell.run("put", "-r", "src", "--name", "sources")
    done = shell.run("checkout", "sources", own_tree / "run", code=1)

    assert f"error: checkout: File exists: {own_tree}/run" in done.err


@pytest.mark.parametrize(
    "words",
    [
        ("put", "src", "--name", "x"),
        ("put", "-r", "src", "src", "--name", "x"),
        ("put", "-r", "-", "--name", "x"),
        ("put", "-r", "src", "--name", "x", "--label", "a=b"),
        ("put", "-r", "src", "--times"),
        ("put", "-r", "src", "--name", "bad\nname"),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_stores_nothing(shell: Shell, own_tree: Path, words: tuple[str, ...]) -> None:
    assert own_tree.exists()
    shell.run(*words, code=2)

    assert not shell.store.exists()


def test_a_missing_directory_makes_no_store(shell: Shell) -> None:
    assert "No such file or directory: none" in shell.run("put", "-r", "none", "--name", "x", code=3).err
    assert not shell.store.exists()


def test_an_interrupted_checkout_goes_on_where_it_was(shell: Shell) -> None:
    top = shell.home / "src"
    for number in range(20):
        (top / str(number)).mkdir(parents=True)
        for each in range(100):
            (top / str(number) / str(each)).write_bytes(b"%d %d" % (number, each))
    shell.run("put", "-r", "src", "--name", "sources")
    process = shell.start("checkout", "sources", "out")
    while not os.path.exists(shell.home / "out" / "1"):  # noqa: PTH110
        assert process.poll() is None
    code, _, err = end(process, signal.SIGINT)
    if code:  # else it was faster
        assert 130 == code
        assert "go on with: steelyard checkout sources out" in err
    for path in (shell.home / "out").rglob("*"):
        assert path.is_dir() or path.read_bytes() == (top / path.relative_to(shell.home / "out")).read_bytes()
    shell.run("checkout", "sources", "out")
    assert "" == shell.run("diff", "src", "out").out


def test_a_killed_checkout_that_deletes_has_harmed_nothing_and_can_be_repeated(shell: Shell) -> None:
    top, out = shell.home / "src", shell.home / "out"
    for number in range(10):
        (top / str(number)).mkdir(parents=True)
        for each in range(20):
            (top / str(number) / str(each)).write_bytes(b"%d %d" % (number, each))
    shell.run("put", "-r", "src", "--name", "sources")
    shutil.copytree(top, out)
    outside = shell.home / "outside"
    outside.mkdir()
    (outside / "kept").write_bytes(b"kept")
    others = [out / str(number) / f"other {each}" for number in range(10) for each in range(200)]
    for other in others:
        other.write_bytes(b"other")
    (out / "0" / "link").symlink_to(outside)
    (out / "3" / "7").write_bytes(b"changed")

    process = shell.start("checkout", "sources", "out", "--delete")
    while others[0].exists():
        assert process.poll() is None
    code, _, _ = end(process, signal.SIGKILL)
    if code:  # else it was faster
        assert -signal.SIGKILL == code
    for path in top.rglob("*"):
        there = out / path.relative_to(top)
        assert path.is_dir() or there.read_bytes() in {path.read_bytes(), b"changed"}
    shell.run("checkout", "sources", "out", "--delete")
    assert "" == shell.run("diff", "src", "out").out
    assert ["kept"] == [path.name for path in outside.iterdir()]
