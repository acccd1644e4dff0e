"""Digests: the names of blobs.

A `Digest` is a parsed value. Untrusted text is parsed into a `Digest` first; the package never builds a path or a query
from unparsed text.

Spec: the grammar of the OCI image specification ("Digests"), narrowed to the four algorithms below and to lower-case hex.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from typing import Self, cast

import msgspec
from msgspec.structs import force_setattr

from steelyard._digest_errors import InvalidDigest, InvalidDigestLength, UnsupportedAlgorithm

__all__ = ("Algorithm", "Digest")

_ALGORITHM = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*", re.ASCII)
_ENCODED = re.compile(r"[0-9a-f]+", re.ASCII)
_FOREIGN_ENCODED = re.compile(r"[a-zA-Z0-9=_-]+", re.ASCII)


class Algorithm(StrEnum):
    """A digest algorithm of the store."""

    SHA256 = "sha256"
    SHA384 = "sha384"
    SHA512 = "sha512"
    BLAKE3 = "blake3"

    @property
    def digest_size(self) -> int:
        """The digest's length in bytes."""
        return _SIZES[self]

    @property
    def encoded_length(self) -> int:
        """The digest's length in hex digits."""
        return _SIZES[self] * 2

    @classmethod
    def parse(cls, name: str) -> Algorithm:
        """Return the algorithm with that name.

        Raises:
            UnsupportedAlgorithm: the name is well-formed, but not that of an algorithm of the store.
            InvalidDigest: the name is malformed.
        """
        try:
            return cls(name)
        except ValueError:
            if _ALGORITHM.fullmatch(name):
                raise UnsupportedAlgorithm(name, algorithm=name) from None
            raise InvalidDigest(name, reason="malformed algorithm name") from None


_SIZES = {Algorithm.SHA256: 32, Algorithm.SHA384: 48, Algorithm.SHA512: 64, Algorithm.BLAKE3: 32}
_LENGTHS: dict[str, int] = {algorithm.value: algorithm.encoded_length for algorithm in Algorithm}


class Digest(msgspec.Struct, frozen=True, order=True, repr_omit_defaults=True, gc=False):
    """The name of a blob: an algorithm and the hash of the bytes in lower-case hex.

    Values are immutable, hashable and ordered by algorithm, then hex; ``str(digest)`` is ``algorithm:encoded``.

    Attributes:
        algorithm: the algorithm.
        encoded: the hash, `Algorithm.encoded_length` lower-case hex digits.

    Raises:
        InvalidDigest: `encoded` is not lower-case hex.
        InvalidDigestLength: `encoded` has the wrong length.
        UnsupportedAlgorithm: the store does not have this algorithm.
    """

    algorithm: Algorithm
    encoded: str

    def __post_init__(self) -> None:
        algorithm = self.algorithm if type(self.algorithm) is Algorithm else Algorithm.parse(self.algorithm)
        if not _ENCODED.fullmatch(self.encoded):
            raise InvalidDigest(str(self))
        if len(self.encoded) != algorithm.encoded_length:
            raise InvalidDigestLength(str(self), expected=algorithm.encoded_length, actual=len(self.encoded))
        if algorithm is not self.algorithm:
            force_setattr(self, "algorithm", algorithm)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.encoded}"

    def __repr__(self) -> str:
        return f"Digest.parse('{self}')"

    @classmethod
    def parse(cls, text: Self | str) -> Self:
        """Parse a digest; a `Digest` is returned unchanged.

        Args:
            text: ``algorithm:encoded``, for example ``sha256:`` and 64 lower-case hex digits.

        Raises:
            InvalidDigest: the text is malformed.
            InvalidDigestLength: the hex part is too long or too short for the algorithm.
            UnsupportedAlgorithm: the text is well-formed, but the store does not compute its algorithm.
        """
        if isinstance(text, cls):
            return text
        if not isinstance(text, str):
            raise InvalidDigest(repr(text), reason="expected a Digest or text")
        name, colon, encoded = text.partition(":")
        if cls is Digest and _LENGTHS.get(name) == len(encoded) and _ENCODED.fullmatch(encoded):
            # The fast path: an image may have thousands of digests, and the checks below take ten times as long.
            return cast("Self", _to_digest(name, encoded))
        if not colon or not _ALGORITHM.fullmatch(name):
            raise InvalidDigest(text)
        if name not in Algorithm.__members__.values():
            if not _FOREIGN_ENCODED.fullmatch(encoded):
                raise InvalidDigest(text)
            raise UnsupportedAlgorithm(text, algorithm=name)
        return cls(Algorithm(name), encoded)


_NEW: dict[str, Callable[[], Digest]] = {
    algorithm.value: Digest(algorithm, "0" * algorithm.encoded_length).__copy__  # type: ignore[attr-defined]  # unlisted
    for algorithm in Algorithm
}
"""Makes a digest of an algorithm; the caller sets `encoded`."""


def _to_digest(algorithm: str, encoded: str) -> Digest:
    """Return the digest of a valid pair without checks, which would take most of the time."""
    digest = _NEW[algorithm]()
    force_setattr(digest, "encoded", encoded)
    return digest
