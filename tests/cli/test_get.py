"""`get`: whole blobs are verified, files appear whole or not at all, ranges are raw."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .runner import COMMAND, Shell, sha256

TEXT = bytes(range(256)) * 40


@pytest.fixture
def holding(shell: Shell) -> Shell:
    """Give a shell whose store holds `TEXT`."""
    shell.run("put", "-", stdin=TEXT)
    return shell


def damage(shell: Shell, digest: str) -> Path:
    """Change a byte of a stored blob, behind the store's back."""
    path = shell.store / "blobs" / Path(digest.replace(":", "/"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    return path


def test_a_file_gets_the_bytes_and_the_usual_mode(holding: Shell) -> None:
    (holding.home / "old").write_bytes(b"old")

    for name in ("old", "new"):
        done = holding.run("get", sha256(TEXT), "-o", name)

        assert [f"{sha256(TEXT)}  {name}"] == done.lines
        assert TEXT == (holding.home / name).read_bytes()
    assert (holding.home / "store" / "..").resolve() == holding.home
    made = subprocess.run(["sh", "-c", "umask 022; touch plain"], cwd=holding.home, check=True)
    assert 0 == made.returncode
    assert (holding.home / "plain").stat().st_mode == (holding.home / "new").stat().st_mode


def test_a_damaged_blob_never_becomes_a_file(holding: Shell) -> None:
    damage(holding, sha256(TEXT))
    (holding.home / "out").write_bytes(b"as it was")

    done = holding.run("get", sha256(TEXT), "-o", "out", code=5)

    assert b"as it was" == (holding.home / "out").read_bytes()
    assert [] == list(holding.home.glob(".out*"))
    assert f"expected {sha256(TEXT)}, found sha256:" in done.err
    assert f"next: steelyard verify {sha256(TEXT)}" in done.err
    assert TEXT != holding.run("get", sha256(TEXT), code=5).raw


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("0-0", TEXT[:1]),
        ("10-19", TEXT[10:20]),
        ("10230-", TEXT[10230:]),
        ("-7", TEXT[-7:]),
        ("10000-99999", TEXT[10000:]),
    ],
)
def test_a_range_is_like_that_of_http(holding: Shell, asked: str, expected: bytes) -> None:
    assert expected == holding.run("get", sha256(TEXT), f"--range={asked}").raw


def test_ranges_that_make_no_sense_are_refused(holding: Shell) -> None:
    for asked, why in (
        ("x", "expected A-B"),
        ("-", "expected A-B"),
        ("9-3", "expected A-B"),
        ("10240-", "past the end at 10240"),
    ):
        assert why in holding.run("get", sha256(TEXT), "--range", asked, code=2).err


def test_a_range_into_a_file_says_that_it_is_unverified(holding: Shell) -> None:
    done = holding.run("get", sha256(TEXT), "--range", "2-5", "-o", "part", "--format", "jsonl")

    fetched, _ = done.records
    expected = {"digest": sha256(TEXT), "path": "part", "offset": 2, "size": 4, "verified": False, "path_hex": None}
    assert {"type": "fetched", **expected} == fetched
    assert TEXT[2:6] == (holding.home / "part").read_bytes()


def test_it_writes_into_devices_and_through_links(holding: Shell) -> None:
    (holding.home / "target").write_bytes(b"")
    (holding.home / "link").symlink_to("target")

    holding.run("get", sha256(TEXT), "-o", "link")

    assert (holding.home / "link").is_symlink()
    assert TEXT == (holding.home / "target").read_bytes()
    assert [f"{sha256(TEXT)}  /dev/null"] == holding.run("get", sha256(TEXT), "-o", "/dev/null").lines
    assert "is a directory: expected the name of a file" in holding.run("get", sha256(TEXT), "-o", ".", code=2).err


def test_a_reader_that_goes_away_ends_it_quietly(holding: Shell) -> None:
    holding.run("put", "-", stdin=TEXT * 200)
    script = f"{' '.join(COMMAND)} get {sha256(TEXT * 200)} | head -c 10 >/dev/null; echo ${{PIPESTATUS[0]}}"

    done = holding.execute("bash", "-c", script)

    assert "141\n" == done.out
    assert "" == done.err
