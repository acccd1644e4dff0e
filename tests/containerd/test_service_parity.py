"""Messages of Write that no client of ours sends: our service answers them as containerd's does."""

from __future__ import annotations

import grpc
import pytest

from steelyard_bench._proto import content_pb2 as pb

from .wire import Talk, Wire, wire

LEAST = -(2**63)
Row = tuple[object, ...]

CONVERSATIONS: dict[str, list[dict[str, object]]] = {
    "a negative offset is where the ingest is": [
        {"action": pb.WRITE, "data": b"abc", "offset": -5},
        {"action": pb.WRITE, "data": b"def", "offset": LEAST},
        {"action": pb.COMMIT, "data": b"negative", "offset": -7},
    ],
    "a negative total at the beginning is met by no size": [
        {"action": pb.STAT, "total": -5},
        {"action": pb.WRITE, "data": b"abc"},
        {"action": pb.STAT, "total": LEAST},
        {"action": pb.COMMIT, "offset": 3, "total": -9, "data": b"total"},
    ],
    "a negative total later changes nothing": [
        {"action": pb.WRITE, "data": b"abc"},
        {"action": pb.STAT, "total": -6},
        {"action": pb.COMMIT, "offset": 3, "total": -9, "data": b"later"},
    ],
    "an unknown action does nothing": [
        {"action": 7, "data": b"zzz"},
        {"action": pb.WRITE, "data": b"abc"},
        {"action": 9, "data": b"qq", "offset": 99, "total": 10},
        {"action": pb.STAT},
        {"action": pb.COMMIT, "offset": 3, "data": b"unknown"},
    ],
    "another ref later changes nothing": [
        {"action": pb.WRITE, "data": b"abc"},
        {"action": pb.WRITE, "ref": "other", "offset": 3, "data": b"d"},
        {"action": pb.COMMIT, "ref": "third", "offset": 4, "data": b"ref"},
    ],
    "the data of a STAT is not taken": [
        {"action": pb.STAT, "data": b"abc"},
        {"action": pb.STAT, "data": b"abc"},
        {"action": pb.COMMIT, "data": b"stat"},
    ],
}


def _rows(talk: Talk, messages: list[dict[str, object]]) -> list[Row]:
    """Return what is answered: action, offset and digest, and for a STAT the total; at the end a code."""
    rows: list[Row] = []
    try:
        for number, message in enumerate(messages):
            answer = talk.ask(**({"ref": "parity"} if number == 0 else {}) | message)  # type: ignore[arg-type]
            rows.append((answer.action, answer.offset))
            if answer.action == pb.STAT:
                rows.append((answer.total, answer.digest))
    except grpc.RpcError:
        rows.append((talk.call.code(),))
    else:
        rows.append((answer.digest,))
    talk.cancel()
    return rows


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_what_is_odd_is_answered_as_containerd_does(content: Wire, containerd: str, namespace: str, name: str) -> None:
    messages = CONVERSATIONS[name]
    with wire(f"unix:{containerd}") as theirs:
        expected = _rows(theirs.talk(metadata=(("containerd-namespace", namespace),)), messages)
    found = _rows(content.talk(), messages)

    assert expected == found
