"""Parsing of the header fields of tus. Each function raises `Refusal` with the protocol's status for an invalid field."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime

from steelyard.web.uploads._refusal import Refusal

__all__ = ("CHECKSUMS", "Checksum", "http_time", "number", "parse_metadata", "required_number")

CHECKSUMS = ("sha1", "sha256", "sha512")
"""The algorithms of Upload-Checksum. The protocol demands SHA-1."""

_DIGITS = re.compile(r"[0-9]{1,18}")
_KEY = re.compile(r"[!-+\--~]+")  # printable ASCII without spaces and commas


def number(headers: Mapping[str, str], name: str) -> int | None:
    """Return the number of bytes in a field, or None if the field is absent."""
    text = headers.get(name.lower())
    if text is None:
        return None
    if not _DIGITS.fullmatch(text):
        raise Refusal(400, f"{name}: expected a number of bytes")
    return int(text)


def required_number(headers: Mapping[str, str], name: str) -> int:
    """Return the number of bytes in a required field."""
    found = number(headers, name)
    if found is None:
        raise Refusal(400, f"{name}: the field is missing")
    return found


def parse_metadata(text: str) -> dict[str, str]:
    """Return the pairs of an Upload-Metadata field.

    Spec: tus 1.0.0, Creation: pairs with commas between them, each a key and a value in Base64, which may be absent.
    """
    found: dict[str, str] = {}
    for pair in text.split(",") if text.strip() else ():
        key, _, value = pair.strip(" \t").partition(" ")
        if not _KEY.fullmatch(key):
            raise Refusal(400, "Upload-Metadata: a key is empty or has other characters than printable ASCII")
        if key in found:
            raise Refusal(400, f"Upload-Metadata: the key {key[:100]} is there twice")
        try:
            found[key] = base64.b64decode(value.strip(" \t"), validate=True).decode()
        except ValueError:  # not Base64, or not UTF-8
            raise Refusal(400, f"Upload-Metadata: the value of {key[:100]} is not UTF-8 in Base64") from None
    return found


class Checksum:
    """The expected digest of the bytes of one request.

    Spec: tus 1.0.0, Checksum: the algorithm, a space and the digest in Base64.

    Args:
        algorithm: the name of the algorithm.
        expected: the digest.
    """

    def __init__(self, algorithm: str, expected: bytes) -> None:
        self._hash = hashlib.new(algorithm, usedforsecurity=False)
        self._expected = expected

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Checksum | None:
        """Return the checksum of a request, or None if it has none."""
        text = headers.get("upload-checksum")
        if text is None:
            return None
        algorithm, _, value = text.partition(" ")
        if algorithm not in CHECKSUMS:
            raise Refusal(400, f"Upload-Checksum: expected one of {', '.join(CHECKSUMS)}")
        try:
            expected = base64.b64decode(value.strip(), validate=True)
        except ValueError:  # not Base64, or not ASCII
            expected = b""
        checksum = cls(algorithm, expected)
        if len(expected) != checksum._hash.digest_size:
            raise Refusal(400, f"Upload-Checksum: not a digest of {algorithm} in Base64")
        return checksum

    def update(self, data: bytes) -> None:
        """Add bytes of the request."""
        self._hash.update(data)

    def check(self) -> None:
        """Compare the digest at the end of the request. Raises `Refusal` with status 460."""
        if self._hash.digest() != self._expected:
            raise Refusal(460, "Upload-Checksum: the bytes have another digest; they were discarded")


def http_time(time: datetime) -> str:
    """Return a time in the form of RFC 9110 for header fields, in whole seconds."""
    return format_datetime(time.astimezone(UTC), usegmt=True)
