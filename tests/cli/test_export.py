"""`export` and `images`, as a person meets them."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import anyio
import pytest
from support.make_images import keep_two_platforms, target_of

from steelyard import LocalStore

from .runner import COMMAND, Shell

NAME = "docker.io/demo/app:1"


@pytest.fixture
def stocked_image(shell: Shell) -> tuple[Shell, bytes]:
    """Give a shell whose store has an image of two platforms, and the image's index."""

    async def main() -> bytes:
        async with LocalStore(shell.store) as store:
            index, _ = await keep_two_platforms(store, NAME)
            return index

    return shell, anyio.run(main)


def test_an_archive_goes_to_a_file_and_to_a_pipe_alike(stocked_image: tuple[Shell, bytes]) -> None:
    shell, index = stocked_image
    done = shell.run("export", "a.tar", "demo/app:1")
    piped = shell.run("export", "-", "demo/app:1")

    assert [f"{target_of(index).digest}  {NAME}"] == done.lines
    assert "steelyard: exported 1 image, 8 blobs, " in done.err
    assert (shell.home / "a.tar").read_bytes() == piped.raw
    assert {"a.tar", "store"} == {path.name for path in shell.home.iterdir()}
    with tarfile.open(fileobj=io.BytesIO(piped.raw)) as archive:
        assert "index.json" in archive.getnames()


def test_the_result_as_json_has_every_blob(stocked_image: tuple[Shell, bytes]) -> None:
    shell, index = stocked_image
    document = shell.run("export", "a.tar", "demo/app:1", "--platform", "linux/amd64", "--format", "json").document
    (image, *blobs) = document["exported"]

    assert {"type": "exported_image", "name": NAME, "digest": str(target_of(index).digest)}.items() <= image.items()
    assert {"written"} == {blob["status"] for blob in blobs}
    assert {"linux/amd64", None} == {blob["platform"] for blob in blobs}
    assert {"command": "export", "images": 1, "blobs": 5, "failed": 0}.items() <= document["summary"].items()


def test_a_directory_is_a_layout_and_a_store_is_a_store(stocked_image: tuple[Shell, bytes]) -> None:
    shell, _ = stocked_image
    shell.run("export", "layout/", "demo/app:1")
    shell.run("put", "-", "--store", "other", stdin=b"x")
    shell.run("export", "other", "demo/app:1")

    assert (shell.home / "layout" / "oci-layout").exists()
    assert [NAME] == shell.run("images", "ls", "-q", "--store", "other").lines
    assert "complete" in shell.run("images", "check", "demo/app:1", "--store", "other").out


def test_what_is_missing_is_listed_and_nothing_is_written(stocked_image: tuple[Shell, bytes]) -> None:
    shell, _ = stocked_image
    layer = str(target_of(b"layer of arm64").digest)
    shell.run("rm", "--force", layer)
    done = shell.run("export", "a.tar", "demo/app:1", code=3)
    checked = shell.run("images", "check", "--format", "json", code=3).document["checked"]
    assert "next:" not in shell.run("images", "check", code=3).err  # it would be itself

    assert f"image {NAME}: 1 blob not stored\n  {layer}  linux/arm64  named by sha256:" in done.err
    assert f"next: steelyard images check {NAME}" in done.err
    assert not (shell.home / "a.tar").exists()
    assert [(False, [layer], ["linux/arm64"])] == [
        (each["complete"], [part["digest"] for part in each["absent"]], [part["platform"] for part in each["absent"]])
        for each in checked
    ]
    assert "complete" in shell.run("images", "check", "--platform", "linux/amd64").out
    assert "absent" in shell.run("images", "inspect", "demo/app:1").out
    shell.run("export", "a.tar", "demo/app:1", "--skip-missing")


def test_a_reader_that_leaves_is_no_error_message(stocked_image: tuple[Shell, bytes]) -> None:
    shell, _ = stocked_image
    reading, writing = os.pipe()
    os.close(reading)
    words = [*COMMAND, "export", "-", "demo/app:1"]
    done = subprocess.run(words, env=shell.environment, cwd=shell.home, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)

    assert 141 == done.returncode
    assert b"" == done.stderr


def test_names_are_listed_tagged_and_removed(stocked_image: tuple[Shell, bytes]) -> None:
    shell, index = stocked_image
    made = shell.run("images", "tag", "demo/app:1", "demo/app:2", "alpine")

    assert ["docker.io/demo/app:2", "docker.io/library/alpine:latest"] == [line.split()[0] for line in made.lines]
    assert [NAME, "docker.io/demo/app:2"] == shell.run("images", "ls", "name~=demo", "-q").lines
    assert {str(target_of(index).digest)} == {line.split()[1] for line in shell.run("images", "ls").lines}
    assert "steelyard: removed 1 image name" in shell.run("images", "rm", "alpine").err
    assert "image name alpine: not found" in shell.run("images", "rm", "alpine", code=3).err
    assert "8 blobs" in shell.run("images", "usage", "demo/app:2").out


def test_conversion_to_one_platform_makes_a_new_image(stocked_image: tuple[Shell, bytes]) -> None:
    shell, _ = stocked_image
    shell.run("images", "convert", "demo/app:1", "demo/small:1", "--platform", "linux/arm64")
    found = shell.run("images", "inspect", "demo/small:1", "--format", "json").document["images"][0]

    assert ["linux/arm64"] == [part["platform"] for part in found["blobs"] if part["depth"] == 1]
    assert "expected --oci or --platform" in shell.run("images", "convert", "demo/app:1", code=2).err


def test_the_words_of_the_group_have_help_and_completion(stocked_image: tuple[Shell, bytes]) -> None:
    shell, _ = stocked_image

    assert "List image names." in shell.run("images", "--help").out
    assert "Check whether images are complete" in shell.run("images", "check", "--help").out
    assert "--platform" in shell.run("help", "images check").out
    assert "demo/app:1\t" in shell.run("__complete", "images", "rm", "demo").out
    assert "next: steelyard images ls --help" in shell.run("images", "ls", "--nope", code=2).err


def test_an_old_file_stays_until_the_new_one_is_whole(stocked_image: tuple[Shell, bytes]) -> None:
    shell, _ = stocked_image
    old = shell.home / "a.tar"
    old.write_bytes(b"old")
    blob = next(path for path in Path(shell.store).rglob(target_of(b"shared layer").digest.encoded))
    blob.chmod(0o644)
    blob.write_bytes(b"shared LAYER")

    assert "expected sha256:" in shell.run("export", "a.tar", "demo/app:1", code=5).err
    assert b"old" == old.read_bytes()
    assert {"a.tar", "store"} == {path.name for path in shell.home.iterdir()}
