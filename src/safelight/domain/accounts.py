"""Who exists: tenants, users, API keys, and the actor that a request turns into."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from ipaddress import IPv6Network, ip_address, ip_network
from typing import Final

from safelight.domain.addresses import Network
from safelight.domain.ids import ErasureId, KeyId, SessionId, TenantId, UserId
from safelight.domain.names import version_of
from safelight.domain.recipes import NO_RECIPES, Recipes
from safelight.domain.tenants import NOTHING, UNLIMITED, Quotas, Stored
from safelight.errors import BadField, BadOption, TenantSuspended

MAX_NETWORKS: Final = 50
"""Entries of one key's allow-list."""


class Role(StrEnum):
    """user: own things; admin: everything of the tenant; operator: the installation."""

    USER = "user"
    ADMIN = "admin"
    OPERATOR = "operator"


class Scope(StrEnum):
    """What an API key may be used for; a key never does more than its user's role allows."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


def scopes_of(role: Role) -> frozenset[Scope]:
    """What somebody of this role may be allowed at most."""
    usual = frozenset({Scope.READ, Scope.WRITE})
    return usual if role is Role.USER else usual | {Scope.ADMIN}


class Grammar(StrEnum):
    """How a delivery URL is written and signed: our own way, or as another server's clients do."""

    NATIVE = "native"
    IMGPROXY = "imgproxy"
    THUMBOR = "thumbor"


class DuplicatePolicy(StrEnum):
    """What an upload of bytes that the tenant already has leads to."""

    TELL = "tell"
    REFUSE = "refuse"
    REUSE = "reuse"


def hash_of(secret: str) -> bytes:
    """What is kept in the place of a random secret: SHA-256, since nobody guesses so many random bits as its makers draw."""
    return hashlib.sha256(secret.encode(errors="replace")).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """An isolated customer of the installation. `revision` counts every change of the record, which what is stored is no part of."""

    id: TenantId
    name: str
    created_at: datetime
    trash_days: int = 30
    duplicates: DuplicatePolicy = DuplicatePolicy.TELL
    revision: int = 1
    suspended_at: datetime | None = None
    erasure: ErasureId | None = None
    """That removes it with everything of it, for good."""
    erased_at: datetime | None = None
    """Since when this is only a stone: a name that nobody can choose, and the audit trail."""
    quotas: Quotas = UNLIMITED
    origins: tuple[str, ...] = ()
    """Of pages that may read the API's answers to its users, beside those of the installation."""
    domains: tuple[str, ...] = ()
    """Host names at which the installation is this tenant's alone; the first is the one in its URLs."""
    sources: tuple[str, ...] = ()
    """Places elsewhere from which its pictures are delivered, as `domain.sources` spells them; nothing is where there are none."""
    presets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Transforms by name, every version that was given out; the last is the one of now."""
    recipes: Recipes = NO_RECIPES
    """How its pictures are developed, where that is not the installation's way."""
    stored: Stored = NOTHING
    """Counted by the catalog with every image that comes, changes or goes."""

    def preset(self, name: str) -> tuple[str, bool]:
        """What `card` stands for now, or `card@2` for ever, and which of the two it is. Raises BadOption."""
        found = version_of(name, self.presets)
        if found is None:
            raise BadOption(f"There is no preset {name[:50]!r} here; transforms look like w=300,h=200.", option="preset")
        bare, number = found
        return self.presets[bare][number - 1], name != bare

    def require_active(self) -> None:
        """Raises TenantSuspended."""
        if self.suspended_at is not None:
            raise TenantSuspended


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person or a program that owns things."""

    id: UserId
    tenant: TenantId
    name: str
    role: Role
    created_at: datetime
    disabled_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """`sl_<id>_<secret>`; only the SHA-256 of the secret (256 random bits) is kept."""

    id: KeyId
    tenant: TenantId
    user: UserId
    name: str
    secret_hash: bytes
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    networks: tuple[Network, ...] = ()
    """Where it may be used from; from anywhere when there are none."""

    def is_live(self, now: datetime) -> bool:
        """Neither revoked nor past its expiry."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def admits(self, address: str) -> bool:
        """Whether it may be used from this client address. One that is not known is in no network."""
        if not self.networks:
            return True
        try:
            where = ip_address(address)
        except ValueError:
            return False
        return any(where.version == network.version and where in network for network in self.networks)


def allow_list(words: Sequence[str]) -> tuple[Network, ...]:
    """Addresses and networks in CIDR notation, each once, an IPv4 one inside IPv6 as what it is. Raises BadField."""
    if len(words) > MAX_NETWORKS:
        raise BadField(f"An allow-list has at most {MAX_NETWORKS} networks.", field="networks")
    found: dict[Network, None] = {}
    for word in words:
        try:
            network: Network = ip_network(word.strip())  # strict: bits behind the mask are a slip of the pen
            if "%" in word or network.prefixlen == 0:
                raise ValueError
        except ValueError:
            raise BadField(f"{word[:60]!r} is no network such as 192.0.2.0/24 or 2001:db8::/32.", field="networks") from None
        if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped and network.prefixlen >= 96:
            network = ip_network((network.network_address.ipv4_mapped, network.prefixlen - 96))
        found[network] = None
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """One key of a tenant's ring for delivery URLs. The newest live one of a grammar signs, every live one verifies.

    A tenant takes imgproxy's or thumbor's URLs as soon as its ring has a key for them. `salt` is imgproxy's, and `size_bytes` how
    much of its signatures counts.
    """

    kid: str
    tenant: TenantId
    secret: bytes = field(repr=False)
    created_at: datetime
    retired_at: datetime | None = None
    grammar: Grammar = Grammar.NATIVE
    salt: bytes = field(default=b"", repr=False)
    size_bytes: int = 32

    def is_live(self, now: datetime) -> bool:
        """Neither retired nor past its grace."""
        return self.retired_at is None or now < self.retired_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who asks: the user behind the credentials, with what those credentials allow."""

    tenant: TenantId
    user: UserId
    role: Role
    scopes: frozenset[Scope]
    key: KeyId | None = None
    session: SessionId | None = None
    proven_at: datetime | None = None
    """When the user last showed who they are, as the token says (`auth_time`); None for keys and for issuers that do not tell."""
