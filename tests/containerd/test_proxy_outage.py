"""An outage of our server: its traces in a real containerd's records and in our store, and how they are removed."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from foreign.programs import Ctr

from steelyard_bench._proto import content_pb2 as pb

from .images import Made, layer, make
from .proxied import NO_SERVICE, Proxied, eventually, offset_of, reads
from .wire import SECONDS, sha256, wire

pytestmark = pytest.mark.slow

MIB = 1 << 20
WAYS = ("SIGTERM", "SIGKILL")


@pytest.mark.parametrize("way", WAYS)
def test_what_is_removed_during_an_outage_stays_until_a_removal_that_frees_a_blob(
    system: Proxied, ctr: Ctr, way: str
) -> None:
    shared = layer(2000)
    kept = make("docker.io/demo/kept:1", shared, layer(1000))
    gone = make("docker.io/demo/gone:1", shared, layer(1000))
    later = make("docker.io/demo/later:1", layer(10))
    _import(ctr, kept, gone, later)
    ctr("images", "tag", kept.name, "docker.io/demo/other:1")
    lost = gone.blobs.keys() - kept.blobs.keys()
    _end(system, way)
    try:
        read = subprocess.run(ctr.line("content", "get", sha256(shared)), capture_output=True, timeout=60)
        ctr("images", "rm", "--sync", gone.name)
        known = _known(ctr)
    finally:
        system.service.start()
    _connected(ctr, kept.digest)
    after_outage = system.files()
    ctr("images", "rm", "--sync", "docker.io/demo/other:1")
    after_a_name = system.files()
    ctr("images", "rm", "--sync", later.name)
    after_a_blob = system.files()

    assert 0 != read.returncode
    assert NO_SERVICE.search(read.stderr), read.stderr
    assert kept.blobs.keys() | later.blobs.keys() == known
    assert b"content garbage collection failed" in system.daemon.log.read_bytes()
    assert lost <= after_outage
    assert lost <= after_a_name
    assert not (lost | later.blobs.keys()) & after_a_blob
    assert kept.blobs.keys() <= after_a_blob
    assert kept.blobs.keys() == _known(ctr)
    ctr("images", "export", *ctr.local, os.devnull, kept.name)


def test_a_blob_removed_during_an_outage_can_be_imported_again(system: Proxied, ctr: Ctr) -> None:
    """Its bytes are still there without a name, and the collection that comes later leaves it alone."""
    made, other = make("docker.io/demo/again:1", layer(1000)), make("docker.io/demo/other:1", layer(10))
    _import(ctr, made, other)
    system.service.kill()
    try:
        ctr("images", "rm", "--sync", made.name)
    finally:
        system.service.start()
    _connected(ctr, other.digest)
    _import(ctr, made)
    ctr("images", "rm", "--sync", other.name)

    assert made.blobs.keys() == _known(ctr)
    ctr("images", "export", *ctr.local, os.devnull, made.name)


def test_restarting_containerd_does_not_repeat_the_failed_collection(system: Proxied, ctr: Ctr) -> None:
    """A collection does run at its start, but looks at our store only if it frees a blob, like that of a second name."""
    made, other = make("docker.io/demo/gone:1", layer(1000)), make("docker.io/demo/other:1", layer(10))
    _import(ctr, made, other)
    ctr("images", "tag", other.name, "docker.io/demo/name:1")
    system.service.kill()
    try:
        ctr("images", "rm", "--sync", made.name)
    finally:
        system.service.start()
    system.daemon.stop()
    system.daemon.start()
    ctr("content", "get", other.digest)
    ctr("images", "rm", "--sync", "docker.io/demo/name:1")
    after_restart = system.files()
    ctr("images", "rm", "--sync", other.name)

    assert made.blobs.keys() <= after_restart
    assert not made.blobs.keys() & system.files()


def test_a_lease_that_is_removed_during_an_outage_ends_and_its_blob_goes_later(system: Proxied, ctr: Ctr) -> None:
    made = make("docker.io/demo/other:1", layer(10))
    _import(ctr, made)
    digest = sha256(b"leased")
    ctr("leases", "create", "--id", "held", "--expires", "1h")
    with wire(f"unix:{ctr.address}") as client:
        request = pb.WriteContentRequest(action=pb.COMMIT, ref="leased", data=b"leased")
        client.write(request, metadata=(("containerd-namespace", ctr.namespace), ("containerd-lease", "held")))
    ctr("images", "tag", made.name, "docker.io/demo/name:1")
    ctr("images", "rm", "--sync", "docker.io/demo/name:1")
    assert digest in _known(ctr)
    system.service.kill()
    try:
        leases_before = ctr("leases", "ls")
        ctr("leases", "rm", "--sync", "held")
        known = _known(ctr)
    finally:
        system.service.start()
    _connected(ctr, made.digest)
    after_outage = system.files()
    ctr("images", "rm", "--sync", made.name)

    assert b"held" in leases_before
    assert digest not in known
    assert digest in after_outage
    assert digest not in system.files()


@pytest.mark.parametrize(("way", "most_lost"), [("SIGTERM", 0), ("SIGKILL", 8 * MIB)])
def test_an_import_whose_lease_lives_goes_on_where_it_was(
    system: Proxied, ctr: Ctr, way: str, *, most_lost: int
) -> None:
    """The second archive has zeros in place of what was kept: only who goes on behind them arrives at the right digest."""
    sent = 14 * MIB
    packed = layer(sent + 2 * MIB)
    made = make("docker.io/demo/broken:1", packed)
    with _half(ctr, made, packed, sent) as broken:
        broken.send_signal(signal.SIGSTOP)
        _end(system, way)
        system.service.start()
        broken.kill()
    kept = _taken_up(system, _ref(packed))
    again = bytearray(made.archive)
    start = made.archive.index(packed)
    again[start : start + kept] = bytes(kept)
    ctr("images", "import", "--no-unpack", "-", stdin=bytes(again))

    assert sent - most_lost <= kept <= sent
    _whole(system, ctr, made, packed)


def _taken_up(system: Proxied, ref: str) -> int:
    """Return the offset at which our server goes on with an ingest; a Status does not take up what is behind a checkpoint."""
    with wire(f"unix:{system.service.address}") as client:
        statuses = client.content.ListStatuses(pb.ListStatusesRequest(), timeout=SECONDS).statuses
        [theirs] = [status.ref for status in statuses if status.ref.endswith(ref)]
        talk = client.talk()
        offset = talk.ask(ref=theirs).offset
        talk.end()
    return offset


@pytest.mark.parametrize("way", WAYS)
def test_an_import_that_fails_starts_over_because_containerd_ends_its_lease(
    system: Proxied, ctr: Ctr, way: str
) -> None:
    packed, other = layer(5 * MIB), make("docker.io/demo/other:1", layer(10))
    made = make("docker.io/demo/broken:1", packed)
    _import(ctr, other)
    with _half(ctr, made, packed, 3 * MIB) as broken:
        _end(system, way)
        system.service.start()
        _connected(ctr, other.digest)
        said, _ = broken.communicate(timeout=60)
    ctr("images", "rm", "--sync", other.name)
    found = offset_of(ctr, _ref(packed))
    _import(ctr, made)

    assert 0 != broken.returncode, said
    assert found is None
    _whole(system, ctr, made, packed)


@contextmanager
def _half(ctr: Ctr, made: Made, packed: bytes, sent: int) -> Iterator[subprocess.Popen[bytes]]:
    """Have an image imported whose archive comes no further than into this layer; on entry those bytes have arrived."""
    line = ctr.line("images", "import", *ctr.local, "--no-unpack", "-")
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdin is not None
        try:
            process.stdin.write(made.archive[: made.archive.index(packed) + sent])
            process.stdin.flush()
            eventually(lambda: (offset_of(ctr, _ref(packed)) or 0) == sent)
            yield process
        finally:
            process.kill()


def _ref(packed: bytes) -> str:
    """Return the ref under which containerd imports a layer."""
    return f"tar-blobs/{sha256(packed).replace(':', '/')}"


def _whole(system: Proxied, ctr: Ctr, made: Made, packed: bytes) -> None:
    assert packed == (system.service.store / "blobs" / sha256(packed).replace(":", "/")).read_bytes()
    assert made.blobs.keys() <= _known(ctr)
    assert offset_of(ctr, _ref(packed)) is None
    ctr("images", "export", *ctr.local, os.devnull, made.name)


def _end(system: Proxied, way: str) -> None:
    if way == "SIGTERM":
        assert 0 == system.service.stop()
    else:
        system.service.kill()


def _import(ctr: Ctr, *images: Made) -> None:
    for made in images:
        ctr("images", "import", "--no-unpack", "-", stdin=made.archive)


def _known(ctr: Ctr) -> set[str]:
    """Return the digests that containerd knows, in this namespace."""
    return set(ctr("content", "ls", "-q").decode().split())


def _connected(ctr: Ctr, digest: str) -> None:
    """Wait until containerd has found the service again, which takes it up to 3 s; a collection before that fails, too."""
    eventually(lambda: reads(ctr, digest))
