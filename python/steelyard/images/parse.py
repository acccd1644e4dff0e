"""From bytes to documents: strictly, because who wrote them is not to be trusted."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, TypeVar

import msgspec

from steelyard import _json
from steelyard.errors import InvalidDocument, LimitExceeded
from steelyard.images import media_types
from steelyard.images.documents import (
    Document,
    ImageConfig,
    ImageLayout,
    Index,
    Manifest,
    OCIDescriptor,
    SavedImage,
)
from steelyard.images.limits import DEFAULT_LIMITS, Limits
from steelyard.images.media_types import kind_of
from steelyard.images.platforms import Platform

__all__ = ("parse_document", "parse_index", "parse_layout", "parse_saved_images")

ViewT = TypeVar("ViewT")

INLINE = 64 << 10
"""Bytes of a document that the event loop can parse itself: less than a millisecond."""

_VIEWS: dict[str, type[Index | Manifest | ImageConfig]] = {"index": Index, "manifest": Manifest, "config": ImageConfig}
_GOT = re.compile(r"Expected (.+?), got (.+)", re.DOTALL)
_PLACE = re.compile(r"(.*) - at `(.*)`", re.DOTALL)
_FIELD = re.compile(r"Object missing required field `(.*)`")


def parse_document(
    raw: bytes, media_type: str, *, name: str = "document", limits: Limits = DEFAULT_LIMITS
) -> Document[Index | Manifest | ImageConfig | None]:
    """Return the document that the bytes are.

    Args:
        raw: the bytes.
        media_type: what its descriptor says they are. A type that is neither index nor manifest nor image config gives a
            document without a view, of which nothing is checked.
        name: what to call it in errors: a digest, the name of a file.
        limits: bounds on its bytes and on its depth.

    Raises:
        InvalidDocument: it is no strict JSON, lacks a field, has one of another type, says that it is something else than
            its descriptor does, or could be read as an index and as a manifest.
        LimitExceeded: it is too large or too deep.
    """
    kind = _VIEWS.get(kind_of(media_type))
    if kind is None:
        return Document(raw=raw, media_type=media_type, view=None)
    return Document(raw=raw, media_type=media_type, view=_view(raw, kind, media_type, name, limits))


def parse_index(raw: bytes, *, name: str = "index.json", limits: Limits = DEFAULT_LIMITS) -> Document[Index]:
    """Return the index that the bytes are: a layout's ``index.json``, which has no descriptor.

    Raises:
        The same as `parse_document`.
    """
    media_type = media_types.OCI_INDEX
    return Document(raw=raw, media_type=media_type, view=_view(raw, Index, media_type, name, limits))


def parse_layout(raw: bytes, *, name: str = "oci-layout", limits: Limits = DEFAULT_LIMITS) -> Document[ImageLayout]:
    """Return what the file ``oci-layout`` says.

    Raises:
        InvalidDocument: it is malformed, or a version of the layout that is not 1.
        LimitExceeded: it is too large or too deep.
    """
    check_json(raw, name=name, limits=limits)
    view = _decode(raw, ImageLayout, name)
    return Document(raw=raw, media_type="application/vnd.oci.layout.header.v1+json", view=view)


def parse_saved_images(
    raw: bytes, *, name: str = "manifest.json", limits: Limits = DEFAULT_LIMITS
) -> Document[tuple[SavedImage, ...]]:
    """Return the images that the ``manifest.json`` of ``docker save`` names.

    Raises:
        InvalidDocument: it is malformed.
        LimitExceeded: it is too large or too deep.
    """
    check_json(raw, name=name, limits=limits)
    view = _decode(raw, tuple[SavedImage, ...], name)
    return Document(raw=raw, media_type="application/json", view=view)


def check_json(raw: bytes, *, name: str, limits: Limits) -> None:
    """Refuse bytes that are too many, or no strict JSON."""
    if len(raw) > limits.json_bytes:
        raise LimitExceeded(name, limit="json_bytes", allowed=limits.json_bytes, found=len(raw))
    _json.check(raw, name=name, depth=limits.depth)


def _view(raw: bytes, kind: type[ViewT], media_type: str, name: str, limits: Limits) -> ViewT:
    check_json(raw, name=name, limits=limits)
    view = _decode(raw, kind, name)
    if isinstance(view, Index | Manifest):
        _check_alone(raw, Index if isinstance(view, Index) else Manifest, name)
        if view.media_type not in {None, "", media_type}:
            raise InvalidDocument(name, where="$.mediaType", expected=media_type, found=str(view.media_type))
    return view


def _decode(raw: bytes, kind: type[ViewT], name: str) -> ViewT:
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.DecodeError as error:
        text, where = str(error), "$"
        if place := _PLACE.fullmatch(text):
            text, where = place[1], place[2]
        if field := _FIELD.fullmatch(text):
            raise InvalidDocument(name, where=where, expected=f"the field {field[1]}", found="none") from None
        expected, found = got.groups() if (got := _GOT.fullmatch(text)) else (text, "something else")
        expected = expected.removeprefix("Expected ")
        raise InvalidDocument(name, where=where, expected=expected, found=found) from None


def _check_alone(raw: bytes, kind: type[Index | Manifest], name: str) -> None:
    """Refuse what another reader could take for another kind of document, or for other values of known fields."""
    value: dict[str, Any] = msgspec.json.decode(raw)
    others = {"layers", "config", "fsLayers"} if kind is Index else {"manifests", "fsLayers"}
    both = sorted(others & {key for key in value if value[key] is not None})
    if both:
        what = "an index" if kind is Index else "a manifest"
        raise InvalidDocument(name, expected=f"{what} only", found=f"the field {both[0]} as well")
    _check_spelling(value, kind, others, name, "$")
    named = [("$.config", value.get("config"))] if kind is Manifest else []
    field = "manifests" if kind is Index else "layers"
    named += [(f"$.{field}[{index}]", each) for index, each in enumerate(value[field] or ())]
    named += [("$.subject", value.get("subject"))]
    for where, each in named:
        if each is not None:
            _check_spelling(each, OCIDescriptor, set(), name, where)
            if each.get("platform") is not None:
                _check_spelling(each["platform"], Platform, set(), name, f"{where}.platform")


def _check_spelling(value: dict[str, Any], kind: type[msgspec.Struct], others: set[str], name: str, where: str) -> None:
    """Refuse a known field in other letters: Go's reader does not tell them apart, and takes the last one."""
    fields = _fields(kind)
    for key in value:
        if key in fields:
            continue
        low = key.lower()
        meant = fields.get(low) or next((other for other in others if other.lower() == low), key)
        if key != meant:
            raise InvalidDocument(name, where=where, expected=f"the field {meant}", found=f"{key!r}")


@cache
def _fields(kind: type[msgspec.Struct]) -> dict[str, str]:
    """Return a document's fields, by themselves and by their names in small letters."""
    fields = kind.__struct_encode_fields__
    return {field.lower(): field for field in fields} | {field: field for field in fields}
