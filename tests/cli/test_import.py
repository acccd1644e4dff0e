"""`import`, as a person meets it."""

from __future__ import annotations

import bz2
import gzip
import random

import pytest
from support.make_archives import layout, one_image, saved, tar, two_platforms
from support.make_images import CONFIG, MANIFEST, encode, named

from .runner import Shell

NAME = "docker.io/library/demo:1"


@pytest.fixture
def archive() -> bytes:
    """Give an archive of one image."""
    index, _, blobs = one_image([b"one", b"two"], org_opencontainers_image_ref_name="demo:1")
    return tar(layout(index, blobs))


def test_an_archive_comes_from_a_file_and_from_a_pipe(shell: Shell, archive: bytes) -> None:
    (shell.home / "a.tar").write_bytes(archive)
    first = shell.run("import", "a.tar")
    again = shell.run("import", "-", "other:2", stdin=gzip.compress(archive))

    assert [NAME] == [line.split()[1] for line in first.lines]
    assert "imported 1 image, 4 blobs: 4 new; " in first.err
    assert "imported 1 image, 4 blobs: 0 new, 4 present; " in again.err
    assert [NAME, "docker.io/library/other:2"] == [line.split()[0] for line in shell.run("images", "ls").lines]
    assert "complete" in shell.run("images", "check", "other:2").out


def test_the_record_has_names_and_blobs(shell: Shell) -> None:
    data = tar(saved([b"one"], "demo:1"))
    found = shell.run("import", "-", "--label", "a=b", "--digests", "--format", "json", stdin=data).document

    image, *blobs = found["imported"]
    assert [NAME, f"docker.io/library/demo@{image['digest']}"] == image["names"]
    assert {"new"} == {blob["status"] for blob in blobs}
    assert {"images": 1, "blobs": 3, "new": 3, "unreferenced": 0}.items() <= found["summary"].items()
    assert {"a": "b"} == shell.run("images", "ls", "--format", "json").document["images"][0]["labels"]


def test_what_goes_out_comes_in(shell: Shell, archive: bytes) -> None:
    shell.run("import", "-", stdin=archive)
    out = shell.run("export", "-", "demo:1").raw
    shell.run("export", "layout/", "demo:1")

    for source, stdin in (("-", out), ("layout", b""), (str(shell.store), b"")):
        found = shell.run("import", source, stdin=stdin, STEELYARD_STORE=str(shell.home / "other"))
        assert [NAME] == [line.split()[1] for line in found.lines]
    assert out == shell.run("export", "-", "demo:1", STEELYARD_STORE=str(shell.home / "other")).raw


def test_a_layout_without_an_index_is_no_fault_of_the_store(shell: Shell) -> None:
    (shell.home / "layout").mkdir()
    (shell.home / "layout" / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    done = shell.run("import", "layout", code=3)
    assert "layout/index.json: not found" in done.err
    assert "next:" not in done.err


@pytest.mark.parametrize(
    ("source", "words", "step"),
    [
        ("plain", "plain: neither an image layout, which has oci-layout, nor a store", "ls -la plain"),
        ("absent", "", "ls -ld ."),
    ],
)
def test_what_cannot_be_a_source_leaves_no_store_behind(shell: Shell, source: str, words: str, step: str) -> None:
    (shell.home / "plain").mkdir()
    told = shell.run("import", source, code=3).err

    assert words in told
    assert f"next: {step}" in told
    assert not shell.store.exists()


@pytest.mark.parametrize("kind", ["text", "compressed text", "archive of a text", "layout"])
def test_what_is_no_archive_leaves_no_store_behind(shell: Shell, kind: str) -> None:
    source = shell.home / "source"
    if kind == "layout":
        source.mkdir()
        (source / "oci-layout").write_bytes(b"{}")
    else:
        text = b"text" * 300
        content = {"text": text, "compressed text": gzip.compress(text), "archive of a text": tar([("a", text)])}
        source.write_bytes(content[kind])

    shell.run("import", "source", code=5)
    if kind.endswith("text") and kind != "archive of a text":  # what a stream holds shows at its end
        shell.run("import", "-", stdin=source.read_bytes(), code=5)

    assert not shell.store.exists()


def test_the_first_look_at_a_stream_loses_none_of_it(shell: Shell) -> None:
    index, _, blobs = one_image([random.Random(1).randbytes(3 << 20)], org_opencontainers_image_ref_name="demo:1")

    found = shell.run("import", "-", stdin=gzip.compress(tar(layout(index, blobs)), 1))

    assert "imported 1 image, 3 blobs: 3 new; " in found.err


def test_holes_and_broken_archives_have_exit_codes(shell: Shell, archive: bytes) -> None:
    index, blobs = two_platforms()
    holed = tar(layout(index, [blob for blob in blobs if blob != b"layer of amd64"]))

    assert "for linux/amd64" not in shell.run("import", "-", "--platform", "linux/arm64", stdin=holed).err
    assert "linux/amd64  named by" in shell.run("import", "-", "all:1", stdin=holed, code=3).err
    assert "next:" not in shell.run("import", "-", stdin=archive[:3000], code=5).err
    shell.run("import", "-", stdin=b"no archive" * 100, code=5)
    shell.run("import", "absent.tar", code=3)
    assert [NAME] == [line.split()[0] for line in shell.run("images", "ls").lines]


def test_a_refusal_says_what_helps(shell: Shell, archive: bytes) -> None:
    shell.run("import", "-", stdin=archive)
    shell.run("export", "layout/", "demo:1")
    index = shell.home / "layout" / "index.json"
    index.rename(shell.home / "elsewhere")
    index.symlink_to(shell.home / "elsewhere")

    linked = shell.run("import", "layout", code=5).err
    assert "cp -RL" in linked
    assert "doctor" not in linked
    assert "expected a tar archive" in shell.run("import", "-", stdin=b"no archive" * 100, code=5).err
    assert "bzip2, which is not supported" in shell.run("import", "-", stdin=bz2.compress(archive), code=5).err


def test_layers_that_are_not_passed_on_are_listed(shell: Shell) -> None:
    config = b'{"os":"linux","architecture":"amd64"}'
    foreign = named(b"secret", "application/vnd.oci.image.layer.nondistributable.v1.tar")
    manifest = encode({"schemaVersion": 2, "config": named(config, CONFIG), "layers": [foreign]})
    index = encode({"schemaVersion": 2, "manifests": [named(manifest, MANIFEST)]})
    data = tar(layout(index, [config, manifest]))

    assert f"not stored: {foreign['digest']}" in shell.run("import", "-", "demo:1", stdin=data).err
    found = shell.run("import", "-", "demo:1", "--format", "json", stdin=data).document
    assert [foreign["digest"]] == found["imported"][0]["absent"]


def test_names_that_are_taken_are_left_alone(shell: Shell, archive: bytes) -> None:
    index, _, blobs = one_image([b"other"], org_opencontainers_image_ref_name="demo:1")
    shell.run("import", "-", stdin=archive)
    held = shell.run("images", "ls").out

    shell.run("import", "-", stdin=tar(layout(index, blobs)), code=4)
    assert held == shell.run("images", "ls").out
    shell.run("import", "-", "--overwrite", stdin=tar(layout(index, blobs)))
    assert held != shell.run("images", "ls").out


def test_an_image_without_a_name_is_reported(shell: Shell) -> None:
    index, _, blobs = one_image([b"one"], org_opencontainers_image_ref_name="v1")
    data = tar(layout(index, blobs))

    assert "has no name: add" in shell.run("import", "-", stdin=data).err
    assert "docker.io/my/app:v1" in shell.run("import", "-", "--base-name", "my/app", stdin=data).out
