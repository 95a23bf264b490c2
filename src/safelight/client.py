"""A Safelight server from Python: small, typed, synchronous. Called by the command line and by whoever likes.

    with Client("http://127.0.0.1:8000", api_key) as safelight:
        image = safelight.upload(Path("rose.jpg"), tags=["garden"])

Answers are the server's own documents, typed here as it writes them; times stay RFC 3339 text. What the server refuses is
raised as the error of `safelight.errors` that its `code` names, a server that does not answer as BackendUnavailable. Threads
may share a client. It holds no rule and knows no file but those it is told to send or write.
"""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self, TypedDict, Unpack, cast
from urllib.parse import quote

import httpx
import orjson

from safelight import __version__
from safelight.errors import (
    BackendUnavailable,
    BadRequest,
    Conflict,
    Forbidden,
    Missing,
    PreconditionFailed,
    SafelightError,
    TooLarge,
    TooMany,
    Unauthenticated,
    Unavailable,
    Unprocessable,
    Unsupported,
    by_code,
)

PAGE: Final = 200
"""Records asked for at once; the most that the server gives."""
TRIES: Final = 5
"""How often a request that may be repeated is sent, when the answer is 503 or the connection breaks."""
LONGEST_WAIT_S: Final = 10.0
CONNECT_S: Final = 5.0
CHUNK: Final = 256 * 1024

Told = Callable[[int], object]
"""Called with the number of bytes that have just been sent or written."""


class Rendition(TypedDict):
    """One developed file and where it is delivered."""

    preset: str
    format: str
    type: str
    width: int
    height: int
    bytes: int
    url: str


class Problem(TypedDict):
    """Why developing ended badly."""

    code: str
    detail: str


class FocalPoint(TypedDict):
    """A point as fractions of width and height, from the upper left corner."""

    x: float
    y: float


class Image(TypedDict):
    """One image, as `GET /images/{id}` answers."""

    id: str
    owner: str
    status: str
    visibility: str
    version: int
    title: str
    description: str
    tags: list[str]
    custom: dict[str, Any]
    file_name: str
    type: str
    bytes: int
    sha256: str
    width: int
    height: int
    frames: int
    focal_point: FocalPoint | None
    taken_at: str | None
    camera: str
    place: str
    thumbhash: str
    dominant_color: str
    phash: str
    metadata: dict[str, Any]
    location: dict[str, Any] | None
    created_at: str
    updated_at: str
    trashed_at: str | None
    problem: Problem | None
    duplicate_of: str | None
    recipe: str | None
    renditions: list[Rendition]
    original_url: str
    etag: str


class Offer(TypedDict):
    """Where an announced file is to be put, and with which headers. The URL is a secret."""

    id: str
    method: str
    url: str
    headers: dict[str, str]
    expires_at: str


class AuditOrigin(TypedDict):
    """Where a request came from."""

    address: str
    agent: str
    key: str
    session: str


class AuditEntry(TypedDict):
    """One entry of the audit trail."""

    number: int
    hash: str
    id: str
    at: str
    action: str
    actor: str
    user: str | None
    object: str
    result: str
    count: int
    origin: AuditOrigin | None


class AuditHead(TypedDict):
    """Where a chain ends."""

    chain: str
    head: str
    pruned: str


class Erasure(TypedDict):
    """The erasure of a user; `certificate` once it is done."""

    id: str
    state: str
    certificate_url: str
    certificate: dict[str, Any] | None


class FoundImage(TypedDict):
    """One search result; highlights are HTML-escaped, with <mark> round what matched."""

    image: Image
    score: float
    highlights: dict[str, str]


class SearchPage(TypedDict):
    """Results, best first."""

    results: list[FoundImage]
    total: int
    is_total_exact: bool
    facets: dict[str, dict[str, int]]
    corrected: str | None
    next: str | None


class Album(TypedDict):
    """An album, without its images."""

    id: str
    owner: str
    title: str
    description: str
    cover: str | None
    image_count: int
    created_at: str
    updated_at: str
    etag: str
    lent: Lent | None


class Lent(TypedDict):
    """What you may do with somebody else's album."""

    level: str
    originals: bool
    expires_at: str | None


class Grant(Lent):
    """What a user may do with an album of yours."""

    user: str
    created_at: str


class Link(TypedDict):
    """A link to an album; `token` and `url` only in the answer that makes it."""

    id: str
    token: str | None
    url: str | None
    has_password: bool
    originals: bool
    note: str
    made_by: str
    created_at: str
    expires_at: str


class Step(TypedDict):
    """One finished step of a run."""

    name: str
    started_at: str | None
    ended_at: str | None
    error: str | None


class Failure(TypedDict):
    """A dead letter."""

    id: str
    flow: str
    payload: dict[str, Any]
    state: str
    attempts: int
    error: str | None
    tenant: str | None
    log: list[str]
    created_at: str
    updated_at: str
    steps: list[Step]


class Mended(TypedDict):
    """How many dead letters were tried again or forgotten, and whether there are more."""

    count: int
    has_more: bool


class Urls(TypedDict):
    """Signed delivery URLs, and until when they are good."""

    urls: list[str]
    expires_at: str


class CloudFrontRendition(TypedDict):
    """A stored rendition at the CDN."""

    preset: str
    format: str
    url: str


class CloudFrontUrls(TypedDict):
    """Signed CloudFront URLs of what is stored of an image."""

    renditions: list[CloudFrontRendition]
    original: str | None
    expires_at: str


class CloudFrontCookies(TypedDict):
    """Cookies that open every stored rendition of the tenant, and what that is."""

    resource: str
    cookies: dict[str, str]
    expires_at: str


class Purge(TypedDict):
    """What caches are to let go of, and how far that has come."""

    id: str
    what: str
    value: str
    state: str
    images: int
    images_done: int
    attempts: int
    cause: str
    created_at: str
    updated_at: str


class RecipePlaces(TypedDict):
    """Which pictures a recipe is for."""

    default: bool
    albums: list[str]
    tags: list[str]


class Recipe(TypedDict):
    """A version of a recipe; null is what the installation does."""

    name: str
    version: int
    versions: int
    recipe: dict[str, Any]
    places: RecipePlaces


class Warming(TypedDict):
    """Renditions that are made ahead, and how far that has come."""

    id: str
    state: str
    transforms: list[str]
    images: int
    images_done: int
    made: int
    present: int
    failed: int
    cause: str
    created_at: str
    updated_at: str


class Redevelopment(TypedDict):
    """Pictures that are developed again, and how far that has come."""

    id: str
    state: str
    filter: dict[str, Any]
    recipe: str | None
    rate: float
    dry_run: bool
    total: int
    is_counted: bool
    under_way: int
    done: int
    failed: int
    skipped: int
    created_at: str
    updated_at: str


class SigningKey(TypedDict):
    """A key for delivery URLs; `secret` and `salt` only in the answer that makes it."""

    kid: str
    grammar: str
    created_at: str
    retired_at: str | None
    secret: str | None
    salt: str | None


class TokenKey(TypedDict):
    """A key for access tokens."""

    kid: str
    algorithm: str
    created_at: str
    retired_at: str | None


class Amounts(TypedDict, total=False):
    """Quotas, or what is stored, by name."""

    bytes: int | None
    images: int | None
    transformations: int | None
    requests_per_s: int | None


class Tenant(TypedDict):
    """A tenant. `quotas` are its own, `limits` what holds, `stored` what it has."""

    id: str
    name: str
    created_at: str
    suspended_at: str | None
    erasure: str | None
    trash_days: int
    duplicates: str
    origins: Sequence[str]
    domains: Sequence[str]
    sources: Sequence[str]
    quotas: Amounts
    limits: Amounts
    stored: Amounts
    revision: int


class TenantMade(Tenant):
    """A new tenant, with its admin's id and the token of the admin's API key."""

    admin: str
    token: str


class CostLine(TypedDict):
    """So many units at that price."""

    what: str
    units: float
    price: float
    cost: float


class Usage(TypedDict):
    """A month of a tenant, and what it costs by the server's price list."""

    tenant: str
    name: str
    month: str
    uploads: int
    uploaded_bytes: int
    transformations: int
    deliveries: int
    delivered_bytes: int
    requests: int
    average_bytes: int
    average_images: int
    stored: Amounts
    limits: Amounts
    currency: str
    lines: Sequence[CostLine]
    cost: float


class User(TypedDict):
    """A user of the tenant."""

    id: str
    name: str
    role: str
    created_at: str
    disabled_at: str | None


class ApiKey(TypedDict):
    """An API key; `token` only in the answer that makes it."""

    id: str
    user: str
    name: str
    scopes: list[str]
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None
    networks: list[str]
    token: str | None


class Issuer(TypedDict):
    """An outside issuer whose tokens are believed."""

    id: str
    issuer: str
    created_at: str
    audiences: list[str]
    jwks_url: str
    algorithms: list[str]
    authorized_parties: list[str]
    token_use: list[str]
    skew_s: int
    name_claims: list[str]
    role_claim: str
    roles: dict[str, str]
    default_role: str | None
    scope_claim: str
    scopes: dict[str, str]
    tenant_name: str
    tenant_claim: str
    revision: int


class Reading(TypedDict):
    """What a token would be taken for."""

    is_taken: bool
    refusal: str
    subject: str
    name: str
    role: str | None
    scopes: list[str]


class IssuerKey(TypedDict):
    """A key that an issuer publishes."""

    kid: str
    algorithm: str


class IssuerCheck(TypedDict):
    """What an issuer publishes now."""

    jwks_url: str
    keys: list[IssuerKey]
    token: Reading | None


class Webhook(TypedDict):
    """A webhook endpoint; `secret` only in the answers that make one."""

    id: str
    url: str
    events: list[str]
    description: str
    created_at: str
    updated_at: str
    is_enabled: bool
    disabled_at: str | None
    disabled_for: str | None
    failing_since: str | None
    previous_secret_until: str | None
    etag: str
    secret: str | None


class WebhookAttempt(TypedDict):
    """One try to deliver; without an answer `status` is None and `error` says why."""

    at: str
    duration_ms: int
    status: int | None
    error: str | None
    excerpt: str


class WebhookDelivery(TypedDict):
    """One message for one endpoint, and what became of it."""

    id: str
    message_id: str
    type: str
    state: str
    created_at: str
    next_attempt_at: str | None
    tries: int
    attempts: list[WebhookAttempt]
    body: str


class Ready(TypedDict):
    """Which part answers."""

    status: str
    parts: dict[str, str]


# For an answer whose code this version does not know: the status still says what sort of refusal it is.
_BY_STATUS: Final[dict[int, type[SafelightError]]] = {
    401: Unauthenticated,
    403: Forbidden,
    404: Missing,
    409: Conflict,
    412: PreconditionFailed,
    413: TooLarge,
    415: Unsupported,
    422: Unprocessable,
    429: TooMany,
    502: BackendUnavailable,
    503: Unavailable,
    504: BackendUnavailable,
}


class Words(TypedDict, total=False):
    """What may be said of a picture when it comes in."""

    title: str
    description: str
    tags: Sequence[str]
    album: str
    """Its id."""
    visibility: str
    """private, unlisted or public."""
    custom: Mapping[str, Any]
    """Fields of your own."""


class Unreachable(BackendUnavailable):
    """There is not even a connection; waiting for an answer is of no use."""


_SAFE_TO_REPEAT: Final = frozenset({"GET", "HEAD", "PUT", "DELETE"})


class Client:
    """A connection to one server with one API key. Close it, or use it as a context manager.

    Every method raises the server's refusal, BackendUnavailable when the answer stays away or breaks off, and Unreachable when
    there is no server; `advice` is added to the words of the latter.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        timeout_s: float = 60.0,
        advice: str = "",
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.url = url.rstrip("/")
        self._advice = advice
        self._sleep = sleep
        headers = {
            "authorization": f"Bearer {api_key}",
            "user-agent": f"safelight/{__version__}",
            "accept-encoding": "identity",  # originals are compressed already, and are hashed as they come
        }
        try:
            self._http = httpx.Client(
                base_url=self.url,
                headers=headers,
                timeout=httpx.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s)),
                limits=httpx.Limits(max_connections=64, max_keepalive_connections=64, keepalive_expiry=5.0),
            )
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            raise BadRequest(f"{self.url} is not the address of a server, or the API key holds odd characters.") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    # Images

    def upload(
        self,
        path: Path,
        *,
        name: str = "",
        wait_s: int | None = None,
        is_background: bool = False,
        told: Told = lambda _: None,
        **words: Unpack[Words],
    ) -> Image:
        """Send one file, read as it goes; the record, with URLs. `status` is "developing" when it takes longer than `wait_s`.

        Its name is the path's where none is given. One in the background is developed when no others wait.

        Is not repeated: a connection that breaks may have been too late, so ask `by_sha256` before another try.
        """
        form = _worded(**words)
        if "custom" in form:
            form["custom"] = orjson.dumps(form["custom"]).decode()
        headers = {} if wait_s is None else {"prefer": f"wait={wait_s}"}
        if is_background:
            headers["priority"] = "u=7"  # RFC 9218, section 4.1
        name = name or os.fsencode(path.name).decode("utf-8", "replace")
        with _Counted(io.FileIO(path), told) as file:
            files = {"file": (name, cast("BinaryIO", file), "application/octet-stream")}
            return cast("Image", self._ask("POST", "/images", data=form, files=files, headers=headers))

    def import_url(
        self, url: str, *, key: str = "", filename: str = "", wait_s: int | None = None, **words: Unpack[Words]
    ) -> Image | None:
        """Have the server fetch a picture, in the background; the record, or None when it takes longer than `wait_s`.

        Asked again with the same key it is the same import, so a request that broke off may be repeated. Raises what refused it.
        """
        body = _params({"url": url, "filename": filename}) | _worded(**words)
        headers = {"priority": "u=7"} | ({"idempotency-key": key} if key else {})
        if wait_s is not None:
            headers["prefer"] = f"wait={wait_s}"
        answer = self._ask("POST", "/imports", json=body, headers=headers)
        return None if "state" in answer else cast("Image", answer)

    def announce(
        self, *, size: int, content_type: str = "", sha256: str = "", filename: str = "", **words: Unpack[Words]
    ) -> Offer:
        """The right to PUT a file of so many bytes into the store, past the server. Raises TooManyBytes, QuotaExceeded, Unsupported."""
        body = _params({"method": "put", "size": size, "content_type": content_type, "sha256": sha256, "filename": filename})
        return cast("Offer", self._ask("POST", "/uploads", json=body | _worded(**words)))

    def complete_upload(self, upload_id: str) -> Image:
        """Say that an announced file is in the store; the image, as of `upload`. May be repeated. Raises NotArrived, Missing, WrongState."""
        return cast("Image", self._ask("POST", f"/uploads/{_segment(upload_id)}/complete", headers={"priority": "u=7"}))

    def abandon_upload(self, upload_id: str) -> None:
        """Give an announced file up. Raises Missing, WrongState."""
        self._ask("DELETE", f"/uploads/{_segment(upload_id)}")

    def get(self, image_id: str, *, with_location: bool = False) -> Image:
        """One image. Raises Missing."""
        params = {"include": "location"} if with_location else {}
        return cast("Image", self._ask("GET", f"/images/{_segment(image_id)}", params=params))

    def list(self, **filters: Any) -> Iterator[Image]:
        """Every image that passes the filters of `GET /images` (`tag=["a", "b"]`, `sort="created_at"`, …), page by page."""
        limit = filters.pop("limit", PAGE)
        cursor: str | None = None
        while True:
            page = self._ask("GET", "/images", params=_params(filters | {"limit": limit, "cursor": cursor}))
            yield from page["images"]
            cursor = page["next"]
            if cursor is None:
                return

    def by_sha256(self, sha256: str) -> Image | None:
        """Your image with exactly these bytes, if there is one outside of the trash."""
        images = self._ask("GET", "/images", params={"sha256": sha256})["images"]
        return cast("Image", images[0]) if images else None

    def search(
        self,
        text: str,
        *,
        tags: Sequence[str] = (),
        type: str = "",
        year: int | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> SearchPage:
        """One page of results; `next` goes into `cursor` for the one behind it."""
        params = {"q": text, "tag": [*tags], "type": type or None, "year": year, "limit": limit, "cursor": cursor}
        return cast("SearchPage", self._ask("GET", "/images/search", params=_params(params)))

    def patch(self, image_id: str, changes: Mapping[str, Any], *, etag: str = "") -> Image:
        """Change the record by a merge patch; with an etag only if it is still that one. Raises Missing, Stale, BadField."""
        headers = {"content-type": "application/merge-patch+json"} | ({"if-match": etag} if etag else {})
        return cast("Image", self._ask("PATCH", f"/images/{_segment(image_id)}", content=orjson.dumps(changes), headers=headers))

    def delete(self, image_id: str, *, purge: bool = False) -> None:
        """Move it to the trash; with `purge`, remove one that is there for good."""
        self._ask("DELETE", f"/images/{_segment(image_id)}", params={"purge": "true"} if purge else {})

    def restore(self, image_id: str) -> Image:
        """Bring it back from the trash."""
        return cast("Image", self._ask("POST", f"/images/{_segment(image_id)}/restore"))

    def original(self, image_id: str, file: BinaryIO, *, told: Told = lambda _: None) -> str:
        """Write the bytes that came in to `file`, from where it stands; the SHA-256 of what was written, in hex.

        A connection that breaks is taken up where it broke off, as long as the object is the same one.
        """
        digest, written, etag = hashlib.sha256(), 0, ""
        for attempt in range(1, TRIES + 1):
            headers = {"range": f"bytes={written}-", "if-match": etag} if written else {}
            try:
                with self._http.stream("GET", f"/images/{_segment(image_id)}/original", headers=headers) as response:
                    if response.status_code != (206 if written else 200):
                        response.read()
                        raise _refusal(response)
                    etag = response.headers.get("etag", "")
                    for chunk in response.iter_raw(CHUNK):
                        file.write(chunk)
                        digest.update(chunk)
                        written += len(chunk)
                        told(len(chunk))
                return digest.hexdigest()
            except httpx.TransportError as error:
                failure = self._unreachable(error)
                if attempt == TRIES or isinstance(failure, Unreachable):
                    raise failure from error
                self._sleep(_wait_s(failure, attempt))
            except Unavailable as error:
                if attempt == TRIES:
                    raise
                self._sleep(_wait_s(error, attempt))
        raise AssertionError("the last attempt returns or raises")

    # Albums

    def albums(self, *, shared: bool = False) -> Iterator[Album]:
        """Your albums, newest first; `shared`: those that others have lent to you."""
        cursor: str | None = None
        while True:
            page = self._ask("GET", "/albums", params=_params({"limit": PAGE, "cursor": cursor, "shared": shared or None}))
            yield from page["albums"]
            cursor = page["next"]
            if cursor is None:
                return

    def add_album(self, title: str, *, description: str = "") -> Album:
        """A new, empty album."""
        return cast("Album", self._ask("POST", "/albums", json={"title": title, "description": description}))

    def album_grants(self, album_id: str) -> Sequence[Grant]:
        """Whom an album is lent to, oldest first. Raises Missing."""
        return cast("Sequence[Grant]", self._ask("GET", f"/albums/{_segment(album_id)}/grants"))

    def share_album(
        self, album_id: str, user_id: str, *, level: str = "view", originals: bool = False, expires_at: str | None = None
    ) -> Grant:
        """Let a user of your tenant see an album, or with the level contribute put images into it. Raises Missing, BadField."""
        body = {"level": level, "originals": originals, "expires_at": expires_at}
        return cast("Grant", self._ask("PUT", f"/albums/{_segment(album_id)}/grants/{_segment(user_id)}", json=body))

    def unshare_album(self, album_id: str, user_id: str) -> None:
        """Take it back. Raises Missing."""
        self._ask("DELETE", f"/albums/{_segment(album_id)}/grants/{_segment(user_id)}")

    def album_links(self, album_id: str) -> Sequence[Link]:
        """An album's links, newest first, without their tokens. Raises Missing."""
        return cast("Sequence[Link]", self._ask("GET", f"/albums/{_segment(album_id)}/links"))

    def add_link(self, album_id: str, *, expires_at: str, password: str = "", originals: bool = False, note: str = "") -> Link:
        """A link to an album, until a time (RFC 3339); its address is known only now. Raises Missing, BadField, Conflict."""
        body = {"expires_at": expires_at, "password": password, "originals": originals, "note": note}
        return cast("Link", self._ask("POST", f"/albums/{_segment(album_id)}/links", json=body))

    def remove_link(self, album_id: str, link_id: str) -> None:
        """Let a link lead nowhere. Raises Missing."""
        self._ask("DELETE", f"/albums/{_segment(album_id)}/links/{_segment(link_id)}")

    # The operator's desk

    def failures(self, *, limit: int = 100, **which: Any) -> Sequence[Failure]:
        """Dead letters, newest first; `which` are the filters of `GET /admin/failures`: flow, tenant, cause, after, before."""
        return cast(
            "Sequence[Failure]", self._ask("GET", "/admin/failures", params=_params(which | {"limit": limit}))["failures"]
        )

    def retry_failures(self, *, limit: int = 100, **which: Any) -> Mended:
        """Try those again that fit the filters, `limit` at most, and tell how many and whether there are more."""
        return cast("Mended", self._ask("POST", "/admin/failures/retry", params=_params(which | {"limit": limit})))

    def discard_failures(self, *, limit: int = 100, **which: Any) -> Mended:
        """Forget those that fit the filters, in the same way."""
        return cast("Mended", self._ask("DELETE", "/admin/failures", params=_params(which | {"limit": limit})))

    def failure(self, failure_id: str) -> Failure:
        """One dead letter with its steps. Raises Missing."""
        return cast("Failure", self._ask("GET", f"/admin/failures/{_segment(failure_id)}"))

    def retry_failure(self, failure_id: str) -> None:
        """Try it again from the step that failed. Raises Missing, WrongState."""
        self._ask("POST", f"/admin/failures/{_segment(failure_id)}/retry")

    def discard_failure(self, failure_id: str) -> None:
        """Forget it. Raises Missing, WrongState."""
        self._ask("DELETE", f"/admin/failures/{_segment(failure_id)}")

    def signing_keys(self) -> Sequence[SigningKey]:
        """The ring of keys for delivery URLs, newest first, without secrets."""
        return cast("Sequence[SigningKey]", self._ask("GET", "/admin/signing-keys"))

    def add_signing_key(self, *, grammar: str = "native", secret: str = "", salt: str = "", size_bytes: int = 32) -> SigningKey:
        """A new one, which signs from now on; with its secret. imgproxy's and thumbor's may be brought along. Raises BadField."""
        asked = {"grammar": grammar, "secret": secret, "salt": salt, "size_bytes": size_bytes}
        return cast("SigningKey", self._ask("POST", "/admin/signing-keys", json=asked))

    def retire_signing_key(self, kid: str, *, after_s: int = 0) -> None:
        """Stop believing its signatures, now or later. Raises Missing, WrongState for the last live one."""
        self._ask("POST", f"/admin/signing-keys/{_segment(kid)}/retire", json={"after_s": after_s})

    def tenants(self) -> Sequence[Tenant]:
        """Every tenant, oldest first. Raises Forbidden for who is no operator."""
        return cast("Sequence[Tenant]", self._ask("GET", "/admin/tenants"))

    def tenant(self, tenant_id: str) -> Tenant:
        """One. Raises Missing."""
        return cast("Tenant", self._ask("GET", f"/admin/tenants/{_segment(tenant_id)}"))

    def add_tenant(self, name: str, *, admin: str = "admin", **fields: Any) -> TenantMade:
        """A new one; `fields` as the API takes them. Raises Forbidden, BadField, AlreadyExists."""
        return cast("TenantMade", self._ask("POST", "/admin/tenants", json={"name": name, "admin": admin, **fields}))

    def change_tenant(self, tenant_id: str, **changes: Any) -> Tenant:
        """Change what is named. Raises Missing, Forbidden, BadField, AlreadyExists."""
        return cast("Tenant", self._ask("PATCH", f"/admin/tenants/{_segment(tenant_id)}", json=changes))

    def suspend_tenant(self, tenant_id: str) -> Tenant:
        """Let nobody of it in and nothing out. Raises Missing, WrongState for the operator's own."""
        return cast("Tenant", self._ask("POST", f"/admin/tenants/{_segment(tenant_id)}/suspend"))

    def resume_tenant(self, tenant_id: str) -> Tenant:
        """End a suspension. Raises Missing."""
        return cast("Tenant", self._ask("POST", f"/admin/tenants/{_segment(tenant_id)}/resume"))

    def usage(self, *, month: str = "", tenant_id: str = "") -> Sequence[Usage]:
        """What tenants have used in a month, this one by default: an operator's answer has all, an admin's their own."""
        asked = {name: value for name, value in (("month", month), ("tenant", tenant_id)) if value}
        return cast("Sequence[Usage]", self._ask("GET", "/admin/usage", params=asked))

    def users(self) -> Sequence[User]:
        """Everybody of the tenant."""
        return cast("Sequence[User]", self._ask("GET", "/admin/users"))

    def add_user(self, name: str, *, role: str = "user", email: str = "", language: str = "") -> User:
        """A new user, invited to sign in if there is an `email`. Raises Forbidden, BadField, AlreadyExists."""
        body = {"name": name, "role": role, "email": email, "language": language}
        return cast("User", self._ask("POST", "/admin/users", json=body))

    def invite_user(self, user_id: str, email: str, *, language: str = "") -> None:
        """Let a user choose a password by mail. Raises Missing, AlreadyExists for who has one."""
        self._ask("POST", f"/admin/users/{_segment(user_id)}/invite", json={"email": email, "language": language})

    def reset_mfa(self, user_id: str) -> None:
        """Take a user's second factors and passkeys away, and end their sessions. Raises Missing."""
        self._ask("DELETE", f"/admin/users/{_segment(user_id)}/mfa")

    def disable_user(self, user_id: str) -> User:
        """Let nobody in as this user; what is theirs stays. Raises Missing, Conflict for yourself."""
        return cast("User", self._ask("POST", f"/admin/users/{_segment(user_id)}/disable"))

    def enable_user(self, user_id: str) -> User:
        """Let them in again. Raises Missing."""
        return cast("User", self._ask("POST", f"/admin/users/{_segment(user_id)}/enable"))

    def token_keys(self) -> Sequence[TokenKey]:
        """The ring of keys for access tokens, newest first, without private halves."""
        return cast("Sequence[TokenKey]", self._ask("GET", "/admin/token-keys"))

    def add_token_key(self, algorithm: str | None = None) -> TokenKey:
        """A new one, published at once and signing in five minutes."""
        return cast("TokenKey", self._ask("POST", "/admin/token-keys", json={"algorithm": algorithm}))

    def retire_token_key(self, kid: str, *, after_s: int | None = None) -> TokenKey:
        """Sign nothing with it any more; None: believe it until its last token has expired. Raises Missing, WrongState."""
        return cast("TokenKey", self._ask("POST", f"/admin/token-keys/{_segment(kid)}/retire", json={"after_s": after_s}))

    def api_keys(self) -> Sequence[ApiKey]:
        """Every API key of the tenant, without its token."""
        return cast("Sequence[ApiKey]", self._ask("GET", "/admin/api-keys"))

    def add_api_key(
        self,
        user_id: str,
        *,
        name: str = "",
        scopes: Sequence[str] = ("read", "write"),
        expires_at: str | None = None,
        networks: Sequence[str] = (),
    ) -> ApiKey:
        """A new one for a user, with its token: this is the only time that it is known."""
        body = {"user": user_id, "name": name, "scopes": [*scopes], "expires_at": expires_at, "networks": [*networks]}
        return cast("ApiKey", self._ask("POST", "/admin/api-keys", json=body))

    def change_api_key(self, key_id: str, *, name: str | None = None, networks: Sequence[str] | None = None) -> ApiKey:
        """Another name, other networks to use it from (none: anywhere). Raises Missing."""
        body = {"name": name, "networks": None if networks is None else [*networks]}
        return cast("ApiKey", self._ask("PATCH", f"/admin/api-keys/{_segment(key_id)}", json=body))

    def revoke_api_key(self, key_id: str) -> None:
        """End it now. Raises Missing."""
        self._ask("DELETE", f"/admin/api-keys/{_segment(key_id)}")

    def issuers(self) -> Sequence[Issuer]:
        """Outside issuers whose tokens are believed."""
        return cast("Sequence[Issuer]", self._ask("GET", "/admin/issuers"))

    def add_issuer(self, issuer: str, audiences: Sequence[str], **terms: Any) -> Issuer:
        """Believe its tokens for these audiences; terms as `POST /admin/issuers` takes them. Raises AlreadyExists."""
        return cast("Issuer", self._ask("POST", "/admin/issuers", json={"issuer": issuer, "audiences": [*audiences], **terms}))

    def change_issuer(self, issuer_id: str, **terms: Any) -> Issuer:
        """Believe its tokens on these terms; the others stay. Raises Missing, AlreadyExists."""
        return cast("Issuer", self._ask("PATCH", f"/admin/issuers/{_segment(issuer_id)}", json=terms))

    def remove_issuer(self, issuer_id: str) -> None:
        """Believe its tokens no more. Raises Missing."""
        self._ask("DELETE", f"/admin/issuers/{_segment(issuer_id)}")

    def check_issuer(self, issuer_id: str, *, token: str = "") -> IssuerCheck:
        """Ask it for its keys now, and read a token of it. Raises Missing, and why the keys cannot be had."""
        return cast("IssuerCheck", self._ask("POST", f"/admin/issuers/{_segment(issuer_id)}/check", json={"token": token}))

    def webhooks(self) -> Sequence[Webhook]:
        """Every webhook endpoint of the tenant, newest first, without secrets."""
        return cast("Sequence[Webhook]", self._ask("GET", "/admin/webhooks"))

    def add_webhook(self, url: str, *, events: Sequence[str] = (), description: str = "") -> Webhook:
        """A new one, with its secret; no events: every one. Raises BadField, SourceNotAllowed, SourceUnreachable, WrongState."""
        body = {"url": url, "events": [*events], "description": description}
        return cast("Webhook", self._ask("POST", "/admin/webhooks", json=body))

    def edit_webhook(self, webhook_id: str, **changes: Any) -> Webhook:
        """Another `url`, `events` or `description`, or `is_enabled`. Raises Missing and what adding raises."""
        return cast("Webhook", self._ask("PATCH", f"/admin/webhooks/{_segment(webhook_id)}", json=changes))

    def rotate_webhook(self, webhook_id: str, *, grace_s: int = 86_400) -> Webhook:
        """A new secret, told here; the one before signs beside it for so many seconds. Raises Missing."""
        return cast("Webhook", self._ask("POST", f"/admin/webhooks/{_segment(webhook_id)}/rotate", json={"grace_s": grace_s}))

    def remove_webhook(self, webhook_id: str) -> None:
        """The endpoint gone, with its log. Raises Missing."""
        self._ask("DELETE", f"/admin/webhooks/{_segment(webhook_id)}")

    def test_webhook(self, webhook_id: str) -> WebhookDelivery:
        """Send it a `ping`. Raises Missing, WrongState while it is off."""
        return cast("WebhookDelivery", self._ask("POST", f"/admin/webhooks/{_segment(webhook_id)}/test"))

    def webhook_deliveries(self, webhook_id: str, *, state: str | None = None, limit: int = 50) -> Sequence[WebhookDelivery]:
        """What it was told, newest first. Raises Missing."""
        page = self._ask(
            "GET", f"/admin/webhooks/{_segment(webhook_id)}/deliveries", params=_params({"state": state, "limit": limit})
        )
        return cast("Sequence[WebhookDelivery]", page["deliveries"])

    def webhook_delivery(self, webhook_id: str, delivery_id: str) -> WebhookDelivery:
        """One of it. Raises Missing."""
        path = f"/admin/webhooks/{_segment(webhook_id)}/deliveries/{_segment(delivery_id)}"
        return cast("WebhookDelivery", self._ask("GET", path))

    def replay_webhook(self, webhook_id: str, delivery_id: str) -> WebhookDelivery:
        """Send it again, under its id. Raises Missing, WrongState."""
        path = f"/admin/webhooks/{_segment(webhook_id)}/deliveries/{_segment(delivery_id)}/replay"
        return cast("WebhookDelivery", self._ask("POST", path))

    def replay_webhooks(self, webhook_id: str, *, since: str, state: str | None = None) -> int:
        """Send everything again that happened since that RFC 3339 time; how many. Raises Missing, WrongState, BadField."""
        asked = {"since": since, "state": state}
        return int(self._ask("POST", f"/admin/webhooks/{_segment(webhook_id)}/replay", json=asked)["deliveries"])

    def urls(self, image_id: str, transforms: Sequence[str], *, grammar: str = "native") -> Urls:
        """Signed delivery URLs of these transforms, in their order. Raises BadOption, WrongState without a key of that grammar."""
        asked = {"transforms": list(transforms), "grammar": grammar}
        return cast("Urls", self._ask("POST", f"/images/{_segment(image_id)}/urls", json=asked))

    def source_urls(self, source: str, transforms: Sequence[str]) -> Urls:
        """The same of a picture that lies elsewhere. Raises Forbidden, SourceNotAllowed where it is not listed, BadOption."""
        return cast("Urls", self._ask("POST", "/sources/urls", json={"source": source, "transforms": list(transforms)}))

    def at_cloudfront(self, image_id: str) -> CloudFrontUrls:
        """Where CloudFront has what is stored of an image. Raises WrongState when none is set up."""
        return cast("CloudFrontUrls", self._ask("GET", f"/images/{_segment(image_id)}/cloudfront"))

    def cloudfront_cookies(self) -> CloudFrontCookies:
        """Cookies that open every stored rendition of the tenant. Raises Forbidden, WrongState."""
        return cast("CloudFrontCookies", self._ask("POST", "/admin/cloudfront-cookies"))

    def audit(self, **filters: Any) -> Iterator[AuditEntry]:
        """Entries of the audit trail, newest first; `filters` as `GET /admin/audit` has them."""
        query = {name: value for name, value in filters.items() if value is not None}
        while True:
            page = self._ask("GET", "/admin/audit", params=query)
            yield from page["entries"]
            if not page["cursor"]:
                return
            query["cursor"] = page["cursor"]

    def audit_head(self, *, chain: str | None = None) -> AuditHead:
        """Where a chain ends, to be noted elsewhere."""
        found: AuditHead = self._ask("GET", "/admin/audit/head", params={"chain": chain} if chain else {})
        return found

    def audit_export(self, *, format: str = "ndjson", **filters: Any) -> Iterator[bytes]:
        """The trail as a file, oldest first, piece by piece."""
        query = {"format": format} | {name: value for name, value in filters.items() if value is not None}
        with self._streamed("GET", "/admin/audit/export", params=query) as pieces:
            yield from pieces

    def export_user(self, user_id: str) -> Iterator[bytes]:
        """Everything that is kept of a user, as a ZIP, piece by piece."""
        with self._streamed("POST", f"/admin/users/{_segment(user_id)}/export") as pieces:
            yield from pieces

    def erase_user(self, user_id: str) -> Erasure:
        """Erase a user with everything of theirs, for good."""
        started: Erasure = self._ask("DELETE", f"/admin/users/{_segment(user_id)}")
        return started

    def export_tenant(self, tenant_id: str) -> Iterator[bytes]:
        """Everything of a tenant, as a ZIP, piece by piece."""
        with self._streamed("POST", f"/admin/tenants/{_segment(tenant_id)}/export") as pieces:
            yield from pieces

    def erase_tenant(self, tenant_id: str) -> Erasure:
        """Erase a suspended tenant with everything of it, for good."""
        started: Erasure = self._ask("DELETE", f"/admin/tenants/{_segment(tenant_id)}")
        return started

    def erasure(self, certificate_url: str) -> Erasure:
        """How it stands, with its certificate once it is done."""
        found: Erasure = self._ask("GET", certificate_url)
        return found

    def purge(self, *, image: str = "", tag: str = "", source: str = "", tenant: bool = False) -> Purge:
        """Let caches, its own and CDNs, forget an image, the images with a tag, a picture that lies elsewhere, or everything.

        Raises Missing, Forbidden, BadField.
        """
        wishes: dict[str, Any] = {"tenant": tenant, "tag": tag, "source": source}
        body = next(({name: value} for name, value in wishes.items() if value), {"image": image})
        return cast("Purge", self._ask("POST", "/admin/purges", json=body))

    def purge_state(self, purge_id: str) -> Purge:
        """How far it has come. Raises Missing."""
        return cast("Purge", self._ask("GET", f"/admin/purges/{_segment(purge_id)}"))

    def purges(self, *, limit: int = 50) -> Sequence[Purge]:
        """Newest first."""
        return cast("Sequence[Purge]", self._ask("GET", "/admin/purges", params={"limit": limit})["purges"])

    def recipes(self) -> Sequence[Recipe]:
        """The newest version of each, by name."""
        return cast("Sequence[Recipe]", self._ask("GET", "/admin/recipes"))

    def recipe(self, reference: str) -> Recipe:
        """`shop` as it is now, or `shop@2`. Raises Missing."""
        return cast("Recipe", self._ask("GET", f"/admin/recipes/{_segment(reference)}"))

    def set_recipe(self, name: str, document: Mapping[str, Any]) -> Recipe:
        """What the name means from now on. Raises BadField."""
        return cast("Recipe", self._ask("PUT", f"/admin/recipes/{_segment(name)}", json=document))

    def apply_recipe(self, name: str, *, default: bool, albums: Sequence[str], tags: Sequence[str]) -> Recipe:
        """It is for these pictures and no others. Raises Missing, BadField."""
        body = {"default": default, "albums": [*albums], "tags": [*tags]}
        return cast("Recipe", self._ask("PUT", f"/admin/recipes/{_segment(name)}/places", json=body))

    def remove_recipe(self, name: str) -> None:
        """Every version of it. Raises Missing, WrongState while it is for any pictures."""
        self._ask("DELETE", f"/admin/recipes/{_segment(name)}")

    def warm(self, transforms: Sequence[str], *, image: str = "", album: str = "", tag: str = "") -> Warming:
        """Make these in the background, of an image or of those in an album or with a tag. Raises Missing, Forbidden, BadField, BadOption."""
        wanted = {"transforms": list(transforms)}
        if image:
            return cast("Warming", self._ask("POST", f"/images/{_segment(image)}/warm", json=wanted))
        narrowed = {name: value for name, value in (("album", album), ("tag", tag)) if value}
        return cast("Warming", self._ask("POST", "/warm", json={**wanted, "filter": narrowed}))

    def warming(self, warming_id: str) -> Warming:
        """How far it has come. Raises Missing."""
        return cast("Warming", self._ask("GET", f"/warm/{_segment(warming_id)}"))

    def redevelop(self, filter: Mapping[str, Any], *, recipe: str = "", rate: float, dry_run: bool = False) -> Redevelopment:
        """Develop the pictures that fit again. Raises Missing, BadField, WrongState."""
        body = {"filter": filter, "recipe": recipe, "rate": rate, "dry_run": dry_run}
        return cast("Redevelopment", self._ask("POST", "/redevelopments", json=body))

    def redevelopment(self, redevelopment_id: str) -> Redevelopment:
        """How far it has come. Raises Missing."""
        return cast("Redevelopment", self._ask("GET", f"/redevelopments/{_segment(redevelopment_id)}"))

    def move_redevelopment(self, redevelopment_id: str, move: str) -> Redevelopment:
        """`pause`, `resume` or `cancel` it. Raises Missing, WrongState."""
        return cast("Redevelopment", self._ask("POST", f"/redevelopments/{_segment(redevelopment_id)}/{move}"))

    def reindex(self) -> int:
        """Build the search index anew, and wait for it; how many documents."""
        return int(self._ask("POST", "/admin/reindex", timeout=httpx.Timeout(None, connect=CONNECT_S))["documents"])

    def ready(self) -> Ready:
        """Which part answers; a part that does not is told, not raised."""
        response = self._sent("GET", "/health/ready")
        if response.status_code not in (200, 503):
            raise _refusal(response)
        document = _json(response)
        if "parts" not in document:
            raise _refusal(response)
        return cast("Ready", document)

    # Wire

    def _ask(self, method: str, path: str, **request: Any) -> Any:
        """The JSON of the answer, None for an empty one; requests that may be repeated are, while the server says 503."""
        tries = TRIES if method in _SAFE_TO_REPEAT else 1
        for attempt in range(1, tries + 1):
            try:
                response = self._sent(method, path, **request)
                if response.is_success:
                    return _json(response) if response.content else None
                raise _refusal(response)
            except (Unavailable, TooMany) as error:
                if attempt == tries or isinstance(error, Unreachable):
                    raise
                self._sleep(_wait_s(error, attempt))
        raise AssertionError("the last attempt returns or raises")

    def _sent(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **request)
        except httpx.LocalProtocolError as error:
            raise BadRequest(
                "The request could not be sent as announced; the file changed meanwhile, or the key is odd."
            ) from error
        except httpx.UnsupportedProtocol as error:
            raise BadRequest(f"{self.url} is not the address of a server; write http://… or https://…") from error
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    @contextmanager
    def _streamed(self, method: str, path: str, **request: Any) -> Iterator[Iterator[bytes]]:
        """The answer's bytes as they come; one that breaks off raises, since what follows would be another answer."""
        try:
            with self._http.stream(method, path, **request) as response:
                if not response.is_success:
                    response.read()
                    raise _refusal(response)
                yield response.iter_bytes(CHUNK)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: httpx.TransportError) -> BackendUnavailable:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return Unreachable(" ".join(filter(None, (f"No Safelight server answers at {self.url}.", self._advice))))
        if isinstance(error, httpx.TimeoutException):
            return BackendUnavailable(f"The server at {self.url} did not answer in time.")
        return BackendUnavailable(f"The server at {self.url} broke the connection off.")


class _Counted(io.BufferedReader):
    """A file that tells how much of it has been read."""

    def __init__(self, raw: io.FileIO, told: Told) -> None:
        super().__init__(raw, CHUNK)
        self._told = told

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._told(len(data))
        return data


def _segment(text: str) -> str:
    """One segment of a path, whatever the caller gave for an id; dots alone would be taken for a way up (RFC 3986, 5.2.4)."""
    return quote(text, safe="").replace(".", "%2E") or "-"


def _worded(
    *,
    title: str = "",
    description: str = "",
    tags: Sequence[str] = (),
    album: str = "",
    visibility: str = "",
    custom: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The words as requests carry them, without those that say nothing."""
    said = {
        "title": title,
        "description": description,
        "tags": list(tags),
        "album_id": album,
        "visibility": visibility,
        "custom": dict(custom or {}),
    }
    return {name: value for name, value in said.items() if value}


def _params(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None and value != ""}


def _json(response: httpx.Response) -> Any:
    try:
        return orjson.loads(response.content)
    except orjson.JSONDecodeError as error:
        raise BackendUnavailable(f"{response.url.host} answers, but not as a Safelight server does.") from error


def _refusal(response: httpx.Response) -> SafelightError:
    """The error that a problem document names (RFC 9457); for other answers, the one nearest to the status."""
    status = response.status_code
    try:
        document = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict) or "code" not in document:
        document = {"detail": f"The answer was {status} {response.reason_phrase}, and not from a Safelight server."}
    extra = {name: value for name, value in document.items() if name not in ("type", "title", "status", "code", "detail")}
    after = response.headers.get("retry-after", "")
    if after.isascii() and after.isdigit() and len(after) < 6:
        extra["retry_after_s"] = int(after)
    detail = str(document.get("detail") or "")
    error = by_code(str(document.get("code")), detail, **extra)
    if type(error) is SafelightError and document.get("code") != SafelightError.code:
        nearest = _BY_STATUS.get(status, BadRequest if status < 500 else BackendUnavailable)
        return nearest(detail, **extra)
    return error


def _wait_s(error: SafelightError, attempt: int) -> float:
    """How long until the next try: what the server asked for, else half a second and twice as long each time."""
    asked = error.extra.get("retry_after_s")
    return min(LONGEST_WAIT_S, float(asked) if asked is not None else 0.5 * 2 ** (attempt - 1))
