"""Decoding of objects. Any program that may write to the bucket may have put anything there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from steelyard.errors import DataCorrupt

__all__ = ("decoded",)

ResultT = TypeVar("ResultT")


def decoded(decode: Callable[[bytes], ResultT], data: bytes, *, key: str, expected: str) -> ResultT:
    """Decode the content of an object.

    Args:
        decode: the decoder.
        data: the bytes of the object.
        key: its key, for the message.
        expected: a description of the expected content, for the message.

    Raises:
        DataCorrupt: the content is not valid: it is not JSON, has another shape or too many levels, or has an invalid digest or time.
    """
    try:
        return decode(data)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise DataCorrupt(key, expected=expected, actual=str(error)) from None
