"""`verify`: damage is found, set aside, and repaired by storing the right bytes again."""

from __future__ import annotations

from pathlib import Path

from .runner import Shell, sha256
from .test_get import damage


def test_a_whole_store_is_verified(stocked: Shell, files: dict[str, bytes]) -> None:
    digests = sorted({sha256(data) for data in files.values()})

    done = stocked.run("verify", "--all", "--keep")

    assert [f"ok       {digest}" for digest in digests] == sorted(done.lines)
    assert f"{len(digests)} blobs" in done.err
    assert "0 damaged" in done.err
    assert [] == stocked.run("verify", "--all", "-q").lines


def test_damage_is_found_set_aside_and_repaired(own: Shell, files: dict[str, bytes]) -> None:
    path, data = next((path, data) for path, data in files.items() if len(data) > 10_000)
    blob = damage(own, sha256(data))

    done = own.run("verify", "--all", "--format", "jsonl", code=5)

    (damaged,) = [record for record in done.records if record.get("ok") is False]
    assert (sha256(data), len(data)) == (damaged["digest"], damaged["size"])
    assert damaged["actual"].startswith("sha256:")
    assert (1, 1) == (done.records[-1]["damaged"], done.records[-1]["failed"])
    assert f"expected {sha256(data)}, found sha256:" in done.err
    assert "  next: steelyard quarantine\n" in done.err
    assert not blob.exists()
    assert 1 == own.run("stat", "--format", "json").document["quarantined"]
    assert own.run("put", path).err.endswith("1 new, 0 already there\n")
    assert [f"ok       {sha256(data)}"] == own.run("verify", sha256(data)[7:20]).lines


def test_quarantine_is_listed_and_emptied_on_request(own: Shell, files: dict[str, bytes]) -> None:
    data = next(data for data in files.values() if len(data) > 10_000)
    damage(own, sha256(data))
    assert own.run("quarantine").lines == []
    own.run("verify", "--all", code=5)

    (listed,) = own.run("quarantine", "--format", "jsonl").records[:-1]
    assert (sha256(data), len(data), False) == (listed["digest"], listed["size"], listed["removed"])
    assert Path(listed["path"]).is_file()
    (line,) = own.run("quarantine").lines
    assert line.endswith(listed["path"])
    own.run("gc", "--grace", "0s")
    assert [sha256(data)] == own.run("quarantine", "--empty", "-q").lines
    assert not Path(listed["path"]).exists()
    assert own.run("quarantine").lines == []


def test_keep_leaves_damage_where_it_is(own: Shell, files: dict[str, bytes]) -> None:
    data = next(data for data in files.values() if len(data) > 10_000)
    blob = damage(own, sha256(data))

    assert [sha256(data)] == own.run("verify", sha256(data), "--keep", "-q", code=5).lines
    assert blob.exists()


def test_storing_again_heals_a_damaged_blob(own: Shell, files: dict[str, bytes]) -> None:
    path, data = next((path, data) for path, data in files.items() if len(data) > 10_000)
    blob = damage(own, sha256(data))

    own.run("put", path)

    assert data == blob.read_bytes()


def test_verify_of_what_is_not_there(stocked: Shell, tree: Path) -> None:
    assert tree.exists()
    done = stocked.run("verify", "00000000", sha256(b""), code=3)

    assert [f"ok       {sha256(b'')}"] == done.lines
    assert "--resume: expected --all" in stocked.run("verify", sha256(b""), "--resume", code=2).err
