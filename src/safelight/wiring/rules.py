"""Rules: settings in the services' own words."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from safelight.concurrency import Believed, Gate
from safelight.domain.addresses import Reach, network
from safelight.domain.ids import IssuerId
from safelight.domain.issuers import TrustedIssuer, require_sound
from safelight.domain.purges import Ground
from safelight.domain.sources import Patience
from safelight.domain.tenants import Quotas
from safelight.domain.uploads import DropFolder
from safelight.domain.webhooks import MAX_EXCERPT
from safelight.errors import BadField
from safelight.imaging import Limits, Recipe
from safelight.passwords import Breached, Hasher
from safelight.ports.catalog import Catalog
from safelight.ports.outbound import FetchLimits
from safelight.services.cloudfront import CloudFront
from safelight.services.courier import Courier, CourierRules
from safelight.services.delivered import DeliveryLimits
from safelight.services.imports import ImportRules
from safelight.services.key_sets import KeySetRules
from safelight.services.passwords import Passwords
from safelight.services.progress import StreamLimits
from safelight.services.remote import RemoteRules
from safelight.services.standing import Standing
from safelight.services.uploads import UploadLimits
from safelight.services.webhooks import WebhookRules
from safelight.settings import Settings, listed, settled_issuers
from safelight.wiring.backends import (
    s3_options,
)


def key_set_rules(settings: Settings) -> KeySetRules:
    """How the key sets of outside issuers are fetched and kept."""
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


def settled_terms(settings: Settings) -> tuple[TrustedIssuer, ...]:
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


def import_rules(settings: Settings) -> ImportRules:
    """What may be fetched for a user."""
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


def remote_rules(settings: Settings) -> RemoteRules:
    """How pictures are fetched for delivery."""
    outbound, remote = settings.outbound, settings.remote
    return RemoteRules(
        reach=Reach(networks=tuple(map(network, listed(outbound.networks))), ports=frozenset(map(int, listed(outbound.ports)))),
        limits=FetchLimits(
            max_bytes=settings.limits.max_bytes,
            connect_s=min(outbound.connect_s, remote.fetch_s),
            idle_s=min(outbound.idle_s, remote.fetch_s),
            total_s=min(outbound.total_s, remote.fetch_s),
        ),
        patience=Patience(usual_s=remote.fresh_s, least_s=remote.min_fresh_s, most_s=remote.max_fresh_s),
        failed_s=remote.failed_s,
        kept=timedelta(days=remote.keep_days),
    )


def courier_rules(settings: Settings) -> CourierRules:
    """Where webhooks may go, and how long one may take."""
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


def make_passwords(settings: Settings, peppers: Sequence[bytes]) -> Passwords:
    """What hashes them, at the cost that is set."""
    auth = settings.auth
    return Passwords(
        Hasher(peppers, auth.hash_memory_kib, auth.hash_passes),
        Gate(capacity=auth.hashes_at_once, queue=auth.hashes_waiting),
        auth.min_strength,
        Breached(auth.breached_path) if auth.breached_path else None,
    )


def make_cloudfront(settings: Settings) -> CloudFront | None:
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


def ground_of(settings: Settings, *, has_front: bool, has_back: bool) -> Ground:
    """The paths that a CDN may hold."""
    iiif = ("/iiif/2/", "/iiif/3/") if settings.has_iiif else ()
    return Ground(
        front=("/i/", *iiif) if has_front else (),
        whole_front=("/i/", "/iiif/", "/imgproxy/", "/thumbor/") if has_front else (),
        buckets=(f"/{s3_options(settings).prefix}",) if has_back else (),
        remote_front=("/i/remote/",) if has_front else (),
    )


def decode_limits(settings: Settings) -> Limits:
    """What a file may cost."""
    limits = settings.limits
    return Limits(
        max_bytes=limits.max_bytes,
        max_pixels=limits.max_pixels,
        max_buffered_pixels=limits.max_buffered_pixels,
        max_frames=limits.max_frames,
        max_animation_pixels=limits.max_animation_pixels,
        cpu_s=math.ceil(limits.decode_s),
        wall_s=3 * limits.decode_s,
        memory_bytes=limits.decode_memory_bytes,
    )


def recipe(settings: Settings) -> Recipe:
    """How pictures are developed."""
    develop = settings.develop
    return Recipe(
        webp_quality=develop.webp_quality,
        jpeg_quality=develop.jpeg_quality,
        master_quality=develop.master_quality,
        linear_side=develop.linear_side,
    )


def delivery_limits(settings: Settings) -> DeliveryLimits:
    """What a request for a rendition may cost."""
    delivery = settings.delivery
    return DeliveryLimits(
        url_ttl_s=delivery.url_ttl_s,
        max_animation_pixels=delivery.max_animation_pixels,
        presets_only=delivery.presets_only,
    )


def upload_limits(settings: Settings) -> UploadLimits:
    """What may be announced, and for how long."""
    return UploadLimits(
        max_bytes=settings.limits.max_bytes,
        ttl=timedelta(seconds=settings.uploads.ttl_s),
        spool_path=settings.spool_path,
        drop_folder=DropFolder(settings.events.drop_folder),
    )


def stream_limits(settings: Settings) -> StreamLimits:
    """How many may watch."""
    return StreamLimits(
        streams=settings.progress.streams,
        per_user=settings.progress.streams_per_user,
        kept=timedelta(days=settings.progress.kept_days),
    )


def webhook_rules(settings: Settings, courier: Courier) -> WebhookRules:
    """Where endpoints may be, which is where the courier goes."""
    return WebhookRules(
        reach=courier.rules.reach,
        is_plain_http=settings.webhooks.is_plain_http,
        kept=timedelta(days=settings.webhooks.keep_days),
    )


def make_standing(settings: Settings, catalog: Catalog) -> Standing:
    """What every tenant may, asked of the catalog now and then."""
    return Standing(
        catalog,
        Quotas(**settings.quotas.model_dump()),
        Believed(ttl_s=2.0, size=10_000, now=time.monotonic),
        Believed(ttl_s=10.0, size=1, now=time.monotonic),
        Believed(ttl_s=10.0, size=1, now=time.monotonic),
        Believed(ttl_s=10.0, size=1, now=time.monotonic),
        urlsplit(settings.server.public_url).hostname or "",
    )
