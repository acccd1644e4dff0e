"""Addresses of buckets: ``s3://BUCKET/PREFIX?endpoint=URL&region=NAME``."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Self
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import msgspec

from steelyard.errors import InvalidArgument

__all__ = ("SCHEME", "ObjectAddress", "default_spool")

SCHEME = "s3://"

_BUCKET = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{1,61}[a-zA-Z0-9]")
_PREFIX = re.compile(r"[a-zA-Z0-9._=-]+(/[a-zA-Z0-9._=-]+)*")
_PREFIX_LIMIT = 512
"""A key of S3 has at most 1,024 bytes, and the longest name below the prefix has about 200."""


class ObjectAddress(msgspec.Struct, frozen=True, kw_only=True):
    """The address of a store.

    Attributes:
        bucket: the bucket.
        prefix: the keys of the store begin with this prefix and a slash; empty for the whole bucket.
        endpoint: the server's URL. If it is None, the environment variable ``AWS_ENDPOINT_URL`` counts, and then AWS.
        region: the region. If it is None, the environment variable ``AWS_REGION`` counts, and then the shared configuration.
    """

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the parts of an address.

        Raises:
            InvalidArgument: the address is not valid. The message does not repeat an address that contains a password.
        """
        path, _, query = text.removeprefix(SCHEME).partition("?")
        bucket, _, prefix = unquote(path).partition("/")
        prefix = prefix.strip("/")
        if not text.startswith(SCHEME) or not bucket:
            raise InvalidArgument(f"expected s3://BUCKET/PREFIX?endpoint=URL&region=NAME, found {_shown(text)}")
        if not _BUCKET.fullmatch(bucket):
            raise InvalidArgument(
                f"{_shown(text)}: expected a bucket of 3 to 63 letters, digits and ._- that begins and ends with a letter or digit"
            )
        is_plain = not prefix or _PREFIX.fullmatch(prefix) is not None
        if not is_plain or len(prefix) > _PREFIX_LIMIT or {".", ".."} & set(prefix.split("/")):
            raise InvalidArgument(
                f"{_shown(text)}: expected a prefix of at most {_PREFIX_LIMIT} letters, digits and ._=- between slashes"
            )
        try:
            pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
        except ValueError as error:
            raise InvalidArgument(f"{_shown(text)}: {error}") from None
        options = dict(pairs)
        if options.keys() - {"endpoint", "region"} or len(options) != len(pairs) or not all(options.values()):
            raise InvalidArgument(f"{_shown(text)}: expected endpoint=URL and region=NAME after the ?, each once")
        return cls(
            bucket=bucket, prefix=prefix, endpoint=_endpoint(options.get("endpoint")), region=options.get("region")
        )

    def __str__(self) -> str:
        """Return the address as text; it has no credentials."""
        options = {key: value for key, value in (("endpoint", self.endpoint), ("region", self.region)) if value}
        query = f"?{urlencode(options, safe=':/')}" if options else ""
        return f"{SCHEME}{self.bucket}{'/' if self.prefix else ''}{self.prefix}{query}"


def _endpoint(url: str | None) -> str | None:
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in {"http", "https"} and bool(parts.hostname) and not parts.query and not parts.fragment
        has_secret = parts.username is not None or parts.password is not None
        _ = parts.port
    except ValueError:
        is_url = has_secret = False
    if has_secret:
        raise InvalidArgument(
            "endpoint: credentials do not belong in an address: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if not is_url:
        raise InvalidArgument(f"endpoint: expected http://HOST:PORT or https://HOST, found {url!r}")
    return url.rstrip("/")


def _shown(text: str) -> str:
    return "an address with a password" if "@" in text else repr(text)


def default_spool(address: ObjectAddress) -> Path:
    """Return the default directory of unfinished ingests. Each address has its own."""
    stated = Path(os.environ.get("XDG_CACHE_HOME", ""))
    cache = stated if stated.is_absolute() else Path(os.path.expanduser("~")) / ".cache"  # noqa: PTH111 - it never fails
    return cache / "steelyard" / "spool" / hashlib.sha256(str(address).encode()).hexdigest()[:16]
