"""What is fuzzed: everything of our own that reads what a stranger wrote, one function each, with what has to hold of the result.

A target takes any bytes. It returns whether it read something, and raises nothing: what the parser itself refuses with, its declared
refusals, counts as "no", and has to make a problem document. Every other exception, a false assertion, a second of five that passes,
or a gigabyte, is a finding. Replayed over the kept inputs by `test_corpus.py`, driven by coverage by `run.py` (`make fuzz`).
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import os
import struct
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch
from xml.parsers import expat

import orjson
from fastapi import Request

from safelight import jose, passkeys, signing
from safelight.adapters.search.memory import MemorySearch
from safelight.adapters.search.sqlite import SqliteSearch
from safelight.api import delivery as door
from safelight.api.client_address import ClientAddress
from safelight.api.conditions import base_of, disposition, image_id, revision_of
from safelight.api.problems import problem
from safelight.api.ranges import condition, spans
from safelight.api.streams import resumed
from safelight.api.uploads import received
from safelight.cli import listings as listings_of_others
from safelight.cli.accounts import PAGES, Asset, asset_of
from safelight.cli.listings import Entry, entries
from safelight.domain import addresses, issuers, notices, tus
from safelight.domain.accounts import Role
from safelight.domain.ids import ImageId, IssuerId, TenantId, UserId, is_id
from safelight.domain.images import checked
from safelight.domain.issuers import Terms, TrustedIssuer
from safelight.domain.queries import Cursor, Document, SearchQuery, Sort
from safelight.errors import (
    BadCursor,
    BadField,
    BadOption,
    BadRequest,
    BadSignature,
    CorruptImage,
    Missing,
    SafelightError,
    SourceNotAllowed,
    SourceUnreachable,
    TooManyPixels,
    UnsupportedFormat,
)
from safelight.imaging import containers, jpeg_header
from safelight.imaging.formats import Format, sniff
from safelight.imaging.metadata import facts as metadata
from safelight.imaging.metadata.packet import Credits, packet
from safelight.imaging.sandbox import wire
from safelight.imaging.spec import Developed, Facts, Header
from safelight.imaging.svg import check_svg
from safelight.imaging.transform import grammar, iiif, imgproxy, negotiation, pyramid, thumbor
from safelight.imaging.transform.hints import Hints
from safelight.imaging.transform.plan import MAX_OUTPUT_PIXELS, Size, Source, plan
from safelight.imaging.transform.spec import Spec
from safelight.signing import imgproxy as imgproxy_signing
from safelight.signing import thumbor as thumbor_signing

ID: Final = "01jq8z4v7x9k2m3n4p5q6r7s8t"
NOW: Final = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SIZES: Final = (Size(1, 1), Size(4000, 3000), Size(3, 65_000))
ANYTHING: Final = grammar.parse("full.auto")
NAMED: Final = grammar.read_named({"logo": f"wm={ID},wms=20", "draft": "wmt=RHJhZnQ"})


@dataclass(frozen=True, slots=True)
class Target:
    """One reader. `words` help a fuzzer to come past the first character; they are what the format is made of."""

    name: str
    run: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...]
    words: tuple[str, ...]
    max_bytes: int

    def accepts(self, data: bytes) -> bool:
        """Whether something was read. What it raises is a finding."""
        try:
            return bool(self.run(data))
        except self.refusals as error:
            if isinstance(error, SafelightError):
                assert 400 <= problem(error).status_code < 500 or error.code == "duplicate"
            return False


TARGETS: Final[dict[str, Target]] = {}


def target(
    *refusals: type[Exception], words: str = "", max_bytes: int = 2048
) -> Callable[[Callable[[bytes], object]], Callable[[bytes], object]]:
    """Registers a function under its own name."""

    def register(run: Callable[[bytes], object]) -> Callable[[bytes], object]:
        name = run.__name__.replace("_", "-")
        TARGETS[name] = Target(name, run, refusals, tuple(words.split()), max_bytes)
        return run

    return register


# URLs


@target(
    BadOption,
    words="w= h= fit= cover, pad q= auto g= fp: c= bg= bl= wm= wmt= wms= wmg= dpr= r=90 t= ra=max du= mb= dl= .webp .jpg .auto full %",
)
def native(data: bytes) -> bool:
    text = data.decode("utf-8", "surrogateescape")
    hints, _, options = text.partition("\n") if "\n" in text else ("", "", text)
    dpr, _, width = hints.partition(" ")
    request = grammar.parse_request(options, Hints(dpr, width, ""), NAMED)
    assert grammar.parse(request.spec.text) == request.spec, "the canonical text is another picture"
    assert len(hash(request.spec).to_bytes(8, "big", signed=True)) == 8
    _is_header(disposition(request.filename(Format.JPEG)))
    _planned(request.spec)
    return True


@target(
    BadOption,
    TooManyPixels,
    words="plain/ @webp rs:fill: w: h: g:fp: c: t: pd: bg: bl: sh: wm: pr: q: fq: ar: ex: rot: dpr: el: cb: exp: fn: att: skp: 1 0.5 safelight:// /",
)
def imgproxy_paths(data: bytes) -> bool:
    order = imgproxy.parse(data.decode("latin-1"), {"sharp": "sh:0.5/q:70", "round": "pr:sharp:round"}, NAMED)
    _ordered(order)
    return True


@target(ValueError, words="default= , / : pr: rs: q: w: = a")
def imgproxy_presets(data: bytes) -> bool:
    return bool(imgproxy.read_presets(data.decode("latin-1")))


@target(
    BadOption,
    TooManyPixels,
    words="filters: () : , fit-in/ full-fit-in/ adaptive-fit-in/ trim: smart/ orig 30x20/ -1x left/ top/ focal( fill(auto) quality( format(webp) watermark( round_corner( proportion( max_bytes(",
)
def thumbor_paths(data: bytes) -> bool:
    _ordered(thumbor.parse(data.decode("latin-1"), NAMED))
    return True


@target(BadOption, words="full square max pct: ! ^ , / default gray bitonal color .jpg .png .webp 0 90 180 270 %2C 10,10,20,20")
def iiif_paths(data: bytes) -> bool:
    parts = data.decode("latin-1").split("/")
    if len(parts) != 4:
        return False
    was_read = False
    for api in iiif.Api:
        most = iiif.Most(8192)
        with suppress(BadOption):
            wish = iiif.parse(api, parts, most)
            was_read = True
            for size in SIZES:
                with suppress(BadOption):
                    settled = wish.settled(size)
                    again = iiif.parse(api, wish.canonical(size).split("/"), most)
                    assert again.settled(size) == settled, "the canonical path is another picture"
                    assert again.canonical(size) == wish.canonical(size)
                    wish.is_promised(size)
                    _planned(wish.spec(size))
    return was_read


@target(BadOption, BadSignature, words="kid= exp= sig= v= & % + ; =")
def signatures(data: bytes) -> bool:
    query, _, path = data.partition(b"\n")
    version, found = door._query(query)
    text = path.decode("latin-1")
    proof = found.sig if found else query.decode("latin-1")
    assert not imgproxy_signing.verify(b"k" * 32, b"s" * 32, text, proof) or proof == imgproxy_signing.sign(
        b"k" * 32, b"s" * 32, text
    )
    assert not thumbor_signing.verify(b"k" * 32, text, proof) or proof == thumbor_signing.sign(b"k" * 32, text)
    if found:
        assert not signing.verify(b"k" * 32, text, kid=found.kid, exp=found.exp, sig=found.sig)
    return version is not None or found is not None


@target(
    BadField,
    SourceNotAllowed,
    SourceUnreachable,
    words="http:// https:// // [::1] [::ffff:127.0.0.1] 127.0.0.1 0x7f 2130706433 @ : # ? \\ .. . xn-- example.com :80 %00 ①",
)
def urls_of_strangers(data: bytes) -> bool:
    url, _, location = data.decode("utf-8", "surrogateescape").partition(" ")
    found = addresses.parse(url)
    for one in [found, found.redirected(location)] if location else [found]:
        assert addresses.parse(str(one)) == one, "it reads otherwise the second time"
        assert str(one).isascii() and not set(str(one)) & set(" \r\n\t\\")
        one.file_name.encode("utf-8", "replace")
        addresses.Reach().admit(one)
        if one.address is not None:
            assert addresses.is_public(one.address)
    return True


# Headers, and what is like them


@target(
    words='bytes= - , 0-99 -5 5- if-range: range: if-none-match: if-match: if-modified-since: if-unmodified-since: W/ " * Sun, GMT 1994 -0000'
)
def ranges_and_conditions(data: bytes) -> bool:
    size, *lines = data.decode("latin-1").split("\n")
    pairs = (line.partition(": ") for line in lines)
    headers = {name.lower(): value for name, _, value in pairs}
    bytes_in_all = int(size) if size.isascii() and size.isdigit() and len(size) < 16 else 1000
    assert condition(headers, '"tag"', NOW) in (None, 304, 412)
    found = spans(headers, bytes_in_all, '"tag"', NOW)
    if isinstance(found, list):
        assert found and all(0 <= start < end <= bytes_in_all for start, end in found)
        assert sum(end - start for start, end in found) <= bytes_in_all
    return found is not None


@target(
    BadField,
    words="if-match: last-event-id: accept: dpr: width: x-forwarded-for: host: , ; q=0 image/avif image/webp [::1]:80 10.0.0.1",
)
def small_headers(data: bytes) -> bool:
    pairs = [line.partition(b": ") for line in data.split(b"\n")]
    headers = [(name.lower(), value) for name, _, value in pairs]
    request = Request({"type": "http", "headers": headers, "method": "GET", "path": "/", "query_string": b""})
    told = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
    negotiation.best_format(told.get("accept", ""), ANYTHING)
    hints = Hints(told.get("dpr", ""), told.get("width", ""), told.get("save-data", ""))
    assert 1 <= hints.ratio <= 4 and 1 <= hints.pixels <= 3840
    _is_header(base_of("", "https", told.get("host", "")) or "none")
    address = ClientAddress("10.0.0.0/8", "x-forwarded-for").of({"client": ("10.0.0.9", 1), "headers": headers})
    assert address and "\n" not in address
    after = resumed(request, told.get("after"))
    revision = revision_of(told.get("if-match", "*"))
    return after is not None or revision is not None or address != "10.0.0.9"


@target(
    BadField,
    Missing,
    words="upload-metadata: upload-concat: upload-checksum: upload-length: final; partial sha1 sha256 filename /tus/ , = Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
)
def tus_headers(data: bytes) -> bool:
    name, _, value = data.decode("latin-1").partition(": ")
    match name:
        case "upload-metadata":
            return all(key.isascii() and key for key in tus.read_metadata(value)) and bool(value)
        case "upload-concat":
            parts = tus.read_concat(value)
            return parts is None or all(map(is_id, parts))
        case "upload-checksum":
            checksum = tus.read_checksum(value)
            return len(checksum.digest) == checksum.start().digest_size
        case "upload-length":
            return 0 <= tus.number(value, name) < 10**15
    return False


@target(BadCursor, Missing, words="created_at -created_at title -title size position eyJ W1s= == null")
def cursors(data: bytes) -> bool:
    text = data.decode("utf-8", "surrogateescape")
    if is_id(text):
        return image_id(text) == text
    was_read = False
    for sort in Sort:
        with suppress(BadCursor):
            found = Cursor.decode(text, sort)
            assert Cursor.decode(found.encode(), sort) == found
            orjson.dumps(found.value)  # it goes into queries as it is
            was_read = True
    if not was_read:
        raise BadCursor
    return True


# Bodies


@functools.cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="safelight-fuzz-"))


@target(
    words='resources data public_id secure_url https:// origin_path attributes tags context custom { } [ ] " , \\n | ;',
    max_bytes=4096,
)
def listings(data: bytes) -> bool:
    path = _folder() / ("listing.csv" if data[:1] == b"," else "listing.json")
    path.write_bytes(data.removeprefix(b","))
    found = [*entries(path, pages=PAGES)]
    with patch.object(listings_of_others, "CHUNK", 3):
        assert [*entries(path, pages=PAGES)] == found, "how it is cut into chunks changes what it lists"
    assets = 0
    for entry in found:
        assert 1 <= entry.line <= data.count(b"\n") + data.count(b"\r") + 1
        for service in ("cloudinary", "imgix") if isinstance(entry, Entry) else ():
            asset = asset_of(service, entry, base_url="https://example.org")
            if isinstance(asset, Asset):
                assets += 1
                assert asset.url.startswith(("https://", "http://"))
                checked({"title": asset.title, "description": asset.description, "tags": asset.tags})
                orjson.dumps(asset.custom)
    return assets > 0


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


@target(
    SafelightError,
    words='multipart/form-data; boundary=b --b --b-- Content-Disposition: form-data; name="file" filename="a.jpg" filename*=UTF-8\'\'%C3 title content-type: \\r\\n',
    max_bytes=4096,
)
def multipart(data: bytes) -> bool:
    content_type, _, body = data.partition(b"\n")

    async def taken(step: int) -> tuple[Any, ...]:
        chunks = [body[at : at + step] for at in range(0, len(body), step)]
        messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks] + [
            {"type": "http.request", "body": b""}
        ]
        coming = iter(messages)

        async def receive() -> Any:
            return next(coming)

        request = Request(
            {"type": "http", "method": "POST", "path": "/images", "headers": [(b"content-type", content_type)]}, receive
        )
        try:
            async with received(request, folder=_folder(), max_bytes=1000, idle_s=60) as form:
                written = os.pread(form.fd, 2000, 0)
                assert len(written) == form.size_bytes <= 1000
                assert hashlib.sha256(written).hexdigest() == form.sha256
                return written, form.file_name, tuple(form.fields)
        except SafelightError as error:
            return "refused", error

    whole, pieces = (_loop().run_until_complete(taken(step)) for step in (1 << 20, 7))
    # Of two things that are wrong either may be told. A preamble (RFC 2046 section 5.1.1), which no client of RFC 7578 sends, is passed
    # over by the library where it comes in one piece with the first boundary, and refused where it does not.
    assert whole == pieces or whole[0] == pieces[0] == "refused" or not body.startswith(b"--"), (
        "what is taken depends on how the bytes come"
    )
    if whole[0] == "refused":
        raise whole[1]
    return True


@target(
    BadRequest,
    words='{"Records": [{"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "b"}, "object": {"key": "k"}}}]} "detail-type" "Object Created" "source" "aws.s3" "detail" "Type" "Notification" "Message" "event_type" "create" "key" "/buckets/b/k" "message" "new_entry" {} [] null',
    max_bytes=4096,
)
def store_events(data: bytes) -> bool:
    found = notices.read_notices(_json(data))
    assert all(isinstance(text, str) for notice in found for text in (notice.bucket, notice.key, notice.version))
    return bool(found)


@target(
    jose.BadToken, words='{"alg":"RS256","kid":"a","typ":"at+jwt"} {"iss":"https://a.example","aud":[]} . eyJ', max_bytes=4096
)
def tokens(data: bytes) -> bool:
    return bool(jose.peek(data.decode("latin-1")).issuer)


@target(
    jose.BadToken,
    words='{"kty":"EC","crv":"P-256","kid":"a","x":"","y":""} "RSA" "n" "e" "OKP" "Ed25519" "alg" "ES256" "use" "sig"',
    max_bytes=4096,
)
def key_sets(data: bytes) -> bool:
    value = _json(data)
    return isinstance(value, dict) and bool(jose.keys_of(value))


ISSUER: Final = TrustedIssuer(
    id=IssuerId(ID),
    tenant=None,
    issuer="https://a.example",
    created_at=NOW,
    terms=Terms(
        audiences=("us",), authorized_parties=("them",), token_use=("access", "id"), role_claim="realm.roles",
        roles={"admins": Role.ADMIN}, tenant_claim="org", scopes={},
    ),
)  # fmt: skip


@target(
    jose.BadToken,
    words='"aud":"us" "azp":"them" "token_use":"access" "sub":"a" "realm":{"roles":["admins"]} "org":"acme" "auth_time" "client_id" "iat" [] {}',
    max_bytes=4096,
)
def claims(data: bytes) -> bool:
    value = _json(data)
    if not isinstance(value, dict):
        return False
    person = issuers.person(ISSUER, value | {"iat": 1_700_000_000})  # `jose.verified` has looked at the times
    return len(person.subject) > 0 and len(person.name) <= 200


@target(
    passkeys.BadAnswer,
    words='{"rawId":"" "response":{"clientDataJSON":"" "userHandle":"" "challenge" "crossOrigin" eyJ',
    max_bytes=4096,
)
def passkey_answers(data: bytes) -> bool:
    value = _json(data)
    if not isinstance(value, dict):
        return False
    was_read = False
    for read in (passkeys.challenge_of, passkeys.credential_of, passkeys.handle_of):
        with suppress(passkeys.BadAnswer):
            read(value)
            was_read = True
    return was_read


@functools.cache
def _searches() -> tuple[MemorySearch, SqliteSearch]:
    memory, sqlite = MemorySearch(), SqliteSearch(_folder() / "search.db")

    async def filled() -> None:
        for search in (memory, sqlite):
            await search.open()
            await search.put(
                TenantId(ID),
                [
                    Document(image=ImageId(ID), owner=UserId(ID), is_public=True, title=title, tags=("red",), dated_at=NOW)
                    for title in ('A "quoted" Straße AND NOT OR NEAR(', "写真 of 東京 ☃", "col:umn*^ -minus")
                ],
            )

    _loop().run_until_complete(filled())
    return memory, sqlite


@target(BadField, words='" AND OR NOT NEAR( * ^ : - { } ( ) 東京 strasse ☃ title: red', max_bytes=600)
def searches(data: bytes) -> bool:
    query = SearchQuery(text=data.decode("utf-8", "surrogateescape"), limit=5)
    memory, sqlite = (_loop().run_until_complete(each.search(TenantId(ID), query)) for each in _searches())
    assert [hit.image for hit in memory.hits] == [hit.image for hit in sqlite.hits], "two searches disagree"
    orjson.dumps([asdict(hit) for hit in sqlite.hits])
    return sqlite.total > 0


# Files


HEADER: Final = Header(format=Format.JPEG, width=1, height=1)


def _told(block: str, data: bytes) -> bool:
    """What the child makes of a block of metadata has to come through to the parent as it was."""
    found = metadata.read_facts(lambda name: data if name == block else b"")
    reply = wire.developed_reply(
        Developed(header=HEADER, files=(), facts=found, thumbhash=bytes(5), dominant_color="#000000", phash="0" * 16)
    )
    framed = b"".join(wire.packed(reply))
    size = wire.head_size(framed[:4])
    assert wire.read_developed(wire.read_head(framed[4 : 4 + size]).value, []).facts == found
    credits = Credits(
        creator=found.creator, copyright=found.copyright, title=found.title, description=found.description,
        keywords=found.keywords, camera=found.camera, lens=found.lens, taken_at=found.taken_at or "",
    )  # fmt: skip
    if written := packet(credits):
        expat.ParserCreate().Parse(written, True)
    return found != Facts()


@target(words="Exif MM* II* 2024:01:02", max_bytes=4096)
def exif(data: bytes) -> bool:
    return _told("exif-data", data)


@target(words="Photoshop 8BIM %G", max_bytes=4096)
def iptc(data: bytes) -> bool:
    return _told("iptc-data", data)


@target(
    words="<rdf:RDF <rdf:Description rdf:about='' xmlns: dc:title dc:subject <rdf:li> <rdf:Bag> photoshop:DateCreated xmp:CreateDate 2024-01-02T03:04:05+01:00 </ /> <?xml encoding= &#x",
    max_bytes=4096,
)
def xmp(data: bytes) -> bool:
    return _told("xmp-data", data)


@target(words="desc mluc acsp", max_bytes=4096)
def icc(data: bytes) -> bool:
    return _told("icc-profile-data", data)


@target(CorruptImage, words="ftyp meta iprp ipco ispe mdat moov GIF89a ! , ;", max_bytes=4096)
def outlines(data: bytes) -> bool:
    kind = sniff(data)
    width, height = containers.declared_size(data)
    assert 0 <= width < 2**32 and 0 <= height < 2**32
    header = jpeg_header.parse(data)
    if header is not None:
        assert kind is Format.JPEG and 1 <= header.orientation <= 8 and header.width and header.height
        assert wire.read_header(json.loads(json.dumps(wire.header_value(header)))) == header
    (containers.check_gif_blocks if kind is Format.GIF else containers.check_boxes)(data)
    return kind is not None


@target(
    CorruptImage,
    UnsupportedFormat,
    words="<svg xmlns='http://www.w3.org/2000/svg' <use href='#a' <g id='a'> <style> url( @import <image data:image/png;base64, <script <!DOCTYPE <!ENTITY xlink:href onload= <animate <set /> </ <?xml encoding='utf-16'?> <![CDATA[",
    max_bytes=4096,
)
def svg(data: bytes) -> bool:
    sniff(data)
    check_svg(data)
    return True


@target(
    wire.Malformed,
    words='{"ok":{"header":{},"files":[{"blob":0,"preset":"a"}],"facts":{}},"blobs":[2]} "error" "code" "detail" "extra" "option" "format" "width" "height" 1e999 NaN',
    max_bytes=4096,
)
def replies_of_the_sandbox(data: bytes) -> bool:
    """A decoder that was taken over says what it likes."""
    body, _, blob = data.partition(b"\n\n")
    head = wire.read_head(body)
    if head.error is not None:
        problem(head.error)
        return True
    was_read = False
    for read in (
        lambda value: wire.read_developed(value, [blob]),
        wire.read_header,
        lambda value: wire.read_transformed(value, [blob]),
    ):
        with suppress(wire.Malformed):
            found = read(head.value)
            if isinstance(found, Developed):
                orjson.dumps(asdict(found.facts))  # it becomes a row
            was_read = True
    return was_read


@target(ValueError, words="SLtiles1", max_bytes=4096)
def pyramids(data: bytes) -> bool:
    width, height = struct.unpack(">HH", data[:4].ljust(4, b"\0"))
    original = Size(1 + width % 4000, 1 + height % 4000)
    pyramid.check(data[4:], original)
    return True


# What several of them share


def _json(data: bytes) -> Any:
    """As the doors read a body: what is no JSON is refused there."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _is_header(value: str) -> None:
    assert not set(value) & set("\r\n\0")
    value.encode("latin-1")


def _planned(spec: Spec) -> None:
    for size in SIZES:
        with suppress(BadOption, TooManyPixels):
            found = plan(spec, Source.of(*size))
            assert found.canvas.width * found.canvas.height <= MAX_OUTPUT_PIXELS
            assert min(found.canvas) >= 1 and min(found.resize) >= 1 and min(found.crop) >= 0


def _ordered(order: Any) -> None:
    for size in SIZES:
        with suppress(BadOption, TooManyPixels):
            spec = order.wish.spec(size)
            assert grammar.parse(spec.text) == spec
            _planned(spec)
            for format in (Format.JPEG, Format.WEBP):
                assert 0 <= order.wish.quality_for(format) <= 100
    _is_header(disposition(order.filename or "x"))
