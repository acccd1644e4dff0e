"""The known fields of documents, which may occur in one spelling only.

They are the fields of the views in `documents`, and of those parts of a config that other programs read. Maps (annotations,
Labels, Volumes, ExposedPorts) have keys and no fields, so their keys may have any spelling.

Spec: OCI image specification, "Image Configuration"; Docker's image specification, v1.2.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from steelyard._archive._json import Shape
from steelyard.images.documents import ImageConfig, Index, Manifest

__all__ = ("shape_of",)

_NAMES: dict[object, str] = {Index: "an index", Manifest: "a manifest"}

_FOREIGN: dict[object, tuple[str, ...]] = {Index: ("layers", "config", "fsLayers"), Manifest: ("manifests", "fsLayers")}
"""Fields by which one kind of document could be taken for another."""

_HEALTH = ("Test", "Interval", "Timeout", "StartPeriod", "StartInterval", "Retries")
_RUN = (
    "Hostname",
    "Domainname",
    "User",
    "AttachStdin",
    "AttachStdout",
    "AttachStderr",
    "ExposedPorts",
    "Tty",
    "OpenStdin",
    "StdinOnce",
    "Env",
    "Cmd",
    "ArgsEscaped",
    "Image",
    "Volumes",
    "WorkingDir",
    "Entrypoint",
    "NetworkDisabled",
    "MacAddress",
    "OnBuild",
    "Labels",
    "StopSignal",
    "StopTimeout",
    "Shell",
    "Memory",
    "MemorySwap",
    "CpuShares",
)
_HISTORY = ("created", "created_by", "author", "comment", "empty_layer")


@cache
def shape_of(kind: Any) -> Shape:
    """Return the fields of a kind of document."""
    more = {}
    if kind is ImageConfig:
        run = Shape("a config", [("Healthcheck", _flat(_HEALTH)), *((name, None) for name in _RUN)], [])
        more = {"config": run, "history": _flat(_HISTORY)}
    fields = [(each.encode_name, more.get(each.encode_name) or _inner(each.type)) for each in _fields(kind)]
    return Shape(_NAMES.get(kind, "it"), fields, _FOREIGN.get(kind, ()))


def _flat(names: tuple[str, ...]) -> Shape:
    return Shape("it", [(name, None) for name in names], [])


def _fields(kind: type[msgspec.Struct]) -> tuple[inspect.Field, ...]:
    found = inspect.type_info(kind)
    assert isinstance(found, inspect.StructType)  # noqa: S101  # views are
    return found.fields


def _inner(found: inspect.Type) -> Shape | None:
    """Return the fields of the structures in a field, which has one or an array of them."""
    match found:
        case inspect.StructType():
            return shape_of(found.cls)
        case inspect.VarTupleType():
            return _inner(found.item_type)
        case inspect.UnionType():
            return next(filter(None, map(_inner, found.types)), None)
        case _:
            return None
