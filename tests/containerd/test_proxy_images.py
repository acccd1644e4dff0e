"""Images in and out of a real containerd that has its content in our store, and what its garbage collector leaves there."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from itertools import count
from pathlib import Path

import pytest
from foreign.programs import COMMAND, Ctr, environment, run

from .images import layer, make, may_mount
from .proxied import Proxied, open_ingest
from .wire import sha256

pytestmark = pytest.mark.slow

MIB = 1 << 20
_numbers = count()


def test_an_image_comes_in_as_our_files_and_goes_out_unchanged(system: Proxied, ctr: Ctr, tmp_path: Path) -> None:
    made = make("docker.io/demo/app:1", layer(100), layer(MIB), layer(9 * MIB + 1))
    ctr("images", "import", "--no-unpack", "-", stdin=made.archive)
    ctr("images", "export", *ctr.local, tmp_path / "out.tar", made.name)

    assert made.digest == ctr.digest(made.name)
    assert made.blobs.items() <= _stored(system).items()
    assert b" complete (4/4) " in ctr("images", "check")
    with tarfile.open(tmp_path / "out.tar") as archive:
        found = {member.name: _content(archive, member) for member in archive if member.isfile()}
    assert made.digest == json.loads(found["index.json"])["manifests"][0]["digest"]
    assert made.blobs == {sha256(data): data for name, data in found.items() if name.startswith("blobs/")}
    assert b"0 damaged" in _verified(system)


def test_an_image_is_unpacked_from_our_store(ctr: Ctr) -> None:
    if not may_mount():
        pytest.skip("mounting is not permitted here, and containerd unpacks into mounts")
    made = make("docker.io/demo/unpacked:1", layer(100), layer(3 * MIB))
    # The transfer service of containerd 2 unpacks to what its configuration names; that of a test names nothing.
    ctr("images", "import", *ctr.local, "--snapshotter", "native", "-", stdin=made.archive)

    assert 2 == ctr("snapshots", "--snapshotter", "native", "ls").count(b"Committed")


def test_imports_at_once_all_arrive(system: Proxied, tmp_path: Path) -> None:
    """As when several images with a common base are pulled: in two namespaces, some for the same refs."""
    base = [layer(4 * MIB), layer(100)]
    images = [make(f"docker.io/demo/app:{number}", *base, layer(MIB), layer(number)) for number in range(4)]
    running = []
    for made in images:
        (tmp_path / made.digest).write_bytes(made.archive)
        for namespace in ("here", "there"):
            line = system.ctr(namespace).line("images", "import", "--no-unpack", str(tmp_path / made.digest))
            running.append(subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
    said = [process.communicate(timeout=60)[1] for process in running]

    assert [0] * 8 == [process.returncode for process in running], said
    stored = _stored(system)
    for made in images:
        assert made.blobs.items() <= stored.items()
        for namespace in ("here", "there"):
            assert made.digest == system.ctr(namespace).digest(made.name)
    assert b"0 damaged" in _verified(system)


def test_garbage_leaves_our_disk_and_shared_blobs_stay(system: Proxied, ctr: Ctr) -> None:
    shared = layer(2 * MIB)
    one, two = make("docker.io/demo/one:1", shared, layer(MIB)), make("docker.io/demo/two:1", shared, layer(MIB))
    for made in (one, two):
        ctr("images", "import", "--no-unpack", "-", stdin=made.archive)
    ctr("images", "rm", "--sync", one.name)
    after_one = system.files()
    ctr("images", "export", *ctr.local, os.devnull, two.name)
    ctr("images", "rm", "--sync", two.name)

    assert two.blobs.keys() == after_one & (one.blobs.keys() | two.blobs.keys())
    assert not system.files() & (one.blobs.keys() | two.blobs.keys())


def test_what_another_namespace_needs_is_no_garbage(system: Proxied) -> None:
    made = make("docker.io/demo/both:1", layer(MIB))
    one, other = system.ctr("one"), system.ctr("other")
    for ctr in (one, other):
        ctr("images", "import", "--no-unpack", "-", stdin=made.archive)
    one("images", "rm", "--sync", made.name)
    assert made.blobs.keys() <= system.files()
    other("images", "export", *other.local, os.devnull, made.name)
    other("images", "rm", "--sync", made.name)

    assert not made.blobs.keys() & system.files()


def test_the_collector_takes_what_nothing_refers_to_and_no_open_ingest(system: Proxied, ctr: Ctr) -> None:
    """Also what containerd has never heard of: the store is its own."""
    data, ours = os.urandom(2 * MIB), os.urandom(100)
    first, made = make("docker.io/demo/first:1", layer(100)), make("docker.io/demo/gone:1", layer(100))
    for each in (first, made):
        ctr("images", "import", "--no-unpack", "-", stdin=each.archive)
    # An import has garbage collected soon after its end; this is done when that is.
    ctr("images", "rm", "--sync", first.name)
    ctr("content", "ingest", "loose", stdin=b"loose")
    run(*COMMAND, "put", "-", stdin=ours, STEELYARD_STORE=str(system.service.store))
    with open_ingest(ctr, "open", data) as ingest:
        assert {sha256(b"loose"), sha256(ours)} <= system.files()
        ctr("images", "rm", "--sync", made.name)
        assert not {sha256(b"loose"), sha256(ours), *made.blobs} & system.files()
        assert ingest.stdin is not None
        ingest.stdin.close()
        assert 0 == ingest.wait(60)

    assert data == ctr("content", "get", sha256(data))


def _stored(system: Proxied) -> dict[str, bytes]:
    blobs = system.service.store / "blobs"
    return {digest: (blobs / digest.replace(":", "/")).read_bytes() for digest in system.files()}


def _verified(system: Proxied) -> bytes:
    line = [*COMMAND, "--store", str(system.service.store), "verify", "--all"]
    done = subprocess.run(line, capture_output=True, env=environment())
    assert 0 == done.returncode, done.stderr
    return done.stderr


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert isinstance(file, io.BufferedReader)
    with file:
        return file.read()
