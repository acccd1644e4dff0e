"""Strict JSON: a document that two readers could understand in two ways is refused before the second reads it.

msgspec holds the GIL while it decodes. So a large document is decoded in parts: between two of them the thread of the event
loop can take the GIL.
"""

from __future__ import annotations

import re
from types import UnionType
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Raw, Struct, ValidationError, structs

from steelyard._native import JsonShape as Shape
from steelyard._native import check_json, json_parts
from steelyard.errors import InvalidDocument, LimitExceeded
from steelyard.model import Buffer

if TYPE_CHECKING:
    from steelyard._native import _JsonContainer, _JsonPart

__all__ = ("PART", "Shape", "check", "decode")

ValueT = TypeVar("ValueT")

PART = 64 << 10
"""The most bytes that are decoded at once: less than a millisecond. A string that is longer is not cut."""

_PATH = re.compile(r"(.*) - at `\$(?:\[(\d+)\])?(.*)`", re.DOTALL)


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
    raise InvalidDocument(name, where=where, expected=expected, actual=found)


def decode(data: bytes, kind: type[ValueT] | Any) -> ValueT:
    """Return what `msgspec.json.decode` does, but decode at most `PART` bytes at once.

    Only structures without a tag, and tuples, lists and mappings of any length are decoded in parts.

    Raises:
        msgspec.DecodeError: the data is not JSON, or is of another type.
    """
    layout = json_parts(data, PART - 2) if len(data) > PART else None
    if layout is None:
        return msgspec.json.decode(data, type=kind)
    value: ValueT = _PartDecoder(data).container(layout, (0, len(data)), kind, "$")
    return value


class _PartDecoder:
    """Decodes a document in parts."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def container(self, layout: _JsonContainer, span: tuple[int, int], kind: Any, where: str) -> Any:
        """Return the value of an array or object, which is at the JSON path `where`."""
        is_object, parts = layout
        for each in get_args(kind) if get_origin(kind) in {Union, UnionType} else (kind,):
            origin, types = get_origin(each), get_args(each)
            if each is Any:
                return self._mapping(parts, Any, where) if is_object else self._items(parts, Any, where)
            if is_object and origin is dict:
                return self._mapping(parts, types[1], where)
            if is_object and isinstance(each, type) and issubclass(each, Struct):
                return self._structure(parts, each, where)
            if not is_object and origin in {tuple, list}:
                return origin(self._items(parts, types[0], where))
        return _decoded(self._data[slice(*span)], kind, where)  # another type is expected: the first byte is refused

    def _items(self, parts: list[_JsonPart], kind: Any, where: str) -> list[Any]:
        items: list[Any] = []
        for start, end, _, inner in parts:
            if inner is None:
                items += _decoded(b"[%b]" % self._data[start:end], list[kind], where, first_index=len(items))
            else:
                items.append(self.container(inner, (start, end), kind, f"{where}[{len(items)}]"))
        return items

    def _mapping(self, parts: list[_JsonPart], kind: Any, where: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for start, end, key, inner in parts:
            if inner is None or key is None:
                found |= _decoded(b"{%b}" % self._data[start:end], dict[str, kind], where)
            else:
                found[key] = self.container(inner, (start, end), kind, f"{where}[...]")
        return found

    def _structure(self, parts: list[_JsonPart], kind: type[Struct], where: str) -> Struct:
        fields = {field.encode_name: field for field in structs.fields(kind)}
        values: dict[str, Any] = {}
        for start, end, key, inner in parts:
            if inner is None or key is None:
                for name, raw in _decoded(b"{%b}" % self._data[start:end], dict[str, Raw], where).items():
                    if field := fields.get(name):
                        values[field.name] = _decoded(raw, field.type, f"{where}.{name}")
            elif field := fields.get(key):
                values[field.name] = self.container(inner, (start, end), field.type, f"{where}.{key}")
        for field in fields.values():
            if field.required and field.name not in values:
                raise ValidationError(f"Object missing required field `{field.encode_name}` - at `{where}`")
        return kind(**values)


def _decoded(data: bytes | Raw, kind: Any, where: str, *, first_index: int = 0) -> Any:
    """Decode a part; an error names the path in the document. In an array, the part starts at `first_index`."""
    try:
        return msgspec.json.decode(data, type=kind)
    except ValidationError as error:
        text, index, rest = found.groups() if (found := _PATH.fullmatch(str(error))) else (str(error), None, "")
        index = "" if index is None else f"[{first_index + int(index)}]"
        raise ValidationError(f"{text} - at `{where}{index}{rest}`") from None
