"""Reading, checking and writing the fields of requests and responses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal
from urllib.parse import quote

from steelyard._http_fields import combined
from steelyard.errors import InvalidArgument
from steelyard.web._asgi import Scope

__all__ = ("Fields", "check_headers", "check_value", "disposition_of", "request_fields")

Fields = list[tuple[bytes, bytes]]
"""The fields of a response, in the form of ASGI."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ATTRIBUTE = "!#$&+-.^_`|~"
"""The characters that RFC 8187 section 3.2.1 does not encode, in addition to letters and digits."""

_OWN = frozenset(
    (
        "accept-ranges",
        "connection",
        "content-disposition",
        "content-length",
        "content-range",
        "content-type",
        "etag",
        "last-modified",
        "repr-digest",
        "trailer",
        "transfer-encoding",
    )
)
"""Fields that `BlobResponse` makes from its other arguments, or that the server writes."""

_READ = {b"if-match", b"if-none-match", b"if-range", b"range"}


def request_fields(scope: Scope) -> dict[str, str]:
    """Return the fields of a request that a response needs, by their names in lower case. Several lines of one field become one list."""
    return combined(line for line in scope.get("headers", ()) if line[0].lower() in _READ)


def check_value(name: str, value: str) -> bytes:
    """Return the bytes of a field's value. A line break in a value could add fields to the response, so it is refused.

    Raises:
        InvalidArgument: the value is empty, begins or ends with a space, or has control characters or characters outside Latin-1.

    Spec: RFC 9110 section 5.5.
    """
    if _VALUE.fullmatch(value) is None:
        expected = "visible characters of Latin-1, and spaces between them"
        raise InvalidArgument(f"{name} {value[:100]!r}: expected {expected}")
    return value.encode("latin-1")


def check_headers(headers: Mapping[str, str] | None) -> Fields:
    """Return the additional fields from the caller.

    Raises:
        InvalidArgument: a name is not a token, `BlobResponse` or the server writes that field, or a value is invalid.
    """
    found = []
    for name, value in (headers or {}).items():
        if _TOKEN.fullmatch(name) is None:
            raise InvalidArgument(f"header {name[:100]!r}: expected a token (RFC 9110 section 5.6.2)")
        if name.lower() in _OWN:
            raise InvalidArgument(f"header {name}: it is written by the response itself, or by the server")
        found.append((name.lower().encode("ascii"), check_value(name, value)))
    return found


def disposition_of(kind: Literal["attachment", "inline"] | None, filename: str | None) -> bytes | None:
    """Return the value of Content-Disposition, or None for no field.

    Args:
        kind: the kind. None means ``attachment`` if there is a file name, and no field otherwise.
        filename: any text. If plain ASCII cannot represent it, two forms are written: one for old clients, and ``filename*``.

    Raises:
        InvalidArgument: the kind is unknown, or the file name is empty, has control characters or is not Unicode text.

    Spec: RFC 6266, and RFC 8187 for ``filename*``.
    """
    if kind not in (None, "attachment", "inline"):
        raise InvalidArgument(f"disposition {kind!r}: expected 'attachment' or 'inline'")
    if filename is None:
        return kind.encode() if kind is not None else None
    if not filename or _CONTROLS.search(filename):
        raise InvalidArgument(f"filename {filename[:100]!r}: expected text without control characters")
    try:
        encoded = quote(filename, safe=_ATTRIBUTE)
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"filename {filename[:100]!r}: not Unicode text: {error.reason}") from None
    # Clients disagree on escapes and on "%" in the quoted form: RFC 6266 appendix D.
    plain = re.sub(r'[^ -~]|["\\/%]', "_", filename)
    extended = "" if plain == filename else f"; filename*=UTF-8''{encoded}"
    return f'{kind or "attachment"}; filename="{plain}"{extended}'.encode("ascii")
