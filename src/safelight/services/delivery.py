"""Delivery: from a URL to the right bytes.

Presets go by signed URL, or by plain URL where the image is not private; any other transform by signed URL only, since whoever
may ask for any size may have us compute for ever.

A hit touches two dictionaries and one HMAC, and the same URL again within two seconds not even that (`again`). What has not been
made, or has been lost, is made: once per key however many ask, at most so many at a time (`renditions`, `renderer`).
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Final

from safelight import signing
from safelight.concurrency import Believed
from safelight.domain import access
from safelight.domain.accounts import Actor, Grammar, SigningKey, Tenant
from safelight.domain.ids import ImageId, TenantId, is_id
from safelight.domain.images import Image, Rendition, Visibility
from safelight.domain.names import REFERENCE
from safelight.domain.proofs import ForeignSignature, Signature
from safelight.domain.recipes import OwnSize
from safelight.errors import (
    BadOption,
    BadSignature,
    Misdirected,
    Missing,
    PresetsOnly,
)
from safelight.imaging import PRESETS, Format
from safelight.imaging.transform import (
    MARK_SIDE,
    Fonts,
    Gravity,
    Named,
    Order,
    Request,
    Settled,
    Spec,
    Watermark,
    is_transform,
    parse_request,
    settle,
)
from safelight.imaging.transform.spec import AUTO_QUALITY
from safelight.observability import Instruments
from safelight.ports.catalog import Catalog
from safelight.services.cloudfront import CloudFront
from safelight.services.delivered import Asked, Delivered, DeliveryLimits, Grounds, Known, Seen
from safelight.services.marks import Mark, is_marked, is_part, no_watermark
from safelight.services.meter import Meter
from safelight.services.originals import delivered_version, original_of
from safelight.services.remembered import Remembered
from safelight.services.renderer import Renderer
from safelight.services.renditions import Renditions, Wanted
from safelight.services.signer import Signer
from safelight.services.standing import Standing

SIDES: Final = {preset.name: preset.side for preset in PRESETS}
FORMATS: Final = {"webp": Format.WEBP, "jpg": Format.JPEG, "jpeg": Format.JPEG, "avif": Format.AVIF}
_DECODED_MASTER_BYTES: Final = 2048 * 2048 * 3
_YEAR_S: Final = 31_536_000
_ACCEPTS: Final = ("image/avif", "image/webp", "")
"""Of clients that get something different of one `.auto`."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One per process: its memory is its own, and it believes a record for at most two seconds unless told otherwise."""

    catalog: Catalog
    remembered: Remembered
    clock: Callable[[], datetime]
    instruments: Instruments
    standing: Standing
    meter: Meter
    limits: DeliveryLimits
    renditions: Renditions
    renderer: Renderer
    known: Believed[ImageId, Known]
    rings: Believed[TenantId, tuple[Tenant, tuple[SigningKey, ...]]]
    presets: Mapping[str, str] = field(default_factory=dict)
    """imgproxy's, by name."""
    watermarks: Named = field(default_factory=dict)
    fonts: Fonts = field(default_factory=Fonts)
    cloudfront: CloudFront | None = None

    async def deliver(self, asked: Asked, *, signature: Signature | None, path: str) -> Delivered:
        """The rendition. Raises Missing, BadOption, PresetsOnly, TooManyPixels, BadSignature, ExpiredSignature, TenantSuspended, Busy.

        A wrong signature is refused before anything is told that would show whether the image exists.
        """
        if not is_id(asked.image_id):
            raise Missing
        name, _, extension = asked.file.rpartition(".")
        if self.limits.presets_only and is_transform(name):
            raise PresetsOnly
        request = parse_request(asked.file, asked.hints, self.watermarks) if is_transform(name) else None
        if request is None:
            if name in SIDES and extension not in FORMATS:
                raise _no_extension()
            if name not in SIDES and not REFERENCE.fullmatch(name):
                raise BadOption(f"Presets are {', '.join(SIDES)}; transforms look like w=300,h=200.", option="preset")
        known = await self._look_up(ImageId(asked.image_id), is_signed=signature is not None, host=asked.host)
        image = known.image
        now, until = self.clock(), math.inf
        if signature is not None:
            until = signature.check(known.ring, path, now)
        elif image.visibility is Visibility.PRIVATE:
            raise Missing
        elif request is not None:
            raise BadSignature("Only presets are delivered without a signature.")
        known.tenant.require_active()
        if image.is_trashed or not image.renditions:
            raise Missing
        is_public = image.visibility is Visibility.PUBLIC
        is_pinned = True
        is_ours = name in SIDES or _own_size(image, name) is not None
        if is_ours and extension not in FORMATS:
            raise _no_extension()
        if request is None and not is_ours:
            options, is_pinned = known.tenant.preset(name)
            request = parse_request(f"{options}.{extension}", asked.hints, self.watermarks)
        mark = None
        if request is not None:
            request, mark = await self._marked(image, request)
        # A URL of another version still shows the image, as it is now, but nobody may keep that for the old address.
        by_point = request is not None and request.spec.gravity is Gravity.FOCAL
        is_exact = is_pinned and asked.version == image.address(by_focal_point=by_point, mark=mark.tag if mark else "")
        max_age = (_YEAR_S if is_public or signature is None else _left(signature, now)) if is_exact else None
        if request is None:
            found = await self._preset(image, name, FORMATS[extension], is_public=is_public, max_age_s=max_age)
        else:
            found = await self._transformed(image, request, mark, asked.accept, is_public=is_public, max_age_s=max_age)
        return _on(Grounds(known, until), found, mark)

    def again(self, found: Delivered) -> bytes | None:
        """The bytes for the URL that had this answer, if all that decided it still holds and they are in memory. No waiting."""
        grounds = found.grounds
        if grounds is None or self.known.get(grounds.known.image.id) is not grounds.known:
            return None
        if grounds.until <= self.clock().timestamp():
            return None
        body = self.renditions.memory.get(found.key)
        if body is not None:
            self.instruments.deliveries_from_memory.inc()
        return body

    async def deliver_order(self, order: Order, *, signature: ForeignSignature, accept: str = "", host: str = "") -> Delivered:
        """What another server's URL asks for of one of ours: the same check, the same rendition, the same key. Raises as `deliver`."""
        if self.limits.presets_only and not order.is_preset:
            raise PresetsOnly
        if not is_id(order.origin.name):
            raise Missing
        known = await self._look_up(ImageId(order.origin.name), is_signed=True, host=host)
        image, now = known.image, self.clock()
        until = signature.check(known.ring, now)
        known.tenant.require_active()
        if image.is_trashed or not image.renditions:
            raise Missing
        version = delivered_version(image)
        most = self.limits.max_animation_pixels
        request = order.request(original_of(image, version), accept, max_animation_pixels=most)
        request, mark = await self._marked(image, request)
        max_age = None
        if order.version == image.address(mark=mark.tag if mark else ""):
            max_age = max(0, order.exp - int(now.timestamp())) if order.exp else _YEAR_S
        is_public = image.visibility is Visibility.PUBLIC
        delivered = await self._transformed(image, request, mark, accept, is_public=is_public, max_age_s=max_age)
        varies_by = ("Accept",) if order.wish.format is None else ()
        delivered = replace(delivered, varies_by=varies_by, is_attachment=order.is_attachment)
        return _on(Grounds(known, until), delivered, mark)

    async def seen(self, image_id: str, actor: Actor | None, *, host: str = "") -> Seen:
        """What may be delivered without a signature: what is not private, and what the actor may read. Raises Missing."""
        if not is_id(image_id):
            raise Missing
        known = await self._look_up(ImageId(image_id), is_signed=False, host=host)
        image = known.image
        is_open = image.visibility is not Visibility.PRIVATE or (actor is not None and access.may(actor, "image.read", image))
        if not is_open or image.is_trashed or not image.renditions:
            raise Missing
        known.tenant.require_active()
        version = delivered_version(image)
        return Seen(known, original_of(image, version))

    async def deliver_seen(self, seen: Seen, order: Order, *, is_kept: bool) -> Delivered:
        """The order's picture, for who may see it. What is not to be kept stays in this machine's own caches. Raises as `deliver`.

        Of a picture that its recipe marks, only the whole: of parts that anybody may choose, one without the mark is put together.
        """
        request = order.request(seen.original, "", max_animation_pixels=self.limits.max_animation_pixels)
        if is_marked(seen.image) and is_part(request.spec):
            raise BadOption("This picture is shown under a watermark, and as a whole.", option="region")
        request, mark = await self._marked(seen.image, request)
        is_public = seen.image.visibility is Visibility.PUBLIC
        found = await self._transformed(seen.image, request, mark, "", is_public=is_public, max_age_s=None, is_kept=is_kept)
        # A private one is for this reader only.
        return found if seen.image.visibility is Visibility.PRIVATE else _on(Grounds(seen.known, math.inf), found, mark)

    async def _look_up(self, image_id: ImageId, *, is_signed: bool, host: str = "") -> Known:
        try:
            known = await self.known.read(image_id, lambda: self._read(image_id))
            await self.standing.require_home(known.tenant, host)
        except (Missing, Misdirected):  # at another tenant's host name it is not there
            # With a signature that nobody can have made, the answer is the same as for an image that exists.
            raise (BadSignature if is_signed else Missing) from None
        return known

    async def _read(self, image_id: ImageId) -> Known:
        tenant = await self.remembered.tenant_of(image_id)
        image = await self.remembered.image(tenant, image_id)
        return Known(image, *await self.ring(tenant))

    async def _preset(self, image: Image, preset: str, format: Format, *, is_public: bool, max_age_s: int | None) -> Delivered:
        wanted, rendition = self._wanted_preset(image, preset, format)
        body, source = await self.renditions.found(wanted)
        etag = rendition.etag if rendition else hashlib.sha256(body).hexdigest()
        return Delivered(
            body, format.media_type, etag, _changed_at(image), is_public, max_age_s, source, tenant=image.tenant, key=wanted.key
        )

    def _wanted_preset(self, image: Image, preset: str, format: Format) -> tuple[Wanted, Rendition | None]:
        rendition = image.rendition(preset, format.value)
        if (size := _own_size(image, preset)) is not None:
            return self._wanted_size(image, size, format, rendition), rendition
        key = image.made_key(preset, format.extension, folder=image.developed_folder)
        recipe = image.developed_recipe
        watermark = recipe.mark if recipe else None
        ink: list[bytes] = []

        async def prepare() -> None:
            if watermark is not None:
                ink.append(await self.ink(image.tenant, watermark))

        async def make() -> bytes:
            quality = recipe.quality(format) if recipe else None
            return await self.renderer.preset(image, SIDES[preset], format, quality, watermark, b"".join(ink))

        stored_at = rendition.object_key if rendition else ""
        return Wanted(key, format, _DECODED_MASTER_BYTES, make, prepare, stored_at=stored_at), rendition

    def _wanted_size(self, image: Image, size: OwnSize, format: Format, rendition: Rendition | None) -> Wanted:
        """A size of the recipe's own: kept as a preset is, made as a transform is."""
        recipe = image.developed_recipe
        request = parse_request(size.text(format, recipe.quality(format) if recipe else None))
        most = self.limits.max_animation_pixels
        weight = settle(request, original_of(image, delivered_version(image)), "", max_animation_pixels=most).weight
        meant: list[Wanted] = []

        async def prepare() -> None:
            meant.append(self._wanted(image, *await self._marked(image, request), "", is_counted=False)[0])
            if (before := meant[-1].prepare) is not None:
                await before()

        async def make() -> bytes:
            return await meant[-1].make()

        key = image.made_key(size.name, format.extension, folder=image.developed_folder)
        return Wanted(key, format, weight, make, prepare, stored_at=rendition.object_key if rendition else "")

    async def _transformed(
        self,
        image: Image,
        request: Request,
        mark: Mark | None,
        accept: str,
        *,
        is_public: bool,
        max_age_s: int | None,
        is_kept: bool = True,
    ) -> Delivered:
        wanted, settled = self._wanted(image, request, mark, accept, is_kept=is_kept)
        body, source = await self.renditions.found(wanted)
        is_draft = wanted.is_draft(source)
        return Delivered(
            body,
            wanted.format.media_type,
            hashlib.sha256(body).hexdigest(),
            _changed_at(image),
            is_public,
            None if is_draft else max_age_s,
            source,
            varies_by=(*request.varies_by, *(("Accept",) if request.spec.format is None and not request.is_original else ())),
            download=request.filename(wanted.format) if request.download else "",
            tenant=image.tenant,
            is_cut_short=settled.is_cut_short,
            key="" if is_draft else wanted.key,
        )

    def _wanted(
        self,
        image: Image,
        request: Request,
        mark: Mark | None,
        accept: str,
        *,
        is_kept: bool = True,
        is_baked: bool = False,
        is_counted: bool = True,
    ) -> tuple[Wanted, Settled]:
        version = delivered_version(image)
        original = original_of(image, version)
        settled = settle(request, original, accept, max_animation_pixels=self.limits.max_animation_pixels)
        format = settled.spec.format
        assert format is not None  # settled
        # Where the picture is too small for its watermark, none is left in the spec.
        mark = mark if settled.spec.watermark else None
        key = _key(image, settled.spec, mark)
        ink: list[bytes] = []

        async def prepare() -> None:
            if mark is not None:
                ink.append(await self.drawn(mark))
            if settled.window is not None:
                await self.renderer.pyramids.ensure(image, version)

        async def make() -> bytes:
            if is_counted:
                await self.meter.transforming(image.tenant)
            return await self.renderer.transform(image, version, settled, b"".join(ink), is_baked=is_baked)

        wanted = Wanted(key, format, settled.weight, make, prepare, is_kept=is_kept)
        if self.renditions.bake_later is not None and is_kept and not is_baked and _can_be_baked(settled):
            wanted = replace(wanted, draft=_key(image, settled.spec, mark, kind="d"), text=settled.spec.text)
        return wanted, settled

    async def ink(self, tenant: TenantId, watermark: Watermark) -> bytes:
        """The PNG of a watermark of the tenant. Raises BadOption where there is none, or letters without a font."""
        mark = await self.mark(tenant, watermark)
        assert mark is not None  # as there is a watermark
        return await self.drawn(mark)

    async def _marked(self, image: Image, request: Request) -> tuple[Request, Mark | None]:
        """The request as it is answered: under the watermark of the image's recipe, whichever it names itself. Raises as `mark`."""
        if image.developed_recipe is not None and (always := image.developed_recipe.mark) is not None:
            request = replace(request, spec=replace(request.spec, watermark=always))
        return request, await self.mark(image.tenant, request.spec.watermark)

    async def mark(self, tenant: TenantId, watermark: Watermark | None) -> Mark | None:
        """The watermark with its image, which is the tenant's own. Raises BadOption where there is none, or letters without a font."""
        if watermark is None:
            return None
        if watermark.text:
            self.fonts.check(watermark.text)
            return Mark(watermark)
        try:
            if not is_id(watermark.image):
                raise Missing
            image = (await self._look_up(ImageId(watermark.image), is_signed=False)).image
            # Another tenant's image and none at all are one answer.
            if image.tenant != tenant or image.is_trashed or not image.renditions:
                raise Missing
        except Missing:
            raise no_watermark(watermark) from None
        return Mark(watermark, image)

    async def drawn(self, mark: Mark) -> bytes:
        """The watermark's PNG: its words, drawn, or its image, made like any other transform and kept like one."""
        if mark.image is None:
            from safelight.imaging.transform.lettering import drawn

            return await asyncio.to_thread(drawn, mark.watermark, self.fonts)
        request = Request(Spec(format=Format.PNG, width=MARK_SIDE, height=MARK_SIDE))
        made = await self._transformed(mark.image, request, None, "", is_public=False, max_age_s=None)
        return made.body

    async def check(self, actor: Actor, text: str) -> None:
        """Whether the actor may ask for `w=300.webp`, `thumb_300.avif` or a preset of the tenant's own. Raises BadOption, PresetsOnly."""
        house, _ = await self.ring(actor.tenant)
        request = self._asked(house, text)
        if not isinstance(request, Request):
            return
        mark = await self.mark(actor.tenant, request.spec.watermark)
        named = {style.get("watermark") for style in self.watermarks.values()}
        if mark and mark.image and mark.image.id not in named and not access.may(actor, "image.read", mark.image):
            raise no_watermark(mark.watermark)

    async def ahead(self, image: Image, text: str) -> list[Wanted]:
        """What clients of every kind would get by this text, each at its best: nobody waits for it. Raises as `deliver`, QuotaExceeded."""
        house, _ = await self.ring(image.tenant)
        house.require_active()
        request = self._asked(house, text)
        if not isinstance(request, Request):
            return [self._wanted_preset(image, *request)[0]]
        request, mark = await self._marked(image, request)
        is_open = request.spec.format is None and not request.is_original
        is_baked = self.renditions.bake_later is not None
        accepts = _ACCEPTS if is_open else ("",)
        wanted = [self._wanted(image, request, mark, accept, is_baked=is_baked)[0] for accept in accepts]
        return list({each.key: each for each in wanted}.values())

    async def at_its_best(self, image: Image, text: str) -> Wanted:
        """What `text` stands for, encoded with all the effort there is; the tenant has paid for it already. Raises BadOption."""
        request, mark = await self._marked(image, parse_request(text, named=self.watermarks))
        return self._wanted(image, request, mark, "", is_baked=True, is_counted=False)[0]

    def _asked(self, house: Tenant, text: str) -> Request | tuple[str, Format]:
        """A transform, or one of our presets with its format. Raises BadOption, PresetsOnly."""
        name, _, extension = text.rpartition(".")
        if not is_transform(name):
            if name in SIDES and extension in FORMATS:
                return name, FORMATS[extension]
            if name in SIDES:
                raise _no_extension()
            text = f"{house.preset(name)[0]}.{extension}"
        elif self.limits.presets_only:
            raise PresetsOnly
        return parse_request(text, named=self.watermarks)

    def forget(self, image_id: ImageId) -> None:
        """The record has changed: look again at the next request."""
        self.known.drop(image_id)

    def forget_rings(self) -> None:
        """A signing key has been added or retired, or the tenant's record has changed."""
        self.rings.clear()
        self.known.clear()

    async def ring(self, tenant: TenantId) -> tuple[Tenant, tuple[SigningKey, ...]]:
        """The tenant with its signing keys: secrets, which never go into the cache."""
        return await self.rings.read(tenant, lambda: self._ring(tenant))

    async def _ring(self, tenant: TenantId) -> tuple[Tenant, tuple[SigningKey, ...]]:
        async with self.catalog.tenant(tenant) as records:
            return records.tenant, tuple(await records.accounts.signing_keys())

    async def signer(self, tenant: TenantId, *, until: datetime | None = None) -> Signer:
        """Makes the URLs of one answer with the tenant's newest live key; they end by then, if it is said."""
        house, ring = await self.ring(tenant)
        key = next(key for key in ring if key.retired_at is None and key.grammar is Grammar.NATIVE)
        exp = signing.expiry(self.clock().timestamp(), self.limits.url_ttl_s)
        exp = exp if until is None else min(exp, int(until.timestamp()))
        return Signer(key, exp, ring, self.presets, self.watermarks, self.cloudfront, house)

    async def transform_urls(
        self, actor: Actor, image: Image, texts: Sequence[str], grammar: Grammar
    ) -> tuple[Sequence[str], datetime]:
        """Paths and queries of any transforms of an image that the actor may see, and when they end. Raises BadOption, WrongState.

        Whoever could lay an image over another would see it: a watermark must be one that the actor may see, or have a name here.
        Parts of a picture under its recipe's watermark are for those who may have its original.
        """
        signer = await self.signer(actor.tenant)
        named = {style.get("watermark") for style in self.watermarks.values()}
        urls = []
        for text in texts:
            if self.limits.presets_only and not signer.is_preset(image, text, grammar):
                raise PresetsOnly
            spec = signer.spec(image, text, grammar)
            _, mark = await self._marked(image, Request(spec))
            if is_marked(image):
                if is_part(spec) and not access.may(actor, "image.original", image):
                    raise BadOption("This picture is shown under a watermark, and as a whole.", option="crop")
            elif mark and mark.image and mark.image.id not in named and not access.may(actor, "image.read", mark.image):
                raise no_watermark(mark.watermark)
            make = signer.transform_url if grammar is Grammar.NATIVE else partial(signer.foreign_url, grammar=grammar)
            urls.append(make(image, text, mark=mark.tag if mark else ""))
        return urls, datetime.fromtimestamp(signer.exp, UTC)


def _can_be_baked(settled: Settled) -> bool:
    """AVIFs of our own master or tiles, at a quality that is given: where it is sought, it would have to be sought anew."""
    spec = settled.spec
    is_sought = spec.quality == AUTO_QUALITY or spec.max_bytes
    return spec.format is Format.AVIF and not is_sought and not (settled.needs_original and settled.window is None)


def _key(image: Image, spec: Spec, mark: Mark | None, *, kind: str = "t") -> str:
    """Where a transform lies: another place for every spec, and for every version of a watermark's image."""
    text = f"{spec.text}@{mark.image.edition}" if mark and mark.image else spec.text
    assert spec.format is not None  # settled
    digest = hashlib.sha256(text.encode()).hexdigest()[:32]
    return image.made_key(f"{kind}-{digest}", spec.format.extension, folder=image.developed_folder)


def _on(grounds: Grounds, found: Delivered, mark: Mark | None) -> Delivered:
    """The delivery with its grounds, unless something else took part in it."""
    return found if not found.key or (mark is not None and mark.image is not None) else replace(found, grounds=grounds)


def _own_size(image: Image, name: str) -> OwnSize | None:
    """The size of this name that the image's recipe has of its own."""
    return image.developed_recipe.size(name) if image.developed_recipe else None


def _no_extension() -> BadOption:
    return BadOption(f"Extensions are {', '.join(sorted(FORMATS))}.", option="extension")


def _changed_at(image: Image) -> datetime:
    changed_at = image.replaced_at or image.created_at
    return changed_at if image.uncached_at is None else max(changed_at, image.uncached_at)


def _left(signature: Signature, now: datetime) -> int:
    return max(0, signature.exp - int(now.timestamp()))
