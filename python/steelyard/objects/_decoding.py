"""The content of objects, decoded. Any program with the right to write to the bucket may have put anything there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from steelyard.errors import DataCorrupt

__all__ = ("decoded",)

ResultT = TypeVar("ResultT")


def decoded(decode: Callable[[bytes], ResultT], data: bytes, *, key: str, expected: str) -> ResultT:
    """Decode what an object holds.

    Args:
        decode: decodes it.
        data: the bytes of the object.
        key: its key, for the message.
        expected: what it should hold, for the message.

    Raises:
        DataCorrupt: it holds something else: no JSON, JSON of another kind or depth, an invalid digest, a time that is none.
    """
    try:
        return decode(data)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise DataCorrupt(key, expected=expected, actual=str(error)) from None
