"""Connections to hosts: each host has a bounded number, and idle connections are used again.

The connections are those of httpcore2, the lower layer of httpx2. The client of httpx2 logs whole URLs with their secrets, keeps cookies,
and follows redirects by other rules. Its pool checks all its connections before and after each request, which takes more time than the
request of a small file. httpcore2 is imported with the first URL, and is part of the extra ``http``.
"""

from __future__ import annotations

import os
import re
import select
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from importlib.util import find_spec
from typing import TypeAlias, cast

import anyio

from steelyard._http_fields import combined
from steelyard.errors import InvalidArgument, ServerRefused
from steelyard.fetch._address import Address
from steelyard.fetch._pauses import Busy, Retries, Transient
from steelyard.model import Buffer

try:
    import httpcore2
except ImportError as error:
    raise ImportError("URLs need httpx2: pip install 'steelyard[http]'") from error

__all__ = ("Exchange", "Hosts", "url_as_sent")

_READ_BYTES = 256 << 10
"""The bytes that are read at a time. A step of the event loop costs more than these bytes."""

_IDLE_SECONDS = 5.0
_MOST_IDLE = 64
_LAST_PORT = 65_535
_BAD_PROXY = "proxy of the environment: expected a URL of HTTP or SOCKS with a host and a port"
_BAD_FIELDS = "headers: expected text that a field of HTTP can have"
_BROKEN = (httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.ProxyError)
_PLAIN = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2})+", re.ASCII)

_Place: TypeAlias = tuple[str, str, int]


class _Connection(httpcore2.AsyncHTTP11Connection):
    """A connection with a quick check whether its server has closed it while it was idle."""

    READ_NUM_BYTES = _READ_BYTES

    def __init__(self, origin: httpcore2.Origin, stream: httpcore2.AsyncNetworkStream) -> None:
        super().__init__(origin, stream)
        self._poll = select.poll()
        self._poll.register(stream.get_extra_info("socket"), select.POLLIN)
        self.idle_since = 0.0

    def is_usable(self) -> bool:
        # Any input on an idle connection means that the server has closed it: there is no request to answer.
        return time.monotonic() < self.idle_since + _IDLE_SECONDS and not self._poll.poll(0)


_Sender: TypeAlias = _Connection | httpcore2.AsyncConnectionPool


class _Host:
    """The connections to a host that are in use, and the requests that use or want one."""

    def __init__(self, most: int) -> None:
        self.free = anyio.Semaphore(most, fast_acquire=True)
        self.users = 0


class Exchange:
    """A request and its response, on a connection of their own until `aclose`.

    Attributes:
        status: the status.
        reason: the words beside it.
        headers: the fields, with names in lower case.
    """

    def __init__(self, hosts: Hosts, place: _Place, sender: _Sender, response: httpcore2.Response) -> None:
        self._hosts, self._place, self._sender, self._response = hosts, place, sender, response
        self.status = response.status
        self.reason = cast("bytes", response.extensions.get("reason_phrase", b"")).decode("latin-1")
        self.headers = combined(response.headers)

    async def pieces(self) -> AsyncGenerator[Buffer, None]:
        """Yield the body as the server sent it, without decoding.

        Raises:
            Transient: the connection broke.
        """
        body = cast("AsyncGenerator[bytes, None]", aiter(cast("AsyncIterable[bytes]", self._response.stream)))
        is_at_end = False
        try:
            async for piece in body:
                yield piece
            is_at_end = True
        except _BROKEN as error:
            raise Transient(_words(error)) from None
        finally:
            if not is_at_end:
                # CANCEL: the rest of the body is several generators, which trio wants closed.
                with anyio.CancelScope(shield=True):
                    await body.aclose()

    async def aclose(self) -> None:
        """Return the connection for reuse if the whole body was read. Otherwise close it."""
        # CANCEL: shielded, because an unread response must close its connection and free its place on the host.
        with anyio.CancelScope(shield=True):
            try:
                await self._response.aclose()
                await self._hosts.give_back(self._place, self._sender)
            finally:
                self._hosts.leave(self._place)


class Hosts:
    """The connections of one call."""

    def __init__(self, *, per_host: int, retries: Retries, tls: ssl.SSLContext | None) -> None:
        self._per_host = per_host
        self._tls = tls
        self._trusts: ssl.SSLContext | None = None
        self._silence = retries.silence_seconds
        self._timeouts = dict.fromkeys(("connect", "read", "write"), self._silence)
        self._hosts: dict[_Place, _Host] = {}
        self._idle: list[tuple[_Place, _Connection]] = []
        self._proxied: dict[str, httpcore2.AsyncConnectionPool] = {}
        self._has_proxies = any(name.lower().endswith("_proxy") for name in os.environ)

    async def aclose(self) -> None:
        """Close all connections."""
        while self._idle:
            await self._idle.pop()[1].aclose()
        while self._proxied:
            await self._proxied.popitem()[1].aclose()

    async def send(self, target: Address, headers: Mapping[str, str], *, spare: bool = False) -> Exchange:
        """Send a request as soon as the host has a connection for it, and return the exchange, which the caller closes.

        Raises:
            Busy: the host has no free connection, and the request is `spare`.
            Transient: there is no response.
            ServerRefused: the certificate is not trusted.
            InvalidArgument: the URL or a field cannot be sent, or the proxy of the environment is not valid.
        """
        request = self._request(target, headers)
        place = target.scheme, target.host, target.port
        host = self._hosts.get(place)
        if host is None:
            host = self._hosts[place] = _Host(self._per_host)
        host.users += 1
        try:
            if spare:
                host.free.acquire_nowait()
            else:
                await host.free.acquire()
        except BaseException as error:
            self._left(place, host)
            if isinstance(error, anyio.WouldBlock):
                raise Busy from None
            raise
        sender: _Sender | None = None
        try:
            sender = await self._sender(target, place, request)
            response = await sender.handle_async_request(request)
        except BaseException as error:
            if isinstance(sender, _Connection):
                with anyio.CancelScope(shield=True):
                    await sender.aclose()
            self.leave(place)
            if isinstance(error, httpcore2.LocalProtocolError):  # its message may have a value, which may be secret
                raise InvalidArgument(_BAD_FIELDS) from None
            if isinstance(error, (*_BROKEN, httpcore2.UnsupportedProtocol)):
                raise _failure(target, error) from None
            raise
        return Exchange(self, place, sender, response)

    def leave(self, place: _Place) -> None:
        """Free the place on the host for another request."""
        host = self._hosts[place]
        host.free.release()
        self._left(place, host)

    def _left(self, place: _Place, host: _Host) -> None:
        host.users -= 1
        if not host.users:
            del self._hosts[place]

    async def give_back(self, place: _Place, sender: _Sender) -> None:
        """Keep a connection for the next request, if it can be used again."""
        if not isinstance(sender, _Connection) or not sender.is_idle():
            return  # a pool keeps its own connections, and the response has closed this one
        sender.idle_since = time.monotonic()
        self._idle.append((place, sender))
        if len(self._idle) > _MOST_IDLE:
            await self._idle.pop(0)[1].aclose()

    async def _sender(self, target: Address, place: _Place, request: httpcore2.Request) -> _Sender:
        """Return an idle connection to the host, or a new one, or the pool of a proxy."""
        if self._has_proxies and (proxy := _proxy(target)) is not None:
            if proxy not in self._proxied:
                self._proxied[proxy] = _through(proxy, self._trusted())
            return self._proxied[proxy]
        for number in range(len(self._idle) - 1, -1, -1):
            if self._idle[number][0] == place:
                connection = self._idle.pop(number)[1]
                if connection.is_usable():
                    return connection
                with anyio.CancelScope(shield=True):
                    await connection.aclose()
                return await self._sender(target, place, request)
        return await self._connected(target, request.url)

    async def _connected(self, target: Address, url: httpcore2.URL) -> _Connection:
        host = url.host.decode("ascii")
        stream = await httpcore2.AnyIOBackend().connect_tcp(host, target.port, timeout=self._silence)
        if target.scheme == "https":
            try:
                stream = await stream.start_tls(self._trusted(), server_hostname=host, timeout=self._silence)
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await stream.aclose()
                raise
        return _Connection(url.origin, stream)

    def _trusted(self) -> ssl.SSLContext:
        """Return the TLS context. It is created once, because loading the machine's certificates takes 20 ms."""
        if self._trusts is None:
            self._trusts = self._tls or httpcore2.default_ssl_context()
            self._trusts.set_alpn_protocols(["http/1.1"])
        return self._trusts

    def _request(self, target: Address, headers: Mapping[str, str]) -> httpcore2.Request:
        url = url_as_sent(target)
        host = url.host.decode("ascii")
        name = f"[{host}]" if ":" in host else host
        fields = [("Host", name if target.has_standard_port else f"{name}:{target.port}"), *headers.items()]
        try:
            return httpcore2.Request("GET", url, headers=fields, extensions={"timeout": self._timeouts})
        except (TypeError, ValueError):
            raise InvalidArgument(_BAD_FIELDS) from None


def url_as_sent(target: Address) -> httpcore2.URL:
    """Return the ASCII form of a URL that is sent.

    Raises:
        InvalidArgument: the host is not valid.
    """
    port = None if target.has_standard_port else target.port
    if target.host.isascii() and _PLAIN.fullmatch(target.path) and "/." not in target.path:
        return httpcore2.URL(
            scheme=target.scheme.encode(), host=target.host.encode(), port=port, target=target.path.encode()
        )
    import httpx2  # noqa: PLC0415 - slow to import, and few URLs need it

    try:
        url = httpx2.URL(target.url)
    except httpx2.InvalidURL:
        raise InvalidArgument("URL: expected http:// or https:// and a valid host") from None
    return httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=port, target=url.raw_path)


def _proxy(target: Address) -> str | None:
    """Return the proxy for a URL from the environment, or None."""
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 - slow to import, and needed only with a proxy

    if proxy_bypass(target.host):
        return None
    proxies = getproxies()
    proxy = proxies.get(target.scheme) or proxies.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def _through(proxy: str, tls: ssl.SSLContext) -> httpcore2.AsyncConnectionPool:
    """Return a pool whose connections go through a proxy."""
    import httpx2  # noqa: PLC0415 - slow to import, and needed only with a proxy

    try:
        found = httpx2.Proxy(proxy)
    except (ValueError, httpx2.InvalidURL):  # its message has the URL, which may have a password
        raise InvalidArgument(_BAD_PROXY) from None
    if not found.url.host or (found.url.port or 0) > _LAST_PORT:
        raise InvalidArgument(_BAD_PROXY)
    if found.url.scheme.startswith("socks") and find_spec("socksio") is None:
        raise InvalidArgument("proxy of the environment: SOCKS needs socksio: pip install socksio")
    url = httpcore2.URL(
        scheme=found.url.raw_scheme, host=found.url.raw_host, port=found.url.port, target=found.url.raw_path
    )
    kind = httpcore2.AsyncSOCKSProxy if found.url.scheme.startswith("socks") else httpcore2.AsyncHTTPProxy
    return kind(
        url,
        proxy_auth=found.raw_auth,
        ssl_context=tls,
        max_connections=None,
        max_keepalive_connections=_MOST_IDLE,
        keepalive_expiry=_IDLE_SECONDS,
    )


def _failure(target: Address, error: Exception) -> Exception:
    words = _words(error)
    if "CERTIFICATE_VERIFY_FAILED" in words:
        return ServerRefused(target.shown, reason=words)
    return Transient(words)


def _words(error: Exception) -> str:
    match error:
        case httpcore2.TimeoutException():
            return "silence"
        case httpcore2.ReadError() | httpcore2.WriteError() | httpcore2.RemoteProtocolError():
            return "the connection broke"
        case _:
            return str(error) or type(error).__name__
