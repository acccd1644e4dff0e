"""JSON from outside, read strictly: what two readers could understand in two ways is refused before the second reads it."""

from __future__ import annotations

from steelyard._native import JsonShape as Shape
from steelyard._native import check_json
from steelyard.errors import InvalidDocument, LimitExceeded
from steelyard.model import Buffer

__all__ = ("Shape", "check")


def check(data: Buffer, *, name: str, depth: int, shape: Shape | None = None) -> None:
    """Refuse bytes that are not one strict JSON value in UTF-8.

    Args:
        data: the document.
        name: what to call it in an error.
        depth: the most arrays and objects within each other, at most 120.
        shape: the fields of the document that readers know; without it only the JSON is checked.

    Raises:
        InvalidDocument: it is no JSON, an object in it has a key twice, a known field is spelled in another way, or a field
            makes it another kind of document as well.
        LimitExceeded: values stand too deep within values.

    Cost:
        Linear in the bytes, 5 to 10 ms a megabyte; ten times that for an object of hundreds of thousands of keys. The GIL is
        released.
    """
    fault = check_json(data, depth, shape)
    if fault is None:
        return
    kind, where, expected, found = fault
    if kind == "depth":
        raise LimitExceeded(name, limit="depth", allowed=depth)
    raise InvalidDocument(name, where=where, expected=expected, found=found)
