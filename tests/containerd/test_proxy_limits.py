"""A real containerd's client meets our limits, and a server that ends while clients write."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from steelyard_bench._proto import content_pb2 as pb

from .proxied import VERSIONS, eventually, open_ingest, programs_of, proxied
from .wire import SECONDS, sha256, wire

pytestmark = pytest.mark.slow

MIB = 1 << 20


@pytest.mark.parametrize("version", VERSIONS)
def test_a_write_over_the_limit_is_tried_again_until_there_is_room(tmp_path: Path, version: str) -> None:
    with proxied(tmp_path, programs_of(version), "--calls", "2") as system:
        ctr = system.ctr("limited")
        with wire(f"unix:{system.service.address}") as ours:
            talks = [ours.talk() for _ in range(2)]
            for number, talk in enumerate(talks):
                talk.ask(ref=str(number))
            line = ctr.line("content", "ingest", "waiting")
            with subprocess.Popen(line, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as waiting:
                # Refused at least twice: so it has come again.
                eventually(lambda: system.service.log.read_bytes().count(b"2 Write calls are open") >= 2)
                still = waiting.poll()
                talks[0].end()
                _, said = waiting.communicate(b"in the end", timeout=60)
        stored = ctr("content", "get", sha256(b"in the end"))

    assert still is None
    assert 0 == waiting.returncode, said
    assert b"in the end" == stored


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_mid_write_ends_with_0_without_a_traceback_and_keeps_the_ingest(
    tmp_path: Path, number: signal.Signals
) -> None:
    with proxied(tmp_path, programs_of("installed")) as system:
        ctr = system.ctr("ended")
        with open_ingest(ctr, "half", bytes(2 * MIB)):
            code = system.service.stop(number)
        said = system.service.log.read_text(encoding="utf-8")
        system.service.start()
        with wire(f"unix:{system.service.address}") as ours:
            talk = ours.talk()
            [ref] = [
                status.ref for status in ours.content.ListStatuses(pb.ListStatusesRequest(), timeout=SECONDS).statuses
            ]
            offset = talk.ask(ref=ref).offset
            talk.end()

    assert 0 == code
    assert "Traceback" not in said
    assert 2 * MIB == offset
