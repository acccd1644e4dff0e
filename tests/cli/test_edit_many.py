"""`label --filter`, `rm --filter`, `ls --sort` and `stat --by`: many blobs at once."""

from __future__ import annotations

import os
import time

import pytest
from support.make_archives import layout, one_image, tar

from steelyard import MemoryStore
from steelyard.cli import edit_many

from .runner import Shell, sha256

TEXTS = (b"333", b"1", b"22", b"4444")


@pytest.fixture
def numbers(shell: Shell) -> Shell:
    """Give a shell with four blobs, stored in this order; two have the label `kind`, with a value each."""
    for text, labels in zip(TEXTS, (["kind=a"], [], ["kind=b", "x=y"], []), strict=True):
        shell.run("put", "-", *(word for label in labels for word in ("--label", label)), stdin=text)
    return shell


def test_labels_of_all_that_match_are_set_and_removed(numbers: Shell) -> None:
    done = numbers.run("label", "--filter", "size>2", "--filter", "labels.kind==b", "tier=cold", "kind-")

    assert {sha256(text) for text in (b"333", b"22", b"4444")} == {line.split()[0] for line in done.lines}
    assert all("tier=cold" in line and "kind" not in line for line in done.lines)
    assert "steelyard: labelled 3 blobs" in done.err
    assert [sha256(b"22")] == numbers.run("ls", "-q", "labels.tier==cold,labels.x==y").lines
    found = numbers.run("label", "tier-", "--filter", "labels.tier", "--format", "json").document
    assert {"type": "summary", "command": "label", "blobs": 3, "failed": 0} == found["summary"]
    assert [{}, {}, {"x": "y"}] == sorted((blob["labels"] for blob in found["blobs"]), key=len)
    assert [] == numbers.run("label", "--filter", "labels.tier", "a=b").lines
    assert (
        "label 'k': key and value are 5001 bytes"
        in numbers.run("label", "--filter", "size>0", "k=" + "v" * 5000, code=2).err
    )


def test_all_that_match_are_deleted_with_yes_and_none_in_a_dry_run(numbers: Shell) -> None:
    refused = numbers.run("rm", "--filter", "size>2", code=2)
    assert "next: steelyard rm --filter 'size>2' --dry-run" in refused.err
    dry = numbers.run("rm", "--filter", "size>2", "--dry-run")
    assert {sha256(b"333"), sha256(b"4444")} == {line.split()[0] for line in dry.lines}
    assert "would delete 2 blobs, 7 bytes" in dry.err
    assert 4 == len(numbers.run("ls").lines)

    found = numbers.run("rm", "--filter", "size>2", "--filter", "labels.x==y", "-y", "--format", "json").document

    assert {sha256(b"333"), sha256(b"4444"), sha256(b"22")} == {record["digest"] for record in found["removed"]}
    assert {"type": "summary", "command": "rm", "blobs": 3, "bytes": 9, "kept": 0, "failed": 0} == found["summary"]
    assert [sha256(b"1")] == numbers.run("ls", "-q").lines
    assert "deleted 0 blobs" in numbers.run("rm", "--filter", "size>2", "--yes").err


def test_rm_by_filter_keeps_what_is_needed_unless_it_is_forced(shell: Shell) -> None:
    index, _, blobs = one_image([b"layer"], org_opencontainers_image_ref_name="one:1")
    shell.run("import", "-", stdin=tar(layout(index, blobs)))
    shell.run("put", "-", stdin=b"garbage")
    shell.run("put", "-", stdin=b"leased")
    shell.run("leases", "create", "nightly", "--expires", "1h", "--digest", sha256(b"leased"))
    before = set(shell.run("ls", "-q").lines)

    for words in (("--dry-run",), ("-y",)):
        done = shell.run("rm", "--filter", "size>=0", *words, "--format", "json", code=4)
        assert [sha256(b"garbage")] == [record["digest"] for record in done.document["removed"]]
        assert len(before) - 1 == done.document["summary"]["kept"]
        (error,) = done.document["errors"]
        assert "blob_needed" == error["code"]
        assert f"; so are {len(before) - 2} more" in error["message"]
        assert error["next"].startswith("steelyard why sha256:")

    assert before - {sha256(b"garbage")} == set(shell.run("ls", "-q").lines)
    shell.run("rm", "--filter", "size>=0", "-y", "--force")
    assert [] == shell.run("ls").lines


def test_ls_sorts_by_size_and_times(numbers: Shell) -> None:
    by_size = [sha256(text) for text in sorted(TEXTS, key=len)]
    numbers.run("label", sha256(b"1"), "late=yes")

    assert by_size == numbers.run("ls", "-q", "--sort", "size").lines
    assert by_size[::-1] == numbers.run("ls", "-q", "--sort", "size", "-r").lines
    assert [sha256(text) for text in TEXTS] == numbers.run("ls", "-q", "--sort", "created").lines
    assert sha256(b"1") == numbers.run("ls", "-q", "--sort", "updated", "--reverse").lines[0]
    assert sorted(by_size)[::-1] == numbers.run("ls", "-q", "-r").lines
    assert by_size[2:] == numbers.run("ls", "-q", "size>2", "--sort", "size").lines
    found = numbers.run("ls", "--sort", "size", "--format", "json").document
    assert by_size == [blob["digest"] for blob in found["blobs"]]


def test_ls_sorts_by_the_last_use(numbers: Shell) -> None:
    """It is recorded at most once an hour, so the blobs become old first. Looking is no use: a second listing is the same."""
    for place, text in enumerate(TEXTS):
        blob = numbers.store / "blobs/sha256" / sha256(text).removeprefix("sha256:")
        long_ago = time.time() - 7200 - 60 * len(TEXTS) + 60 * place
        os.utime(blob, (long_ago, long_ago))
    numbers.run("get", sha256(b"1"))
    in_order = [sha256(text) for text in (b"333", b"22", b"4444", b"1")]

    for _ in range(2):
        assert in_order == numbers.run("ls", "-q", "--sort", "used").lines
        assert in_order[::-1] == numbers.run("ls", "-q", "--sort", "used", "-r").lines
    assert in_order[2:3] == numbers.run("ls", "-q", "--sort", "used", "size>3").lines
    error = numbers.run("--store", "s3://bucket?endpoint=http://127.0.0.1:1", "ls", "--sort", "used", code=2).err
    assert "it needs the root of a store" in error


def test_stat_counts_by_the_values_of_a_label(numbers: Shell) -> None:
    for text in (b"55555", b"666666"):
        numbers.run("put", "-", "--label", "kind=b", stdin=text)

    shown = numbers.run("stat", "--by", "labels.kind").lines
    assert [["kind=b", "3", "blobs,", "13", "bytes"], ["kind=a", "1", "blob,", "3", "bytes"]] == [
        line.split() for line in shown[:2]
    ]
    assert ["without", "kind", "2", "blobs,", "5", "bytes"] == shown[2].split()
    assert {
        "type": "stat_by",
        "by": "labels.kind",
        "values": [{"value": "b", "blobs": 3, "bytes": 13}, {"value": "a", "blobs": 1, "bytes": 3}],
        "without": {"blobs": 2, "bytes": 5},
    } == numbers.run("stat", "--by", 'labels."kind"', "--format", "json").document


@pytest.mark.anyio
async def test_blobs_are_listed_in_bounded_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edit_many, "LISTED", 4)
    store = MemoryStore()
    digests = sorted([(await store.put(b"%d" % number)).digest for number in range(10)])

    parts = [part async for part in edit_many._matching(store, ["size>0"])]

    assert [4, 4, 2] == [len(part) for part in parts]
    assert digests == [info.digest for part in parts for info in part]
