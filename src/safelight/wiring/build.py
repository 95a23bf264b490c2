"""Build: the services of one process, each with what it needs."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any, Final, Unpack

import structlog

from safelight import flows
from safelight.concurrency import Believed, ByteLru, Pace, Places
from safelight.domain.ids import TenantId
from safelight.domain.usage import Prices
from safelight.imaging.transform import Fonts, Watermark
from safelight.imaging.transform.imgproxy import read_presets
from safelight.letters import Letters
from safelight.observability import Instruments
from safelight.services.albums import Albums
from safelight.services.announcing import Announcing
from safelight.services.baking import Baking
from safelight.services.copies import Copies
from safelight.services.courier import Courier
from safelight.services.delivery import Delivery
from safelight.services.derived import Derived
from safelight.services.development import Development
from safelight.services.erasure import Erasure
from safelight.services.history import History
from safelight.services.imports import Imports
from safelight.services.ingest import Ingest
from safelight.services.library import Library
from safelight.services.limiter import Limiter
from safelight.services.meter import Meter
from safelight.services.post import Codes, Post
from safelight.services.progress import Progress
from safelight.services.purges import Purges
from safelight.services.recipes import RecipeBook
from safelight.services.reconciler import SAFE, Reconciler
from safelight.services.redevelopments import Redevelopments
from safelight.services.relay import Relay
from safelight.services.remote import RemoteSources
from safelight.services.remote_delivery import RemoteDelivery
from safelight.services.renderer import Renderer
from safelight.services.renditions import BakeLater, Renditions
from safelight.services.resumable import Resumable
from safelight.services.rounds import Rounds
from safelight.services.scrub import Scrub
from safelight.services.sharing import Sharing
from safelight.services.standing import Standing
from safelight.services.store_events import StoreEvents
from safelight.services.takeout import Takeout
from safelight.services.tenant_erasure import TenantErasure
from safelight.services.tenants import Tenants
from safelight.services.upkeep import Upkeep
from safelight.services.uploads import Uploads
from safelight.services.warmings import Warmings
from safelight.services.webhooks import Webhooks
from safelight.settings import Settings
from safelight.wiring.backends import (
    engine_of,
    make_cdns,
    make_foreign_buckets,
    make_inbox,
    make_mailer,
    make_outbound,
    own_buckets,
    stand_ins,
)
from safelight.wiring.darkroom import Darkroom, make_darkroom
from safelight.wiring.keeping import Keeping, make_keeping
from safelight.wiring.keys import CODES
from safelight.wiring.overrides import Overrides
from safelight.wiring.parts import Clock, Opening, Part, Safelight, utc_now
from safelight.wiring.people import make_people
from safelight.wiring.rules import (
    courier_rules,
    delivery_limits,
    ground_of,
    import_rules,
    make_cloudfront,
    make_standing,
    remote_rules,
    stream_limits,
    upload_limits,
    webhook_rules,
)

log = structlog.get_logger()

LONGEST_UPLOAD: Final = timedelta(hours=1)
"""From an upload's bytes to its row, with much to spare."""


def build(settings: Settings, **overrides: Unpack[Overrides]) -> Safelight:
    """Make every service, connected to nothing until `open`; only the catalog's key file is read, or made, at once."""
    clock = overrides.get("clock", utc_now)
    instruments = Instruments()
    keeping = make_keeping(settings, overrides, clock, instruments)
    catalog, buckets, search, incoming = keeping.catalog, keeping.buckets, keeping.search, keeping.incoming

    async def ink(tenant: TenantId, watermark: Watermark) -> bytes:
        return await delivery.ink(tenant, watermark)

    darkroom = make_darkroom(settings, keeping, clock, instruments, ink)
    development = darkroom.development
    outbound = overrides.get("outbound") or make_outbound()
    remote = remote_rules(settings)
    foreign = make_foreign_buckets(settings, remote.limits)

    fronts = overrides.get("fronts", make_cdns(settings, "front_distributions"))
    backs = make_cdns(settings, "bucket_distributions")
    sources = RemoteSources(
        catalog,
        buckets.renditions,
        keeping.shelf,
        darkroom.sandbox,
        outbound,
        foreign,
        darkroom.turns,
        clock,
        settings.spool_path,
        remote,
    )
    made = Derived(catalog, buckets.renditions, keeping.shelf, clock, darkroom.bell.ring)
    ground = ground_of(settings, has_front=bool(fronts), has_back=bool(backs))
    purges = Purges(catalog, fronts, backs, ground, made, clock, instruments, sources.purge)
    codes = Codes(keeping.rings[CODES], settings.mail.page_url or f"{settings.own_url}/account")
    mailer = overrides.get("mailer") or make_mailer(settings, clock)
    post = Post(catalog, mailer, Letters(settings.mail.letters_path), codes, settings.mail.product, clock, instruments)
    progress = Progress(catalog, clock, instruments, stream_limits(settings))

    async def erase(payload: Mapping[str, Any]) -> None:
        await development.erase(payload)
        if keeping.shelf is not None:
            await keeping.shelf.drop(f"{payload['tenant']}/{payload['image']}/")

    # The steps of these are bound before the services are made that do them: those start runs themselves.
    async def erasing(step: str, payload: Mapping[str, Any]) -> None:
        await getattr(erasure, step)(payload)

    async def erasing_tenant(step: str, payload: Mapping[str, Any]) -> None:
        await getattr(tenant_erasure, step)(payload)

    async def fetch(payload: Mapping[str, Any]) -> None:
        await imports.fetch(payload)

    async def warm(payload: Mapping[str, Any]) -> None:
        await warmings.page(payload)

    async def bake(payload: Mapping[str, Any]) -> None:
        await baking.bake(payload)

    async def bake_later(tenant: TenantId, key: str, payload: Mapping[str, str]) -> None:
        await workflows.start(flows.BAKE.name, f"{flows.BAKE.name}:{key}", payload, party=tenant)

    async def give_up_warming(payload: Mapping[str, Any], error: BaseException) -> None:
        await warmings.give_up(payload, error)

    do: dict[str, flows.StepFunction] = {
        **_steps_of_images(development, purges, progress, erase),
        **{f"erase.{step.name}": partial(erasing, step.name) for step in flows.ERASE.steps},
        **{f"erase_tenant.{step.name}": partial(erasing_tenant, step.name) for step in flows.ERASE_TENANT.steps},
        "mail.send": post.send,
        "import.fetch": fetch,
        "uncache.note": purges.note,
        "warm.page": warm,
        "bake.bake": bake,
    }
    make_workflows = overrides.get("workflows") or engine_of(settings)
    given_up = {flows.DEVELOP.name: development.give_up, flows.WARM.name: give_up_warming}
    workflows = make_workflows(flows.Bound(flows.FLOWS, do, _gives_up(given_up, instruments)))

    def nudge_relay() -> None:
        relay.nudge()

    courier = Courier(catalog, outbound, nudge_relay, clock, instruments, courier_rules(settings))
    told = webhook_rules(settings, courier)
    announcing = Announcing(catalog, clock, told.kept, courier.nudge)
    relay = Relay(catalog, workflows, flows.STARTS, instruments, keeping.remembered, announcing.announce)

    standing = make_standing(settings, catalog)
    meter = Meter(catalog, clock, standing, Prices(**settings.prices.model_dump(exclude={"currency"})))
    renditions = _renditions(settings, keeping, darkroom, instruments, bake_later)
    delivery = _delivery(settings, keeping, darkroom, clock, instruments, standing, meter, renditions)
    baking = Baking(catalog, delivery)
    tenants = Tenants(catalog, clock, standing, settings.trash.days, settings.watermarks, own_buckets(settings))
    people = make_people(settings, keeping, clock, relay, standing, codes, outbound)
    webhooks = Webhooks(catalog, clock, told, people.step_up, courier.nudge)
    ingest = Ingest(catalog, buckets.originals, darkroom.sandbox, relay, clock, darkroom.bell, standing, meter, darkroom.at_hand)
    uploads = Uploads(catalog, incoming, ingest, clock, instruments, upload_limits(settings))
    imports = Imports(uploads, outbound, relay, import_rules(settings))
    store_events = StoreEvents(incoming, uploads, instruments)
    inbox = overrides.get("inbox") or make_inbox(settings)
    waiting: Places[TenantId] = Places(settings.develop.waiting, per_party=settings.develop.waiting_per_tenant)
    library = Library(catalog, search, buckets.originals, relay, clock, darkroom.bell, keeping.remembered, waiting)
    upkeep = Upkeep(catalog, buckets)
    redevelopments = Redevelopments(catalog, relay, clock, instruments)
    reconciler = Reconciler(development, uploads, upkeep, workflows, instruments)
    rounds = Rounds(buckets.renditions, clock, clock())
    scrub = Scrub(development, rounds, instruments)
    warmings = Warmings(catalog, delivery, buckets.renditions, workflows, clock)
    erasure = Erasure(
        catalog,
        buckets.originals,
        search,
        incoming,
        keeping.trail,
        people.tokens,
        people.step_up,
        relay,
        clock,
        shred=erase,
        forget=people.forget,
    )

    tenant_erasure = TenantErasure(
        catalog,
        buckets,
        keeping.shelf,
        search,
        incoming,
        keeping.trail,
        people.tokens,
        people.step_up,
        tenants,
        warmings,
        workflows,
        clock,
        has_cdn=purges.has_cdn,
        forget=people.forget,
    )

    chores: dict[str, Opening] = {
        "erase_tenants": tenant_erasure.go_on,
        "sample_usage": meter.sample,
        "resend_mail": lambda: post.resend(workflows, flows.MAIL.name),
        "sweep_sessions": people.signin.sweep,
        "sweep_journal": progress.sweep,
        "sweep_webhooks": webhooks.sweep,
        "purge_caches": purges.go_on,
        "sweep_purges": purges.sweep,
        "sweep_remote": sources.sweep,
        "sweep_warmings": warmings.sweep,
        "purge_trash": library.purge_expired,
        "sweep_uploads": uploads.sweep,
        "redevelop": redevelopments.advance,
        "sweep_redevelopments": redevelopments.sweep,
        "sweep_incoming": uploads.sweep_objects,
        **_chores_of_keeping(settings, keeping, upkeep, clock),
    }
    if settings.auth.key_days:
        chores["rotate_token_keys"] = lambda: people.tokens.rotate(after=timedelta(days=settings.auth.key_days))
    prune = getattr(workflows, "prune", None)
    if prune is not None:
        chores["prune_runs"] = prune
    if settings.care.reconcile_days:
        chores["reconcile"] = _reconciling(settings, rounds, reconciler, relay)
    if settings.care.scrub_days:
        chores["scrub"] = _scrubbing(settings, scrub, relay)
    intervals = flows.CLOCK | {"purge_trash": settings.trash.purge_every_s, "anchor_trail": float(settings.audit.anchor_s)}

    return Safelight(
        settings=settings,
        instruments=instruments,
        catalog=catalog,
        cache=keeping.cache,
        limiter=Limiter(keeping.cache),
        standing=standing,
        meter=meter,
        tenants=tenants,
        redevelopments=redevelopments,
        recipes=RecipeBook(catalog, tenants, settings.watermarks, ink),
        workflows=workflows,
        sandbox=darkroom.sandbox,
        accounts=people.accounts,
        api_keys=people.api_keys,
        issuers=people.issuers,
        signup=people.signup,
        signin=people.signin,
        tokens=people.tokens,
        step_up=people.step_up,
        second_leg=people.second_leg,
        passkeys=people.passkeys,
        factors=people.factors,
        trail=keeping.trail,
        takeout=Takeout(catalog, buckets.originals, keeping.trail, clock),
        erasure=erasure,
        tenant_erasure=tenant_erasure,
        ingest=ingest,
        library=library,
        albums=Albums(catalog, clock, relay),
        sharing=Sharing(catalog, clock),
        links=people.links,
        development=development,
        delivery=delivery,
        remote_delivery=RemoteDelivery(delivery, sources),
        relay=relay,
        upkeep=upkeep,
        reconciler=reconciler,
        scrub=scrub,
        uploads=uploads,
        resumable=Resumable(uploads, Copies(uploads.limits.spool_path)),
        imports=imports,
        progress=progress,
        history=History(catalog, workflows, {event.name: flow.name for event, flow in flows.STARTS.items()}),
        webhooks=webhooks,
        courier=courier,
        purges=purges,
        warmings=warmings,
        reception=keeping.reception,
        store_events=store_events,
        listening=(
            ("webhooks", courier.run),
            *(() if inbox is None else (("store_events", lambda: store_events.listen(inbox)),)),
        ),
        parts=(
            *keeping.parts,
            darkroom.part,
            # Not vital, and not asked by readiness either: an API of few requests a second, without which delivery goes on.
            *(Part(f"cdn_{cdn.name}", cdn.open, cdn.close, None, is_vital=False) for cdn in (*fronts, *backs)),
            *(() if foreign is None else (Part("foreign_buckets", foreign.open, foreign.close, None, is_vital=False),)),
            Part("progress", progress.open, progress.close, None),
            Part("workflows", workflows.open, workflows.close, workflows.ping),
            Part("meter", meter.open, meter.close, None),
            *(() if inbox is None else (Part("inbox", inbox.open, inbox.close, inbox.ping, is_vital=False),)),
        ),
        chores=tuple((name, intervals[name], chore) for name, chore in chores.items()),
    )


def _steps_of_images(
    development: Development, purges: Purges, progress: Progress, erase: flows.StepFunction
) -> dict[str, flows.StepFunction]:
    async def erased(payload: Mapping[str, Any]) -> None:
        await erase(payload)
        await purges.note(payload)

    async def mark(payload: Mapping[str, Any]) -> None:
        await development.mark(payload)
        await purges.note_trashed(payload)

    steps: dict[tuple[str, str], flows.StepFunction] = {
        ("develop", "develop"): development.develop,
        ("develop", "index"): development.index,
        ("index", "index"): development.index,
        ("hide", "index"): development.index,
        ("hide", "mark"): mark,
        ("purge", "forget"): development.forget,
        ("purge", "erase"): erased,
    }
    told = {f"{flow}.{step}": progress.told(flow, step, do) for (flow, step), do in steps.items()}
    # Not told: whose image it was may be erased, and the journal must not learn of them again.
    return told | {"purge.forget": development.forget, "purge.erase": erased}


def _chores_of_keeping(settings: Settings, keeping: Keeping, upkeep: Upkeep, clock: Clock) -> dict[str, Opening]:
    chores: dict[str, Opening] = {
        "seal_trail": keeping.trail.seal,
        "prune_trail": keeping.trail.prune,
        "sweep_orphans": lambda: upkeep.sweep_orphans(before=clock() - LONGEST_UPLOAD),
    }
    if settings.audit.anchor_s:
        chores["anchor_trail"] = keeping.trail.anchor
    if settings.bucket.noncurrent_days:
        kept_for = timedelta(days=settings.bucket.noncurrent_days)
        chores["expire_noncurrent"] = lambda: upkeep.expire_noncurrent(before=clock() - kept_for)
    if keeping.s3 is not None:
        chores |= stand_ins(keeping.s3, settings, clock, chores)
    if keeping.sweep is not None:
        chores["sweep_objects"] = keeping.sweep
    return chores


def _reconciling(settings: Settings, rounds: Rounds, reconciler: Reconciler, relay: Relay) -> Opening:
    between = timedelta(days=settings.care.reconcile_days)

    async def reconcile() -> None:
        if await rounds.is_due("reconcile", between):
            await reconciler.run(mends=SAFE)
            relay.nudge()

    return reconcile


def _scrubbing(settings: Settings, scrub: Scrub, relay: Relay) -> Opening:
    pace = Pace(settings.care.scrub_bytes_per_s)

    async def share() -> None:
        if await scrub.share(timedelta(days=settings.care.scrub_days), pace):
            relay.nudge()

    return share


def _renditions(
    settings: Settings, keeping: Keeping, darkroom: Darkroom, instruments: Instruments, bake_later: BakeLater
) -> Renditions:
    memory_bytes = settings.delivery.memory_bytes
    return Renditions(
        keeping.buckets.renditions,
        keeping.shelf,
        ByteLru(memory_bytes, largest_bytes=max(1, memory_bytes // 16)),
        darkroom.gate,
        darkroom.turns,
        instruments,
        render_s=settings.delivery.render_s,
        bake_later=bake_later if settings.delivery.bake_avif else None,
    )


def _delivery(
    settings: Settings,
    keeping: Keeping,
    darkroom: Darkroom,
    clock: Clock,
    instruments: Instruments,
    standing: Standing,
    meter: Meter,
    renditions: Renditions,
) -> Delivery:
    return Delivery(
        keeping.catalog,
        keeping.remembered,
        clock,
        instruments,
        standing,
        meter,
        delivery_limits(settings),
        renditions=renditions,
        renderer=Renderer(
            keeping.buckets.originals, darkroom.pyramids, darkroom.sandbox, instruments, settings.delivery.render_s
        ),
        known=darkroom.known,
        rings=Believed(ttl_s=2.0, size=1_000, now=time.monotonic),
        presets=read_presets(settings.imgproxy.presets, settings.watermarks),
        watermarks=settings.watermarks,
        fonts=Fonts(settings.font_files),
        cloudfront=make_cloudfront(settings),
    )


def _gives_up(
    told: Mapping[str, Callable[[Mapping[str, Any], BaseException], Awaitable[None]]], instruments: Instruments
) -> Callable[[str, Mapping[str, Any], BaseException], Awaitable[None]]:
    async def give_up(flow: str, payload: Mapping[str, Any], error: BaseException) -> None:
        instruments.dead.labels(flow).inc()
        log.error("run.dead", flow=flow, image_id=payload.get("image"), exc_info=error)
        if flow in told:
            await told[flow](payload, error)

    return give_up
