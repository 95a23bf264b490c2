"""What answers look like: the server's own documents, as `api/schemas` writes them. Times stay RFC 3339 text. No behaviour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict


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
    state: str
    filename: str
    content_type: str
    size: int | None
    sha256: str | None
    created_at: str
    expires_at: str
    image_id: str | None
    duplicate_of: str | None
    problem: Problem | None
    method: str
    url: str
    fields: dict[str, str] | None
    headers: dict[str, str] | None


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
    cause: str
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
