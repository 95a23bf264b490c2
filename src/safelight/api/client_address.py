"""Who is at the other end: the peer's address, or what a trusted proxy says of it. Nobody else's word is taken."""

from __future__ import annotations

import ipaddress
from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any, Final

import structlog

from safelight.settings import Server

log = structlog.get_logger()

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_MOST_PROXIES: Final = 20
_LONGEST: Final = 64
"""Letters of a word that are looked at, and remembered: an address with its zone and port has fewer."""


class ClientAddress:
    """Made once per app.

    Args:
        trusted: Addresses and networks, divided by commas or spaces.
        header: Where they tell the client's address, each hop appended behind the one before (`X-Forwarded-For`).

    """

    def __init__(self, trusted: str, header: str) -> None:
        words = trusted.replace(",", " ").split()
        self._trusted: Final = tuple(ipaddress.ip_network(word, strict=False) for word in words)
        self._header: Final = header.lower().encode()
        self._has_warned = False

    def of(self, scope: MutableMapping[str, Any]) -> str:
        """The address as text; empty where the server does not know its peer (a socket of files).

        Read from the right, since everything left of the first stranger is that stranger's word.
        """
        client = scope.get("client")
        peer = _parsed(client[0]) if client else None
        if peer is None:
            return ""
        if not self._trusted:
            self._warn(peer, scope)
            return str(peer)
        if not self._trusts(peer):
            return str(peer)
        told = b",".join(value for name, value in scope["headers"] if name == self._header)
        nearest = peer
        for word in reversed(told.decode("latin-1").rsplit(",", _MOST_PROXIES)[-_MOST_PROXIES:]):
            address = _parsed(word.strip()[:_LONGEST])
            if address is None:
                break
            nearest = address
            if not self._trusts(address):
                break
        return str(nearest)

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)

    def _warn(self, peer: Address, scope: MutableMapping[str, Any]) -> None:
        """Everybody behind a proxy that we do not know is one client, and shares one limit."""
        if not self._has_warned and peer.is_private and any(name == self._header for name, _ in scope["headers"]):
            self._has_warned = True
            log.warning("proxy.not_trusted", setting="SAFELIGHT_SERVER__TRUSTED_PROXIES", header=self._header.decode())


def client_address(server: Server) -> ClientAddress:
    """As the settings say."""
    return ClientAddress(server.trusted_proxies, server.client_header)


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Address | None:
    """The address, without a port or brackets; an IPv4 one that came over IPv6 as what it is."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
