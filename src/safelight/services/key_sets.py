"""Key sets of outside issuers: fetched within bounds, kept, and asked for by key id.

A token names the key that it wants, and whoever writes tokens can name any number of keys. So a key that is not there is a reason
to fetch the set anew, but not more often than the floor allows, and however many ask, one fetch is under way. While the issuer
does not answer, the set that it gave last is believed up to a limit. What is fetched is data: its size, its keys and the time
that it takes are bounded, and the address is judged as every address is that somebody gave us (`ports.outbound`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import orjson
import structlog

from safelight import jose
from safelight.concurrency import SingleFlight
from safelight.domain.addresses import Reach, parse
from safelight.errors import SafelightError, SourceNotAllowed, SourceRefused, Unavailable
from safelight.jose import BadToken, PublicKey
from safelight.ports.outbound import FetchLimits, Outbound

log = structlog.get_logger()

Source = tuple[str, str]
"""An issuer, and where its keys are when that is not to be asked of itself."""
MAX_KEYS: Final = 100
DISCOVERY: Final = "/.well-known/openid-configuration"
_SETS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySetRules:
    """Where to go and how often. `fresh_s`: until a set is fetched anew; `stale_s`: until it is believed no more when that fails."""

    reach: Reach
    limits: FetchLimits
    fresh_s: float
    stale_s: float
    floor_s: float
    is_http_allowed: bool


@dataclass(frozen=True, slots=True)
class KeySet:
    """What an issuer publishes, as far as it can verify anything."""

    url: str
    keys: Mapping[tuple[str, str], PublicKey]
    """By key id and algorithm."""


@dataclass(frozen=True, slots=True)
class _Kept:
    tried_at: float
    fetched_at: float = 0.0
    keys: Mapping[tuple[str, str], PublicKey] | None = None


class KeySets:
    """One per process.

    Args:
        outbound: How to get there.
        rules: Where to, how much, how often.
        now: Seconds that never go back.

    """

    def __init__(self, outbound: Outbound, rules: KeySetRules, *, now: Callable[[], float]) -> None:
        self._outbound: Final = outbound
        self._rules: Final = rules
        self._now: Final = now
        self._kept: Final[dict[Source, _Kept]] = {}
        self._flights: Final[SingleFlight[Source, None]] = SingleFlight()
        self._behind: Final[dict[Source, asyncio.Future[None]]] = {}

    async def key(self, source: Source, kid: str, algorithm: str) -> PublicKey:
        """The source's key of that id for that algorithm. Raises BadToken; Unavailable while the issuer's keys cannot be had."""
        key = self._known(source).get((kid, algorithm))
        if key is not None:
            if self._now() - self._kept[source].fetched_at > self._rules.fresh_s:
                self._refresh_behind(source)
            return key
        await self._refreshed(source)
        known = self._known(source)
        if not known:
            raise Unavailable("The keys of the token's issuer cannot be had.", retry_after_s=max(1, int(self._rules.floor_s)))
        try:
            return known[kid, algorithm]
        except KeyError:
            raise BadToken("no such key") from None

    async def fetch(self, source: Source) -> KeySet:
        """What it publishes now, whatever is kept. Raises SourceRefused for what is no key set, and what Outbound and URLs raise."""
        issuer, url = source
        if not url:
            document = await self._document(issuer.rstrip("/") + DISCOVERY)
            if document.get("issuer") != issuer:  # OpenID Connect Discovery 1.0 section 4.3
                raise SourceRefused("The issuer's configuration is that of another issuer.")
            url = document.get("jwks_uri", "")
            if not isinstance(url, str):
                raise SourceRefused("The issuer's configuration does not say where its keys are.")
        listed = (await self._document(url)).get("keys")
        if not isinstance(listed, list) or len(listed) > MAX_KEYS:
            raise SourceRefused(f"A key set has a list of at most {MAX_KEYS} keys.")
        keys: dict[tuple[str, str], PublicKey] = {}
        for jwk in listed:
            try:
                made = jose.keys_of(jwk) if isinstance(jwk, dict) else []
            except BadToken:
                continue  # a key for encryption, or of a kind to come: the others are good all the same
            for key in made:
                keys.setdefault((key.kid, key.algorithm), key)
        return KeySet(url, keys)

    def _known(self, source: Source) -> Mapping[tuple[str, str], PublicKey]:
        kept = self._kept.get(source)
        if kept is None or kept.keys is None or self._now() - kept.fetched_at > self._rules.stale_s:
            return {}
        return kept.keys

    async def _refreshed(self, source: Source) -> None:
        """After a fetch that somebody else may have begun; at once when the last one was just now."""
        if self._may_try(source):
            await self._flights.do(source, partial(self._refresh, source))

    def _refresh_behind(self, source: Source) -> None:
        """Nobody waits: what is kept is good until it is stale."""
        if self._may_try(source) and source not in self._behind:
            self._behind[source] = task = asyncio.ensure_future(self._refreshed(source))
            task.add_done_callback(lambda _: self._behind.pop(source, None))

    def _may_try(self, source: Source) -> bool:
        kept = self._kept.get(source)
        return kept is None or self._now() - kept.tried_at >= self._rules.floor_s

    async def _refresh(self, source: Source) -> None:
        before = self._kept.get(source) or _Kept(self._now())
        try:
            found = await self.fetch(source)
        except SafelightError as error:
            log.warning("issuer.keys_unavailable", issuer=source[0], url=source[1], code=error.code, why=error.detail)
            self._keep(source, replace(before, tried_at=self._now()))
        else:
            self._keep(source, _Kept(self._now(), self._now(), found.keys))

    def _keep(self, source: Source, kept: _Kept) -> None:
        self._kept.pop(source, None)
        self._kept[source] = kept
        if len(self._kept) > _SETS:
            del self._kept[next(iter(self._kept))]

    async def _document(self, url: str) -> dict[str, Any]:
        target = parse(url)
        if target.scheme == "http" and not self._rules.is_http_allowed:
            raise SourceNotAllowed("Keys come by https.")
        async with self._outbound.fetch(target, reach=self._rules.reach, limits=self._rules.limits) as chunks:
            body = b"".join([chunk async for chunk in chunks])
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            document = None
        if not isinstance(document, dict):
            raise SourceRefused("What is there is no JSON object.")
        return document
