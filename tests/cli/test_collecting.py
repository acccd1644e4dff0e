"""`gc`, `why`, `leases` and the refusals of `rm`, as an operator meets them."""

from __future__ import annotations

import shutil

import pytest
from local.make_golden import GOLDEN
from support.make_archives import layout, one_image, tar

from .runner import Shell, sha256


@pytest.fixture
def images(shell: Shell) -> Shell:
    """Give a shell with three images that share a layer; the name of the third is removed."""
    for name in ("one", "two", "three"):
        index, _, blobs = one_image([b"shared", name.encode()], org_opencontainers_image_ref_name=f"{name}:1")
        shell.run("import", "-", stdin=tar(layout(index, blobs)))
    shell.run("images", "rm", "three:1")
    return shell


def listed(shell: Shell) -> set[str]:
    return set(shell.run("ls", "-q").lines)


def test_a_dry_run_lists_what_would_go_and_why_the_rest_stays(images: Shell) -> None:
    before = listed(images)
    done = images.run("gc", "--dry-run", "--grace", "0s")

    would = {line.split()[0] for line in done.lines}
    assert sha256(b"three") in would
    assert not would & {sha256(each) for each in (b"shared", b"one", b"two")}
    assert f"would remove {len(would)} blobs" in done.err
    assert f"{len(before - would)} blobs kept: {len(before - would)} by image names" in done.err
    assert before == listed(images)

    young = images.run("gc", "--dry-run")
    assert [] == young.lines
    assert f"{len(would)} blobs of garbage" in young.err
    assert "the grace time is 24 h" in young.err
    assert would == {line.split()[0] for line in images.run("gc", "--dry-run", "--verbose").lines}


def test_a_collection_removes_exactly_that(images: Shell) -> None:
    before = listed(images)
    would = {line.split()[0] for line in images.run("gc", "--dry-run", "--grace", "0s").lines}
    assert 0 == images.run("gc", "--format", "json").document["summary"]["blobs"]
    found = images.run("gc", "--grace", "0s", "--format", "json").document

    assert would == {record["digest"] for record in found["garbage"]}
    assert {True} == {record["goes"] for record in found["garbage"]}
    assert {None} != {record["since"] for record in found["garbage"]}
    size = sum(record["size"] for record in found["garbage"])
    counts = {"command": "gc", "blobs": len(would), "bytes": size, "spared": 0, "missed_bytes": 0, "failed": 0}
    assert counts.items() <= found["summary"].items()
    assert before - would == listed(images)
    assert 2 == images.run("images", "check").out.count("complete")
    assert "removed 0 blobs" in images.run("gc", "--grace", "0s").err


def test_why_shows_the_chain_or_says_that_it_is_garbage(images: Shell) -> None:
    first, *chain = images.run("why", sha256(b"one")[:20]).lines
    assert "image name docker.io/library/one:1" == first
    assert f"sha256:{sha256(b'one').removeprefix('sha256:')}" == chain[-1].strip()
    assert sorted(chain, key=len) == chain
    assert len(chain) >= 2
    assert "garbage: nothing keeps it; no collection has found it yet" in images.run("why", sha256(b"three")).out

    images.run("gc")
    found = images.run("why", sha256(b"three"), sha256(b"two"), "--format", "jsonl").records
    assert [None, "image name"] == [record["kind"] for record in found[:2]]
    assert found[0]["since"].endswith("Z")
    assert {"blobs": 2, "garbage": 1}.items() <= found[2].items()
    images.run("why", sha256(b"absent"), code=3)


def test_rm_refuses_what_is_needed_unless_it_is_forced(images: Shell) -> None:
    needed = sha256(b"one")
    for words in (("rm", needed), ("rm", "--dry-run", needed), ("rm", needed, sha256(b"two"))):
        done = images.run(*words, code=4)
        assert "it is needed: image name docker.io/library/one:1" in done.err
        assert f"next: steelyard why {needed}" in done.err
    images.run("leases", "create", "nightly", "--expires", "1h", "--digest", sha256(b"three"))
    assert "lease nightly" in images.run("rm", sha256(b"three"), code=4).err
    images.run("leases", "rm", "nightly")
    images.run("rm", sha256(b"three"))
    images.run("rm", "--force", needed)

    assert not listed(images) & {needed, sha256(b"three")}


def test_a_budget_that_is_missed_has_an_exit_code_of_its_own(images: Shell) -> None:
    size = images.run("stat", "--format", "json").document["blob_bytes"]
    done = images.run("gc", "--grace", "0s", "--max-bytes", f"{size}")
    assert "removed 0 blobs" in done.err
    assert "stay for now: --max-bytes is reached\n" in done.err
    done = images.run("gc", "--grace", "0s", "--max-bytes", "10B", "--format", "json", code=10)
    left = images.run("stat", "--format", "json").document["blob_bytes"]

    assert left - 10 == done.document["summary"]["missed_bytes"]
    assert done.document["summary"]["blobs"] > 0
    assert ["over_budget"] == [error["code"] for error in done.document["errors"]]
    assert "next: steelyard gc --dry-run --grace 0s" in done.err


def test_a_malformed_reference_is_a_warning(shell: Shell) -> None:
    shell.run("put", "-", "--label", "containerd.io/gc.root=1", "--label", "containerd.io/gc.ref.content=x", stdin=b"a")
    done = shell.run("gc", "--grace", "0s", "--format", "json")

    assert "steelyard: warning: " in done.err
    (warning,) = [record for record in done.document["garbage"] if record["type"] == "warning"]
    assert sha256(b"a") in warning["message"]
    assert 1 == done.document["summary"]["warnings"]


def test_leases_are_listed_and_ended(shell: Shell) -> None:
    shell.run("put", "-", stdin=b"data")
    created = shell.run("leases", "create", "--expires", "1.5h", "--label", "job=42", "--digest", sha256(b"data"), "-q")
    (name,) = created.lines
    (record,) = shell.run("leases", "ls", "labels.job==42", "--format", "json").document["leases"]
    assert {"id": name, "blobs": [sha256(b"data")], "refs": [], "labels": {"job": "42"}}.items() <= record.items()
    assert record["expires_at"] > record["created_at"]
    assert [] == shell.run("gc", "--grace", "0s", "--dry-run").lines
    assert "job=42" in shell.run("leases", "ls").out

    shell.run("leases", "create", name, "--expires", "1h", code=4)
    assert [name] == shell.run("leases", "rm", name).lines
    assert "next: steelyard leases ls" in shell.run("leases", "rm", name, code=3).err
    shell.run("leases", "ls", "nosuch==1", code=2)
    shell.run("leases", "create", "second", "--expires", "1h", "--digest", "sha256:xyz", code=2)
    assert [] == shell.run("leases", "ls").lines
    assert [sha256(b"data")] == shell.run("gc", "--grace", "0s", "-q").lines


def test_the_defaults_of_a_store_hold_for_all_who_collect_it(images: Shell) -> None:
    assert "the grace time is 2 h" in images.run("gc", "--grace", "2h").err
    assert "the grace time is 24 h" in images.run("gc").err
    assert "the grace time is 3 d" in images.run("gc", "--grace", "3d", "--set-defaults").err
    assert "the grace time is 3 d" in images.run("gc", "--ingest-age", "2d", "--set-defaults").err
    assert "the grace time is 2 h" in images.run("gc", "--grace", "2h").err

    assert "removed 0 blobs" not in images.run("gc", "--grace", "0s", "--set-defaults").err
    images.run("put", "-", stdin=b"new")
    assert "removed 1 blob" in images.run("gc").err


@pytest.mark.parametrize(
    "words",
    [
        ("gc", "--set-defaults"),
        ("gc", "--set-defaults", "--max-bytes", "5"),
        ("gc", "--set-defaults", "--grace", "5h", "--dry-run"),
        ("gc", "--grace", "soon"),
        ("gc", "--grace", "5"),
        ("gc", "--grace", "9" * 30 + "d"),
        ("gc", "--max-bytes", "50G"),
        ("gc", "--max-bytes", "1.5"),
        ("gc", "--max-bytes", "-1"),
        ("gc", "--ingest-age", "1y"),
        ("leases", "create", "--expires", "0s"),
        ("leases", "create"),
        ("why",),
    ],
    ids=" ".join,
)
def test_impossible_options_are_refused(stocked: Shell, words: tuple[str, ...]) -> None:
    stocked.run(*words, code=2)


def test_an_index_of_another_tool_is_a_reason_to_refuse(images: Shell) -> None:
    """It may name images that no image name holds."""
    (images.store / "index.json").write_text('{"schemaVersion":2,"manifests":[]}')
    done = images.run("gc", "--grace", "0s", code=1)
    assert "next: steelyard gc --accept-roots --dry-run" in done.err
    would = images.run("gc", "--accept-roots", "--dry-run", "--grace", "0s").lines
    assert would
    assert len(would) == len(images.run("gc", "--accept-roots", "--grace", "0s").lines)


def test_blobs_without_their_metadata_are_not_collected(images: Shell) -> None:
    """Such a directory may be the content store of a containerd, or may have lost its names."""
    other = images.home / "other"
    shutil.copytree(images.store / "blobs", other / "blobs")
    before = set(images.run("ls", "-q", STEELYARD_STORE=str(other)).lines)
    for words in ((), ("--grace", "0s"), ("--max-bytes", "1B", "--grace", "0s")):
        assert "nothing was collected" in images.run("gc", *words, code=1, STEELYARD_STORE=str(other)).err

    assert before == set(images.run("ls", "-q", STEELYARD_STORE=str(other)).lines)


def test_damaged_metadata_is_a_reason_to_refuse(images: Shell) -> None:
    """It says what keeps the blobs."""
    before = listed(images)
    (images.store / "meta.db").write_bytes(b"nothing of ours" * 1000)
    for name in ("meta.db-wal", "meta.db-shm"):
        (images.store / name).unlink(missing_ok=True)
    for words in (("--dry-run",), (), ("--grace", "0s"), ("--max-bytes", "1B", "--grace", "0s"), ("--accept-roots",)):
        done = images.run("gc", *words, code=5)
        assert "next: steelyard doctor --rebuild" in done.err
        assert [] == done.lines
    assert before == listed(images)


def test_a_root_of_the_first_release_is_collected_after_its_grace_time(shell: Shell) -> None:
    shutil.copytree(GOLDEN, shell.store)
    before = listed(shell)
    assert before
    done = shell.run("gc")
    assert "removed 0 blobs" in done.err
    assert before == listed(shell)
    would = set(shell.run("gc", "--dry-run", "--grace", "0s", "-q").lines)
    assert would <= before
    assert would == set(shell.run("gc", "--grace", "0s", "-q").lines)
    assert before - would == listed(shell)
