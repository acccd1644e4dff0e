"""A Read is whole and ends well, whatever its size, and whenever its client leaves."""

from __future__ import annotations

import os

import grpc
import pytest
from grpc import StatusCode

from steelyard_bench._proto import content_pb2 as pb

from .wire import SECONDS, Wire

PIECE = 256 << 10
"""The most bytes that the service reads at a time."""

SIZES = (
    1,
    100,
    (64 << 10) - 1,
    PIECE - 13,
    PIECE - 12,
    PIECE - 11,
    PIECE,
    PIECE + 1,
    (1 << 20) - 1,
    1 << 20,
    (1 << 20) + 1,
)


@pytest.mark.parametrize("size", SIZES)
def test_a_read_is_whole_and_ends_well(content: Wire, size: int) -> None:
    data = os.urandom(size)
    digest = content.store(data)
    call = content.content.Read(pb.ReadContentRequest(digest=digest), timeout=SECONDS)

    assert data == b"".join(answer.data for answer in call)
    assert call.code() is StatusCode.OK


def test_a_client_that_cancels_leaves_the_service_serving(content: Wire) -> None:
    digest = content.store(b"wool")
    for _ in range(50):
        call = content.content.Read(pb.ReadContentRequest(digest=digest), timeout=SECONDS)
        call.cancel()
        with pytest.raises(grpc.RpcError):
            list(call)

    assert b"wool" == content.read(digest)
