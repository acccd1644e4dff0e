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
"""A body without use, of a redirect or an error, is read up to here, because its connection can then be used again."""

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
        """Request a URL, follow redirects, and return the exchange whose response is none. The caller closes it.

        Args:
            address: the URL.
            own: fields for its own host only: they may have credentials.
            fields: fields for every host.
            spare: whether to raise `Busy` in place of a wait for a free connection.

        Raises:
            InvalidResponse: a redirect leads from https to http, to something else than HTTP, or too far.
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
            # A password in a redirect was chosen by a server. It is not used, so that none goes where its owner did not send it.
            trusted = trusted and target.trusts(following)
            target = msgspec.structs.replace(following, authorization=target.authorization if trusted else None)
        raise InvalidResponse(address.shown, expected=f"at most {_MOST_REDIRECTS} redirects", actual="more")


@managed
async def connected(*, per_host: int, retries: Retries, tls: ssl.SSLContext | None) -> AsyncIterator[Connections]:
    """Give the connections of one call, and close them at its end."""
    connections = Connections(per_host=per_host, retries=retries, tls=tls)
    try:
        yield connections
    finally:
        with anyio.CancelScope(shield=True):
            await connections.aclose()


async def drain(exchange: Exchange) -> None:
    """Read a short body without use."""
    size = 0
    with anyio.move_on_after(_DRAIN_SECONDS), suppress(Transient):
        async with aclosing(exchange.pieces()) as pieces:
            async for piece in pieces:
                size += len(memoryview(piece))
                if size > _DRAINED_BYTES:
                    break


def _merged(fields: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """Return fields, with others in place of those of the same name. The case of a name does not count: RFC 9110, 5.1."""
    names = {str(name).lower() for name in own}
    return {name: value for name, value in fields.items() if str(name).lower() not in names} | dict(own)


def _redirected(address: Address, target: Address, location: str) -> Address:
    """Return the target of a redirect.

    Raises:
        InvalidResponse: it is not to be followed.
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
