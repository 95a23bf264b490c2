"""Which adapter keeps which promise: the only module that knows. `build(settings)` makes the services, `open` connects them.

Adapters are imported where they are chosen, so that a command that needs few of them starts fast.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import math
import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict, Unpack
from urllib.parse import urlsplit

import structlog

from safelight import flows
from safelight.adapters.cache.memory import MemoryCache
from safelight.concurrency import AtHand, Bell, ByteLru, Expiring, Gate
from safelight.domain.accounts import Actor, ApiKey
from safelight.domain.addresses import Reach, network
from safelight.domain.ids import ImageId, IssuerId
from safelight.domain.issuers import TrustedIssuer, require_sound
from safelight.domain.people import Patience
from safelight.domain.purges import Ground
from safelight.domain.tenants import Quotas
from safelight.domain.uploads import DropFolder
from safelight.domain.usage import Prices
from safelight.domain.webhooks import MAX_EXCERPT
from safelight.errors import BadField, DataDirInUse, WrongState
from safelight.imaging import Limits, Recipe, Sandbox
from safelight.imaging.transform import Fonts
from safelight.imaging.transform.imgproxy import read_presets
from safelight.letters import Letters
from safelight.observability import Instruments
from safelight.passkeys import RelyingParty
from safelight.passwords import Breached, Hasher
from safelight.ports.archive import Archive, Moments
from safelight.ports.cache import Cache
from safelight.ports.catalog import Catalog
from safelight.ports.cdn import Cdn
from safelight.ports.inbox import Inbox
from safelight.ports.incoming import Incoming, Reception
from safelight.ports.mailer import Mailer
from safelight.ports.outbound import FetchLimits, Outbound
from safelight.ports.search import Search
from safelight.ports.shelf import Shelf
from safelight.ports.storage import Storage
from safelight.ports.vault import Vault
from safelight.ports.workflows import Workflows
from safelight.services.accounts import Accounts
from safelight.services.albums import Albums
from safelight.services.announcing import Announcing
from safelight.services.api_keys import ApiKeys
from safelight.services.audited import Audited
from safelight.services.cloudfront import CloudFront
from safelight.services.courier import Courier, CourierRules
from safelight.services.delivery import Delivery, DeliveryLimits
from safelight.services.development import Buckets, Development
from safelight.services.erasure import Erasure
from safelight.services.factors import Factors
from safelight.services.history import History
from safelight.services.imports import ImportRules, Imports
from safelight.services.ingest import Ingest
from safelight.services.issuers import TrustedIssuers
from safelight.services.key_sets import KeySetRules, KeySets
from safelight.services.library import Library
from safelight.services.limiter import Limiter
from safelight.services.lockout import Lockout
from safelight.services.meter import Meter
from safelight.services.moving import Holdings
from safelight.services.outside import Outside
from safelight.services.passkeys import Passkeys
from safelight.services.passwords import Passwords
from safelight.services.post import Codes, Post
from safelight.services.progress import Progress, StreamLimits
from safelight.services.purges import Purges
from safelight.services.pyramids import Pyramids
from safelight.services.reconciler import SAFE, Reconciler
from safelight.services.relay import Relay
from safelight.services.remembered import Forgetting, Remembered
from safelight.services.resumable import Resumable
from safelight.services.rounds import Rounds
from safelight.services.secondleg import SecondLeg
from safelight.services.signin import SignIn
from safelight.services.signup import SignUp
from safelight.services.standing import Standing
from safelight.services.stepup import StepUp
from safelight.services.store_events import StoreEvents
from safelight.services.takeout import Takeout
from safelight.services.tenants import Tenants
from safelight.services.tickets import Challenges, Tickets
from safelight.services.tokens import BELIEVED_S, Bearers, Tokens
from safelight.services.trail import Trail
from safelight.services.turns import Turns
from safelight.services.upkeep import Upkeep
from safelight.services.uploads import UploadLimits, Uploads
from safelight.services.webhooks import WebhookRules, Webhooks
from safelight.settings import Settings, listed, settled_issuers

if TYPE_CHECKING:
    from safelight.adapters.catalog.secretbox import SecretBox
    from safelight.adapters.storage.incoming import EmbeddedIncoming
    from safelight.adapters.storage.s3 import S3Options, S3Store
    from safelight.adapters.storage.s3.governance import Governance

log = structlog.get_logger()

LONGEST_UPLOAD: Final = timedelta(hours=1)
"""From an upload's bytes to its row, with much to spare."""
Clock = Callable[[], datetime]
Opening = Callable[[], Awaitable[object]]


def utc_now() -> datetime:
    """The clock of real life."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Part:
    """Something that is opened and closed; what can be asked how it is, readiness asks."""

    name: str
    open: Opening
    close: Opening
    ping: Opening | None
    is_vital: bool = True
    """Without it nothing goes; without the others everything goes slower."""


@dataclass(frozen=True)
class Safelight:
    """Every service of one process, connected between `open` and `close`."""

    settings: Settings
    instruments: Instruments
    catalog: Catalog
    cache: Cache
    limiter: Limiter
    standing: Standing
    tenants: Tenants
    meter: Meter
    workflows: Workflows
    sandbox: Sandbox
    accounts: Accounts
    api_keys: ApiKeys
    issuers: TrustedIssuers
    signup: SignUp
    signin: SignIn
    tokens: Tokens
    step_up: StepUp
    second_leg: SecondLeg
    factors: Factors
    passkeys: Passkeys
    trail: Trail
    takeout: Takeout
    erasure: Erasure
    ingest: Ingest
    library: Library
    albums: Albums
    development: Development
    delivery: Delivery
    relay: Relay
    upkeep: Upkeep
    reconciler: Reconciler
    uploads: Uploads
    resumable: Resumable
    imports: Imports
    progress: Progress
    history: History
    webhooks: Webhooks
    courier: Courier
    purges: Purges
    reception: Reception | None
    """Takes what is uploaded directly, where no store does."""
    store_events: StoreEvents
    listening: tuple[tuple[str, Opening], ...]
    """What workers do for as long as they live, beside the relay."""
    parts: tuple[Part, ...]
    chores: tuple[tuple[str, float, Opening], ...]
    _opened: list[Part] = field(default_factory=list)

    @property
    def pings(self) -> Mapping[str, Opening]:
        """What readiness asks, by name."""
        return {part.name: part.ping for part in self.parts if part.ping is not None}

    @property
    def is_draining(self) -> bool:
        """Not open: no traffic should come here."""
        return len(self._opened) != len(self.parts)

    async def open(self) -> None:
        """Connect every part, all at once: some wait for processes while others import. One that cannot closes the others."""

        async def connect(part: Part) -> None:
            await part.open()
            self._opened.append(part)

        results = await asyncio.gather(*map(connect, self.parts), return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        if failures:
            await self.close()
            raise failures[0]

    @contextlib.asynccontextmanager
    async def beside(self) -> AsyncIterator[Safelight]:
        """Connected to what is kept and taking no part in the work, for a command beside the servers and workers."""
        async with contextlib.AsyncExitStack() as opened:
            for part in self.parts:
                if part.name in ("catalog", "cache", "storage", "search"):
                    await part.open()
                    opened.push_async_callback(part.close)
            yield self

    async def close(self) -> None:
        """Let go of every part, work before what it works on; one that cannot be closed does not keep the others."""
        for part in sorted(self._opened, key=self.parts.index, reverse=True):
            self._opened.remove(part)
            try:
                await part.close()
            except Exception:
                log.exception("part.close_failed", part=part.name)


class Overrides(TypedDict, total=False):
    """What a test may say instead: `build(Settings(), catalog=MemoryCatalog())`."""

    clock: Clock
    catalog: Catalog
    cache: Cache
    originals: Archive
    renditions: Archive
    incoming: Storage
    inbox: Inbox
    search: Search
    shelf: Shelf
    mailer: Mailer
    outbound: Outbound
    fronts: Sequence[Cdn]
    workflows: Callable[[flows.Bound], Workflows]


def build(settings: Settings, **overrides: Unpack[Overrides]) -> Safelight:
    """Make every service, connected to nothing until `open`; only the catalog's key file is read, or made, at once."""
    clock = overrides.get("clock", utc_now)
    instruments = Instruments()
    parts: list[Part] = []

    catalog = overrides.get("catalog") or _catalog(settings)
    parts.append(Part("catalog", catalog.open, catalog.close, catalog.ping))

    shared = overrides.get("cache") or _shared_cache(settings)
    cache = shared or MemoryCache()
    parts.append(Part("cache", cache.open, cache.close, cache.ping, is_vital=False))
    days = settings.audit.retention_days
    trail_keys = derived(_catalog_keys(settings), "audit pseudonyms")
    trail = Trail(catalog, clock, trail_keys, timedelta(days=days) if days else None)
    parts.append(Part("trail", _nothing, trail.close, None))
    if shared is not None:
        catalog = Forgetting(catalog, shared)
    catalog = Audited(catalog, clock, trail_keys[0], trail.appended)
    # An index of DynamoDB may lag behind what was committed: a page that was read too early would be kept for minutes.
    page_s = 0.0 if settings.is_on_dynamodb else settings.cache.page_s
    remembered = Remembered(catalog, shared, instruments, settings.cache.record_s, page_s)

    sweep: Opening | None = None
    store: S3Store | None = None
    incoming: Incoming
    reception: Reception | None = None
    if "originals" in overrides and "renditions" in overrides:
        buckets = Buckets(overrides["originals"], overrides["renditions"])
        incoming = reception = _embedded(settings, overrides.get("incoming") or buckets.originals, buckets.originals)
    else:
        kept = _kept(settings)
        buckets, incoming, reception = kept.buckets, kept.incoming, kept.reception
        sweep, store = kept.sweep, kept.s3
        parts.append(kept.part)

    search = overrides.get("search") or _search(settings)
    parts.append(Part("search", search.open, search.close, search.ping))

    limits = Limits(
        max_bytes=settings.limits.max_bytes,
        max_pixels=settings.limits.max_pixels,
        max_buffered_pixels=settings.limits.max_buffered_pixels,
        max_frames=settings.limits.max_frames,
        max_animation_pixels=settings.limits.max_animation_pixels,
        cpu_s=math.ceil(settings.limits.decode_s),
        wall_s=3 * settings.limits.decode_s,
        memory_bytes=settings.limits.decode_memory_bytes,
    )
    sandbox = Sandbox(slots=settings.develop.slots, limits=limits)
    parts.append(Part("sandbox", sandbox.open, sandbox.close, sandbox.ping))

    shelf = overrides.get("shelf") or _shelf(settings)
    if shelf is not None:
        parts.append(Part("shelf", shelf.open, _nothing, None))

    known: Expiring[ImageId, object] = Expiring(ttl_s=2.0, size=10_000, now=time.monotonic)
    bell: Bell[ImageId] = Bell(also=known.drop)
    recipe = Recipe(
        webp_quality=settings.develop.webp_quality,
        jpeg_quality=settings.develop.jpeg_quality,
        master_quality=settings.develop.master_quality,
        linear_side=settings.develop.linear_side,
    )
    # One more than is decoded at a time: its bytes are fetched while the others are busy, and nobody else's wait in memory.
    fetching = Gate(capacity=settings.develop.slots + 1, queue=2 * settings.develop.waiting)
    at_hand: AtHand[str] = AtHand()
    gate = Gate(
        capacity=settings.delivery.render_memory_bytes,
        most=settings.delivery.max_renders,
        queue=settings.delivery.max_waiting,
    )
    turns = Turns(shared)
    headers: ByteLru[str] = ByteLru(1024**2, largest_bytes=64 * 1024)
    pyramids = Pyramids(buckets.originals, buckets.renditions, sandbox, gate, turns, instruments, headers)
    tiled_pixels = settings.develop.tiled_pixels
    development = Development(
        catalog, buckets, search, sandbox, recipe, clock, bell, instruments, fetching, at_hand, pyramids, tiled_pixels
    )

    async def erase(payload: Mapping[str, Any]) -> None:
        await development.erase(payload)
        if shelf is not None:
            await shelf.drop(f"{payload['tenant']}/{payload['image']}/")

    async def erased(payload: Mapping[str, Any]) -> None:
        await erase(payload)
        await purges.note(payload)

    async def mark(payload: Mapping[str, Any]) -> None:
        await development.mark(payload)
        await purges.note_trashed(payload)

    fronts = overrides.get("fronts", _cdns(settings, "front_distributions"))
    backs = _cdns(settings, "bucket_distributions")
    # Not vital, and not asked by readiness either: an API of few requests a second, without which delivery goes on.
    parts += [Part(f"cdn_{cdn.name}", cdn.open, cdn.close, None, is_vital=False) for cdn in (*fronts, *backs)]
    purges = Purges(catalog, fronts, backs, _ground(settings, has_front=bool(fronts), has_back=bool(backs)), clock, instruments)

    async def erasing(step: str, payload: Mapping[str, Any]) -> None:
        await getattr(erasure, step)(payload)

    secrets_of = partial(derived, _catalog_keys(settings))
    codes = Codes(secrets_of("one-time codes"), settings.mail.page_url or f"{settings.own_url}/account")
    post = Post(
        catalog,
        overrides.get("mailer") or _mailer(settings, clock),
        Letters(settings.mail.letters_path),
        codes,
        settings.mail.product,
        clock,
        instruments,
    )

    async def fetch(payload: Mapping[str, Any]) -> None:
        await imports.fetch(payload)

    stream_limits = StreamLimits(
        streams=settings.progress.streams,
        per_user=settings.progress.streams_per_user,
        kept=timedelta(days=settings.progress.kept_days),
    )
    progress = Progress(catalog, clock, instruments, stream_limits)
    parts.append(Part("progress", progress.open, progress.close, None))
    of_images: dict[tuple[str, str], flows.StepFunction] = {
        ("develop", "develop"): development.develop,
        ("develop", "index"): development.index,
        ("index", "index"): development.index,
        ("hide", "index"): development.index,
        ("hide", "mark"): mark,
        ("purge", "forget"): development.forget,
        ("purge", "erase"): erased,
    }

    def nudge_relay() -> None:
        relay.nudge()

    bound = flows.Bound(
        flows.FLOWS,
        {
            **{f"{flow}.{step}": progress.told(flow, step, do) for (flow, step), do in of_images.items()},
            # Not told: whose image it was may be erased, and the journal must not learn of them again.
            "purge.forget": development.forget,
            "purge.erase": erase,
            **{f"erase.{step.name}": partial(erasing, step.name) for step in flows.ERASE.steps},
            "mail.send": post.send,
            "import.fetch": fetch,
            "uncache.note": purges.note,
        },
        _gives_up(development, instruments),
    )
    make_workflows = overrides.get("workflows") or _engine(settings)
    workflows = make_workflows(bound)
    parts.append(Part("workflows", workflows.open, workflows.close, workflows.ping))

    outbound = overrides.get("outbound") or _outbound()
    courier = Courier(catalog, outbound, nudge_relay, clock, instruments, _courier_rules(settings))
    webhook_rules = WebhookRules(
        reach=courier.rules.reach,
        is_plain_http=settings.webhooks.is_plain_http,
        kept=timedelta(days=settings.webhooks.keep_days),
    )
    announcing = Announcing(catalog, clock, webhook_rules.kept, courier.nudge)
    relay = Relay(catalog, workflows, flows.STARTS, instruments, remembered, announcing.announce)
    library = Library(catalog, search, buckets.originals, relay, clock, bell, remembered)
    upkeep = Upkeep(catalog, buckets)
    standing = Standing(
        catalog,
        Quotas(**settings.quotas.model_dump()),
        Expiring(ttl_s=2.0, size=10_000, now=time.monotonic),
        Expiring(ttl_s=10.0, size=1, now=time.monotonic),
        Expiring(ttl_s=10.0, size=1, now=time.monotonic),
        urlsplit(settings.server.public_url).hostname or "",
    )
    prices = Prices(**settings.prices.model_dump(exclude={"currency"}))
    meter = Meter(catalog, clock, standing, prices)
    parts.append(Part("meter", meter.open, meter.close, None))
    ingest = Ingest(catalog, buckets.originals, sandbox, relay, clock, bell, standing, meter, at_hand)
    upload_limits = UploadLimits(
        max_bytes=settings.limits.max_bytes,
        ttl=timedelta(seconds=settings.uploads.ttl_s),
        spool_path=settings.spool_path,
        drop_folder=DropFolder(settings.events.drop_folder),
    )
    uploads = Uploads(catalog, incoming, ingest, clock, instruments, upload_limits)
    imports = Imports(uploads, outbound, relay, _import_rules(settings))
    store_events = StoreEvents(incoming, uploads, instruments)
    inbox = overrides.get("inbox") or _inbox(settings)
    if inbox is not None:
        parts.append(Part("inbox", inbox.open, inbox.close, inbox.ping, is_vital=False))
    believed: Expiring[bytes, tuple[Actor, float]] = Expiring(ttl_s=BELIEVED_S, size=10_000, now=time.monotonic)
    tokens = Tokens(
        catalog,
        clock,
        settings.issuer,
        settings.auth.audience,
        settings.auth.algorithm,
        timedelta(seconds=settings.auth.access_s),
        rings=Expiring(ttl_s=BELIEVED_S, size=1, now=time.monotonic),
        forget=believed.clear,
    )
    keys_believed: Expiring[str, tuple[Actor, ApiKey]] = Expiring(ttl_s=BELIEVED_S, size=10_000, now=time.monotonic)
    settled = _settled(settings)
    key_sets = KeySets(outbound, _key_set_rules(settings), now=time.monotonic)
    outside = Outside(
        catalog,
        key_sets,
        clock,
        settled={one.issuer: tuple(each for each in settled if each.issuer == one.issuer) for one in settled},
        known=Expiring(ttl_s=BELIEVED_S, size=1_000, now=time.monotonic),
        tenants=Expiring(ttl_s=BELIEVED_S, size=1_000, now=time.monotonic),
    )

    def forget_issuers() -> None:
        outside.forget()
        believed.clear()

    bearers = Bearers({tokens.name: tokens}, clock, believed, outside.issuer)
    passwords = _passwords(settings, secrets_of("password pepper"))
    patience = timedelta(seconds=settings.auth.longest_wait_s)
    lockout = Lockout(
        catalog,
        clock,
        secrets_of("names of failures")[0],
        account=Patience(free=settings.auth.account_failures, longest=patience),
        address=Patience(free=settings.auth.address_failures, longest=patience),
    )
    signup = SignUp(
        catalog, clock, relay, passwords, lockout, codes, frozenset(settings.auth.signup_tenants.split()), believed.clear
    )
    recovery_keys = secrets_of("recovery codes")
    step_up = StepUp(catalog, clock, relay, passwords, lockout, tokens, timedelta(seconds=settings.auth.step_up_s), recovery_keys)
    takeout = Takeout(catalog, buckets.originals, trail, clock)

    def forget_tokens() -> None:
        believed.clear()
        keys_believed.clear()

    erasure = Erasure(
        catalog, buckets.originals, search, incoming, trail, tokens, step_up, relay, clock, shred=erase, forget=forget_tokens
    )
    tickets = Tickets(secrets_of("sign-in tickets"))
    refresh_life = timedelta(seconds=settings.auth.refresh_s)
    webhooks = Webhooks(catalog, clock, webhook_rules, step_up, courier.nudge)
    signin = SignIn(catalog, clock, relay, passwords, lockout, tokens, refresh_life, step_up, tickets)
    chores: dict[str, Opening] = {
        "sample_usage": meter.sample,
        "resend_mail": lambda: post.resend(workflows, flows.MAIL.name),
        "sweep_sessions": signin.sweep,
        "sweep_journal": progress.sweep,
        "seal_trail": trail.seal,
        "prune_trail": trail.prune,
        "sweep_webhooks": webhooks.sweep,
        "purge_trash": library.purge_expired,
        "sweep_uploads": uploads.sweep,
        "sweep_incoming": uploads.sweep_objects,
        "sweep_orphans": lambda: upkeep.sweep_orphans(before=clock() - LONGEST_UPLOAD),
    }
    if settings.auth.key_days:
        chores["rotate_token_keys"] = lambda: tokens.rotate(after=timedelta(days=settings.auth.key_days))
    if purges.has_cdn:
        chores |= {"tell_cdn": purges.tell, "sweep_purges": purges.sweep}
    if settings.bucket.noncurrent_days:
        kept_for = timedelta(days=settings.bucket.noncurrent_days)
        chores["expire_noncurrent"] = lambda: upkeep.expire_noncurrent(before=clock() - kept_for)
    if store is not None:
        chores |= _stand_ins(store, settings, clock, chores)
    if sweep is not None:
        chores["sweep_objects"] = sweep
    prune = getattr(workflows, "prune", None)
    if prune is not None:
        chores["prune_runs"] = prune
    if settings.audit.anchor_s:
        chores["anchor_trail"] = trail.anchor
    reconciler = Reconciler(development, uploads, upkeep, workflows, instruments)
    rounds = Rounds(buckets.renditions, clock, clock())
    if settings.care.reconcile_days:
        between = timedelta(days=settings.care.reconcile_days)

        async def reconcile() -> None:
            if await rounds.is_due("reconcile", between):
                await reconciler.run(mends=SAFE)
                relay.nudge()

        chores["reconcile"] = reconcile
    intervals = flows.CLOCK | {"purge_trash": settings.trash.purge_every_s, "anchor_trail": float(settings.audit.anchor_s)}
    return Safelight(
        settings=settings,
        instruments=instruments,
        catalog=catalog,
        cache=cache,
        limiter=Limiter(cache),
        standing=standing,
        meter=meter,
        tenants=Tenants(catalog, clock, standing, settings.trash.days, settings.watermarks),
        workflows=workflows,
        sandbox=sandbox,
        accounts=Accounts(catalog, clock, keys_believed, bearers, standing, settings.trash.days),
        api_keys=ApiKeys(catalog, clock, keys_believed.clear, step_up),
        issuers=TrustedIssuers(
            catalog,
            key_sets,
            step_up,
            clock,
            tokens.name,
            settled,
            settings.issuers.is_http_allowed,
            forget_issuers,
        ),
        signup=signup,
        signin=signin,
        tokens=tokens,
        step_up=step_up,
        second_leg=SecondLeg(catalog, clock, relay, passwords, lockout, signin, tickets, recovery_keys),
        passkeys=Passkeys(
            catalog,
            clock,
            relay,
            RelyingParty(settings.passkey_domain, settings.mail.product, settings.passkey_origins),
            Challenges(secrets_of("passkey challenges")),
            signin,
            step_up,
        ),
        factors=Factors(catalog, clock, relay, step_up, recovery_keys, settings.mail.product, believed.clear),
        trail=trail,
        takeout=takeout,
        erasure=erasure,
        ingest=ingest,
        library=library,
        albums=Albums(catalog, clock, relay),
        development=development,
        delivery=Delivery(
            catalog,
            remembered,
            buckets,
            sandbox,
            clock,
            instruments,
            standing,
            meter,
            DeliveryLimits(
                url_ttl_s=settings.delivery.url_ttl_s,
                render_s=settings.delivery.render_s,
                max_animation_pixels=settings.delivery.max_animation_pixels,
                presets_only=settings.delivery.presets_only,
            ),
            gate=gate,
            turns=turns,
            pyramids=pyramids,
            shelf=shelf,
            memory=ByteLru(settings.delivery.memory_bytes, largest_bytes=max(1, settings.delivery.memory_bytes // 16)),
            known=known,  # type: ignore[arg-type]
            rings=Expiring(ttl_s=2.0, size=1_000, now=time.monotonic),
            presets=read_presets(settings.imgproxy.presets, settings.watermarks),
            watermarks=settings.watermarks,
            fonts=Fonts(settings.font_files),
            cloudfront=_cloudfront(settings),
        ),
        relay=relay,
        upkeep=upkeep,
        reconciler=reconciler,
        uploads=uploads,
        resumable=Resumable(uploads),
        imports=imports,
        progress=progress,
        history=History(catalog, workflows, {event.name: flow.name for event, flow in flows.STARTS.items()}),
        webhooks=webhooks,
        courier=courier,
        purges=purges,
        reception=reception,
        store_events=store_events,
        listening=(
            ("webhooks", courier.run),
            *(() if inbox is None else (("store_events", lambda: store_events.listen(inbox)),)),
        ),
        parts=tuple(parts),
        chores=tuple((name, intervals[name], chore) for name, chore in chores.items()),
    )


async def rehearse(settings: Settings) -> None:
    """Connect to whatever is kept elsewhere and let go again, so that what is wrong with the settings is told before anything begins.

    In a process of its own: the drivers' threads do not survive the fork of the workers. Raises what opening raises.
    """
    from safelight.adapters.workflows.stores import store_at

    kept = _kept(settings)
    await kept.part.open()
    await kept.part.close()
    if not settings.is_embedded:
        await _catalog(settings).plan()
    search = _search(settings)
    await search.open()
    await search.close()
    for cdn in (*_cdns(settings, "front_distributions"), *_cdns(settings, "bucket_distributions")):
        await cdn.open()
        await cdn.close()
    if settings.workflows_url != "sqlite":
        await asyncio.to_thread(store_at(settings.workflows_url).slots().held)


def _gives_up(
    development: Development, instruments: Instruments
) -> Callable[[str, Mapping[str, object], BaseException], Awaitable[None]]:
    async def give_up(flow: str, payload: Mapping[str, object], error: BaseException) -> None:
        instruments.dead.labels(flow).inc()
        log.error("run.dead", flow=flow, image_id=payload.get("image"), exc_info=error)
        if flow == flows.DEVELOP.name:
            await development.give_up(payload, error)

    return give_up


def _outbound() -> Outbound:
    from safelight.adapters.outbound.httpx import HttpxOutbound

    return HttpxOutbound()


def _key_set_rules(settings: Settings) -> KeySetRules:
    issuers = settings.issuers
    return KeySetRules(
        reach=Reach(networks=tuple(map(network, listed(issuers.networks))), ports=frozenset(map(int, listed(issuers.ports)))),
        limits=FetchLimits(
            max_bytes=issuers.max_bytes, connect_s=issuers.total_s, idle_s=issuers.total_s, total_s=issuers.total_s
        ),
        fresh_s=issuers.fresh_s,
        stale_s=issuers.stale_s,
        floor_s=issuers.floor_s,
        is_http_allowed=issuers.is_http_allowed,
    )


def _settled(settings: Settings) -> tuple[TrustedIssuer, ...]:
    """Raises BadField for terms that cannot be kept."""
    made: list[TrustedIssuer] = []
    for number, one in enumerate(settled_issuers(settings.issuers.trusted), 1):
        terms = one.terms()
        if not terms.tenant_name and not terms.tenant_claim:
            terms = replace(terms, tenant_name="default")
        id = IssuerId(f"settings-{number}")
        issuer = TrustedIssuer(id=id, tenant=None, issuer=one.issuer, created_at=datetime.fromtimestamp(0, UTC), terms=terms)
        require_sound(issuer, is_http_allowed=settings.issuers.is_http_allowed)
        if issuer.issuer == settings.issuer:
            raise BadField("SAFELIGHT_ISSUERS__TRUSTED names this installation itself.", field="issuer")
        made.append(issuer)
    return tuple(made)


def _import_rules(settings: Settings) -> ImportRules:
    outbound = settings.outbound
    return ImportRules(
        is_enabled=settings.imports.is_enabled,
        reach=Reach(
            networks=tuple(map(network, listed(outbound.networks))),
            ports=frozenset(map(int, listed(outbound.ports))),
            hosts=listed(settings.imports.hosts),
        ),
        limits=FetchLimits(
            max_bytes=settings.limits.max_bytes,
            connect_s=outbound.connect_s,
            idle_s=outbound.idle_s,
            total_s=outbound.total_s,
        ),
    )


def _courier_rules(settings: Settings) -> CourierRules:
    outbound, webhooks = settings.outbound, settings.webhooks
    return CourierRules(
        reach=Reach(
            networks=tuple(map(network, listed(outbound.networks))),
            ports=frozenset(map(int, listed(outbound.ports))),
            hosts=listed(webhooks.hosts),
        ),
        limits=FetchLimits(
            max_bytes=4 * MAX_EXCERPT,
            connect_s=min(outbound.connect_s, webhooks.timeout_s),
            idle_s=webhooks.timeout_s,
            total_s=webhooks.timeout_s,
        ),
        per_endpoint=webhooks.per_endpoint,
        patience=timedelta(days=webhooks.failing_days),
    )


def _catalog(settings: Settings, *, is_whole: bool = True) -> Catalog:
    if settings.is_on_dynamodb:
        from safelight.adapters.catalog.dynamodb import DynamoCatalog, DynamoOptions

        return DynamoCatalog(DynamoOptions.from_url(settings.catalog.url), secrets=_secret_box(settings))
    from safelight.adapters.catalog.sql import SqlCatalog

    return SqlCatalog(
        settings.catalog_url,
        secrets=_secret_box(settings),
        readers=settings.catalog.readers,
        writers=settings.catalog.writers,
        statement_s=settings.catalog.statement_timeout_s,
        is_whole=is_whole,
    )


def _catalog_keys(settings: Settings) -> list[bytes]:
    """What every process of the installation has and no client ever gets, the one in use first."""
    given = settings.catalog.secret_key.get_secret_value()
    return hex_keys(given, "SAFELIGHT_CATALOG__SECRET_KEY") if given else secret_keys(settings.secrets_file)


def _secret_box(settings: Settings) -> SecretBox:
    from safelight.adapters.catalog.secretbox import SecretBox

    return SecretBox(*_catalog_keys(settings))


def _shared_cache(settings: Settings) -> Cache | None:
    """None without a server: a process's own memory would answer with what another process has changed."""
    url = settings.cache.url.get_secret_value()
    if not url:
        return None
    from safelight.adapters.cache.valkey import ValkeyCache

    return ValkeyCache(url, key=_catalog_keys(settings)[0], deadline_s=settings.cache.deadline_s)


def _inbox(settings: Settings) -> Inbox | None:
    if not settings.events.sqs_url:
        return None
    from safelight.adapters.inbox.sqs import SqsInbox

    storage = settings.storage
    return SqsInbox(
        settings.events.sqs_url,
        access_key_id=storage.access_key_id,
        secret_access_key=storage.secret_access_key.get_secret_value(),
    )


def _shelf(settings: Settings) -> Shelf | None:
    delivery = settings.delivery
    if delivery.disk_path is None:
        return None
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    from safelight.adapters.shelf.disk import DiskShelf

    # A key of its own, the same after a restart: one that is changed only forgets what was kept.
    key = HKDF(SHA256(), 32, salt=None, info=b"safelight shelf").derive(_catalog_keys(settings)[0])
    return DiskShelf(delivery.disk_path, capacity_bytes=delivery.disk_bytes, key=key)


async def _nothing() -> None:
    """Neither closed nor asked: a disk that is gone is a cache that is empty."""


def _embedded(settings: Settings, bucket: Storage, originals: Storage) -> EmbeddedIncoming:
    from safelight.adapters.storage.incoming import EmbeddedIncoming

    # Derived, so that what seals URLs is not what encrypts the catalog's secrets.
    secrets = [hmac.digest(key, b"safelight-incoming-v1", hashlib.sha256) for key in _catalog_keys(settings)]
    return EmbeddedIncoming(bucket, originals, secrets=secrets)


@dataclass(frozen=True)
class _Kept:
    """The bytes' side of an installation, connected to nothing yet."""

    buckets: Buckets
    incoming: Incoming
    reception: Reception | None
    part: Part
    sweep: Opening | None = None
    s3: S3Store | None = None


def _kept(settings: Settings, *, is_read_only: bool = False) -> _Kept:
    if settings.storage.url:
        from safelight.adapters.storage.s3 import S3Incoming, S3Store

        s3 = S3Store(s3_options(settings, is_read_only=is_read_only))
        buckets = Buckets(s3.bucket("originals"), s3.bucket("renditions"))
        return _Kept(buckets, S3Incoming(s3), None, Part("storage", s3.open, s3.close, s3.ping), s3=s3)
    from safelight.adapters.storage.local import LocalStore

    store = LocalStore(settings.objects_path, key_file=settings.key_file if settings.storage.is_encrypted else None)
    buckets = Buckets(store.bucket("originals"), store.bucket("renditions"))
    incoming = _embedded(settings, store.bucket("incoming"), buckets.originals)
    part = Part("storage", store.open, store.close, lambda: buckets.originals.scan("", limit=1))
    return _Kept(buckets, incoming, incoming, part, store.sweep)


def _stand_ins(store: S3Store, settings: Settings, clock: Clock, chores: Mapping[str, Opening]) -> dict[str, Opening]:
    """What the clock does where the buckets' lifecycle has no such rule; told by the same settings as `safelight bucket`."""
    wanted = wishes(settings)

    def unless_ruled(item: str, chore: Opening) -> Opening:
        async def stand_in() -> object:
            return None if await store.has_rule(wanted, item) else await chore()

        return stand_in

    abort = unless_ruled("abort_multipart", lambda: store.abort_uploads(before=clock() - timedelta(days=1)))
    expire = chores.get("expire_noncurrent")
    made = {"abort_multipart": abort}
    return made if expire is None else made | {"expire_noncurrent": unless_ruled("noncurrent_versions", expire)}


@dataclass(frozen=True)
class Place:
    """An installation as `safelight move` sees it: what it keeps, who is at work on it, and how it is opened."""

    settings: Settings
    holdings: Holdings
    parts: tuple[Part, ...]
    tables: Moments
    """Those of the holdings."""

    @classmethod
    def at(cls, settings: Settings, *, is_source: bool) -> Place:
        """Connected to nothing yet. Of a source nothing is made or written: raises WrongState where its key is missing."""
        from safelight.adapters.catalog.sql_tables import SqlTables

        if settings.is_on_dynamodb:
            raise BadField(
                "Moves and backups know SQLite and PostgreSQL; they do not know dynamodb://.", field="SAFELIGHT_CATALOG__URL"
            )
        if is_source and not settings.catalog.secret_key.get_secret_value() and not settings.secrets_file.exists():
            raise WrongState(
                f"The key that its signing secrets are sealed with is missing: {settings.secrets_file}."
                " Put the file back, or set SAFELIGHT_CATALOG__SECRET_KEY."
            )
        tables = SqlTables(settings.catalog_url, secrets=_secret_box(settings))
        kept = _kept(settings, is_read_only=is_source)
        catalog = Part("catalog", tables.open, tables.close, tables.filling)
        return cls(settings, Holdings(tables, kept.buckets), (catalog, kept.part), tables)

    def processes_at_work(self) -> int:
        """How many servers and workers take part in its work now."""
        from safelight.adapters.workflows.stores import store_at

        return store_at(_workflows_url(self.settings)).slots().held()

    def safelight(self) -> Safelight:
        """The services over the same buckets and a catalog that may still be half filled."""
        catalog = _catalog(self.settings, is_whole=False)
        buckets = self.holdings.buckets
        # Nobody else is there to be told of a change, so no cache is asked either.
        alone = self.settings.model_copy(update={"cache": type(self.settings.cache)()})
        return build(alone, catalog=catalog, originals=buckets.originals, renditions=buckets.renditions)


def vault_at(root: Path, *, key_file: Path | None, passphrase: bytes) -> Vault:
    """The backups in a folder, sealed with the keys of the file or with one that is made of the passphrase."""
    from safelight.adapters.storage.vault import DirectoryVault

    return DirectoryVault(root, key_file=key_file, passphrase=passphrase)


def derived(keys: list[bytes], use: str) -> tuple[bytes, ...]:
    """A key for this use from each of these: one secret to keep, and none that serves two ends (HMAC as a PRF, RFC 5869)."""
    return tuple(hmac.digest(key, b"safelight " + use.encode(), hashlib.sha256) for key in keys)


def _passwords(settings: Settings, peppers: tuple[bytes, ...]) -> Passwords:
    auth = settings.auth
    return Passwords(
        Hasher(peppers, auth.hash_memory_kib, auth.hash_passes),
        Gate(capacity=auth.hashes_at_once, queue=auth.hashes_waiting),
        auth.min_strength,
        Breached(auth.breached_path) if auth.breached_path else None,
    )


def _mailer(settings: Settings, clock: Clock) -> Mailer:
    mail = settings.mail
    if not mail.host:
        from safelight.adapters.mailer.files import FilesMailer

        return FilesMailer(settings.mail_path, sender=mail.sender, clock=clock)
    from safelight.adapters.mailer.smtp import SmtpMailer, SmtpOptions

    if mail.security == "none" and mail.password.get_secret_value():
        raise BadField("A password is not sent without TLS; set SAFELIGHT_MAIL__SECURITY.", field="SAFELIGHT_MAIL__SECURITY")
    return SmtpMailer(
        SmtpOptions(
            host=mail.host,
            port=mail.port,
            security=mail.security,
            username=mail.username,
            password=mail.password.get_secret_value(),
            sender=mail.sender,
            timeout_s=mail.timeout_s,
        ),
        clock=clock,
    )


def s3_options(settings: Settings, *, is_read_only: bool = False) -> S3Options:
    """How to talk to the buckets, from the settings. Raises BadField when they are not on S3."""
    from safelight.adapters.storage.s3 import S3Options

    storage = settings.storage
    if not storage.url:
        raise BadField("SAFELIGHT_STORAGE__URL names no bucket: the embedded store has none.", field="SAFELIGHT_STORAGE__URL")
    bucket, _, prefix = storage.url.removeprefix("s3://").partition("/")
    return S3Options(
        originals_bucket=bucket,
        renditions_bucket=storage.renditions_bucket or f"{bucket}-renditions",
        prefix=prefix.rstrip("/") + "/" if prefix else "",
        endpoint_url=storage.endpoint_url or None,
        public_endpoint_url=storage.public_endpoint_url or None,
        region=storage.region or None,
        path_style=storage.path_style,
        access_key_id=storage.access_key_id or None,
        secret_access_key=storage.secret_access_key.get_secret_value() or None,
        is_encrypted=storage.is_encrypted,
        kms_key_id=storage.kms_key_id or None,
        spool_path=settings.spool_path,
        is_read_only=is_read_only,
        connect_timeout_s=storage.connect_timeout_s,
        attempt_timeout_s=storage.attempt_timeout_s,
        deadline_s=storage.deadline_s,
        max_connections=storage.max_connections,
    )


def wishes(settings: Settings) -> Governance:
    """What the buckets should be, for `safelight bucket` and for the clock that does what they lack."""
    from safelight.adapters.storage.s3.governance import Governance

    bucket = settings.bucket
    return Governance(
        ip_allow_list=listed(bucket.ip_allow),
        cors_origins=listed(bucket.cors_origins),
        queue_arn=bucket.queue_arn or None,
        archive_after_days=bucket.archive_after_days or None,
        archive_storage_class=bucket.archive_class,
        tiering_after_days=bucket.tier_after_days or None,
        noncurrent_days=bucket.noncurrent_days or None,
    )


def _search(settings: Settings) -> Search:
    if settings.search_url == "none":
        from safelight.adapters.search.none import NoSearch

        return NoSearch()
    if settings.search_url == "sqlite":
        from safelight.adapters.search.sqlite import SqliteSearch

        return SqliteSearch(settings.data_dir / "search.db")
    from safelight.adapters.search.postgres import PostgresSearch

    return PostgresSearch(settings.search_url, statement_s=settings.catalog.statement_timeout_s)


def _engine(settings: Settings) -> Callable[[flows.Bound], Workflows]:
    def engine(bound: flows.Bound) -> Workflows:
        from safelight.adapters.workflows.dbos import DbosWorkflows

        return DbosWorkflows(
            _workflows_url(settings),
            bound,
            concurrency=settings.develop.waiting,
            per_party=settings.develop.waiting_per_tenant,
        )

    return engine


def _workflows_url(settings: Settings) -> str:
    is_file = settings.workflows_url == "sqlite"
    return f"sqlite:///{settings.data_dir.resolve() / 'workflows.db'}" if is_file else settings.workflows_url


def _cloudfront(settings: Settings) -> CloudFront | None:
    """Raises BadField that names the setting."""
    chosen = settings.cloudfront
    if not (chosen.renditions_url or chosen.originals_url):
        return None
    if not settings.storage.url:
        raise BadField(
            "CloudFront stands before buckets of S3, and SAFELIGHT_STORAGE__URL names none.", field="SAFELIGHT_STORAGE__URL"
        )
    from safelight.signing import cloudfront

    name = "SAFELIGHT_CLOUDFRONT__PRIVATE_KEY_FILE"
    if chosen.private_key_file is None:
        raise BadField(f"{name} is needed with the address of a distribution.", field=name)
    try:
        key = cloudfront.load_key(chosen.private_key_file.read_bytes(), chosen.key_pair_id, hash=chosen.hash)
    except (OSError, ValueError) as error:
        raise BadField(f"{name}: {error}", field=name) from None
    prefix = s3_options(settings).prefix

    def base(url: str) -> str:
        return f"{url.rstrip('/')}/{prefix}" if url else ""

    return CloudFront(key, base(chosen.renditions_url), base(chosen.originals_url))


def _cdns(settings: Settings, which: str) -> Sequence[Cdn]:
    chosen = settings.cloudfront
    ids = listed(getattr(chosen, which))
    if not ids:
        return ()
    from safelight.adapters.cdn.cloudfront import CloudFrontCdn

    return tuple(
        CloudFrontCdn(
            id,
            setting=f"SAFELIGHT_CLOUDFRONT__{which.upper()}",
            endpoint_url=chosen.endpoint_url,
            access_key_id=chosen.access_key_id,
            secret_access_key=chosen.secret_access_key.get_secret_value(),
        )
        for id in ids
    )


def _ground(settings: Settings, *, has_front: bool, has_back: bool) -> Ground:
    iiif = ("/iiif/2/", "/iiif/3/") if settings.has_iiif else ()
    return Ground(
        front=("/i/", *iiif) if has_front else (),
        whole_front=("/i/", "/iiif/", "/imgproxy/", "/thumbor/") if has_front else (),
        buckets=(f"/{s3_options(settings).prefix}",) if has_back else (),
    )


def secret_keys(path: Path) -> list[bytes]:
    """The keys of the file, 64 hexadecimal digits a line, the one in use first; made at the first start. Raises WrongState."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
    return hex_keys(path.read_text(), str(path))


def hex_keys(text: str, where: str) -> list[bytes]:
    """Keys of 32 bytes from 64 hexadecimal digits each, the one in use first. Raises WrongState that says where."""
    try:
        keys = [bytes.fromhex(word) for word in text.split()]
    except ValueError:
        keys = []
    if not keys or any(len(key) != 32 for key in keys):
        raise WrongState(f"{where} does not hold keys of 64 hexadecimal digits.")
    return keys


@contextlib.contextmanager
def claimed(data_dir: Path) -> Iterator[None]:
    """Hold the data directory for one server. Raises DataDirInUse, which names the process that has it."""
    import fcntl

    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(data_dir / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
            raise DataDirInUse(
                f"Another Safelight server (process {holder}) uses {data_dir}. Stop it, or give this one a --data-dir of its own."
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)
