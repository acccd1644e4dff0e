"""Messages of protobuf from their bytes, in parts.

protobuf holds the GIL while it parses, and a message may have 16 MiB. It merges what it is given, so a large message is parsed in
parts: between two of them the thread of the event loop can take the GIL.
"""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from steelyard._native import message_parts

__all__ = ("PART", "parse")

MessageT = TypeVar("MessageT", bound=Message)

PART = 64 << 10
"""The most bytes that are parsed at once: at most a millisecond. A longer text is not cut."""


def parse(kind: type[MessageT], data: bytes) -> MessageT:
    """Return the message that the bytes are: the same as protobuf itself gives.

    Raises:
        DecodeError: the bytes are not such a message.
    """
    message = kind()
    _merge(message, data)
    return message


def _merge(message: Message, data: bytes) -> None:
    if len(data) <= PART:
        message.MergeFromString(data)
        return
    try:
        parts = message_parts(data, PART)
    except ValueError as error:
        raise DecodeError(str(error)) from None
    for start, end, number, value in parts:
        inner = _inner(message, number) if number else None
        if inner is None:
            message.MergeFromString(data[start:end])
        else:
            _merge(inner, data[value:end])


def _inner(message: Message, number: int) -> Message | None:
    """Return the message that a field holds, or a new one in a list; None where the field holds something else."""
    field = message.DESCRIPTOR.fields_by_number.get(number)
    if field is None or field.message_type is None or field.message_type.GetOptions().map_entry:
        return None
    held = getattr(message, field.name)
    if hasattr(held, "add"):
        return held.add()  # type: ignore[no-any-return]
    held.SetInParent()
    return held  # type: ignore[no-any-return]
