"""Our own encoding of the messages that carry blobs is protobuf's."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from steelyard.containerd._proto import content_pb2
from steelyard.containerd.remote._wire import Data, read_data, write_data

int64s = st.integers(-(2**63), 2**63 - 1)


@given(st.lists(st.binary(max_size=300)), int64s, st.text(max_size=200), st.dictionaries(st.text(), st.text()))
def test_a_write_reads_as_what_it_was_made_of(
    pieces: list[bytes], offset: int, ref: str, labels: dict[str, str]
) -> None:
    message = content_pb2.WriteContentRequest(offset=offset, ref=ref, labels=labels, action=content_pb2.COMMIT)
    found = write_data(Data(message, pieces, sum(map(len, pieces))))

    message.data = b"".join(pieces)
    assert message == content_pb2.WriteContentRequest.FromString(found)


@given(st.binary(max_size=300), int64s)
def test_what_protobuf_makes_of_a_read_is_read(data: bytes, offset: int) -> None:
    message = content_pb2.ReadContentResponse(offset=offset, data=data).SerializeToString()

    assert data == read_data(message)


@given(st.binary(max_size=40))
def test_any_other_bytes_are_what_they_are_to_protobuf(message: bytes) -> None:
    try:
        expected = content_pb2.ReadContentResponse.FromString(message).data
    except DecodeError:
        with pytest.raises(DecodeError):
            read_data(message)
    else:
        assert expected == read_data(message)


def test_a_large_read_is_not_copied() -> None:
    message = content_pb2.ReadContentResponse(offset=5, data=bytes(1 << 20)).SerializeToString()

    assert message is read_data(message).obj
