"""Rates: how often something may be done, as a bucket that refills evenly. Pure arithmetic; adapters.cache keeps the buckets."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from math import floor
from typing import Final

_HAIR_S: Final = 1e-6
"""Sums of floats miss by less than this, and nobody is refused for a millionth of a second."""

_IPV6_CUSTOMER: Final = 64
"""Bits: a household has at least that many addresses to choose from (RFC 6177), so it counts as one."""


@dataclass(frozen=True, slots=True)
class Rate:
    """`per_s` tokens a second, and at most `burst` of them saved up."""

    per_s: float
    burst: int

    @property
    def window_s(self) -> float:
        """Seconds in which an empty bucket fills."""
        return self.burst / self.per_s


@dataclass(frozen=True, slots=True)
class Grant:
    """What became of the asking: `remaining` whole tokens, and seconds until the same asking can succeed (0 when it did)."""

    is_granted: bool
    remaining: int
    retry_after_s: float = 0.0


def drawn(full_at_s: float, now_s: float, rate: Rate, cost: int) -> tuple[float, Grant]:
    """When the bucket will be full again, and the grant. A refusal costs nothing. Raises ValueError for more than the burst.

    The generic cell rate algorithm (ITU-T I.371, virtual scheduling): the one moment says as much as a count and its time.
    """
    if not 0 < cost <= rate.burst:
        raise ValueError(f"{cost} tokens from a bucket of {rate.burst}")
    start_s = max(full_at_s, now_s)
    after_s = start_s + cost / rate.per_s
    late_s = after_s - now_s - rate.window_s
    if late_s > _HAIR_S:
        return full_at_s, Grant(is_granted=False, remaining=_left(start_s - now_s, rate), retry_after_s=late_s)
    return after_s, Grant(is_granted=True, remaining=_left(after_s - now_s, rate))


def _left(until_full_s: float, rate: Rate) -> int:
    return max(0, floor(rate.burst - until_full_s * rate.per_s + _HAIR_S * rate.per_s + 1e-9))


@lru_cache(maxsize=4096)
def counted_as(address: str) -> str:
    """What is counted together: an IPv4 address, or the network of an IPv6 customer."""
    if ":" not in address:
        return address
    return str(ipaddress.ip_network((address, _IPV6_CUSTOMER), strict=False))
