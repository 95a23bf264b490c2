"""HttpxOutbound: HTTP/1.1 by httpx's transport, a connection for each request, to an address that was judged before.

The transport and not the client: what is not there cannot follow a redirect, keep a cookie, read .netrc or a proxy's variable.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from ipaddress import ip_address
from typing import Final

import httpx

from safelight.domain.addresses import Address, Reach, Target
from safelight.errors import BadField, Missing, SourceRefused, SourceTimedOut, SourceUnavailable, SourceUnreachable, TooManyBytes
from safelight.ports.outbound import MAX_REDIRECTS, Answer, FetchLimits, Reading

Resolve = Callable[[str], Awaitable[Sequence[Address]]]

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_ABSENT: Final = frozenset({404, 410})
_MOST_TRIED: Final = 4
"""Addresses of one name that are tried in turn."""
_LOOKUPS: Final = 8
_GONE: Final = frozenset(
    number for name in ("EAI_NONAME", "EAI_NODATA", "EAI_ADDRFAMILY") if (number := getattr(socket, name, None)) is not None
)
_HEADERS: Final = {
    "User-Agent": "Safelight",
    "Accept": "image/*, */*;q=0.1",
    # Compressed bytes are a bomb that we would have to measure while it goes off; pictures are compressed anyway.
    "Accept-Encoding": "identity",
    "Connection": "close",
}


class SystemResolver:
    """What the operating system says. In threads of its own: a name server that is slow on purpose must not hold up all others."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_LOOKUPS, "resolve")

    async def __call__(self, host: str) -> Sequence[Address]:
        """Every address. Raises SourceUnreachable for no such name, SourceUnavailable when nobody knows at the moment."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(
                self._threads, lambda: socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
            )
        except socket.gaierror as error:
            raise (SourceUnreachable if error.errno in _GONE else SourceUnavailable) from error
        except (OSError, UnicodeError) as error:
            raise SourceUnreachable from error
        return list(dict.fromkeys(ip_address(where[0]) for *_, where in found))


class HttpxOutbound:
    """Keeps Outbound.

    Args:
        resolve: From a name to its addresses.
        tls: Whom to trust; None: the authorities that come with httpx.

    """

    def __init__(self, *, resolve: Resolve | None = None, tls: ssl.SSLContext | None = None) -> None:
        self._resolve: Final = resolve or SystemResolver()
        self._tls = tls

    @asynccontextmanager
    async def fetch(self, target: Target, *, reach: Reach, limits: FetchLimits) -> AsyncIterator[AsyncIterator[bytes]]:
        """See Outbound.fetch."""
        async with self._opened(target, {}, reach, limits) as (response, chunks):
            _check(response, limits)
            yield chunks

    @asynccontextmanager
    async def get(
        self, target: Target, conditions: Mapping[str, str], *, reach: Reach, limits: FetchLimits
    ) -> AsyncIterator[Reading]:
        """See Outbound.get."""
        async with self._opened(target, conditions, reach, limits) as (response, chunks):
            if response.status_code in _ABSENT:
                raise Missing
            is_unchanged = response.status_code == 304 and bool(conditions)
            if not is_unchanged:
                _check(response, limits)
            headers = {name.lower(): value for name, value in response.headers.items()}
            yield Reading(headers=headers, chunks=chunks, is_unchanged=is_unchanged)

    @asynccontextmanager
    async def _opened(
        self, target: Target, headers: Mapping[str, str], reach: Reach, limits: FetchLimits
    ) -> AsyncIterator[tuple[httpx.Response, AsyncIterator[bytes]]]:
        """The answer at the end of the redirects, and its body, which is not read yet."""
        deadline = asyncio.get_running_loop().time() + limits.total_s
        async with self._transport() as transport:
            try:
                async with asyncio.timeout_at(deadline):
                    response = await self._answer(transport, target, headers, reach, limits)
            except TimeoutError:
                raise SourceTimedOut from None
            try:
                async with aclosing(_body(response, limits, deadline)) as chunks:
                    yield response, chunks
            finally:
                await response.aclose()

    async def post(self, target: Target, body: bytes, headers: Mapping[str, str], *, reach: Reach, limits: FetchLimits) -> Answer:
        """See Outbound.post."""
        deadline = asyncio.get_running_loop().time() + limits.total_s
        async with self._transport() as transport:
            try:
                async with asyncio.timeout_at(deadline):
                    addresses = await self._judged(target, reach, limits)
                    response = await _asked(transport, target, addresses, limits, headers=headers, body=body)
            except TimeoutError:
                raise SourceUnavailable from None
            beginning = b""
            try:
                with suppress(SourceUnavailable):
                    async with aclosing(_body(response, replace(limits, max_bytes=sys.maxsize), deadline)) as chunks:
                        async for chunk in chunks:
                            beginning += chunk
                            if len(beginning) >= limits.max_bytes:
                                break
            finally:
                await response.aclose()
        retry_after: str = response.headers.get("retry-after", "")
        return Answer(status=response.status_code, retry_after=retry_after, beginning=beginning[: limits.max_bytes])

    def _transport(self) -> httpx.AsyncHTTPTransport:
        return httpx.AsyncHTTPTransport(verify=self._trusted(), trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))

    def _trusted(self) -> ssl.SSLContext:
        if self._tls is None:  # once: reading the authorities takes longer than many a request
            self._tls = httpx.create_ssl_context(trust_env=False)
        return self._tls

    async def _answer(
        self, transport: httpx.AsyncHTTPTransport, target: Target, headers: Mapping[str, str], reach: Reach, limits: FetchLimits
    ) -> httpx.Response:
        """What is said at the end of the redirects, its body not read yet."""
        for _ in range(1 + MAX_REDIRECTS):
            addresses = await self._judged(target, reach, limits)
            response = await _asked(transport, target, addresses, limits, headers=headers)
            try:
                location = response.headers.get("location")
                if response.status_code not in _REDIRECTS or location is None:
                    return response
                target = target.redirected(location)
            except BadField:
                await response.aclose()
                raise SourceRefused("The source leads to an address that cannot be read.") from None
            except BaseException:
                await response.aclose()
                raise
            await response.aclose()
        raise SourceRefused(f"The source leads on more than {MAX_REDIRECTS} times.")

    async def _judged(self, target: Target, reach: Reach, limits: FetchLimits) -> Sequence[Address]:
        """The addresses of this one request: asked for once, and all of them within reach."""
        reach.admit(target)
        if target.address is not None:
            return [target.address]
        try:
            async with asyncio.timeout(limits.connect_s):
                addresses = await self._resolve(target.host)
        except TimeoutError:
            raise SourceTimedOut from None
        if not addresses:
            raise SourceUnreachable
        # One bad one spoils them all: which of them is connected to would be for whoever owns the name to say.
        reach.admit_all(addresses)
        return addresses[:_MOST_TRIED]


async def _asked(
    transport: httpx.AsyncHTTPTransport,
    target: Target,
    addresses: Sequence[Address],
    limits: FetchLimits,
    *,
    headers: Mapping[str, str],
    body: bytes | None = None,
) -> httpx.Response:
    """The head of the answer of the first address that takes a connection."""
    timeout = {"connect": limits.connect_s, "read": limits.idle_s, "write": limits.idle_s, "pool": limits.connect_s}
    for address in addresses:
        url = httpx.URL(scheme=target.scheme, host=str(address), port=target.port, raw_path=target.path.encode("ascii"))
        # The connection goes to the address; TLS asks for the name, and the certificate has to be the name's.
        extensions = {"timeout": timeout, "sni_hostname": target.host}
        request = httpx.Request(
            "GET" if body is None else "POST",
            url,
            headers={"Host": target.authority, **_HEADERS, **headers},
            content=body,
            extensions=extensions,
        )
        try:
            response = await transport.handle_async_request(request)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            continue
        except httpx.TimeoutException as error:
            raise SourceTimedOut from error
        except httpx.TransportError as error:
            raise SourceUnavailable from error
        response.request = request
        return response
    raise SourceUnavailable


def _check(response: httpx.Response, limits: FetchLimits) -> None:
    """Return for a whole answer that is not too long. Raises as Outbound.fetch."""
    status, headers = response.status_code, response.headers
    if status == 429 or status >= 500:
        raise SourceUnavailable
    if status != 200:
        raise SourceRefused(f"The source answers with {status}.")
    if headers.get("content-encoding", "identity").strip().casefold() not in ("", "identity"):
        raise SourceRefused("The source sends an encoding that was not asked for.")
    length = headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length[:20]) > limits.max_bytes:
        raise _too_many(limits)


async def _body(response: httpx.Response, limits: FetchLimits, deadline: float) -> AsyncGenerator[bytes]:
    chunks, size = response.aiter_raw(), 0
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                chunk = await anext(chunks, None)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise SourceTimedOut from error
        except httpx.TransportError as error:
            raise SourceUnavailable from error
        if chunk is None:
            return
        size += len(chunk)
        if size > limits.max_bytes:
            raise _too_many(limits)
        yield chunk


def _too_many(limits: FetchLimits) -> TooManyBytes:
    return TooManyBytes(f"The file has more than {limits.max_bytes} bytes.", limit=limits.max_bytes)
