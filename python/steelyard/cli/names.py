"""Digests, labels and filters on the command line, and readable sizes, counts and times."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime

from steelyard.cli.listing import Walked
from steelyard.digest import Algorithm, Digest
from steelyard.errors import InvalidArgument, InvalidDigest, NotFound, SteelyardError
from steelyard.filters import compile as compile_filters

__all__ = (
    "AmbiguousDigest",
    "amount",
    "check_fields",
    "counted",
    "exact_size",
    "human_size",
    "labels_of",
    "resolve",
    "resolve_one",
    "timestamp",
)

MIN_PREFIX = 8
"""The minimum length of a digest prefix, in hex digits. Shorter prefixes would often be ambiguous in a large store."""

_SHOWN_CANDIDATES = 10
_FILTERED = 64
"""Up to this number of prefixes, each becomes a filter; more prefixes are looked up in a list of all blobs."""
_PREFIX = re.compile(r"(?:([a-z0-9]+):)?([0-9a-f]+)", re.ASCII)


class AmbiguousDigest(InvalidArgument):
    """A prefix matches more than one blob.

    Attributes:
        prefix: the prefix on the command line.
        candidates: the matching blobs, at most ten.
    """

    code = "ambiguous_digest"

    def __init__(self, prefix: str, candidates: Sequence[Digest]) -> None:
        super().__init__(f"digest prefix {prefix}: expected one blob, found {len(candidates)}")
        self.prefix = prefix
        self.candidates: tuple[Digest, ...] = tuple(candidates)


async def resolve(store: Walked, texts: Iterable[str]) -> list[Digest | SteelyardError]:
    """Return the digest or the error of each text, in the same order.

    A whole digest is returned unchanged, whether it is stored or not. All prefixes together need one walk over the store.
    """
    found: list[Digest | SteelyardError] = []
    prefixes: dict[int, str] = {}
    for text in texts:
        try:
            found.append(Digest.parse(text))
        except InvalidDigest as error:
            found.append(error)
            match = _PREFIX.fullmatch(text)
            if match and _is_prefix(match[1], match[2]):
                prefixes[len(found) - 1] = text
            elif match and len(match[2]) < MIN_PREFIX:
                found[-1] = InvalidDigest(
                    text, reason=f"expected at least {MIN_PREFIX} hex digits, found {len(match[2])}"
                )
    if prefixes:
        hits = await _hits(store, set(prefixes.values()))
        for place, text in prefixes.items():
            digests = hits[text]
            found[place] = (
                digests[0] if len(digests) == 1 else AmbiguousDigest(text, digests) if digests else NotFound(text)
            )
    return found


async def resolve_one(store: Walked, text: str) -> Digest:
    """Return the digest of a text: a digest or a prefix.

    Raises:
        InvalidDigest, AmbiguousDigest, NotFound.
    """
    (found,) = await resolve(store, [text])
    if isinstance(found, SteelyardError):
        raise found
    return found


def _is_prefix(algorithm: str | None, encoded: str) -> bool:
    if algorithm is None:
        return MIN_PREFIX <= len(encoded) <= Algorithm.SHA512.encoded_length
    known = algorithm in Algorithm.__members__.values()
    return known and MIN_PREFIX <= len(encoded) < Algorithm(algorithm).encoded_length


async def _hits(store: Walked, prefixes: set[str]) -> dict[str, list[Digest]]:
    hits: dict[str, list[Digest]] = {prefix: [] for prefix in prefixes}
    lengths = {len(prefix) for prefix in prefixes}
    filters: list[str] = []
    if len(prefixes) <= _FILTERED:
        filters = [f'digest~="^{prefix}"' if ":" in prefix else f'digest~="^[a-z0-9]+:{prefix}"' for prefix in prefixes]
    async with aclosing(store.walk(*filters)) as infos:
        async for info in infos:
            for name in (str(info.digest), info.digest.encoded):
                for digests in (hits[name[:length]] for length in lengths if name[:length] in hits):
                    if info.digest not in digests and len(digests) < _SHOWN_CANDIDATES:
                        digests.append(info.digest)
    return hits


def check_fields(filters: Sequence[str], known: Sequence[str], things: str) -> None:
    """Refuse filters on unknown fields: the list would be empty without a visible reason.

    Raises:
        InvalidFilter: a filter does not parse.
        InvalidArgument: there is no such field.
    """
    for path in compile_filters(*filters).paths:
        name = ".".join(path)
        label = "labels.KEY" in known and path[0] == "labels" and len(path) > 1
        if not label and (len(path) > 1 or name not in known):
            raise InvalidArgument(f"filter field {name!r}: no such field; {things} have {', '.join(known)}")


def labels_of(words: Iterable[str]) -> dict[str, str]:
    """Return the labels of ``key=value`` words.

    Raises:
        InvalidArgument: a word has no equals sign, or no key before it.
    """
    labels: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise InvalidArgument(f"label {word!r}: expected KEY=VALUE")
        labels[key] = value
    return labels


_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def human_size(size: float) -> str:
    """Return a readable size: ``17 B``, ``4.0 KiB``, ``1.5 GiB``."""
    number = float(size)
    for unit in _UNITS:
        if number < 1024 or unit == _UNITS[-1]:
            break
        number /= 1024
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"


def exact_size(size: int) -> str:
    """Return a readable size, and the size in bytes."""
    return amount(size) if size < 1024 else f"{human_size(size)} ({size} bytes)"


def amount(size: int) -> str:
    """Return a size for a sentence: ``1 byte``, ``5 bytes``, ``4.0 KiB``."""
    return counted(size, "byte") if size < 1024 else human_size(size)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 file``, ``2 files``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def timestamp(moment: datetime) -> str:
    """Return a time in RFC 3339, UTC, in whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
