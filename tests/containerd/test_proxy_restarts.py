"""Our server and a real containerd, each ended in the middle of an ingest of the other: it goes on where it was durable."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from foreign.programs import Ctr

from .proxied import NO_SERVICE, Proxied, eventually, offset_of, open_ingest
from .wire import sha256

pytestmark = pytest.mark.slow

MIB = 1 << 20
CHECKPOINT = 64 * MIB
"""How often an ingest that is written makes its bytes durable."""


def _stop_ours(system: Proxied) -> None:
    assert 0 == system.service.stop()
    system.service.start()


def _kill_ours(system: Proxied) -> None:
    # A checkpoint is made beside the writing: on a busy machine it comes after the bytes have arrived.
    eventually(lambda: _checkpoint(system.service.store) >= CHECKPOINT)
    system.service.kill()
    system.service.start()


def _checkpoint(store: Path) -> int:
    """Return the last offset that the state file of an ingest holds; see docs/format.md."""
    states = [path.read_bytes() for path in store.glob("ingest/*/state")]
    # A slot begins with a mark of eight bytes and its number.
    slots = [slot for state in states for slot in state.split(b"slot")[1:]]
    return max((int.from_bytes(slot[12:20], "little") for slot in slots), default=0)


def _stop_theirs(system: Proxied) -> None:
    system.daemon.stop()
    system.daemon.start()


def _kill_theirs(system: Proxied) -> None:
    system.daemon.kill()
    system.daemon.start()


@pytest.mark.parametrize(
    ("restart", "sent", "kept"),
    [
        (_stop_ours, 3 * MIB, 3 * MIB),
        (_kill_ours, CHECKPOINT + 6 * MIB, CHECKPOINT),
        (_stop_theirs, 3 * MIB, 3 * MIB),
        (_kill_theirs, 3 * MIB, 3 * MIB),
    ],
)
def test_an_ingest_goes_on_after_a_restart(
    system: Proxied, ctr: Ctr, tmp_path: Path, restart: Callable[[Proxied], None], *, sent: int, kept: int
) -> None:
    """The second try finds zeros in place of what was kept: only who goes on behind them arrives at the right digest."""
    data = os.urandom(sent + 2 * MIB + 777)
    digest = sha256(data)
    with open_ingest(ctr, "broken", data[:sent]) as ingest:
        restart(system)
        ingest.communicate(timeout=60)
    found = offset_of(ctr, "broken") or 0
    rest = tmp_path / "rest"
    with rest.open("wb") as file:
        file.seek(found)
        file.write(data[found:])
    with rest.open("rb") as file:
        line = ctr.line("content", "ingest", "--expected-digest", digest, "broken")
        again = subprocess.run(line, stdin=file, capture_output=True)

    assert 0 != ingest.returncode
    assert kept <= found <= sent
    assert 0 == again.returncode, again.stderr
    assert data == (system.service.store / "blobs" / digest.replace(":", "/")).read_bytes()
    assert digest.encode() in ctr("content", "ls")
    assert offset_of(ctr, "broken") is None


def test_while_our_server_is_down_reads_fail_and_writes_wait_for_it(system: Proxied, ctr: Ctr) -> None:
    digest = sha256(b"stored before")
    ctr("content", "ingest", "before", stdin=b"stored before")
    system.service.stop()
    try:
        read = subprocess.run(ctr.line("content", "get", digest), capture_output=True, timeout=60)
        ctr("version")
        listed = ctr("content", "ls", "-q")
        writing = subprocess.Popen(ctr.line("content", "ingest", "down"), stdin=subprocess.PIPE)
    finally:
        system.service.start()
    writing.communicate(b"written meanwhile", timeout=60)

    assert 0 != read.returncode
    assert NO_SERVICE.search(read.stderr), read.stderr
    assert [digest] == listed.decode().split()
    assert 0 == writing.returncode
    assert b"stored before" == ctr("content", "get", digest)
    assert b"written meanwhile" == ctr("content", "get", sha256(b"written meanwhile"))


def test_content_and_labels_outlive_restarts_of_both(system: Proxied, ctr: Ctr) -> None:
    digest = sha256(b"kept")
    ctr("content", "ingest", "kept", stdin=b"kept")
    ctr("content", "label", digest, "weighed=yes")
    system.daemon.stop()
    system.service.stop()
    system.service.start()
    system.daemon.start()

    assert b"kept" == ctr("content", "get", digest)
    assert [digest] == ctr("content", "ls", "-q", "labels.weighed==yes").decode().split()
