"""Parsing documents, strictly: their authors are not trusted."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

from steelyard._archive import _json
from steelyard.errors import InvalidDocument, LimitExceeded
from steelyard.images import media_types
from steelyard.images._shapes import shape_of
from steelyard.images.documents import (
    DIGEST_PATTERN,
    Document,
    ImageConfig,
    ImageLayout,
    Index,
    Manifest,
    SavedImage,
)
from steelyard.images.limits import DEFAULT_LIMITS, Limits
from steelyard.images.media_types import kind_of

__all__ = ("parse_document", "parse_index", "parse_layout", "parse_saved_images")

ViewT = TypeVar("ViewT")

_VIEWS: dict[str, type[Index | Manifest | ImageConfig]] = {"index": Index, "manifest": Manifest, "config": ImageConfig}
_GOT = re.compile(r"Expected (.+?), got (.+)", re.DOTALL)
_PLACE = re.compile(r"(.*) - at `(.*)`", re.DOTALL)
_FIELD = re.compile(r"Object missing required field `(.*)`")


def parse_document(
    raw: bytes, media_type: str, *, name: str = "document", limits: Limits = DEFAULT_LIMITS
) -> Document[Index | Manifest | ImageConfig | None]:
    """Parse a document.

    Args:
        raw: the bytes.
        media_type: the media type in its descriptor. A type other than index, manifest or image config gives a document without
            a view, and nothing is checked.
        name: its name in errors: a digest, or the name of a file.
        limits: bounds on its bytes and its depth.

    Raises:
        InvalidDocument: the bytes are not strict JSON, a field is missing, has another type or another spelling, the media type
            contradicts the descriptor, the document could be both an index and a manifest, or it is a manifest of Docker's
            schema 1.
        LimitExceeded: the document is too large or too deep.
    """
    if media_type in media_types.SCHEMA_1:
        raise InvalidDocument(
            name,
            expected="a manifest of OCI or of Docker's schema 2",
            actual="one of Docker's schema 1, which is not supported: convert the image, with `skopeo copy --format oci` for "
            "example",
        )
    kind = _VIEWS.get(kind_of(media_type))
    if kind is None:
        return Document(raw=raw, media_type=media_type, view=None)
    return Document(raw=raw, media_type=media_type, view=_view(raw, kind, media_type, name, limits))


def parse_index(raw: bytes, *, name: str = "index.json", limits: Limits = DEFAULT_LIMITS) -> Document[Index]:
    """Parse an index without a descriptor: the ``index.json`` of a layout.

    Raises:
        The same errors as `parse_document`.
    """
    media_type = media_types.OCI_INDEX
    return Document(raw=raw, media_type=media_type, view=_view(raw, Index, media_type, name, limits))


def parse_layout(raw: bytes, *, name: str = "oci-layout", limits: Limits = DEFAULT_LIMITS) -> Document[ImageLayout]:
    """Parse the file ``oci-layout``.

    Raises:
        InvalidDocument: it is malformed, or its version is not 1.
        LimitExceeded: it is too large or too deep.
    """
    check_json(raw, name=name, limits=limits, kind=ImageLayout)
    view = _decode(raw, ImageLayout, name)
    return Document(raw=raw, media_type="application/vnd.oci.layout.header.v1+json", view=view)


def parse_saved_images(
    raw: bytes, *, name: str = "manifest.json", limits: Limits = DEFAULT_LIMITS
) -> Document[tuple[SavedImage, ...]]:
    """Parse the ``manifest.json`` of ``docker save``.

    Raises:
        InvalidDocument: it is malformed.
        LimitExceeded: it is too large or too deep.
    """
    check_json(raw, name=name, limits=limits, kind=SavedImage)
    view = _decode(raw, tuple[SavedImage, ...], name)
    return Document(raw=raw, media_type="application/json", view=view)


def check_json(raw: bytes, *, name: str, limits: Limits, kind: object = None) -> None:
    """Refuse bytes that are too many or not strict JSON, or whose fields are ambiguous for their `kind`."""
    if len(raw) > limits.json_bytes:
        raise LimitExceeded(name, limit="json_bytes", allowed=limits.json_bytes, actual=len(raw))
    _json.check(raw, name=name, depth=limits.depth, shape=None if kind is None else shape_of(kind))


def _view(raw: bytes, kind: type[ViewT], media_type: str, name: str, limits: Limits) -> ViewT:
    check_json(raw, name=name, limits=limits, kind=kind)
    view = _decode(raw, kind, name)
    if isinstance(view, Index | Manifest) and view.media_type not in {None, "", media_type}:
        raise InvalidDocument(name, where="$.mediaType", expected=media_type, actual=str(view.media_type))
    return view


def _decode(raw: bytes, kind: type[ViewT], name: str) -> ViewT:
    try:
        return _json.decode(raw, kind)
    except msgspec.DecodeError as error:
        text, where = str(error), "$"
        if place := _PLACE.fullmatch(text):
            text, where = place[1], place[2]
        if field := _FIELD.fullmatch(text):
            raise InvalidDocument(name, where=where, expected=f"the field {field[1]}", actual="none") from None
        expected, found = got.groups() if (got := _GOT.fullmatch(text)) else (text, "something else")
        expected = expected.removeprefix("Expected ")
        if repr(DIGEST_PATTERN) in expected:
            expected, found = "a digest with the hex digits of its algorithm, in lower case", "another text"
        raise InvalidDocument(name, where=where, expected=expected, actual=found) from None
