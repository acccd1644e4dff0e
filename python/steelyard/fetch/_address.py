"""URLs, split into the part that is requested, the part that may be shown, and the credentials."""

from __future__ import annotations

import base64
import hashlib
from urllib.parse import SplitResult, unquote_to_bytes, urljoin, urlsplit

import msgspec

from steelyard.errors import InvalidArgument

__all__ = ("Address", "parse_url")

_PORTS = {"http": 80, "https": 443}
_EXPECTED = "expected http:// or https://, a host and no blanks"


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """A URL in parts. Only `shown` may be printed.

    Attributes:
        url: the requested URL, without user, password and fragment.
        shown: scheme, host, port and path.
        scheme: ``http`` or ``https``.
        host: the host, in lower case.
        port: the port.
        path: path and query, as they are requested.
        ref: the base of the ref of an ingest: `shown`, and a hash of the query.
        authorization: the header for user and password, or None.
    """

    url: str
    shown: str
    scheme: str
    host: str
    port: int
    path: str
    ref: str
    authorization: str | None = None

    @property
    def place(self) -> tuple[str, int]:
        """Host and port."""
        return self.host, self.port

    @property
    def has_standard_port(self) -> bool:
        """Whether the port is the default port of the scheme."""
        return self.port == _PORTS[self.scheme]

    def joined(self, location: str) -> Address:
        """Return the target of a redirect from here.

        Raises:
            InvalidArgument: it is not a URL of HTTP.
        """
        return parse_url(urljoin(self.url, location))

    def trusts(self, other: Address) -> bool:
        """Return whether credentials for this URL may go to `other`: to the same scheme, host and port, or from port 80 to 443 of one host."""
        if self.host != other.host:
            return False
        if (self.scheme, self.port) == (other.scheme, other.port):
            return True
        return (self.scheme, self.port, other.scheme, other.port) == ("http", 80, "https", 443)

    def __repr__(self) -> str:
        return f"<Address {self.shown}>"


def parse_url(url: str) -> Address:
    """Return the parts of a URL.

    Raises:
        InvalidArgument: it is not a URL of HTTP. The message does not repeat it, because it may have a password.
    """
    if not url.isprintable() or " " in url:
        raise InvalidArgument(f"URL: {_EXPECTED}")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidArgument(f"URL: {_EXPECTED}") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise InvalidArgument(f"URL: {_EXPECTED}")
    host, standard = parts.hostname, _PORTS[parts.scheme]
    netloc = f"[{host}]" if ":" in host else host
    if port not in {None, standard}:
        netloc += f":{port}"
    path, query = parts.path or "/", f"?{parts.query}" if parts.query else ""
    shown = f"{parts.scheme}://{netloc}{path}"
    return Address(
        url=f"{shown}{query}",
        shown=shown,
        scheme=parts.scheme,
        host=host,
        port=standard if port is None else port,
        path=f"{path}{query}",
        ref=_ref(shown, parts.query),
        authorization=_authorization(parts),
    )


def _ref(shown: str, query: str) -> str:
    """Return the base of a ref. Refs are listed and logged, so a query, which may be a secret, is hashed."""
    return f"fetch:{shown}" + (f"?{hashlib.sha256(query.encode()).hexdigest()[:32]}" if query else "")


def _authorization(parts: SplitResult) -> str | None:
    if parts.username is None:
        return None
    pair = unquote_to_bytes(parts.username) + b":" + unquote_to_bytes(parts.password or "")
    return f"Basic {base64.b64encode(pair).decode()}"
