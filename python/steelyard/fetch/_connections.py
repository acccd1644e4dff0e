"""Requests, and the redirects that they lead to.

Spec: RFC 9110, 15.4.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, suppress

import anyio
import msgspec

from steelyard._runtime.scopes import managed
from steelyard.errors import InvalidArgument, InvalidResponse
from steelyard.fetch._address import Address
from steelyard.fetch._hosts import Exchange, Hosts, url_as_sent
from steelyard.fetch._pauses import Retries, Transient

__all__ = ("Connections", "connected", "drain")

_MOST_REDIRECTS = 10
_DRAINED_BYTES = 64 << 10
"""The most bytes that are read of an unused body, of a redirect or an error, so that its connection can be used again."""

_DRAIN_SECONDS = 2.0
_REDIRECTS = {301, 302, 303, 307, 308}


class Connections:
    """The connections of one call."""

    def __init__(self, *, per_host: int, retries: Retries, tls: ssl.SSLContext | None) -> None:
        self._hosts = Hosts(per_host=per_host, retries=retries, tls=tls)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._hosts.aclose()

    async def answered(
        self, address: Address, own: Mapping[str, str], fields: Mapping[str, str], *, spare: bool = False
    ) -> Exchange:
        """Request a URL, follow redirects, and return the first exchange whose response is not a redirect. The caller closes it.

        Args:
            address: the URL.
            own: fields only for the URL's own host, because they may have credentials.
            fields: fields for every host.
            spare: whether to raise `Busy` instead of waiting for a free connection.

        Raises:
            InvalidResponse: a redirect leads from https to http or to a URL that is not HTTP, or there are too many redirects.
            Transient: there is no response.
        """
        target, trusted = address, True
        for _ in range(_MOST_REDIRECTS + 1):
            headers = dict(fields)
            if trusted:
                headers = _merged(headers, own)
                if target.authorization is not None:
                    headers = _merged(headers, {"Authorization": target.authorization})
            exchange = await self._hosts.send(target, headers, spare=spare)
            if exchange.status not in _REDIRECTS or "location" not in exchange.headers:
                return exchange
            try:
                following = _redirected(address, target, exchange.headers["location"])
                await drain(exchange)
            finally:
                await exchange.aclose()
            # A password in a redirect was chosen by a server, so it is not used. The caller's credentials go only to trusted hosts.
            trusted = trusted and target.trusts(following)
            target = msgspec.structs.replace(following, authorization=target.authorization if trusted else None)
        raise InvalidResponse(address.shown, expected=f"at most {_MOST_REDIRECTS} redirects", actual="more")


@managed
async def connected(*, per_host: int, retries: Retries, tls: ssl.SSLContext | None) -> AsyncIterator[Connections]:
    """Yield the connections of one call, and close them at its end."""
    connections = Connections(per_host=per_host, retries=retries, tls=tls)
    try:
        yield connections
    finally:
        with anyio.CancelScope(shield=True):
            await connections.aclose()


async def drain(exchange: Exchange) -> None:
    """Read and drop a short body."""
    size = 0
    with anyio.move_on_after(_DRAIN_SECONDS), suppress(Transient):
        async with aclosing(exchange.pieces()) as pieces:
            async for piece in pieces:
                size += len(memoryview(piece))
                if size > _DRAINED_BYTES:
                    break


def _merged(fields: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """Return `fields` with `own` added. A field of `own` replaces one of the same name, in any case of letters: RFC 9110, 5.1."""
    names = {str(name).lower() for name in own}
    return {name: value for name, value in fields.items() if str(name).lower() not in names} | dict(own)


def _redirected(address: Address, target: Address, location: str) -> Address:
    """Return the target of a redirect.

    Raises:
        InvalidResponse: the redirect must not be followed.
    """
    try:
        following = target.joined(location)
        url_as_sent(following)
    except (InvalidArgument, ValueError):
        raise InvalidResponse(
            address.shown, expected="a redirect to a URL of HTTP", actual="a redirect to something else"
        ) from None
    if target.scheme == "https" and following.scheme == "http":
        raise InvalidResponse(
            address.shown, expected="a redirect to https", actual=f"a redirect from https to {following.shown}"
        )
    return following
