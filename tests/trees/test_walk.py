"""The walk through a directory gives each entry once, in the order of a tree."""

from __future__ import annotations

import errno
import os
import random
import socket
from pathlib import Path

import pytest

from steelyard.errors import InvalidArgument
from steelyard.trees._entry import order_of
from steelyard.trees._walk import PART_ENTRIES, WalkEntry, check_utf8, error_of, identity_of, walk


def entries_of(top: Path, leave_out: tuple[int, int] | None = None) -> list[WalkEntry]:
    return [entry for part in walk(str(top), leave_out) for entry in part]


def kinds_of(top: Path, leave_out: tuple[int, int] | None = None) -> dict[str, str]:
    return {os.path.relpath(path, top): kind for path, kind, *_ in entries_of(top, leave_out)}


def make_tree(top: Path, seed: int) -> None:
    """Make some hundred files below directories whose names sort in other ways than their paths."""
    chosen = random.Random(seed)
    for _ in range(400):
        parts = [chosen.choice(["a", "a-b", "a.b", "b", "é", "Ω", "0"]) + "d" for _ in range(chosen.randrange(4))]
        directory = top.joinpath(*parts)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / chosen.choice(["a", "a-b", "a b", "é", "z", "0"])).write_text(str(chosen.random()))


@pytest.mark.parametrize("seed", range(3))
def test_each_file_is_found_once_and_in_order(tmp_path: Path, seed: int) -> None:
    make_tree(tmp_path, seed)
    found = [os.path.relpath(path, tmp_path) for path, *_ in entries_of(tmp_path)]

    assert sorted(found, key=order_of) == found
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == set(found)


def test_the_facts_of_a_file_are_those_of_its_status(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"bytes")
    file.chmod(0o4751)
    status = file.lstat()

    assert [(str(file), "file", identity_of(str(file)), 0o4751, (status.st_uid, status.st_gid), None)] == entries_of(
        tmp_path
    )
    assert (status.st_dev, status.st_ino, 5, status.st_mtime_ns, status.st_ctime_ns) == identity_of(str(file))


def test_each_kind_of_entry(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "left" / "below").mkdir(parents=True)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("empty")
    (tmp_path / "broken").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    status = (tmp_path / "left").stat()

    assert {
        "broken": "link",
        "empty": "directory",
        "left": "left out",
        "link": "link",
        "pipe": "special",
        "socket": "special",
    } == kinds_of(tmp_path, (status.st_dev, status.st_ino))
    assert ["nowhere", "empty"] == [detail for *_, detail in entries_of(tmp_path) if isinstance(detail, str)]


def test_a_given_link_is_followed_and_a_path_keeps_its_form(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").touch()
    (tmp_path / "link").symlink_to("real")

    assert [f"{tmp_path}/link/file"] == [path for path, *_ in entries_of(tmp_path / "link")]
    assert [f"{tmp_path}//link//file"] == [path for part in walk(f"{tmp_path}//link//", None) for path, *_ in part]
    assert [] == list(walk(str(tmp_path / "real" / ".." / "real"), identity_of(f"{tmp_path}/real")[:2]))[1:]  # type: ignore[index]  # it is there


def test_a_directory_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (path, kind, *_, number) = entries_of(tmp_path / "missing")[0]
    error = error_of(path, number)

    assert ("error", errno.ENOENT, str(tmp_path / "missing")) == (kind, error.errno, error.filename)
    assert isinstance(error, FileNotFoundError)
    (tmp_path / "file").touch()
    assert [("error", errno.ENOTDIR)] == [(entry[1], entry[5]) for entry in entries_of(tmp_path / "file")]


def test_a_directory_that_goes_during_the_walk_is_an_error(tmp_path: Path) -> None:
    for number in range(PART_ENTRIES):
        (tmp_path / f"{number:06}").touch()
    (tmp_path / "z" / "below").mkdir(parents=True)
    parts = walk(str(tmp_path), None)
    assert PART_ENTRIES == len(next(parts))
    (tmp_path / "z" / "below").rmdir()
    (tmp_path / "z").rmdir()

    assert [[("error", errno.ENOENT)]] == [[(entry[1], entry[5]) for entry in part] for part in parts]


def test_a_directory_that_becomes_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    for number in range(PART_ENTRIES):
        (tmp_path / "tree" / f"{number:06}").touch()
    (tmp_path / "tree" / "z").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "secret").touch()
    parts = walk(str(tmp_path / "tree"), None)
    next(parts)
    (tmp_path / "tree" / "z").rmdir()
    (tmp_path / "tree" / "z").symlink_to(tmp_path / "other")

    assert ["error"] == [kind for part in parts for _, kind, *_ in part]


def test_a_name_that_is_not_utf8_is_found_and_refused_by_trees(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")).touch()
    ((path, kind, *_),) = entries_of(tmp_path)

    assert ("file", b"caf\xe9") == (kind, os.fsencode(Path(path).name))
    with pytest.raises(InvalidArgument, match=r"caf\\xe9: expected a name in UTF-8"):
        check_utf8(path, path)
