"""Remote delivery: renditions of pictures that lie elsewhere, by signed URLs of every grammar. Called by the delivery door.

Nobody's record says whose such a picture is. It is a tenant's whose list covers its address and whose ring bears out the signature;
where there is none, one answer says so, whichever of the two it was: nobody finds out by it what is listed.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from safelight.domain import access
from safelight.domain.accounts import Actor, SigningKey, Tenant
from safelight.domain.proofs import ForeignSignature, Signature
from safelight.domain.sources import Elsewhere, covered, source
from safelight.errors import BadOption, BadSignature, Busy, Misdirected, Missing, PresetsOnly, SourceNotAllowed
from safelight.imaging.transform import (
    NO_HINTS,
    Hints,
    Metadata,
    Order,
    Request,
    Settled,
    is_transform,
    parse_request,
    settle,
)
from safelight.services.delivered import Delivered
from safelight.services.delivery import SIDES, Delivery
from safelight.services.marks import Mark
from safelight.services.remote import Copy, RemoteSources
from safelight.services.renditions import Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedElsewhere:
    """What `/i/remote/{address in base 64}/{file}` asks for, and what the client can show. `path` is what was signed."""

    address: str
    file: str
    path: str
    accept: str = ""
    hints: Hints = NO_HINTS
    host: str = ""


@dataclass(frozen=True, slots=True)
class RemoteDelivery:
    """One per process, beside `delivery`, whose caches, places and turns it shares."""

    delivery: Delivery
    sources: RemoteSources

    async def deliver(self, asked: AskedElsewhere, *, signature: Signature | None) -> Delivered:
        """The rendition. Raises SourceNotAllowed, SourceFailed, SourceTimedOut, and what `Delivery.deliver` raises."""
        if signature is None:
            raise BadSignature("What lies elsewhere is delivered by signed URLs only.")
        delivery, now = self.delivery, self.delivery.clock()
        if delivery.limits.presets_only and is_transform(asked.file.rpartition(".")[0]):
            raise PresetsOnly
        found = source(asked.address)
        house, until = await self._house(found, asked.host, lambda ring: signature.check(ring, asked.path, now))
        request = parse_request(_meant(house, asked.file), asked.hints, delivery.watermarks)
        return await self._delivered(house, await self.sources.copy(house, found), request, asked.accept, until)

    async def deliver_order(self, order: Order, *, signature: ForeignSignature, accept: str = "", host: str = "") -> Delivered:
        """What another server's URL asks for. Raises as `deliver`."""
        delivery, now = self.delivery, self.delivery.clock()
        if delivery.limits.presets_only and not order.is_preset:
            raise PresetsOnly
        found = source(f"{order.origin.scheme}://{order.origin.name}")
        house, until = await self._house(found, host, lambda ring: signature.check(ring, now))
        copy = await self.sources.copy(house, found)
        request = order.request(copy.original, accept, max_animation_pixels=delivery.limits.max_animation_pixels)
        delivered = await self._delivered(house, copy, request, accept, until)
        varies_by = ("Accept",) if order.wish.format is None else ()
        return replace(delivered, varies_by=varies_by, is_attachment=order.is_attachment)

    async def urls(self, actor: Actor, address: str, texts: Sequence[str]) -> tuple[Sequence[str], datetime]:
        """Paths and queries of any transforms of what the tenant's list covers, and when they end. Raises Forbidden, SourceNotAllowed, BadOption."""
        access.require(actor, "sources.sign")
        house, _ = await self.delivery.ring(actor.tenant)
        found = source(address)
        if not covered(found, house.sources):
            raise SourceNotAllowed
        for text in texts:
            await self.delivery.check(actor, text)
        signer = await self.delivery.signer(actor.tenant)
        return [signer.remote_url(str(found), text) for text in texts], datetime.fromtimestamp(signer.exp, UTC)

    async def _house(self, found: Elsewhere, host: str, check: Callable[[Iterable[SigningKey]], float]) -> tuple[Tenant, float]:
        """Whose picture that is, and until when the signature holds. Raises SourceNotAllowed, ExpiredSignature, TenantSuspended."""
        standing = self.delivery.standing
        for tenant in await standing.with_sources():
            house, ring = await self.delivery.ring(tenant)
            if not covered(found, house.sources):
                continue
            try:
                await standing.require_home(house, host)
                until = check(ring)
            except (Misdirected, BadSignature):
                continue
            house.require_active()
            return house, until
        raise SourceNotAllowed("Nothing is delivered from there, or the signature does not match.")

    async def _delivered(self, house: Tenant, copy: Copy, request: Request, accept: str, until: float) -> Delivered:
        if request.spec.metadata is not Metadata.NONE:
            raise BadOption("Of what lies elsewhere no metadata is kept.", option="metadata")
        mark = await self.delivery.mark(house.id, request.spec.watermark)
        most = self.delivery.limits.max_animation_pixels
        settled = settle(request, copy.original, accept, max_animation_pixels=most, has_master=False)
        wanted = self._wanted(house, copy, settled, mark if settled.spec.watermark else None)
        body, where = await self.delivery.renditions.found(wanted)
        left = min(copy.fresh_until.timestamp(), until) - self.delivery.clock().timestamp()
        is_open = request.spec.format is None and not request.is_original
        return Delivered(
            body,
            wanted.format.media_type,
            hashlib.sha256(body).hexdigest(),
            copy.came_at,
            copy.is_shared,
            max(0, math.floor(left)),
            where,
            varies_by=(*request.varies_by, *(("Accept",) if is_open else ())),
            download=request.filename(wanted.format) if request.download else "",
            tenant=house.id,
            is_cut_short=settled.is_cut_short,
            is_immutable=False,
        )

    def _wanted(self, house: Tenant, copy: Copy, settled: Settled, mark: Mark | None) -> Wanted:
        delivery, spec, ink = self.delivery, settled.spec, list[bytes]()
        assert spec.format is not None  # settled

        async def prepare() -> None:
            if mark is not None:
                ink.append(await delivery.drawn(mark))

        async def make() -> bytes:
            await delivery.meter.transforming(house.id)
            delivery.instruments.renders.labels("remote").inc()
            try:
                fd = await self.sources.fetched(copy)
            except Missing:
                raise Busy("The picture has just changed where it comes from; ask again.", retry_after_s=1) from None
            try:
                return await delivery.renderer.of_file(fd, spec, mark=b"".join(ink))
            finally:
                os.close(fd)

        text = f"{spec.text}@{copy.sha256}@{mark.tag if mark else ''}"
        digest = hashlib.sha256(text.encode()).hexdigest()[:32]
        return Wanted(f"{copy.folder}1/t-{digest}.{spec.format.extension}", spec.format, settled.weight, make, prepare)


def _meant(house: Tenant, file: str) -> str:
    """The transform that the last part of the path is, or that its preset stands for. Raises BadOption."""
    name, _, extension = file.rpartition(".")
    if is_transform(name):
        return file
    options = f"w={SIDES[name]},h={SIDES[name]}" if name in SIDES else house.preset(name)[0]
    return f"{options}.{extension}"
