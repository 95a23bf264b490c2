"""The hot door: `/i/{id}/{preset or options}.{ext}` as a plain ASGI callable in front of the API, without framework objects or middleware.

imgproxy's and thumbor's URLs come in beside it, under `/imgproxy/` and `/thumbor/`, and IIIF's under `/iiif/`.

It answers GET and HEAD, checks the signature, and speaks RFC 9110's conditions and ranges. Anything odd is a 4xx, never a 5xx.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote

import structlog

from safelight.api.client import ClientGone, while_there
from safelight.api.client_address import client_address
from safelight.api.conditions import disposition
from safelight.api.edge import transport_security
from safelight.api.iiif import EXPOSED, PREFLIGHT, Iiif
from safelight.api.iiif import PREFIX as IIIF
from safelight.api.problems import body_of, headers_of, status_of
from safelight.api.ranges import condition, http_date, spans
from safelight.api.rates import delivery_policy, too_many
from safelight.concurrency import Expiring
from safelight.domain.accounts import Grammar
from safelight.domain.proofs import ForeignSignature, Signature
from safelight.domain.rates import counted_as
from safelight.errors import BadOption, BadSignature, Missing, SafelightError, TooMany
from safelight.imaging.transform import NO_HINTS, Hints, imgproxy, thumbor
from safelight.services.delivered import Asked, Delivered
from safelight.services.limiter import Policy
from safelight.services.remote_delivery import AskedElsewhere
from safelight.wiring import Safelight

log = structlog.get_logger()

Scope = MutableMapping[str, Any]
_Headers = list[tuple[bytes, bytes]]
_Answer = tuple[int, _Headers, bytes]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PREFIX: Final = "/i/"
IMGPROXY: Final = "/imgproxy/"
THUMBOR: Final = "/thumbor/"
REMOTE: Final = "remote"
"""In the place of an image's id, before the address of a picture that lies elsewhere: `/i/remote/{base 64}/{preset}.{ext}`."""
PREFIXES: Final = (PREFIX, IMGPROXY, THUMBOR, IIIF)
_ROUTES: Final = {
    PREFIX: "/i/{id}/{preset}.{ext}",
    IMGPROXY: "/imgproxy/{signature}/{options}/{source}",
    THUMBOR: "/thumbor/{signature}/{options}/{source}",
    IIIF: "/iiif/{version}/{id}/{region}/{size}/{rotation}/{quality}.{format}",
}
_MERGED: Final = re.compile(r"(/plain/[a-zA-Z][a-zA-Z0-9+.-]*:/)(?!/)")
"""A source whose two slashes a proxy on the way has merged into one."""
_ALLOWED: Final = (b"allow", b"GET, HEAD")
_AT_ONCE: Final = (b"server-timing", b"memory;dur=0.0")
_ALWAYS: Final = (
    (b"accept-ranges", b"bytes"),
    (b"cross-origin-resource-policy", b"cross-origin"),
    (b"timing-allow-origin", b"*"),
)
_GUARDS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'"),
    # The URL (under /iiif/ perhaps with a key) is what opens the picture, never a cookie: whoever has it can fetch it, with a page or
    # without. Not repeating an origin, the answer is the same for all, and caches keep one of it.
    (b"access-control-allow-origin", b"*"),
)
_KNOWN_QUERY: Final = frozenset({"v", "kid", "exp", "sig"})
_CONDITIONS: Final = frozenset(
    (b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"range", b"if-range")
)
_CREDENTIALS: Final = frozenset((b"authorization", b"x-api-key"))
"""Of readers of private pictures by IIIF; wrong ones are refused rather than passed over, so those are always looked at."""
_REMEMBERED_S: Final = 2.0
"""As long as delivery believes a record; what it was asked for then has to be decided anew anyway."""
_LONGEST_WORDING: Final = 2048
"""Bytes of a URL with what it varies by, under which an answer is remembered."""


@dataclass(frozen=True, slots=True)
class _Answered:
    """What a URL was answered with, to be said again for as long as its grounds hold. Of the answer only its age changes."""

    delivered: Delivered
    at_s: float
    """Of the clock that only counts."""
    described: _Headers
    """What is said of it, whatever is asked."""
    whole: _Headers
    """The same with what a 200 says of its bytes."""


@dataclass(frozen=True, slots=True)
class _Varies:
    """In its place where the URL alone does not decide: by these headers (RFC 9111 section 4.1)."""

    by: tuple[bytes, ...]


class DeliveryDoor:
    """One per app."""

    def __init__(self, safelight: Safelight) -> None:
        self._delivery = safelight.delivery
        self._remote = safelight.remote_delivery
        self._limiter = safelight.limiter
        self._meter = safelight.meter
        self._rate = delivery_policy(safelight.settings.rate)
        self._address = client_address(safelight.settings.server)
        self._iiif = Iiif(safelight, self._address)
        self._guards = [*_GUARDS, *transport_security(safelight.settings.server.public_url)]
        self._answered: Expiring[tuple[bytes, ...], _Answered | _Varies] = Expiring(
            ttl_s=_REMEMBERED_S, size=4096, now=time.monotonic
        )
        instruments = safelight.instruments
        self._refused = instruments.refused
        self._abandoned = instruments.abandoned
        self._seconds = {
            prefix: {status: instruments.requests.labels("GET", route, f"{status}xx") for status in (2, 3, 4, 5)}
            for prefix, route in _ROUTES.items()
        }

    async def __call__(self, scope: Scope, receive: Any, send: Send) -> None:
        """Answer one request."""
        started = time.perf_counter()
        answer = self._again(scope)
        if answer is None:
            try:
                async with while_there(receive):
                    answer = await self._answer(scope, started)
            except ClientGone:
                self._abandoned.inc()
                return
        status, headers, body = answer
        prefix = next(prefix for prefix in PREFIXES if scope["path"].startswith(prefix))
        if prefix == IIIF:
            headers = [*headers, *(PREFLIGHT if scope["method"] == "OPTIONS" else EXPOSED)]
        await send({"type": "http.response.start", "status": status, "headers": headers + self._guards})
        await send({"type": "http.response.body", "body": body if scope["method"] != "HEAD" else b""})
        self._seconds[prefix][status // 100].observe(time.perf_counter() - started)

    def _again(self, scope: Scope) -> _Answer | None:
        """The answer to a URL that was answered a moment ago, decided by the same grounds; None where it is to be decided."""
        if scope["method"] not in ("GET", "HEAD"):
            return None
        wording = _wording(scope)
        found = self._answered.get(wording)
        if isinstance(found, _Varies):
            found = self._answered.get(_varied(wording, found.by, scope))
        if not isinstance(found, _Answered) or _is_somebody_at_iiif(scope):
            return None
        delivered = found.delivered
        body = self._delivery.again(delivered)
        if body is None:
            return None
        if self._rate is not None:
            try:
                self._count(self._rate, scope)
            except TooMany as error:
                self._refused.labels(error.code).inc()
                return _refusal(error)
        control = _cache_control(delivered, math.ceil(time.monotonic() - found.at_s))
        asked = _asked(scope)
        if asked:
            status, headers, body = _response(replace(delivered, body=body), [*found.described, control], asked)
        else:
            status, headers = 200, [*found.whole, control]
        self._meter.delivered(delivered.tenant, len(body) if scope["method"] == "GET" else 0)
        headers.append(_AT_ONCE)
        return status, headers, body

    def _remember(self, scope: Scope, delivered: Delivered, described: _Headers) -> None:
        if delivered.grounds is None or _is_somebody_at_iiif(scope):
            return
        wording = _wording(scope)
        kept = replace(delivered, body=b"")  # the bytes are in delivery's memory, which is bounded
        answered = _Answered(kept, time.monotonic(), described, [*described, *_content(delivered)])
        if not delivered.varies_by:
            self._answered.put(wording, answered)
            return
        by = tuple(name.lower().encode() for name in delivered.varies_by)
        varied = _varied(wording, by, scope)
        if sum(map(len, varied)) <= _LONGEST_WORDING:
            self._answered.put(wording, _Varies(by))
            self._answered.put(varied, answered)

    async def _answer(self, scope: Scope, started: float) -> _Answer:
        if scope["method"] == "OPTIONS" and scope["path"].startswith(IIIF):
            return 204, [], b""
        if scope["method"] not in ("GET", "HEAD"):
            body = body_of(405, "method_not_allowed", "Delivery answers GET and HEAD.")
            return 405, [(b"content-type", b"application/problem+json"), _ALLOWED, _length(body)], body
        try:
            if self._rate is not None:
                self._count(self._rate, scope)
            told: list[tuple[bytes, bytes]] = []
            if scope["path"].startswith(IIIF):
                answer = await self._iiif.answer(scope)
                if answer.delivered is None:
                    return 303, [(b"location", answer.location.encode()), (b"content-length", b"0")], b""
                delivered, told = answer.delivered, answer.headers
            elif scope["path"].startswith(PREFIX):
                delivered = await self._delivered(scope["path"], scope["query_string"], scope["headers"])
            else:
                delivered = await self._foreign(scope)
        except SafelightError as error:
            self._refused.labels(error.code).inc()
            return _refusal(error)
        except Exception:
            log.exception("delivery.failed")
            return _refusal(SafelightError("The image could not be delivered."))
        described = [*_described(delivered), *told]
        self._remember(scope, delivered, described)
        status, answered, body = _response(delivered, [*described, _cache_control(delivered)], _asked(scope))
        self._meter.delivered(delivered.tenant, len(body) if scope["method"] == "GET" else 0)
        took_ms = (time.perf_counter() - started) * 1000
        answered.append((b"server-timing", f"{delivered.source};dur={took_ms:.1f}".encode()))
        return status, answered, body

    def _count(self, policy: Policy, scope: Scope) -> None:
        """One delivery to this address. Raises TooMany."""
        address = self._address.of(scope)
        if address:
            grant = self._limiter.ask_here(policy, counted_as(address))
            if not grant.is_granted:
                raise too_many(grant)

    async def _delivered(self, path: str, query_string: bytes, headers: Iterable[tuple[bytes, bytes]]) -> Delivered:
        host = host_of(headers)
        image_id, slash, file = path[len(PREFIX) :].partition("/")
        if is_remote := image_id == REMOTE:
            encoded, slash, file = file.partition("/")
        if not slash or "." not in file or "/" in file:
            raise Missing
        version, signature = _query(query_string)
        accept, hints = "", NO_HINTS
        if file.endswith(".auto"):
            accept = ",".join(value.decode("latin-1") for name, value in headers if name == b"accept")
        if "=auto" in file:
            told = {name: value.decode("latin-1") for name, value in headers}
            hints = Hints(told.get(b"sec-ch-dpr", ""), told.get(b"sec-ch-width", ""), told.get(b"save-data", ""))
        if is_remote:
            if version is not None:
                raise BadOption("What lies elsewhere has no version that a URL could name.", option="v")
            asked = AskedElsewhere(address=_decoded(encoded), file=file, path=path, accept=accept, hints=hints, host=host)
            return await self._remote.deliver(asked, signature=signature)
        return await self._delivery.deliver(Asked(image_id, file, version, accept, hints, host), signature=signature, path=path)

    async def _foreign(self, scope: Scope) -> Delivered:
        if scope["query_string"]:
            raise BadOption("There is no query here; a question mark of the source is written %3F.", option="query")
        try:
            raw = scope.get("raw_path", b"").decode("ascii") or quote(scope["path"])
        except UnicodeDecodeError:
            raise BadOption("The path is not percent-encoded.", option="path") from None
        prefix = IMGPROXY if scope["path"].startswith(IMGPROXY) else THUMBOR
        signature, slash, rest = raw.partition("?")[0].removeprefix(prefix).partition("/")
        if not raw.startswith(prefix) or not slash or not rest:
            raise Missing
        if prefix == IMGPROXY:
            path = f"/{rest}"
            order = imgproxy.parse(path, self._delivery.presets, self._delivery.watermarks)
            restored = _MERGED.sub(r"\1/", path, count=1)
            proof = ForeignSignature(Grammar.IMGPROXY, signature, tuple({path, restored}), order.exp)
        else:
            order = thumbor.parse(rest, self._delivery.watermarks)
            # thumbor's own clients sign what they mean, and whoever sends it escapes it afterwards.
            proof = ForeignSignature(Grammar.THUMBOR, unquote(signature), tuple({rest, unquote(rest)}), order.exp)
        accept = ""
        if order.wish.format is None:
            accept = ",".join(value.decode("latin-1") for name, value in scope["headers"] if name == b"accept")
        deliver = self._delivery.deliver_order if order.origin.is_ours else self._remote.deliver_order
        return await deliver(order, signature=proof, accept=accept, host=host_of(scope["headers"]))


def host_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The host name that the request was sent to; empty without one."""
    return next((value.decode("latin-1") for name, value in headers if name == b"host"), "")


def _wording(scope: Scope) -> tuple[bytes, bytes, bytes]:
    host = next((value for name, value in scope["headers"] if name == b"host"), b"")
    return scope.get("raw_path") or quote(scope["path"]).encode(), scope["query_string"], host


def _varied(wording: tuple[bytes, ...], by: Iterable[bytes], scope: Scope) -> tuple[bytes, ...]:
    return (*wording, *(b",".join(value for name, value in scope["headers"] if name == header) for header in by))


def _is_somebody_at_iiif(scope: Scope) -> bool:
    return scope["path"].startswith(IIIF) and any(name in _CREDENTIALS for name, _ in scope["headers"])


def _asked(scope: Scope) -> dict[str, str]:
    """Conditions and ranges by name."""
    asked = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in _CONDITIONS}
    if scope["method"] == "HEAD":
        asked.pop("range", None)  # of a GET only (RFC 9110 section 14.2)
    return asked


def _query(query_string: bytes) -> tuple[str | None, Signature | None]:
    if not query_string:
        return None, None
    try:
        pairs = parse_qsl(query_string.decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=8)
    except (ValueError, UnicodeDecodeError):
        raise BadOption("The query cannot be read.", option="query") from None
    query = dict(pairs)
    if len(query) != len(pairs) or not query.keys() <= _KNOWN_QUERY:
        raise BadOption("The query has v, kid, exp and sig, each once.", option="query")
    given = query.keys() & {"kid", "exp", "sig"}
    if not given:
        return query.get("v"), None
    exp = query.get("exp", "")
    if len(given) != 3 or not (exp.isascii() and exp.isdigit() and len(exp) <= 12):
        raise BadSignature
    return query.get("v"), Signature(query["kid"], int(exp), query["sig"])


def _decoded(text: str) -> str:
    """An address from a path. Raises BadOption."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise BadOption("The source is not URL-safe base 64.", option="source") from None


def _length(body: bytes) -> tuple[bytes, bytes]:
    return (b"content-length", str(len(body)).encode())


def _refusal(error: SafelightError) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    status = status_of(error)
    body = body_of(status, error.code, error.detail, **error.extra)
    headers = [(name.encode(), value.encode()) for name, value in headers_of(error).items()]
    return status, [*headers, _length(body)], body


def _described(found: Delivered) -> _Headers:
    """What is said of a rendition with every answer, but for its age."""
    headers = [(b"etag", f'"{found.etag}"'.encode()), (b"last-modified", http_date(found.modified_at).encode()), *_ALWAYS]
    if found.varies_by:
        headers.append((b"vary", ", ".join(found.varies_by).encode()))
    if found.is_cut_short:
        headers.append((b"safelight-animation", b"first-frame"))
    if found.download:
        headers.append((b"content-disposition", disposition(found.download, is_attachment=found.is_attachment).encode()))
    return headers


def _content(found: Delivered) -> _Headers:
    return [(b"content-type", found.media_type.encode()), _length(found.body)]


def _response(found: Delivered, headers: _Headers, asked: dict[str, str]) -> _Answer:
    """The rendition with these headers, or what the conditions and ranges that were asked for make of it."""
    etag = f'"{found.etag}"'
    match condition(asked, etag, found.modified_at):
        case 304:
            return 304, headers, b""
        case 412:
            body = body_of(412, "precondition_failed", "A condition of the request does not hold.")
            return 412, [(b"content-type", b"application/problem+json"), _length(body)], body
    media_type = found.media_type.encode()
    body, size = found.body, len(found.body)
    wanted = spans(asked, size, etag, found.modified_at) if "range" in asked else None
    if wanted == 416:
        unsatisfied = body_of(416, "range_not_satisfiable", f"The rendition has {size} bytes.")
        range_headers = [(b"content-type", b"application/problem+json"), (b"content-range", b"bytes */%d" % size)]
        return 416, [*range_headers, _length(unsatisfied)], unsatisfied
    if not wanted:
        return 200, [*headers, *_content(found)], body
    if len(wanted) == 1:
        start, end = wanted[0]
        part = body[start:end]
        content_range = b"bytes %d-%d/%d" % (start, end - 1, size)
        return 206, [*headers, (b"content-type", media_type), (b"content-range", content_range), _length(part)], part
    boundary = secrets.token_hex(16).encode()  # not to be guessed by who made the picture
    pieces = [
        b"--%s\r\nContent-Type: %s\r\nContent-Range: bytes %d-%d/%d\r\n\r\n%s\r\n"
        % (boundary, media_type, start, end - 1, size, body[start:end])
        for start, end in wanted
    ]
    multipart = b"".join(pieces) + b"--" + boundary + b"--\r\n"
    return 206, [*headers, (b"content-type", b"multipart/byteranges; boundary=" + boundary), _length(multipart)], multipart


def _cache_control(found: Delivered, age_s: int = 0) -> tuple[bytes, bytes]:
    """`age_s` is how long ago its age was reckoned: nobody may keep it past the end of its signature."""
    reach = b"public" if found.is_public else b"private"
    if found.max_age_s is None:
        return b"cache-control", reach + b", max-age=60"
    lasts = b", immutable" if found.is_immutable else b""
    return b"cache-control", reach + b", max-age=%d" % max(0, found.max_age_s - age_s) + lasts
