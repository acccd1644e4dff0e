"""Paths of the file system: a name or a digest, and a path in the tree that the name holds or the digest names."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec
from fsspec.utils import stringify_path

from steelyard.digest import Algorithm, Digest

__all__ = ("PROTOCOL", "Target", "candidates", "joined", "parse", "stripped")

PROTOCOL = "steelyard"

_DIGEST = re.compile("|".join(f"{each}:[0-9a-f]{{{each.encoded_length}}}" for each in Algorithm))
_NEW = {f"{each}:": each for each in Algorithm}


class Target(msgspec.Struct, frozen=True):
    """A parsed path.

    Attributes:
        path: the path without protocol, and without slashes around it.
        digest: the digest that the path begins with, or None if it begins with a name.
        inner: the rest of the path after the digest.
        algorithm: if the path is an algorithm and a colon, the algorithm for the digest of new bytes.
    """

    path: str
    digest: Digest | None = None
    inner: str = ""
    algorithm: Algorithm | None = None

    @property
    def is_name(self) -> bool:
        """Whether the path begins with a name. It may lead into a tree, or be the root."""
        return self.digest is None and self.algorithm is None


def stripped(path: str) -> str:
    """Return a path without protocol, and without slashes around it."""
    for prefix in (f"{PROTOCOL}://", f"{PROTOCOL}::"):
        path = path.removeprefix(prefix)
    return path.strip("/")


def parse(path: str) -> Target:
    """Return the parts of a path. A first part with the form of a digest counts as a digest, even if an image name is the same."""
    path = stripped(stringify_path(path))
    first, _, rest = path.partition("/")
    if _DIGEST.fullmatch(first):
        return Target(path, Digest.parse(first), rest)
    return Target(path, algorithm=_NEW.get(path))


def candidates(path: str) -> Iterator[tuple[str, str]]:
    """Iterate over the names with which a path may begin, the shortest first, each with the rest of the path."""
    place = path.find("/")
    while place >= 0:
        yield path[:place], path[place + 1 :]
        place = path.find("/", place + 1)
    yield path, ""


def joined(directory: str, name: str) -> str:
    """Return the path of an entry of a directory."""
    return f"{directory}/{name}" if directory else name
