"""Addresses elsewhere: what a URL of a stranger names, and whether this installation may go there. Pure: nothing is resolved here.

Called by whatever follows a URL that it was given: imports today, and nothing of theirs is in here. The threat is server-side
request forgery: a URL that makes us ask what its author cannot reach: the host itself, its network, its cloud's metadata. So
`parse` takes one spelling of a host and refuses the clever ones, and `Reach` judges addresses, never names, and the IPv4 address
inside an IPv6 one as well. Who connects must do so to the very address that was judged (see ports.outbound).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Literal
from urllib.parse import quote, unquote, urljoin, urlsplit

import idna

from safelight.errors import BadField, SourceNotAllowed, SourceUnreachable

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_URL: Final = 2048
DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PATH: Final = "/%:@!$&'()*+,;=~-._"

# IANA IPv4 Special-Purpose Address Registry (RFC 6890), multicast (RFC 5771) and the rest up to broadcast.
_CLOSED_4: Final = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network; Linux connects 0.0.0.0 to itself
        "10.0.0.0/8",
        "100.64.0.0/10",  # RFC 6598, carrier-grade NAT; Alibaba's metadata is in it
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's own server for its machines, reachable from inside only
        "169.254.0.0/16",  # link-local; the metadata of most clouds is in it
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",  # RFC 7526, once the way to any 6to4 relay
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_OPEN_6: Final = IPv6Network("2000::/3")
"""RFC 4291 section 2.4: all that is given out for the Internet. Loopback, unique and link-local, site-local, multicast, the
IPv4-compatible and NAT64's local-use prefix (RFC 8215) are outside."""
_CLOSED_6: Final = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # RFC 2928: Teredo (RFC 4380), benchmarking, ORCHID and others that no web server has
        "2001:db8::/32",
        "2002::/16",  # 6to4 (RFC 3056, deprecated by RFC 7526): a tunnel to the IPv4 address that it contains
        "3fff::/20",  # RFC 9637
    )
)
_NAT64: Final = IPv6Network("64:ff9b::/96")
"""RFC 6052: where IPv6 is all there is, DNS64 spells the whole IPv4 Internet so; judged by what is inside."""
_ISATAP: Final = frozenset({0x00005EFE, 0x02005EFE})
"""RFC 5214 section 6.1: the upper half of an interface id whose lower half is an IPv4 address."""


@dataclass(frozen=True, slots=True)
class Target:
    """One http or https URL, in one spelling. `host` is lower-case ASCII without a trailing dot, or an address without brackets."""

    scheme: Literal["http", "https"]
    host: str
    port: int
    path: str
    """With the query, percent-encoded, as it goes into the request line."""

    @property
    def address(self) -> Address | None:
        """The address that the URL itself spells; None for a name."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None

    @property
    def authority(self) -> str:
        """The value of the Host header (RFC 9110 section 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def file_name(self) -> str:
        """The last part of the path, as its author would have written it; empty when there is none."""
        return unquote(self.path.partition("?")[0].rpartition("/")[2])

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"

    def redirected(self, location: str) -> Target:
        """Where a Location header leads from here. Raises BadField, SourceNotAllowed when it leads out of TLS."""
        try:
            joined = urljoin(str(self), location)
        except ValueError:
            raise _bad("is not well formed") from None
        target = parse(joined)
        if self.scheme == "https" and target.scheme == "http":
            raise SourceNotAllowed("The source leads from https to http.")
        return target


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Where one use of this installation may go. By default: to any public address, on the ports of the web.

    `networks` are open although they are not public; `hosts` are the only names then, `*.example.com` being those below; `is_listed`
    has the last word on a whole URL.
    """

    networks: tuple[Network, ...] = ()
    ports: frozenset[int] = frozenset(DEFAULT_PORTS.values())
    hosts: tuple[str, ...] = ()
    is_listed: Callable[[Target], bool] | None = None

    def admit(self, target: Target) -> None:
        """Return when nothing of the URL itself is against it. Raises SourceNotAllowed; SourceUnreachable for a closed address."""
        if self.hosts and not any(_matches(target.host, pattern) for pattern in self.hosts):
            raise SourceNotAllowed
        if target.port not in self.ports:
            raise SourceNotAllowed("The source is on a port from which nothing is taken.")
        if self.is_listed is not None and not self.is_listed(target):
            raise SourceNotAllowed
        if target.address is not None:
            self.admit_all([target.address])

    def admit_all(self, addresses: Iterable[Address]) -> None:
        """Return when every one of them may be asked. Raises SourceUnreachable: who asks must not learn what a name means here."""
        if not all(self.opens(address) for address in addresses):
            raise SourceUnreachable

    def opens(self, address: Address) -> bool:
        """Whether that address may be asked."""
        meant = _meant(address)
        return any(meant.version == network.version and meant in network for network in self.networks) or is_public(address)


def is_public(address: Address) -> bool:
    """Whether the address is one of the Internet's, and so is every IPv4 address in it.

    Not `ipaddress.is_global`: its tables change with the patch release of Python, and it does not look inside.
    """
    address = _meant(address)
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _CLOSED_4)
    if address.scope_id is not None or address not in _OPEN_6 or any(address in network for network in _CLOSED_6):
        return False
    is_isatap = (int(address) >> 32) & 0xFFFFFFFF in _ISATAP
    return not is_isatap or is_public(IPv4Address(int(address) & 0xFFFFFFFF))


def _meant(address: Address) -> Address:
    """The IPv4 address where an IPv6 one is another way to write or to route it."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def parse(url: str) -> Target:
    """What the URL names (RFC 3986), if there is only one way to read it. Raises BadField."""
    if not 0 < len(url) <= MAX_URL:
        raise _bad(f"has 1 to {MAX_URL} characters")
    # Parsers disagree on what these mean, and urlsplit drops some of them without a word.
    if any(char <= " " or char in "\\\x7f" or "\x80" <= char <= "\xa0" or "\ud800" <= char <= "\udfff" for char in url):
        raise _bad("has no blanks, backslashes or control characters")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _bad("is not well formed") from None
    scheme: Literal["http", "https"]
    match parts.scheme:
        case "http" | "https" as scheme:
            pass
        case _:
            raise _bad("begins with http:// or https://")
    host, port = _authority(parts.netloc)
    path = quote(parts.path or "/", safe=_PATH) + (f"?{quote(parts.query, safe=_PATH + '?')}" if parts.query else "")
    return Target(scheme, host, DEFAULT_PORTS[scheme] if port is None else port, path)


def network(text: str) -> Network:
    """A network of the settings, `10.0.0.0/8`, or one address. Raises ValueError."""
    return ip_network(text, strict=False)


def _authority(netloc: str) -> tuple[str, int | None]:
    if "@" in netloc:
        raise _bad("carries no user and no password")
    if netloc.startswith("["):
        inside, bracket, rest = netloc[1:].partition("]")
        try:
            if "%" in inside or not bracket or rest[:1] not in ("", ":"):  # RFC 6874: a zone is this machine's affair
                raise ValueError
            return str(IPv6Address(inside)), _port(rest[1:])
        except ValueError:
            raise _bad("has no valid IPv6 address") from None
    host, _, port = netloc.partition(":")
    return _name(host), _port(port)


def _port(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536):
        raise _bad("has no valid port")
    return int(text)


def _name(text: str) -> str:
    """A host name, or a dotted quad. Every other spelling of an IPv4 address (WHATWG URL, section 3.5) is refused."""
    if len(text) > 253:
        raise _bad("has no valid host")
    if not text.isascii():
        try:
            text = idna.encode(text, uts46=True).decode("ascii")  # UTS 46: full-width digits and dots become plain ones
        except UnicodeError:
            raise _bad("has no valid host") from None
    name = text.lower().removesuffix(".")
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise _bad("has no valid host")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return str(IPv4Address(name))
        except ValueError:
            raise _bad("spells an IPv4 address otherwise than as four decimal numbers") from None
    return name


def _matches(host: str, pattern: str) -> bool:
    pattern = pattern.lower()
    return host.endswith(pattern[1:]) and host != pattern[2:] if pattern.startswith("*.") else host == pattern


def _bad(what: str) -> BadField:
    return BadField(f"url {what}.", field="url")
