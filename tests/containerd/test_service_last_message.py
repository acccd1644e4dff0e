"""The last message of a Read goes out with the end of its call, or behind it where grpcio has no way for that."""

from __future__ import annotations

import os

import grpc
import pytest
from grpc import StatusCode

from steelyard.containerd._proto import content_pb2 as pb
from steelyard.containerd.service import _last_message

from .wire import SECONDS, Wire

SIZES = (
    1,
    100,
    _last_message.FINISH_LIMIT - 100,
    _last_message.FINISH_LIMIT,
    _last_message.FINISH_LIMIT + 1,
    (1 << 20) + 1,
)


def test_this_grpcio_has_the_way() -> None:
    assert _last_message._STATUS is not None


@pytest.mark.parametrize("one_trip", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_a_read_is_whole_and_ends_well(
    content: Wire, monkeypatch: pytest.MonkeyPatch, size: int, *, one_trip: bool
) -> None:
    if not one_trip:
        monkeypatch.setattr(_last_message, "_STATUS", None)
    data = os.urandom(size)
    digest = content.store(data)
    call = content.content.Read(pb.ReadContentRequest(digest=digest), timeout=SECONDS)

    assert data == b"".join(answer.data for answer in call)
    assert call.code() is StatusCode.OK


@pytest.mark.parametrize("one_trip", [True, False])
def test_a_client_that_cancels_leaves_the_service_serving(
    content: Wire, monkeypatch: pytest.MonkeyPatch, *, one_trip: bool
) -> None:
    if not one_trip:
        monkeypatch.setattr(_last_message, "_STATUS", None)
    digest = content.store(b"wool")
    for _ in range(50):
        call = content.content.Read(pb.ReadContentRequest(digest=digest), timeout=SECONDS)
        call.cancel()
        with pytest.raises(grpc.RpcError):
            list(call)

    assert b"wool" == content.read(digest)
