"""Connections of HTTP: requests and redirects, on a bounded number of connections to each host.

Requests go to httpx2's transports, not to its client: a client logs whole URLs, with what is secret in them, keeps cookies, and follows
redirects by other rules. It is imported with the first URL, and is the extra ``http``.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from contextlib import aclosing, suppress
from typing import cast

import anyio
import msgspec

from steelyard._runtime.scopes import managed
from steelyard.errors import InvalidArgument, InvalidResponse, ServerRefused
from steelyard.fetch._address import Address
from steelyard.fetch._pauses import Retries, Transient
from steelyard.model import Buffer

try:
    import httpx2
except ImportError as error:
    raise ImportError("URLs need httpx2: pip install 'steelyard[http]'") from error

__all__ = ("Connections", "connected", "drain", "pieces_of")

_MOST_REDIRECTS = 10
_DRAINED_BYTES = 64 << 10
"""A body without use, of a redirect or an error, is read up to here, because its connection can then be used again."""

_DRAIN_SECONDS = 2.0
_BAD_FIELDS = "headers: expected text that a field of HTTP can have"
_REDIRECTS = {301, 302, 303, 307, 308}


class _Host:
    """The connections to a host that are in use, and the requests that use or want one."""

    def __init__(self, most: int) -> None:
        self.free = anyio.Semaphore(most)
        self.users = 0


class Connections:
    """The connections of one call."""

    def __init__(self, *, per_host: int, retries: Retries, tls: ssl.SSLContext | None) -> None:
        self._per_host = per_host
        self._tls = tls
        silence = retries.silence_seconds
        self._extensions = {"timeout": {"connect": silence, "read": silence, "write": silence, "pool": None}}
        self._hosts: dict[tuple[str, int], _Host] = {}
        self._transports: dict[tuple[str, str | None], httpx2.AsyncHTTPTransport] = {}
        self._has_proxies = any(name.lower().endswith("_proxy") for name in os.environ)

    async def aclose(self) -> None:
        """Close all connections."""
        while self._transports:
            _, transport = self._transports.popitem()
            await transport.aclose()

    @managed
    async def answered(
        self, address: Address, own: Mapping[str, str], fields: Mapping[str, str]
    ) -> AsyncIterator[httpx2.Response]:
        """Request a URL and follow redirects, and give the response that is none.

        Args:
            address: the URL.
            own: fields for its own host only: they may have credentials.
            fields: fields for every host.

        Raises:
            InvalidResponse: a redirect leads from https to http, to something else than HTTP, or too far.
            Transient: there is no response.
        """
        target, trusted = address, True
        for _ in range(_MOST_REDIRECTS + 1):
            headers = dict(fields)
            if trusted:
                headers |= own
                if target.authorization is not None:
                    headers["Authorization"] = target.authorization
            async with self._sent(target, headers) as response:
                if response.status_code not in _REDIRECTS or "location" not in response.headers:
                    yield response
                    return
                following = _redirected(address, target, response.headers["location"])
                await drain(response)
            # A password in a redirect was chosen by a server. It is not used, so that none goes where its owner did not send it.
            trusted = trusted and target.trusts(following)
            target = msgspec.structs.replace(following, authorization=target.authorization if trusted else None)
        raise InvalidResponse(address.shown, expected=f"at most {_MOST_REDIRECTS} redirects", actual="more")

    @managed
    async def _sent(self, target: Address, headers: Mapping[str, str]) -> AsyncIterator[httpx2.Response]:
        host = self._hosts.setdefault(target.place, _Host(self._per_host))
        host.users += 1
        try:
            async with host.free:
                transport = self._transport(target)
                request = self._request(target, headers)
                try:
                    response = await transport.handle_async_request(request)
                except httpx2.LocalProtocolError:  # its message may have a value, which may be secret
                    raise InvalidArgument(_BAD_FIELDS) from None
                except httpx2.TransportError as error:
                    raise _failure(target, error) from None
                try:
                    yield response
                finally:
                    # CANCEL: an unread response ends its connection; no place on the host stays taken.
                    with anyio.CancelScope(shield=True):
                        await response.aclose()
        finally:
            host.users -= 1
            if not host.users:
                self._hosts.pop(target.place, None)

    def _request(self, target: Address, headers: Mapping[str, str]) -> httpx2.Request:
        try:
            return httpx2.Request("GET", target.url, headers=headers, extensions=self._extensions)
        except httpx2.InvalidURL:
            raise InvalidArgument("URL: expected http:// or https:// and a valid host") from None
        except (TypeError, ValueError):
            raise InvalidArgument(_BAD_FIELDS) from None

    def _transport(self, target: Address) -> httpx2.AsyncHTTPTransport:
        proxy = _proxy(target) if self._has_proxies else None
        place = target.scheme, proxy
        if place not in self._transports:
            tls: ssl.SSLContext | bool = True if self._tls is None else self._tls
            if place == ("http", None):
                tls = ssl.SSLContext(
                    ssl.PROTOCOL_TLS_CLIENT
                )  # not used: to load the machine's certificates takes 20 ms
            limits = httpx2.Limits(max_connections=None, max_keepalive_connections=64)
            self._transports[place] = httpx2.AsyncHTTPTransport(verify=tls, proxy=proxy, limits=limits)
        return self._transports[place]


@managed
async def connected(*, per_host: int, retries: Retries, tls: ssl.SSLContext | None) -> AsyncIterator[Connections]:
    """Give the connections of one call, and close them at its end."""
    connections = Connections(per_host=per_host, retries=retries, tls=tls)
    try:
        yield connections
    finally:
        with anyio.CancelScope(shield=True):
            await connections.aclose()


async def pieces_of(response: httpx2.Response) -> AsyncGenerator[Buffer, None]:
    """Yield the body as it was sent, without decoding."""
    body = aiter(cast("AsyncIterable[bytes]", response.stream))  # a transport for async code gives no other
    try:
        async for piece in body:
            yield piece
    except httpx2.TransportError as error:
        raise Transient(_words(error)) from None
    finally:
        # A body that is not read to its end is several generators, and closing the outer one drops the inner ones, of which trio
        # complains. A cancelled read ends all of them. It does nothing if the body has ended.
        with anyio.CancelScope(shield=True) as scope, suppress(httpx2.TransportError):
            scope.cancel()
            async for _ in body:
                pass


async def drain(response: httpx2.Response) -> None:
    """Read a short body without use."""
    size = 0
    with anyio.move_on_after(_DRAIN_SECONDS), suppress(Transient):
        async with aclosing(pieces_of(response)) as pieces:
            async for piece in pieces:
                size += len(memoryview(piece))
                if size > _DRAINED_BYTES:
                    break


def _redirected(address: Address, target: Address, location: str) -> Address:
    """Return the target of a redirect.

    Raises:
        InvalidResponse: it is not to be followed.
    """
    try:
        following = target.joined(location)
    except (InvalidArgument, ValueError):
        raise InvalidResponse(
            address.shown, expected="a redirect to a URL of HTTP", actual="a redirect to something else"
        ) from None
    if target.scheme == "https" and following.scheme == "http":
        raise InvalidResponse(
            address.shown, expected="a redirect to https", actual=f"a redirect from https to {following.shown}"
        )
    return following


def _proxy(target: Address) -> str | None:
    """Return the proxy that the environment has for a URL."""
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 - slow to import, and needed where there is one only

    if proxy_bypass(target.host):
        return None
    proxies = getproxies()
    proxy = proxies.get(target.scheme) or proxies.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def _failure(target: Address, error: httpx2.TransportError) -> Exception:
    words = _words(error)
    if "CERTIFICATE_VERIFY_FAILED" in words:
        return ServerRefused(target.shown, reason=words)
    return Transient(words)


def _words(error: httpx2.TransportError) -> str:
    match error:
        case httpx2.TimeoutException():
            return "silence"
        case httpx2.ReadError() | httpx2.WriteError() | httpx2.RemoteProtocolError():
            return "the connection broke"
        case _:
            return str(error) or type(error).__name__
