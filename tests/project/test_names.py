"""Names of the public interface: sizes, offsets and digests are called the same everywhere.

`size` is the size of one thing in bytes, `offset` a place in it. Another number of bytes ends in ``_bytes``. A `digest` is a `Digest` or its
text, `expected` is what a digest or size must be, and `actual` what it is.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import typing
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import msgspec
import pytest

import steelyard

OTHER_NAMES = re.compile(
    r"(?:.*_)?(?:length|len|nbytes|count|num|number|start|begin|pos|position|seek|limit|hash|checksum|sum|sha256|dgst|found)|bytes_.*"
)
"""Words that other libraries have for sizes, offsets and digests."""

ON_PURPOSE = {
    "Algorithm.encoded_length",  # characters, not bytes
    "InvalidFilter.position",  # characters, not bytes
    "LimitExceeded.limit",  # the name of a limit
    "BlockingBlob.read_cached.limit",  # for the core alone, which reads nothing beyond
    "ReadRange.begin",  # as of a slice: it may count from the end
}
TEXT_DIGESTS = ("steelyard.images.",)
"""Documents of images may have digests of any algorithm, so theirs are text."""


def _modules() -> Iterator[ModuleType]:
    yield steelyard
    for found in pkgutil.walk_packages(steelyard.__path__, "steelyard."):
        parts = found.name.split(".")[1:]
        if not any(part.startswith("_") for part in parts) and parts[0] not in {"cli", "testing"}:
            yield importlib.import_module(found.name)


def _things() -> Iterator[tuple[str, Any]]:
    seen: set[int] = set()
    for module in _modules():
        for name in module.__all__ if hasattr(module, "__all__") else ():
            thing = getattr(module, name)
            if id(thing) not in seen and (inspect.isclass(thing) or inspect.isfunction(thing)):
                seen.add(id(thing))
                yield name, thing


def _signatures() -> Iterator[tuple[str, str, Any]]:
    """Yield the place, the name and the function or class of each parameter."""
    for name, thing in _things():
        yield from _parameters(name, thing)
        for member, value in vars(thing).items() if inspect.isclass(thing) else ():
            function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
            if not member.startswith("_") and inspect.isfunction(function):
                yield from _parameters(f"{name}.{member}", function)


def _parameters(name: str, thing: Any) -> Iterator[tuple[str, str, Any]]:
    if inspect.isclass(thing) and issubclass(thing, str):
        return  # the arguments of an enumeration are those of `enum`
    if inspect.isclass(thing) and not issubclass(thing, msgspec.Struct):
        thing = thing.__init__
        if not inspect.isfunction(thing):
            return
    for parameter in inspect.signature(thing).parameters:
        if parameter not in {"self", "cls"}:
            yield name, parameter, thing


def _attributes() -> Iterator[tuple[str, str]]:
    for name, thing in _things():
        if inspect.isclass(thing):
            yield from ((name, found) for found in vars(thing).get("__annotations__", {}) if not found.startswith("_"))
            yield from (
                (name, found)
                for found, value in vars(thing).items()
                if isinstance(value, property) and not found.startswith("_")
            )


PARAMETERS = list(_signatures())


def test_there_is_something_to_check() -> None:
    places = {f"{place}.{name}" for place, name, _ in PARAMETERS}

    assert len(places) > 400
    assert {"ReaderAt.read_at.offset", "OutOfRange.size", "FileRange.offset", "RemoteStore.message_bytes"} <= places


def test_sizes_offsets_and_digests_have_one_name_each() -> None:
    places = {f"{place}.{name}" for place, name, _ in PARAMETERS if OTHER_NAMES.fullmatch(name)}
    places |= {f"{place}.{name}" for place, name in _attributes() if OTHER_NAMES.fullmatch(name)}

    assert ON_PURPOSE == places


@pytest.mark.parametrize("name", ["size", "offset", "total"])
def test_a_size_is_a_number_of_bytes(name: str) -> None:
    found = [(place, _hint(thing, name)) for place, parameter, thing in PARAMETERS if parameter == name]

    assert found
    assert [] == [(place, hint) for place, hint in found if not re.match(r"int\b|Annotated\[int,", hint)]


def test_a_digest_is_taken_as_a_digest_or_as_text() -> None:
    found = [
        (place, _hint(thing, name))
        for place, name, thing in PARAMETERS
        if name in {"digest", "digests"} and not thing.__module__.startswith(TEXT_DIGESTS)
    ]

    assert len(found) > 20
    found = [
        each for each in found if each[0] not in {"Entry", "Event", "EventSource.publish", "Upload"}
    ]  # not each has one
    taken = {"Digest", "Digest | str", "Iterable[Digest | str]"}
    assert [] == [(place, hint) for place, hint in found if hint not in taken]


def _hint(thing: Any, name: str) -> str:
    hint = inspect.signature(thing).parameters[name].annotation
    if not isinstance(hint, str):
        hint = str(hint) if typing.get_origin(hint) is not None else getattr(hint, "__name__", str(hint))
    return re.sub(r"(?:\w+\.)+", "", hint)
