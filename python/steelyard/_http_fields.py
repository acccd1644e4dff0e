"""HTTP fields that downloads read and responses write.

Spec: RFC 9110 (5.2 and 5.3: lines of one field), RFC 9530 (Repr-Digest and Content-Digest).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable

from steelyard.digest import Algorithm, Digest

__all__ = ("combined", "digest_field", "digest_in_field")

_NAMES = {Algorithm.SHA256: "sha-256", Algorithm.SHA512: "sha-512"}
"""The algorithms that RFC 9530 section 5 allows between parties that do not trust each other."""

_DIGEST = re.compile(r"(?:^|,)[ \t]*(sha-256|sha-512)=:([A-Za-z0-9+/=]+):")


def combined(lines: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the fields of a message by their names in lower case. Several lines of one field are one list."""
    found: dict[str, str] = {}
    for raw, value in lines:
        name, text = raw.decode("latin-1").lower(), value.decode("latin-1").strip()
        found[name] = f"{found[name]}, {text}" if name in found else text
    return found


def digest_field(digest: Digest) -> bytes | None:
    """Return the value of Repr-Digest, or None if RFC 9530 has no name for the algorithm."""
    name = _NAMES.get(digest.algorithm)
    return None if name is None else f"{name}=:{base64.b64encode(bytes.fromhex(digest.encoded)).decode()}:".encode()


def digest_in_field(value: str | None, algorithm: Algorithm) -> Digest | None:
    """Return the digest of that algorithm in a Repr-Digest or Content-Digest, or None. A malformed digest is ignored."""
    for name, encoded in _DIGEST.findall(value or ""):
        if name == _NAMES.get(algorithm):
            try:
                octets = base64.b64decode(encoded, validate=True)
            except binascii.Error:
                return None
            return Digest.parse(f"{algorithm}:{octets.hex()}") if len(octets) == algorithm.digest_size else None
    return None
