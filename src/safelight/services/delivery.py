"""Delivery: from a URL to the right bytes.

Presets go by signed URL, or by plain URL where the image is not private; any other transform by signed URL only, since whoever
may ask for any size may have us compute for ever.

A hit touches two dictionaries and one HMAC, and the same URL again within two seconds not even that (`again`). What has not been
made, or has been lost, is made: once per key however many ask, at most so many at a time; from our own master in a thread, or,
where that does not suffice, from the original in the sandbox.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import math
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Final
from urllib.parse import quote

import structlog

from safelight import signing
from safelight.concurrency import ByteLru, Expiring, Gate, SingleFlight
from safelight.domain import access
from safelight.domain.accounts import Actor, Grammar, SigningKey, Tenant
from safelight.domain.ids import ImageId, TenantId, is_id
from safelight.domain.images import Image, Rendition, Version, Visibility
from safelight.domain.proofs import ForeignSignature, Signature
from safelight.domain.recipes import OwnSize
from safelight.domain.sources import encoded
from safelight.errors import (
    BadOption,
    BadSignature,
    DamagedObject,
    DecodeBudgetExceeded,
    Misdirected,
    Missing,
    PresetsOnly,
    SafelightError,
    WrongState,
)
from safelight.imaging import PRESETS, File, Format, Sandbox
from safelight.imaging.metadata.packet import Credits, packet
from safelight.imaging.transform import (
    MARK_SIDE,
    NO_HINTS,
    Fonts,
    Gravity,
    Hints,
    Metadata,
    Named,
    Order,
    Original,
    Request,
    Settled,
    Size,
    Spec,
    Watermark,
    imgproxy,
    is_transform,
    parse_request,
    settle,
    thumbor,
)
from safelight.imaging.transform.spec import AUTO_QUALITY
from safelight.observability import Instruments
from safelight.ports.catalog import Catalog
from safelight.ports.shelf import Shelf
from safelight.services.cloudfront import CloudFront
from safelight.services.development import Buckets
from safelight.services.meter import Meter
from safelight.services.originals import delivered_version, descriptor, original_of
from safelight.services.pyramids import Pyramids
from safelight.services.remembered import Remembered
from safelight.services.standing import Standing
from safelight.services.turns import Turns
from safelight.signing import imgproxy as imgproxy_signing
from safelight.signing import thumbor as thumbor_signing

log = structlog.get_logger()

_OWN_PRESET: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}(@[0-9]{1,3})?")
SIDES: Final = {preset.name: preset.side for preset in PRESETS}
FORMATS: Final = {"webp": Format.WEBP, "jpg": Format.JPEG, "jpeg": Format.JPEG, "avif": Format.AVIF}
_DECODED_MASTER_BYTES: Final = 2048 * 2048 * 3
_YEAR_S: Final = 31_536_000
_ACCEPTS: Final = ("image/avif", "image/webp", "")
"""Of clients that get something different of one `.auto`."""
_LARGEST_DRAFT: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Asked:
    """What a URL asks for: `/i/{image_id}/{file}?v={version}`, and what the client can show."""

    image_id: str
    file: str
    version: str | None = None
    accept: str = ""
    hints: Hints = NO_HINTS
    host: str = ""


@dataclass(frozen=True, slots=True)
class Delivered:
    """Bytes and what to say of them. `max_age_s` is None where the URL names no version and so may change its meaning."""

    body: bytes
    media_type: str
    etag: str
    modified_at: datetime
    is_public: bool
    max_age_s: int | None
    source: str
    varies_by: tuple[str, ...] = ()
    """Names of the headers of the request that took part in the choice."""
    download: str = ""
    """Name under which a browser should save it."""
    is_cut_short: bool = False
    """The first frame of an animation that is too large to be made."""
    tenant: TenantId = TenantId("")  # noqa: RUF009 (a name for text)
    """Whose it is."""
    is_attachment: bool = True
    """Whether it should save rather than show it, where there is a name."""
    is_immutable: bool = True
    """Nothing else will ever be under its address."""
    key: str = ""
    """Where its bytes are kept."""
    grounds: Grounds | None = None
    """None where another request may differ though its URL is the same."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An image that may be delivered to who asks, and what is known of its delivered bytes."""

    image: Image
    original: Original


@dataclass(frozen=True, slots=True)
class _Known:
    image: Image
    tenant: Tenant
    ring: tuple[SigningKey, ...]


@dataclass(frozen=True, slots=True)
class Grounds:
    """What a delivery was decided by. As long as it holds, the same URL at the same host means the same bytes."""

    known: _Known
    until: float
    """Seconds since 1970: the end of its signature, or infinity."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A rendition: where it is kept, and how it is made where it is not."""

    key: str
    format: Format
    weight: int
    make: Callable[[], Awaitable[bytes]]
    prepare: Callable[[], Awaitable[None]] | None = None
    """Fetches what `make` needs and may itself have to be made: before there is a place among those at work, lest all of them wait
    for one more."""
    is_kept: bool = True
    """In the store, beyond this machine."""
    stored_at: str = ""
    """Where in the store, if not under the key."""
    rank: int = 0
    """Behind everybody of a lower one."""
    draft: str = ""
    """Where in the store it lies until a better one is baked, and what that is made of; '' where it is as good as it gets."""
    text: str = ""

    def is_draft(self, source: str) -> bool:
        """Whether what came from there is to be replaced by something better under the same key."""
        return bool(self.draft) and source in ("rendered", "draft")

    @property
    def place(self) -> str:
        """Where in the store."""
        return self.stored_at or self.key


@dataclass(frozen=True, slots=True)
class Mark:
    """A watermark that is at hand: words, or an image of the tenant whose picture carries it."""

    watermark: Watermark
    image: Image | None = None

    @property
    def tag(self) -> str:
        """Tells it from any other, also from itself before its image got new bytes or its name another meaning."""
        edition = self.image.edition if self.image else ""
        return hashlib.sha256(f"{sorted(self.watermark.said().items())}@{edition}".encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryLimits:
    """What the settings say."""

    url_ttl_s: int
    render_s: float
    """Seconds that making one rendition may take, once it has begun."""
    max_animation_pixels: int
    presets_only: bool = False
    """Other transforms are refused, signed or not."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One per process: its memory is its own, and it believes a record for at most two seconds unless told otherwise."""

    catalog: Catalog
    remembered: Remembered
    buckets: Buckets
    sandbox: Sandbox
    clock: Callable[[], datetime]
    instruments: Instruments
    standing: Standing
    meter: Meter
    limits: DeliveryLimits
    gate: Gate
    turns: Turns
    memory: ByteLru[str]
    shelf: Shelf | None
    pyramids: Pyramids
    known: Expiring[ImageId, _Known]
    rings: Expiring[TenantId, tuple[Tenant, tuple[SigningKey, ...]]]
    presets: Mapping[str, str] = field(default_factory=dict)
    """imgproxy's, by name."""
    watermarks: Named = field(default_factory=dict)
    fonts: Fonts = field(default_factory=Fonts)
    cloudfront: CloudFront | None = None
    bake_later: Callable[[TenantId, str, Mapping[str, str]], Awaitable[None]] | None = None
    """Has `bake` called with the image's id and this, some time; AVIFs are not baked without."""
    drafts: Expiring[str, bytes] = field(default_factory=lambda: Expiring(ttl_s=10.0, size=100, now=time.monotonic))
    """Apart from memory, where nothing is ever replaced."""
    _flights: SingleFlight[str, tuple[bytes, str]] = field(default_factory=lambda: SingleFlight(ends_with_callers=True))

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
            if name not in SIDES and not _OWN_PRESET.fullmatch(name):
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
        body = self.memory.get(found.key)
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
        return Seen(image, original_of(image, version))

    async def deliver_seen(self, seen: Seen, order: Order, *, is_kept: bool) -> Delivered:
        """The order's picture, for who may see it. What is not to be kept stays in this machine's own caches. Raises as `deliver`.

        Of a picture that its recipe marks, only the whole: of parts that anybody may choose, one without the mark is put together.
        """
        request = order.request(seen.original, "", max_animation_pixels=self.limits.max_animation_pixels)
        if is_marked(seen.image) and is_part(request.spec):
            raise BadOption("This picture is shown under a watermark, and as a whole.", option="region")
        request, mark = await self._marked(seen.image, request)
        is_public = seen.image.visibility is Visibility.PUBLIC
        return await self._transformed(seen.image, request, mark, "", is_public=is_public, max_age_s=None, is_kept=is_kept)

    async def _look_up(self, image_id: ImageId, *, is_signed: bool, host: str = "") -> _Known:
        known = self.known.get(image_id)
        if known is None:
            try:
                tenant = await self.remembered.tenant_of(image_id)
                image = await self.remembered.image(tenant, image_id)
                house, ring = await self.ring(tenant)
            except Missing:
                # With a signature that nobody can have made, the answer is the same as for an image that exists.
                raise (BadSignature if is_signed else Missing) from None
            known = _Known(image, house, ring)
            self.known.put(image_id, known)
        try:
            await self.standing.require_home(known.tenant, host)
        except Misdirected:  # at another tenant's host name it is not there
            raise (BadSignature if is_signed else Missing) from None
        return known

    async def _preset(self, image: Image, preset: str, format: Format, *, is_public: bool, max_age_s: int | None) -> Delivered:
        wanted, rendition = self._wanted_preset(image, preset, format)
        body, source = await self.found(wanted)
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
            from safelight.imaging.pipeline import render

            master = await self.buckets.originals.get(image.delivered_master_key)
            self.instruments.renders.labels("master").inc()
            quality = recipe.quality(format) if recipe else None
            made = partial(render, side=SIDES[preset], format=format, quality=quality, watermark=watermark, mark=b"".join(ink))
            return (await asyncio.to_thread(made, master)).data

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
        body, source = await self.found(wanted)
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
                await self.pyramids.ensure(image, version)

        async def make() -> bytes:
            if is_counted:
                await self.meter.transforming(image.tenant)
            return await self._made(image, version, settled, b"".join(ink), is_baked=is_baked)

        wanted = Wanted(key, format, settled.weight, make, prepare, is_kept=is_kept)
        if self.bake_later is not None and is_kept and not is_baked and _can_be_baked(settled):
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
            raise _no_watermark(watermark) from None
        return Mark(watermark, image)

    async def drawn(self, mark: Mark) -> bytes:
        """The watermark's PNG: its words, drawn, or its image, made like any other transform and kept like one."""
        if mark.image is None:
            from safelight.imaging.transform.lettering import drawn

            return await asyncio.to_thread(drawn, mark.watermark, self.fonts)
        request = Request(Spec(format=Format.PNG, width=MARK_SIDE, height=MARK_SIDE))
        made = await self._transformed(mark.image, request, None, "", is_public=False, max_age_s=None)
        return made.body

    async def _made(self, image: Image, version: Version, settled: Settled, mark: bytes, *, is_baked: bool = False) -> bytes:
        from safelight.imaging.transform import apply

        xmp = packet(_credits(image, settled.spec.metadata))
        if settled.window is not None:
            with contextlib.suppress(Missing, DamagedObject):  # lost since: the original has the pixels, too
                tiles = await self.pyramids.tiles(image, version, settled.window)
                self.instruments.renders.labels("tiles").inc()
                return await self._in_a_thread(
                    partial(apply.transform_tiles, tiles, settled.window, is_baked=is_baked), version, settled.spec, xmp, mark
                )
        if settled.needs_original:
            self.instruments.renders.labels("original").inc()
            async with descriptor(self.buckets.originals, image, version) as fd:
                return await self.in_sandbox(fd, settled.spec, xmp=xmp, mark=mark)
        side = apply.lesser_side(settled.spec, version.width, version.height)
        master, is_lesser = await self._master(image, side)
        self.instruments.renders.labels("baked" if is_baked else "master").inc()
        work = partial(apply.transform, master, is_baked=is_baked, is_lesser=is_lesser)
        return await self._in_a_thread(work, version, settled.spec, xmp, mark)

    async def _master(self, image: Image, side: int) -> tuple[bytes, bool]:
        """The lesser master of that side, if there is one, or else the large one; and whether it is a lesser one."""
        if side:
            with contextlib.suppress(Missing, DamagedObject):
                return await self.buckets.originals.get(image.delivered_lesser_key(side)), True
        return await self.buckets.originals.get(image.delivered_master_key), False

    async def in_sandbox(self, fd: int, spec: Spec, *, xmp: bytes = b"", mark: bytes = b"") -> bytes:
        """The transform of a stranger's file, within the time for it. Raises what the sandbox raises, DecodeBudgetExceeded."""
        try:
            async with asyncio.timeout(self.limits.render_s):
                return (await self.sandbox.transform(fd, spec, xmp=xmp, mark=mark)).data
        except TimeoutError:
            raise DecodeBudgetExceeded("The transform takes more time than allowed.") from None

    async def _in_a_thread(self, work: Callable[..., File], version: Version, spec: Spec, xmp: bytes, mark: bytes) -> bytes:
        """The file that a function of `transform.apply` makes of our own bytes, within the time for it."""
        from safelight.imaging.libvips import Stop

        stop = Stop(self.limits.render_s)
        made = partial(work, source_width=version.width, source_height=version.height, xmp=xmp, mark=mark, stop=stop)
        making = asyncio.ensure_future(asyncio.to_thread(made, spec))
        try:
            return (await asyncio.shield(making)).data
        except asyncio.CancelledError:
            stop.now()
            # The thread still holds what the gate has counted: leave only when it has.
            with contextlib.suppress(Exception):
                await making
            raise

    async def found(self, wanted: Wanted) -> tuple[bytes, str]:
        """The bytes, from memory, this machine's disk, the store, or made now; and which."""
        body = self.memory.get(wanted.key)
        if body is not None:
            self.instruments.deliveries_from_memory.inc()
            return body, "memory"
        if wanted.draft and (body := self.drafts.get(wanted.key)) is not None:
            self.instruments.deliveries.labels("draft").inc()
            return body, "draft"
        body, source = await self._flights.do(wanted.key, lambda: self._fetched(wanted))
        if not wanted.is_draft(source):
            self.memory.put(wanted.key, body)
        elif len(body) <= _LARGEST_DRAFT:
            self.drafts.put(wanted.key, body)
        self.instruments.deliveries.labels(source).inc()
        return body, source

    async def _fetched(self, wanted: Wanted) -> tuple[bytes, str]:
        if self.shelf is not None and (kept := await self.shelf.get(wanted.key)) is not None:
            return kept, "disk"
        body, source = await self._stored_or_made(wanted)
        if wanted.is_draft(source):
            await self._bake_later(wanted)
        elif self.shelf is not None:
            await self.shelf.put(wanted.key, body)
        return body, source

    async def _stored_or_made(self, wanted: Wanted) -> tuple[bytes, str]:
        since_s = time.monotonic()
        key = wanted.place
        for attempt in itertools.count():
            body = await self._stored(key)
            if body is not None:
                return body, "store"
            if wanted.draft and (body := await self._stored(wanted.draft)) is not None:
                return body, "draft"
            if attempt == 0 and wanted.prepare is not None:
                await wanted.prepare()
            if not wanted.is_kept:  # then there is nothing to wait for that another server makes
                async with self.gate.admit(wanted.weight, party=key.partition("/")[0]):
                    return await wanted.make(), "rendered"
            # A place first, then the turn: who still queues for a place keeps no other server from working.
            async with (
                self.gate.admit(wanted.weight, party=key.partition("/")[0], rank=wanted.rank),
                self.turns.turn(f"render:{key}", since_s=since_s, patience_s=self.limits.render_s) as is_ours,
            ):
                if is_ours:
                    body = await self.turns.late_look(lambda: self._stored(key))
                    if body is not None:
                        return body, "store"
                    if wanted.draft and (body := await self.turns.late_look(lambda: self._stored(wanted.draft))) is not None:
                        return body, "draft"
                    body = await wanted.make()
                    await self.buckets.renditions.put(
                        wanted.draft or key, body, media_type=wanted.format.media_type, is_durable=False
                    )
                    return body, "rendered"
            await self.turns.rest(attempt)
        raise AssertionError("counting has no end")

    async def _stored(self, key: str) -> bytes | None:
        try:
            return await self.buckets.renditions.get(key)
        except (Missing, DamagedObject):
            return None  # never made, lost or spoilt: it can be made

    async def check(self, actor: Actor, text: str) -> None:
        """Whether the actor may ask for `w=300.webp`, `thumb_300.avif` or a preset of the tenant's own. Raises BadOption, PresetsOnly."""
        house, _ = await self.ring(actor.tenant)
        request = self._asked(house, text)
        if not isinstance(request, Request):
            return
        mark = await self.mark(actor.tenant, request.spec.watermark)
        named = {style.get("watermark") for style in self.watermarks.values()}
        if mark and mark.image and mark.image.id not in named and not access.may(actor, "image.read", mark.image):
            raise _no_watermark(mark.watermark)

    async def warm(self, image: Image, text: str) -> list[bool]:
        """Have it in the store before somebody asks: of each format that it may be asked for in, whether it had to be made.

        Behind everybody who asks: whoever comes meanwhile goes first, and memory is left to them. Raises as `deliver`, QuotaExceeded.
        """
        house, _ = await self.ring(image.tenant)
        house.require_active()
        request = self._asked(house, text)
        if not isinstance(request, Request):
            return [await self._warmed(self._wanted_preset(image, *request)[0])]
        request, mark = await self._marked(image, request)
        is_open = request.spec.format is None and not request.is_original
        # At its best at once: nobody waits for it.
        wanted = [
            self._wanted(image, request, mark, accept, is_baked=self.bake_later is not None)[0]
            for accept in (_ACCEPTS if is_open else ("",))
        ]
        return [await self._warmed(each) for each in {each.key: each for each in wanted}.values()]

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

    async def _warmed(self, wanted: Wanted) -> bool:
        with contextlib.suppress(Missing):
            await self.buckets.renditions.stat(wanted.place)
            return False
        # A flight of its own: whoever asks meanwhile need not wait behind everybody else with it.
        _, source = await self._flights.do(f"warm:{wanted.key}", lambda: self._stored_or_made(replace(wanted, rank=1)))
        return source == "rendered"

    async def _bake_later(self, wanted: Wanted) -> None:
        assert self.bake_later is not None  # or there were no drafts
        tenant, image, *_ = wanted.key.split("/")
        payload = {"tenant": tenant, "image": image, "text": wanted.text, "key": wanted.key, "draft": wanted.draft}
        try:
            await self.bake_later(TenantId(tenant), wanted.key, payload)
        except SafelightError as error:
            log.warning("delivery.not_baked", key=wanted.key, code=error.code)  # whoever comes next asks again

    async def bake(self, image: Image | None, text: str, key: str, draft: str) -> None:
        """In the place of a draft, the same encoded with more effort, if that is smaller. May run twice. Raises Busy, and what is transient.

        `image` is None where there is none any more. A draft that cannot be baked is kept as it is.
        """
        first = await self._stored(draft)
        if first is None or image is None:
            return
        if await self._stored(key) is None:
            best = min(first, await self._baked(image, text, key) or first, key=len)
            await self.buckets.renditions.put(key, best, media_type=Format.AVIF.media_type, is_durable=False)
        for stored in await self.buckets.renditions.versions(draft):
            await self.buckets.renditions.delete(draft, version=stored.version)
        self.drafts.drop(key)

    async def _baked(self, image: Image, text: str, key: str) -> bytes | None:
        try:
            request, mark = await self._marked(image, parse_request(text, named=self.watermarks))
            wanted, _ = self._wanted(image, request, mark, "", is_baked=True, is_counted=False)
            if wanted.key != key:
                return None  # the image has other bytes by now, or another generation
            if wanted.prepare is not None:
                await wanted.prepare()
            async with self.gate.admit(wanted.weight, party=image.tenant, rank=1):
                return await wanted.make()
        except SafelightError as error:
            if error.is_transient:
                raise
            log.info("delivery.not_baked", key=key, code=error.code)
            return None

    def forget(self, image_id: ImageId) -> None:
        """The record has changed: look again at the next request."""
        self.known.drop(image_id)

    def forget_rings(self) -> None:
        """A signing key has been added or retired, or the tenant's record has changed."""
        self.rings.clear()
        self.known.clear()

    async def ring(self, tenant: TenantId) -> tuple[Tenant, tuple[SigningKey, ...]]:
        """The tenant with its signing keys: secrets, which never go into the cache."""
        found = self.rings.get(tenant)
        if found is None:
            async with self.catalog.tenant(tenant) as records:
                found = records.tenant, tuple(await records.accounts.signing_keys())
            self.rings.put(tenant, found)
        return found

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
                raise _no_watermark(mark.watermark)
            make = signer.transform_url if grammar is Grammar.NATIVE else partial(signer.foreign_url, grammar=grammar)
            urls.append(make(image, text, mark=mark.tag if mark else ""))
        return urls, datetime.fromtimestamp(signer.exp, UTC)


@dataclass(frozen=True, slots=True)
class Signer:
    """Delivery URLs of one tenant, good until `exp`."""

    key: SigningKey
    exp: int
    ring: tuple[SigningKey, ...] = ()
    presets: Mapping[str, str] = field(default_factory=dict)
    watermarks: Named = field(default_factory=dict)
    cloudfront: CloudFront | None = None
    tenant: Tenant | None = None

    def is_preset(self, image: Image, text: str, grammar: Grammar) -> bool:
        """Whether it is delivered where only presets are. Raises BadOption."""
        if grammar is Grammar.NATIVE:
            return not is_transform(text.rpartition(".")[0])
        return self._order(image, text, grammar)[0].is_preset

    def meant(self, text: str) -> str:
        """A transform, or what a preset of the tenant's own stands for now: `card.webp`. Raises BadOption."""
        name, _, extension = text.rpartition(".")
        if self.tenant is None or is_transform(name) or not _OWN_PRESET.fullmatch(name):
            return text
        return f"{self.tenant.preset(name)[0]}.{extension}"

    def link(self, image: Image, rendition: Rendition, base: str) -> str:
        """Where a stored rendition is fetched: at CloudFront where that stands before it, else here."""
        if self.cloudfront and (url := self.cloudfront.rendition(rendition, self.exp)):
            return url
        extension = "jpg" if rendition.format == "jpeg" else rendition.format
        return base + self.url(image, rendition.preset, extension)

    @property
    def at_cloudfront(self) -> CloudFront:
        """Raises WrongState where there is none."""
        if self.cloudfront is None:
            raise WrongState("No CloudFront distribution is set up.")
        return self.cloudfront

    def url(self, image: Image, preset: str, extension: str) -> str:
        """Path and query; plain for public and unlisted images."""
        path = f"/i/{image.id}/{preset}.{extension}"
        if image.visibility is not Visibility.PRIVATE:
            return f"{path}?v={image.address()}"
        return self._signed(image, path, image.address())

    def remote_url(self, address: str, text: str) -> str:
        """Path and query of a transform of what lies elsewhere."""
        path = f"/i/remote/{encoded(address)}/{text}"
        signed = signing.signed(self.key.secret, path, kid=self.key.kid, exp=self.exp)
        return quote(path, safe="/=,:") + signed.removeprefix(path)

    def spec(self, image: Image, text: str, grammar: Grammar) -> Spec:
        """What `text` means for the image. Raises BadOption."""
        if grammar is Grammar.NATIVE:
            return parse_request(self.meant(text), named=self.watermarks).spec
        return self._order(image, text, grammar)[0].wish.spec(Size(image.width, image.height))

    def transform_url(self, image: Image, text: str, *, mark: str = "") -> str:
        """Path and query of any transform, always signed; the signature is over the decoded path. Raises BadOption.

        `mark` is the tag of its watermark.
        """
        by_point = parse_request(self.meant(text), named=self.watermarks).spec.gravity is Gravity.FOCAL
        path = f"/i/{image.id}/{text}"
        signed = self._signed(image, path, image.address(by_focal_point=by_point, mark=mark))
        return quote(path, safe="/=,:") + signed.removeprefix(path)

    def foreign_url(self, image: Image, text: str, grammar: Grammar, *, mark: str = "") -> str:
        """The path of `{options}@{extension}` by imgproxy's or `{parts}` by thumbor's grammar. Raises BadOption, WrongState without a key."""
        key = next((key for key in self.ring if key.grammar is grammar and key.retired_at is None), None)
        if key is None:
            raise WrongState(f"There is no key for {grammar}'s URLs; add one first.")
        _order, path = self._order(image, text, grammar, mark)
        if grammar is Grammar.THUMBOR:
            return "/thumbor/" + quote(f"{thumbor_signing.sign(key.secret, path)}/{path}", safe="/:=()|,")
        return f"/imgproxy/{imgproxy_signing.sign(key.secret, key.salt, path, size_bytes=key.size_bytes)}{path}"

    def _order(self, image: Image, text: str, grammar: Grammar, mark: str = "") -> tuple[Order, str]:
        """What another grammar's text asks for, and the path that is signed."""
        text = text.strip("/")
        if grammar is Grammar.THUMBOR:
            path = f"{text}/{image.id}" if text else image.id
            return thumbor.parse(quote(path), self.watermarks), path
        options, at, extension = text.partition("@")
        parts = [*filter(None, [options]), f"cb:{image.address(mark=mark)}", f"exp:{self.exp}", "plain"]
        path = quote(f"/{'/'.join(parts)}/{image.id}{at}{extension}", safe="/:@%=,")
        return imgproxy.parse(path, self.presets, self.watermarks), path

    def _signed(self, image: Image, path: str, address: str) -> str:
        return _signed_url(self.key.secret, path, self.key.kid, self.exp, address)


@lru_cache(maxsize=8192)
def _signed_url(secret: bytes, path: str, kid: str, exp: int, address: str) -> str:
    # A page of fifty records carries six hundred, the same ones each time it is shown before they get a new expiry.
    return signing.signed(secret, path, kid=kid, exp=exp, query=[("v", address)])


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
    return (
        found
        if found.varies_by or not found.key or (mark is not None and mark.image is not None)
        else replace(found, grounds=grounds)
    )


def is_marked(image: Image) -> bool:
    """Whether whatever is delivered of it carries the watermark of its recipe."""
    return image.developed_recipe is not None and bool(image.developed_recipe.watermark)


def is_part(spec: Spec) -> bool:
    """Whether some of the picture is cut off."""
    return spec.crop is not None or spec.fit.cuts or spec.trim > 0 or spec.radius > 0


def _own_size(image: Image, name: str) -> OwnSize | None:
    """The size of this name that the image's recipe has of its own."""
    return image.developed_recipe.size(name) if image.developed_recipe else None


def _no_extension() -> BadOption:
    return BadOption(f"Extensions are {', '.join(sorted(FORMATS))}.", option="extension")


def _no_watermark(watermark: Watermark) -> BadOption:
    return BadOption(f"There is no watermark '{watermark.image}' here.", option="watermark")


def _credits(image: Image, wanted: Metadata) -> Credits:
    """From what the file said when it was developed, not from what its owner says now: renditions are not made again for words."""
    if wanted is Metadata.NONE:
        return Credits()
    public = image.metadata.get("public", {})
    named = Credits(creator=str(public.get("creator", "")), copyright=str(public.get("copyright", "")))
    if wanted is Metadata.COPYRIGHT:
        return named
    xmp, iptc, exif = (public.get(block, {}) for block in ("xmp", "iptc", "exif"))
    keywords = xmp.get("dc:subject") or iptc.get("Keywords") or ()
    return replace(
        named,
        title=str(xmp.get("dc:title") or iptc.get("ObjectName") or ""),
        description=str(xmp.get("dc:description") or iptc.get("Caption-Abstract") or exif.get("ImageDescription") or ""),
        keywords=[keywords] if isinstance(keywords, str) else [str(word) for word in keywords],
        camera=image.camera,
        lens=str(public.get("lens", "")),
        taken_at=image.taken_at.isoformat() if image.taken_at else "",
    )


def _changed_at(image: Image) -> datetime:
    changed_at = image.replaced_at or image.created_at
    return changed_at if image.uncached_at is None else max(changed_at, image.uncached_at)


def _left(signature: Signature, now: datetime) -> int:
    return max(0, signature.exp - int(now.timestamp()))
