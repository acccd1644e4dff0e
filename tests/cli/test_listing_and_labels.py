"""`ls`, `info`, `label`, `rm`, `stat`, and the ways to name a blob."""

from __future__ import annotations

import pytest

from .runner import Shell, sha256

EMPTY = sha256(b"")


def colliding(shell: Shell) -> tuple[str, str]:
    """Store two texts whose digests begin with the same 8 hex digits, and return the digests."""
    first, second = b"steelyard 17966", b"steelyard 46895"
    for text in (first, second):
        shell.run("put", "-", stdin=text)
    return sha256(first), sha256(second)


def test_ls_lists_every_blob_in_the_order_of_digests(stocked: Shell, files: dict[str, bytes]) -> None:
    expected = sorted({sha256(data) for data in files.values()})

    assert expected == stocked.run("ls", "-q").lines
    assert expected == [line.split()[0] for line in stocked.run("ls").lines]
    document = stocked.run("ls", "--format", "json").document
    assert expected == [blob["digest"] for blob in document["blobs"]]
    size = sum(len(data) for data in {sha256(data): data for data in files.values()}.values())
    assert {"type": "summary", "command": "ls", "blobs": len(expected), "bytes": size, "failed": 0} == document[
        "summary"
    ]


def test_ls_takes_filters(stocked: Shell, files: dict[str, bytes]) -> None:
    large = sorted({sha256(data) for data in files.values() if len(data) >= 30_000})

    assert large == stocked.run("ls", "-q", "size>=30000").lines
    assert [EMPTY] == stocked.run("ls", "-q", "size==0", "labels.none").lines


@pytest.mark.parametrize(
    ("command", "word", "known"),
    [
        (["ls"], "lables.kind==x", "blobs have digest, size, created_at, updated_at, labels.KEY"),
        (["ls"], "size>1,ref==x", "blobs have digest"),
        (["ls"], "labels", "blobs have digest"),
        (["ls"], "size.large==1", "blobs have digest"),
        (["ingests"], "digest~=a", "ingests have ref, offset, total, expected, started_at, updated_at"),
        (["images", "ls"], "ref==x", "image names have name, digest, media_type, size"),
    ],
    ids=repr,
)
def test_a_filter_on_a_field_that_does_not_exist_names_those_that_do(
    stocked: Shell, command: list[str], word: str, known: str
) -> None:
    told = stocked.run(*command, word, code=2)

    assert "" == told.out
    assert "no such field" in told.err
    assert known in told.err
    stocked.run(*command, "size>1" if command != ["ingests"] else "offset>1")


def test_many_prefixes_are_found_in_one_walk(stocked: Shell) -> None:
    digests = stocked.run("ls", "-q").lines
    words = [digest.split(":")[1][:16] for digest in digests] + [digest[:20] for digest in digests]

    assert len(words) > 64
    assert digests + digests == stocked.run("info", "-q", *words).lines


def test_a_prefix_of_eight_digits_is_enough(stocked: Shell) -> None:
    for prefix in (EMPTY[7:15], EMPTY[:15], EMPTY[7:], EMPTY):
        assert [EMPTY] == stocked.run("info", prefix, "-q").lines
    assert "expected at least 8 hex digits, found 7" in stocked.run("info", EMPTY[7:14], code=2).err
    assert "blob 00000000: not found" in stocked.run("info", "00000000", code=3).err


def test_an_ambiguous_prefix_lists_what_it_could_mean(shell: Shell) -> None:
    first, second = sorted(colliding(shell))
    prefix = first[7:15]

    done = shell.run("rm", prefix, code=2)

    assert f"digest prefix {prefix}: expected one blob, found 2\n  {first}\n  {second}\n" in done.err
    assert [first, second] == shell.run("ls", "-q").lines


def test_info_goes_on_after_an_error(stocked: Shell) -> None:
    done = stocked.run("info", "00000000", EMPTY, "--format", "json", code=3)

    (blob,) = done.document["blobs"]
    assert {"digest": EMPTY, "size": 0, "labels": {}}.items() <= blob.items()
    assert ["not_found"] == [error["code"] for error in done.document["errors"]]


def test_info_shows_a_blob_to_a_person(own: Shell) -> None:
    own.run("label", EMPTY, "io.example/from=a b", "k=v")

    shown = own.run("info", EMPTY).lines

    assert [f"digest   {EMPTY}", "size     0 bytes"] == shown[:2]
    assert ["label    io.example/from=a b", "label    k=v"] == shown[4:]


def test_labels_are_set_and_removed_one_by_one(own: Shell) -> None:
    own.run("label", EMPTY, "a=1", "b.c=2", "d=")
    done = own.run("label", EMPTY[7:17], "a-", "d=3", "--format", "json")

    (blob,) = done.document["blobs"]
    assert {"b.c": "2", "d": "3"} == blob["labels"]
    assert blob["created_at"] < blob["updated_at"]
    assert [EMPTY] == own.run("ls", "-q", "labels.d==3").lines
    for word in ("=x", "nothing", "-"):
        assert f"label '{word}': expected KEY=VALUE or KEY-" in own.run("label", EMPTY, word, code=2).err
    assert "label 'k': key and value are 5001 bytes" in own.run("label", EMPTY, "k=" + "v" * 5000, code=2).err


def test_rm_deletes_and_a_dry_run_does_not(own: Shell) -> None:
    before = own.run("ls", "-q").lines

    dry = own.run("rm", EMPTY, "--dry-run", "--format", "json").document["removed"]
    assert [{"type": "removed", "digest": EMPTY, "size": 0, "dry_run": True}] == dry
    assert before == own.run("ls", "-q").lines
    done = own.run("rm", EMPTY[7:20], "00000000", before[0], code=3)

    assert [EMPTY, before[0]] == [line.split()[0] for line in done.lines]
    assert "deleted 2 blobs" in done.err
    assert [digest for digest in before[1:] if digest != EMPTY] == own.run("ls", "-q").lines


def test_stat_counts(stocked: Shell, files: dict[str, bytes]) -> None:
    blobs = {sha256(data): len(data) for data in files.values()}

    found = stocked.run("stat", "--format", "json").document

    assert {"type": "stat", "store": str(stocked.store), "blobs": len(blobs), "ingests": 0}.items() <= found.items()
    assert sum(blobs.values()) == found["blob_bytes"]
    assert any(line.split() == ["blobs", str(len(blobs))] for line in stocked.run("stat").lines)


def test_an_oci_layout_is_read_and_not_changed_by_looking(shell: Shell) -> None:
    blobs = shell.home / "layout" / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    (blobs / sha256(b"layer")[7:]).write_bytes(b"layer")
    (blobs / "stray").write_bytes(b"no blob")

    assert [sha256(b"layer")] == shell.run("--store", "layout", "ls", "-q").lines
    assert b"layer" == shell.run("--store", "layout", "get", sha256(b"layer")).raw
    assert ["layout/blobs"] == [str(path.relative_to(shell.home)) for path in (shell.home / "layout").iterdir()]
