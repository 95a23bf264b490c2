"""IIIF: what lies under `/iiif/`, for the delivery door: pictures by the Image API 3.0 and 2.1 with their `info.json`, and manifests.

`/iiif/{3 or 2}/{id}/{region}/{size}/{rotation}/{quality}.{format}`. Public and unlisted images need no signature, private ones their
reader's API key or access token, which viewers can be told to send. Its cost is bounded elsewhere: by size here (`iiif.max_side`), by
the gate and the rates of delivery, and by what is kept: nothing but the sizes and tiles that `info.json` names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

import orjson

from safelight.api import iiif_documents as documents
from safelight.api.auth import token_of
from safelight.api.client_address import ClientAddress
from safelight.api.conditions import album_id, base_of
from safelight.domain.accounts import Actor
from safelight.domain.images import Visibility
from safelight.errors import BadOption, BadRequest, Misdirected, Missing
from safelight.imaging.transform import Order, Origin, Size, iiif
from safelight.imaging.transform.foreign import OURS, unescaped
from safelight.imaging.transform.iiif import Api, Most
from safelight.services.delivered import Delivered
from safelight.wiring import Safelight

Headers = list[tuple[bytes, bytes]]

PREFIX: Final = "/iiif/"
EXPOSED: Final = ((b"access-control-expose-headers", b"Link, ETag, Content-Range, Retry-After, Server-Timing"),)
"""On every answer beside delivery's own `Access-Control-Allow-Origin: *`, for viewers in pages of other sites."""
PREFLIGHT: Final = (
    (b"access-control-allow-methods", b"GET, HEAD"),
    (b"access-control-allow-headers", b"Authorization, X-API-Key, Range, If-None-Match"),
    (b"access-control-max-age", b"86400"),
)
_LD: Final = "application/ld+json"


@dataclass(frozen=True, slots=True)
class Answer:
    """Bytes and what goes with them, or another address (303)."""

    delivered: Delivered | None = None
    headers: Headers = field(default_factory=list)
    location: str = ""


@dataclass(frozen=True, slots=True)
class Iiif:
    """One per delivery door."""

    safelight: Safelight
    address: ClientAddress

    async def answer(self, scope: MutableMapping[str, Any]) -> Answer:
        """To GET and HEAD. Raises Missing, BadOption with the name of the part, what delivery raises, Unauthenticated, TooMany."""
        if not self.safelight.settings.has_iiif:
            raise Missing
        if scope["query_string"]:
            raise BadOption("There is no query here.", option="query")
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        api, *parts = _segments(scope)
        match api, parts:
            case "2" | "3", [name] | [name, ""]:
                return Answer(location=f"{self._service(scope, headers, Api(api), _identifier(name))}/info.json")
            case "2" | "3", [name, "info.json"]:
                return await self._info(scope, headers, Api(api), _identifier(name))
            case "2" | "3", [name, _, _, _, _]:
                return await self._picture(scope, headers, Api(api), _identifier(name), parts[1:])
            case "images", [name, "manifest.json"]:
                return await self._image_manifest(scope, headers, _identifier(name))
            case "albums", [name, "manifest.json"]:
                return await self._album_manifest(scope, headers, _identifier(name))
            case _:
                raise Missing

    async def _image_manifest(self, scope: MutableMapping[str, Any], headers: Iterable[tuple[str, str]], name: str) -> Answer:
        image = (
            await self.safelight.delivery.seen(name, await self._actor(scope, headers), host=dict(headers).get("host", ""))
        ).image
        base = self._base(scope, headers)
        label = image.title or image.file_name or image.id
        document = documents.manifest(
            [image], id=f"{base}{PREFIX}images/{image.id}/manifest.json", base=base, most=self._most, label=label
        )
        is_public = image.visibility is Visibility.PUBLIC
        spoken = _spoken(document, headers, context=documents.MANIFEST_CONTEXT, at=image.updated_at, is_public=is_public)
        return Answer(replace(spoken, tenant=image.tenant))

    async def _album_manifest(self, scope: MutableMapping[str, Any], headers: Iterable[tuple[str, str]], name: str) -> Answer:
        actor = await self._actor(scope, headers)
        shown = await self.safelight.albums.shown(actor, album_id(name))
        try:
            await self.safelight.standing.require_home(shown.house, dict(headers).get("host", ""))
        except Misdirected:  # at another tenant's host name it is not there
            raise Missing from None
        album, base = shown.album, self._base(scope, headers)
        document = documents.manifest(
            shown.images,
            id=f"{base}{PREFIX}albums/{album.id}/manifest.json",
            base=base,
            most=self._most,
            label=album.title if shown.is_whole else album.id,
            summary=album.description if shown.is_whole else "",
        )
        at = max([album.updated_at, *(image.updated_at for image in shown.images)])
        spoken = _spoken(document, headers, context=documents.MANIFEST_CONTEXT, at=at, is_public=actor is None)
        # One address, two answers: a cache on the way must not hand a stranger's to the reader.
        return Answer(replace(spoken, tenant=album.tenant, varies_by=(*spoken.varies_by, "Authorization", "X-API-Key")))

    async def _picture(
        self, scope: MutableMapping[str, Any], headers: Iterable[tuple[str, str]], api: Api, name: str, parts: list[str]
    ) -> Answer:
        wish = iiif.parse(api, parts, self._most)
        seen = await self.safelight.delivery.seen(name, await self._actor(scope, headers), host=dict(headers).get("host", ""))
        size = Size(seen.original.width, seen.original.height)
        canonical = f"{self._service(scope, headers, api, name)}/{wish.canonical(size)}"
        link = f'<{canonical}>;rel="canonical", <{documents.profile_of(api, seen.image)}>;rel="profile"'
        order = Order(Origin(OURS, name), wish)
        delivered = await self.safelight.delivery.deliver_seen(seen, order, is_kept=wish.is_promised(size))
        return Answer(delivered, [(b"link", link.encode())])

    async def _info(self, scope: MutableMapping[str, Any], headers: Iterable[tuple[str, str]], api: Api, name: str) -> Answer:
        seen = await self.safelight.delivery.seen(name, await self._actor(scope, headers), host=dict(headers).get("host", ""))
        image, size = seen.image, Size(seen.original.width, seen.original.height)
        document = documents.info(api, image, size, id=self._service(scope, headers, api, name), most=self._most)
        is_public = image.visibility is Visibility.PUBLIC
        link: Headers = [(b"link", f'<{documents.profile_of(api, image)}>;rel="profile"'.encode())]
        spoken = _spoken(document, headers, context=documents.CONTEXT[api], at=image.updated_at, is_public=is_public)
        return Answer(replace(spoken, tenant=image.tenant), link)

    @property
    def _most(self) -> Most:
        return Most(self.safelight.settings.iiif.max_side)

    async def _actor(self, scope: MutableMapping[str, Any], headers: Iterable[tuple[str, str]]) -> Actor | None:
        """Who asks, where somebody says so; a wrong token is refused rather than passed over."""
        given = dict(headers)
        if "authorization" not in given and "x-api-key" not in given:
            return None
        return await self.safelight.accounts.authenticate(token_of(given), self.address.of(scope))

    def _service(self, scope: MutableMapping[str, Any], headers: Iterable[tuple[str, str]], api: Api, name: str) -> str:
        """The base URI of an image, as `info.json` has it whatever escapes the request was written with."""
        return f"{self._base(scope, headers)}{PREFIX}{api}/{name}"

    def _base(self, scope: MutableMapping[str, Any], headers: Iterable[tuple[str, str]]) -> str:
        host = dict(headers).get("host", "")
        base = base_of(self.safelight.settings.server.public_url, scope.get("scheme", "http"), host)
        if not base:
            raise BadRequest("The Host header is needed: the answer holds whole addresses.")
        return base


def _segments(scope: MutableMapping[str, Any]) -> list[str]:
    """Behind the prefix, still escaped: an escaped slash is part of its segment (3.0: 9)."""
    try:
        raw = scope.get("raw_path", b"").decode("ascii") or quote(scope["path"])
    except UnicodeDecodeError:
        raise BadOption("The path is not percent-encoded.", option="path") from None
    path = raw.partition("?")[0]
    if not path.startswith(PREFIX):
        raise Missing
    return path.removeprefix(PREFIX).split("/", 7)


def _identifier(text: str) -> str:
    """Unescaped, if it may be an id at all. Raises Missing, BadOption."""
    name = unescaped(text, option="identifier")
    if not (name.isascii() and name.isalnum()):
        raise Missing
    return name


def _spoken(
    document: dict[str, Any], headers: Iterable[tuple[str, str]], *, context: str, at: datetime, is_public: bool
) -> Delivered:
    """JSON, or JSON-LD for who asks for that (3.0: 5.1)."""
    accept = ",".join(value for name, value in headers if name == "accept").lower()
    is_linked = any(item.split(";")[0].strip() == _LD for item in accept.split(","))
    body = orjson.dumps(document, option=orjson.OPT_INDENT_2)
    return Delivered(
        body,
        f'{_LD};profile="{context}"' if is_linked else "application/json",
        hashlib.sha256(body + bytes([is_linked])).hexdigest(),
        at,
        is_public,
        None,
        "record",
        varies_by=("Accept",),
    )
