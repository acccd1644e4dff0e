"""The command line on a containerd's store: an address in place of a directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.fork_server import ForkServer
from cli.runner import Shell
from cli.test_startup import loaded_by
from foreign.programs import run
from support.make_archives import layout, one_image, tar

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fork_server() -> Iterator[ForkServer]:
    fork_server = ForkServer()
    yield fork_server
    fork_server.close()


@pytest.fixture
def shell(tmp_path: Path, fork_server: ForkServer) -> Shell:
    return Shell(tmp_path, fork_server)


@pytest.fixture
def address(isolated_containerd: str, namespace: str) -> str:
    return f"containerd://{isolated_containerd}?namespace={namespace}"


def test_blobs_are_put_listed_read_and_removed(shell: Shell, address: str, isolated_containerd: str) -> None:
    (shell.home / "file").write_bytes(b"wool\n")
    done = shell.run("--store", address, "put", "file", "--label", "a=b")
    digest = done.lines[0].split()[0]
    assert "it keeps stored blobs for a day" in done.err

    namespace = address.rpartition("=")[2]
    ctr = ("ctr", "--address", isolated_containerd, "--namespace", namespace, "content")
    assert digest in run(*ctr, "ls").decode()
    assert b"wool\n" == shell.run("--store", address, "get", digest[7:19]).raw
    assert [digest] == shell.run("ls", "-q", "labels.a==b", STEELYARD_STORE=address).lines
    assert {"c": "d"} == shell.run("--store", address, "label", digest, "a-", "c=d", "--format", "json").document[
        "blobs"
    ][0]["labels"]
    assert not shell.store.exists()
    shell.run("--store", address, "rm", digest)
    shell.run("--store", address, "info", digest, code=3)


def test_blobs_are_labelled_counted_and_removed_by_filter(shell: Shell, address: str) -> None:
    remote = ("--store", address)
    for number in range(150):
        (shell.home / f"{number}").write_bytes(b"%d" % number)
    # A containerd that is busy would collect them at once, but for the lease.
    shell.run(*remote, "put", *map(str, range(150)), "--label", "old=yes")

    assert 150 == len(shell.run(*remote, "label", "--filter", "labels.old==yes", "new=1", "old-", "-q").lines)
    found = shell.run(*remote, "stat", "--by", "labels.new", "--format", "json").document
    assert ([{"value": "1", "blobs": 150, "bytes": 340}], 0) == (found["values"], found["without"]["blobs"])
    assert "next: " in shell.run(*remote, "rm", "--filter", "labels.new==1", code=2).err
    assert "deleted 150 blobs, 340 bytes" in shell.run(*remote, "rm", "--filter", "labels.new==1", "-y").err
    assert [] == shell.run(*remote, "ls").lines


def test_a_tree_is_put_with_its_errors(shell: Shell, address: str) -> None:
    """Small files go to any store as one list, and a file that fails does not stop the others."""
    (shell.home / "tree" / "deep").mkdir(parents=True)
    for number in range(40):
        (shell.home / "tree" / "deep" / f"{number}").write_bytes(f"file {number}".encode())
    (shell.home / "tree" / "link").symlink_to("deep/1")

    done = shell.run("--store", address, "put", "-r", "tree", "absent", code=3)

    assert {f"tree/deep/{number}" for number in range(40)} == {line.split("  ")[1] for line in done.lines}
    assert "40 new, 0 already there" in done.err
    assert "No such file or directory: absent" in done.err
    assert sorted(line[:71] for line in done.lines) == shell.run("--store", address, "ls", "-q").lines


def test_blobs_are_copied_to_a_containerd_and_back(shell: Shell, address: str) -> None:
    for name in ("a", "b"):
        (shell.home / name).write_bytes(name.encode())
    digests = sorted(line.split()[0] for line in shell.run("put", "a", "b", "--label", "from=here").lines)
    done = shell.run("cp", str(shell.store), address, "--all", "--with-labels", "--label", "to=there")

    assert digests == sorted(done.lines)
    assert "2 new, 0 already there" in done.err
    assert "for a day" in done.err
    document = shell.run("--store", address, "ls", "--format", "json").document
    assert [{"from": "here", "to": "there"}] * 2 == [blob["labels"] for blob in document["blobs"]]

    again = shell.run("cp", address, "other", digests[0], digests[1][:20], "ff" * 6, code=3, STEELYARD_STORE="unused")
    assert digests == sorted(again.lines)
    assert digests == sorted(shell.run("--store", "other", "ls", "-q").lines)
    counts = shell.run("cp", address, "other", "--all", "--format", "json").document["summary"]
    assert (2, 0, 2) == (counts["blobs"], counts["new"], counts["existing"])


def test_images_are_imported_and_exported(shell: Shell, address: str) -> None:
    index, _, blobs = one_image([b"layer"])
    (shell.home / "a.tar").write_bytes(tar(layout(index, blobs)))
    other = address.replace("test-", "other-")
    shell.run("--store", address, "import", "a.tar", "demo/app:1")
    shell.run("--store", address, "export", other, "demo/app:1")
    shell.run("import", other)
    shell.run("--store", other, "export", "b.tar", "demo/app:1")
    shell.run("export", "c.tar", "demo/app:1")

    assert (shell.home / "b.tar").read_bytes() == (shell.home / "c.tar").read_bytes()
    assert ["complete"] == [line.split()[1] for line in shell.run("--store", address, "images", "check").lines]


def test_what_only_a_local_store_can_do_says_so(shell: Shell, address: str) -> None:
    for command in (["verify", "--all"], ["stat"]):
        refused = shell.run("--store", address, *command, code=2)
        assert f"{address}: not supported by this store" in refused.err


def test_a_server_that_is_not_there_is_a_passing_failure(shell: Shell, tmp_path: Path) -> None:
    refused = shell.run("--store", f"containerd://{tmp_path}/s", "ls", code=7)

    assert f"unix://{tmp_path}/s" in refused.err


@pytest.mark.parametrize(
    "address",
    ["containerd:run/s", "containerd:///s?name=x", "containerd:///s?namespace=a&namespace=b", "containerd:///s?x"],
)
def test_an_address_that_is_none_is_refused(shell: Shell, address: str) -> None:
    assert address.partition("?")[0] in shell.run("--store", address, "ls", code=2).err


def test_a_local_store_needs_no_grpc(shell: Shell) -> None:
    shell.run("put", "-", stdin=b"data")

    assert set() == {name for name in loaded_by(shell, "ls") if name.partition(".")[0] in {"grpc", "google"}}
