"""Large messages are parsed in parts: with protobuf's own result, and never more than 64 KiB at a time."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import DecodeError, Message
from hypothesis import given
from hypothesis import strategies as st

from steelyard.containerd import _parsing
from steelyard.containerd._proto import content_pb2 as pb
from steelyard.containerd._proto import images_pb2

labels = st.dictionaries(st.text(max_size=3), st.text(max_size=30), max_size=5)
infos = st.builds(pb.Info, digest=st.text(max_size=30), size=st.integers(-9, 9), labels=labels)
messages = (
    st.builds(pb.ListContentResponse, info=st.lists(infos, max_size=4))
    | st.builds(pb.UpdateRequest, info=infos)
    | st.builds(pb.ListContentRequest, filters=st.lists(st.text(max_size=20)))
    | st.builds(pb.WriteContentRequest, data=st.binary(max_size=40), labels=labels, offset=st.integers(-9, 9))
)
KINDS: list[type[Message]] = [pb.ListContentResponse, pb.UpdateRequest, pb.ListContentRequest, pb.WriteContentRequest]


def parsed(kind: type[Message], data: bytes, most: int) -> Message | str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_parsing, "PART", most)
        try:
            return _parsing.parse(kind, data)
        except DecodeError:
            return "no message"


def whole(kind: type[Message], data: bytes) -> Message | str:
    try:
        return kind.FromString(data)
    except DecodeError:
        return "no message"


@given(st.lists(messages, min_size=1, max_size=3), st.sampled_from(KINDS), st.binary(max_size=20), st.integers(0, 60))
def test_parts_are_parsed_as_protobuf_does(some: list[Message], kind: type[Message], more: bytes, most: int) -> None:
    """Several messages in a row are one; of another kind, they are fields that are not known or of another type."""
    data = b"".join(message.SerializeToString() for message in some)
    for each in (data, data[: most * 2], data + more, more + data):
        assert parsed(kind, each, most) == whole(kind, each)


@given(st.sampled_from(KINDS), st.binary(max_size=60), st.integers(0, 20))
def test_any_bytes_are_what_they_are_to_protobuf(kind: type[Message], data: bytes, most: int) -> None:
    assert parsed(kind, data, most) == whole(kind, data)


class Watched:
    """A message, or a list of messages, that takes down how many bytes are given to protobuf at once."""

    def __init__(self, inner: Any, sizes: list[int]) -> None:
        self.inner, self.sizes = inner, sizes

    def MergeFromString(self, data: bytes) -> None:  # noqa: N802  # protobuf's name
        self.sizes.append(len(data))
        self.inner.MergeFromString(data)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.inner, name)
        if name == "add":
            return lambda: Watched(value(), self.sizes)
        return Watched(value, self.sizes) if isinstance(value, Message) or hasattr(value, "add") else value


def large(name: str) -> Message:
    """Make a message that takes more than 1 MiB: not while tests are collected, which each process does for all of them."""
    many = {f"containerd.io/gc.ref.content.{number}": 64 * "a" for number in range(30_000)}
    match name:
        case "labels":
            return pb.UpdateRequest(info=pb.Info(labels=many))
        case "mask":
            return pb.UpdateRequest(update_mask={"paths": [f"labels.{key}" for key in many]})
        case "listing":
            few = dict(list(many.items())[:2000])
            return pb.ListContentResponse(info=[pb.Info(digest="d", labels=few) for _ in range(9)])
        case "small infos":
            return pb.ListContentResponse(info=[pb.Info(digest="d", size=number) for number in range(300_000)])
        case "filters":
            return pb.ListContentRequest(filters=[""] * 1_000_000)
        case "names":
            return images_pb2.ListImagesResponse(images=[images_pb2.Image(name=key) for key in many] * 2)
    raise AssertionError(name)


@pytest.mark.parametrize("name", ["labels", "mask", "listing", "small infos", "filters", "names"])
def test_no_more_than_64_kib_are_parsed_at_once(name: str) -> None:
    message = large(name)
    data, sizes = message.SerializeToString(), list[int]()

    def watched() -> Any:
        return Watched(type(message)(), sizes)

    found: Any = _parsing.parse(watched, data)  # type: ignore[arg-type]
    assert found.inner == message
    assert len(data) > 1 << 20
    assert max(sizes) <= 64 << 10
