"""Every setting: default, unit, meaning. Read by wiring and the doors, by nobody below.

`SAFELIGHT_` and the names joined by two underscores: `SAFELIGHT_LIMITS__MAX_BYTES=10000000`. A name that nobody knows stops
the start, since a mistyped limit is a limit that does not hold. `docs/reference/settings.md` is made from this file.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    TypeAdapter,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from safelight.domain.accounts import Role, Scope
from safelight.domain.ids import is_id
from safelight.domain.issuers import MAX_SKEW_S, Terms
from safelight.imaging.transform.grammar import Named, read_named
from safelight.jose import ACCEPTED
from safelight.memory import memory_limit

PREFIX: Final = "SAFELIGHT_"
CLIENT_NAMES: Final = frozenset({"SAFELIGHT_URL", "SAFELIGHT_API_KEY"})
"""Read by the CLI when it talks to a server; not settings of the server."""


_PLAIN: Final = Terms(audiences=())


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def listed(value: str) -> tuple[str, ...]:
    """The words of a setting that holds several, separated by commas."""
    return tuple(value.replace(",", " ").split())


_LEAST_RENDER_MEMORY: Final = 64 * 1024**2


def _memory_share() -> int:
    return max(_LEAST_RENDER_MEMORY, min(4 * 1024**3, memory_limit() // 4))


_TOLD: Final[dict[Any, str]] = {
    _cores: "one per core, shared by the server's processes",
    _memory_share: "a quarter of what the cgroup allows, at most 4 GiB, shared by the server's processes",
}
"""How the reference names defaults that a machine decides."""
_OF_THE_MACHINE: Final = (
    ("develop", "slots", 1),
    ("delivery", "max_renders", 1),
    ("delivery", "render_memory_bytes", _LEAST_RENDER_MEMORY),
    ("auth", "hashes_at_once", 1),
)
"""Section, field, and what a process needs at least."""


def _http_url(value: str) -> str:
    if value and not value.startswith(("http://", "https://")):
        raise ValueError("an http:// or https:// address")
    return value.rstrip("/")


def _is_number(host: str) -> bool:
    """An IP address, which is no domain."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _s3_url(value: str) -> str:
    if value and not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[\w.-]+)*/?", value):
        raise ValueError("s3://bucket or s3://bucket/prefix")
    return value


def _database_url(*words: str) -> Callable[[str], str]:
    def checked(value: str) -> str:
        if value and value not in words and not value.startswith(("postgresql://", "postgres://")):
            raise ValueError(", ".join(words) + " or postgresql://user:password@host:5432/database")
        return value

    return checked


def _workflows_url(value: str) -> str:
    if re.fullmatch(r"temporals?://[^/\s]+(/[\w.-]+)?/?", value):
        return value
    return _database_url("sqlite", "temporal://host:7233/namespace")(value)


def _cache_url(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if text and not re.fullmatch(r"(valkeys?|rediss?)://[^/\s]+(/\d+)?(\?\S*)?", text):
        raise ValueError("valkey://host:6379/0, or rediss://user:password@host:6379/0 for TLS")
    return value


def _networks(value: str) -> str:
    for word in listed(value):
        ipaddress.ip_network(word, strict=False)
    return value


def _exact_origins(value: str) -> str:
    """As browsers write them (RFC 6454 section 6.1): in lower case, without the scheme's own port."""
    origins = [re.sub(r"^(http:.*):80$|^(https:.*):443$", r"\1\2", origin.lower()) for origin in listed(value)]
    if not all(
        origin == "*" or re.fullmatch(r"https?://([a-z0-9_.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?", origin) for origin in origins
    ):
        raise ValueError("origins such as https://shop.example, separated by commas, or *")
    return ", ".join(origins)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Server(_Section):
    """How the API and delivery listen."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on.")
    workers: int = Field(
        1, ge=1, le=64, description="API processes. One serves a laptop; as many as cores deliver most. Each has its own caches."
    )
    max_requests: int = Field(
        256,
        ge=8,
        description="API requests that a process works on at the same time; the rest gets 503. Waiting for a client's bytes is no work.",
    )
    max_connections: int = Field(
        4096,
        ge=64,
        description="Connections that a process holds, idle ones too; further ones are not answered before one of them has ended."
        " Fewer where the limit of open files is lower.",
    )
    public_url: Annotated[str, AfterValidator(_http_url)] = Field(
        "",
        description="Address that clients use, for links in answers. Empty: taken from each request's Host header.",
    )
    tls_cert: Path | None = Field(
        None,
        description="Certificate chain, PEM, the server's own first: with `tls_key` everything is served over TLS 1.3 and nothing"
        " without. Empty: plain HTTP, for a proxy in front. Both files are read at the start.",
    )
    tls_key: Path | None = Field(None, description="The certificate's private key, PEM, without a passphrase.")
    trusted_proxies: Annotated[str, AfterValidator(_networks)] = Field(
        "",
        description="Addresses or networks (`10.0.0.0/8, 192.0.2.7`) whose word on the client's address is taken. Empty: nobody's.",
    )
    client_header: str = Field(
        "x-forwarded-for",
        pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$",
        description="Header in which those proxies tell it, their own entry last.",
    )
    cors_origins: Annotated[str, AfterValidator(_exact_origins)] = Field(
        "",
        description="Origins (`https://shop.example`) of pages that may read the API's answers, separated by commas; `*` for any."
        " Empty: only Safelight's own. Pictures may be read by any page that has their URL.",
    )
    drain_s: int = Field(30, ge=1, description="Seconds that requests in flight get at shutdown.")
    body_idle_s: float = Field(30.0, gt=0, description="Seconds without a byte after which an upload is given up.")


class Storage(_Section):
    """Where the bytes are: the embedded store, or two buckets of an S3 server."""

    url: Annotated[str, AfterValidator(_s3_url)] = Field(
        "",
        description="`s3://bucket` or `s3://bucket/prefix` of the originals. Empty: the embedded store in the data directory.",
    )
    renditions_bucket: str = Field("", description="S3: bucket of the renditions. Empty: the originals' name and `-renditions`.")
    endpoint_url: Annotated[str, AfterValidator(_http_url)] = Field("", description="S3: address of the server. Empty: AWS.")
    public_endpoint_url: Annotated[str, AfterValidator(_http_url)] = Field(
        "",
        description="S3: address of the server for clients that upload directly, when they reach it by another one.",
    )
    region: str = Field("", description="S3: region. Empty: from the credentials chain, else us-east-1.")
    path_style: bool | None = Field(None, description="S3: `endpoint/bucket/key`. Default: on AWS no, elsewhere yes.")
    access_key_id: str = Field(
        "",
        description="S3: access key. Empty: the chain of environment, shared files, web identity (IRSA) and instance metadata.",
    )
    secret_access_key: SecretStr = Field(SecretStr(""), description="S3: its secret.")
    kms_key_id: str = Field("", description="S3: seals originals with this KMS key (SSE-KMS). Empty: SSE-S3 like renditions.")
    path: Path | None = Field(None, description="Embedded: folder of the object store. Default: `objects` in the data directory.")
    is_encrypted: bool = Field(
        default=True,
        description="Encrypt every object at rest. Embedded: AES-256-GCM, a data key per object. S3: ask the server for it.",
    )
    key_file: Path | None = Field(
        None,
        description="Embedded: master key, made at the first start. Default: `keys/master.key` in the data directory."
        " Without this file the objects cannot be read: back it up apart from them.",
    )
    connect_timeout_s: float = Field(2.0, gt=0, le=60, description="S3: seconds to connect.")
    attempt_timeout_s: float = Field(10.0, gt=0, le=600, description="S3: seconds for one request, or one part of 8 MiB.")
    deadline_s: float = Field(
        25.0, gt=0, le=600, description="S3: seconds for one call with all its attempts; then clients get 503."
    )
    max_connections: int = Field(64, ge=1, le=1024, description="S3: connections of a process that wait for their next request.")


def _origins(value: str) -> str:
    if not all(re.fullmatch(r"https?://(\*\.)?[\w.-]+(:\d+)?", origin) for origin in listed(value)):
        raise ValueError("origins such as https://shop.example, separated by commas")
    return value


class BucketSettings(_Section):
    """S3: what both buckets should be besides being there. `safelight bucket apply` sets it, `check` compares."""

    ip_allow: Annotated[str, AfterValidator(_networks)] = Field(
        "",
        description="Networks (CIDR) from which objects may be read and written, separated by commas. Empty: any.",
    )
    cors_origins: Annotated[str, AfterValidator(_origins)] = Field(
        "",
        description="Origins of pages that upload directly, separated by commas. Empty: no CORS rule.",
    )
    queue_arn: str = Field(
        "",
        pattern=r"^(arn:[\w-]+:sqs:.+)?$",
        description="SQS queue that hears of objects under `incoming/`. Empty: no notification.",
    )
    archive_after_days: int = Field(90, ge=0, description="Days until originals go to a cheaper class. 0: never.")
    archive_class: str = Field(
        "GLACIER_IR",
        pattern=r"^[A-Z_]+$",
        description="That class. It should answer at once: an original may be read at any time.",
    )
    tier_after_days: int = Field(30, ge=0, description="Days until renditions go to intelligent tiering. 0: never.")
    noncurrent_days: int = Field(
        90,
        ge=0,
        description="Days until versions that were replaced are gone; longer than the trash lasts. 0: never."
        " Where the bucket has no such rule, and on the embedded store, the clock does it.",
    )


class CatalogSettings(_Section):
    """Where the records are."""

    url: str = Field(
        "",
        description="Database address: `postgresql://user:password@host:5432/database`, which then also keeps search and"
        " workflows, or `dynamodb://table?region=…&endpoint_url=…`, which does not. Empty: SQLite files in the data directory.",
    )
    secret_key: SecretStr = Field(
        SecretStr(""),
        description="64 hexadecimal digits that encrypt signing secrets, the same on every machine of an installation."
        " Empty: `keys/catalog.key` in the data directory, made at the first start.",
    )
    readers: int = Field(4, ge=1, le=256, description="Connections of a process for reading.")
    writers: int = Field(4, ge=1, le=256, description="PostgreSQL: connections of a process for writing. SQLite has one.")
    statement_timeout_s: float = Field(
        10.0,
        gt=0,
        le=600,
        description="Seconds for one statement of PostgreSQL's, for records or search, or for one call to DynamoDB with all its"
        " attempts; then clients get 503.",
    )


class SearchSettings(_Section):
    """Where the full text is."""

    url: Annotated[str, AfterValidator(_database_url("none", "sqlite"))] = Field(
        "",
        description="`postgresql://…`, `sqlite` (a file in the data directory), or `none`: everything but search then works."
        " Empty: where the records are; `none` where those are in DynamoDB.",
    )


class WorkflowsSettings(_Section):
    """Where the durable work is."""

    url: Annotated[str, AfterValidator(_workflows_url)] = Field(
        "",
        description="`postgresql://…`, `sqlite` (a file in the data directory, for one machine), or a Temporal server:"
        " `temporal://host:7233/namespace`, with TLS `temporals://…`. Empty: where the records are; `sqlite` where those are in"
        " DynamoDB.",
    )
    queue: str = Field(
        "safelight",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="Temporal: what this installation's task queues and workflow ids begin with; another in each installation of a"
        " namespace.",
    )
    api_key: SecretStr = Field(SecretStr(""), description="Temporal: the API key, where the server asks for one.")
    ca_file: Path | None = Field(
        None, description="Temporal: PEM file of who signed the server's certificate. Empty: whom the system trusts."
    )
    certificate_file: Path | None = Field(
        None, description="Temporal: PEM file of the client's certificate, where the server asks for one."
    )
    key_file: Path | None = Field(None, description="Temporal: PEM file of that certificate's private key.")


class CacheSettings(_Section):
    """What every process may share to be faster, and can do without."""

    url: Annotated[SecretStr, AfterValidator(_cache_url)] = Field(
        SecretStr(""),
        description="Valkey or Redis: `valkey://user:password@host:6379/0`; `rediss://` or `valkeys://` for TLS. Empty: none;"
        " records are then read from the catalog every time, images are made once by each server, and rates are counted by each process.",
    )
    is_cluster: bool = Field(
        False,
        description="The URL names one machine of a cluster (ElastiCache: its configuration endpoint), which tells of the others.",
    )
    ca_file: Path | None = Field(
        None, description="PEM file of who signed the cache's certificate. Empty: whom the system trusts. Names are checked."
    )
    certificate_file: Path | None = Field(None, description="PEM file of our certificate, where the cache asks for one.")
    key_file: Path | None = Field(None, description="PEM file of that certificate's private key.")
    deadline_s: float = Field(
        0.25,
        gt=0,
        description="Seconds that one question may take; then the cache counts as away, and nobody asks it until it is back.",
    )
    record_s: float = Field(3600.0, ge=0, le=3600, description="Seconds for which a record is kept; changes end it at once.")
    page_s: float = Field(300.0, ge=0, le=3600, description="The same for pages of lists.")


class RateSettings(_Section):
    """How often somebody may ask. A bucket holds a second's worth, or a minute's where the rate is by the minute."""

    user_per_s: float = Field(1000.0, ge=0, description="API requests a second of one user. 0: any number.")
    address_per_s: float = Field(2000.0, ge=0, description="API requests a second of one client address. 0: any number.")
    auth_per_minute: float = Field(60.0, ge=0, description="Requests a minute of one client address to `/auth/`. 0: any number.")
    shared_per_minute: float = Field(
        300.0, ge=0, description="Requests a minute of one client address to `/shared/`. 0: any number."
    )
    delivery_per_s: float = Field(
        0.0,
        ge=0,
        description="Deliveries a second of one client address, counted by each process for itself. 0: any number.",
    )


class QuotaSettings(_Section):
    """What a tenant may have at most, unless its own record says otherwise. 0: any amount."""

    bytes: int = Field(0, ge=0, description="Bytes of originals, every version and the trash among them.")
    images: int = Field(0, ge=0, description="Images, those in the trash among them.")
    transformations: int = Field(0, ge=0, description="Renditions made on request in a calendar month (UTC).")
    requests_per_s: int = Field(
        0,
        ge=0,
        description="API requests a second of all its users together; without a shared cache each process counts for itself.",
    )


class PriceSettings(_Section):
    """What usage reports estimate the cost with. 0: no line. A gigabyte has 10**9 bytes."""

    currency: str = Field("EUR", min_length=1, max_length=8, description="What the prices are in; only repeated.")
    stored_gb_month: float = Field(0.0, ge=0, description="A gigabyte of originals, kept for a month.")
    uploads_1000: float = Field(0.0, ge=0, description="A thousand originals taken in.")
    transformations_1000: float = Field(0.0, ge=0, description="A thousand renditions made on request.")
    deliveries_1000: float = Field(0.0, ge=0, description="A thousand deliveries.")
    delivered_gb: float = Field(0.0, ge=0, description="A gigabyte delivered.")
    requests_1000: float = Field(0.0, ge=0, description="A thousand API requests.")


class Limits(_Section):
    """What is taken in."""

    max_bytes: int = Field(50_000_000, ge=1_000, description="Bytes of one file.")
    max_pixels: int = Field(100_000_000, ge=1, description="Width times height of one image.")
    max_buffered_pixels: int = Field(
        50_000_000,
        ge=1,
        description="The same for formats that must be decoded as a whole (progressive JPEG, AVIF, HEIC, WebP, ...).",
    )
    max_frames: int = Field(1_000, ge=1, description="Frames of one animation.")
    max_animation_pixels: int = Field(100_000_000, ge=1, description="Width times height times frames of one animation.")
    decode_s: float = Field(
        20.0,
        gt=0,
        description="CPU seconds that developing one image may take; three times as many by the clock, for busy machines.",
    )
    decode_memory_bytes: int = Field(2 * 1024**3, ge=256 * 1024**2, description="Address space of one decoding process.")


class Ingest(_Section):
    """How uploads are answered."""

    wait_s: float = Field(20.0, ge=0, description="Seconds that an upload waits for its renditions before it answers 202.")
    spool_path: Path | None = Field(
        None,
        description="Folder for uploads in flight (unlinked files). Default: `spool` in the data directory.",
    )


class UploadSettings(_Section):
    """Uploads that go to the store directly."""

    ttl_s: int = Field(3600, ge=60, le=7 * 86400, description="Seconds for which an offer to upload directly is good.")


class ProgressSettings(_Section):
    """The journal of what happens to images, and the streams by which pages follow it."""

    kept_days: int = Field(7, ge=1, le=50, description="Days for which the journal is kept: how far back a stream can resume.")
    streams: int = Field(500, ge=0, description="Streams that clients follow at once, per process; the rest gets 503.")
    streams_per_user: int = Field(20, ge=1, description="Those of one user, per process; the rest gets 429.")


def _ports(value: str) -> str:
    if not all(word.isascii() and word.isdigit() and 0 < int(word[:6]) < 65536 for word in listed(value)):
        raise ValueError("ports such as 80, 443")
    return value


def _hosts(value: str) -> str:
    if not all(re.fullmatch(r"(\*\.)?[A-Za-z0-9:][A-Za-z0-9._:-]*", word) for word in listed(value)):
        raise ValueError("hosts such as cdn.example.com, *.example.org")
    return value


class OutboundSettings(_Section):
    """Where Safelight goes when somebody gives it a URL. Addresses that are not public are closed."""

    networks: Annotated[str, AfterValidator(_networks)] = Field(
        "",
        description="Addresses or networks (`10.20.0.0/16, 192.168.7.5`) that are open all the same, to every user who may import"
        " and every administrator who sets up webhooks."
        " Empty: none.",
    )
    ports: Annotated[str, AfterValidator(_ports)] = Field("80, 443", min_length=1, description="Ports that are asked.")
    connect_s: float = Field(5.0, gt=0, le=60, description="Seconds to find a name's addresses, and to connect to one.")
    idle_s: float = Field(10.0, gt=0, le=300, description="Seconds without a byte after which a fetch is broken off.")
    total_s: float = Field(60.0, gt=0, le=3600, description="Seconds for one fetch with all its redirects.")


class ImportSettings(_Section):
    """`POST /imports`."""

    is_enabled: bool = Field(default=True, description="Whether pictures are imported by URL at all.")
    hosts: Annotated[str, AfterValidator(_hosts)] = Field(
        "",
        description="Hosts from which they come (`cdn.example.com, *.example.org`, the latter for what is below it). Empty: any.",
    )


class RemoteSettings(_Section):
    """Pictures that are delivered from elsewhere, of places that an operator has listed for a tenant."""

    fresh_s: int = Field(3600, ge=1, description="Seconds for which a copy is good whose source says nothing of that.")
    min_fresh_s: int = Field(60, ge=1, description="Seconds for which any is, whatever its source says.")
    max_fresh_s: int = Field(86_400, ge=1, description="Seconds for which none is longer, without its source being asked.")
    keep_days: int = Field(
        30,
        ge=1,
        description="Days for which a copy, and what is made of it, stays that nobody asks for, or that was not asked about.",
    )
    fetch_s: float = Field(
        15.0, gt=0, le=300, description="Seconds for one fetch; the limits of `SAFELIGHT_OUTBOUND__…` hold too."
    )
    failed_s: int = Field(5, ge=1, le=3600, description="Seconds for which a source that failed is not asked again.")
    s3_endpoint_url: Annotated[str, AfterValidator(_http_url)] = Field(
        "",
        description="Address of the server of `s3://…` places. Empty: AWS; or, where neither this nor a region or an access key is"
        " set here, as the installation's own buckets are reached.",
    )
    s3_region: str = Field("", description="Their region. Empty: from the credentials chain, else us-east-1.")
    s3_path_style: bool | None = Field(None, description="`endpoint/bucket/key` for them. Default: on AWS no, elsewhere yes.")
    s3_access_key_id: str = Field(
        "", description="Access key that may read them. Empty: the credentials chain: environment, files, web identity, instance."
    )
    s3_secret_access_key: SecretStr = Field(SecretStr(""), description="Its secret.")

    @property
    def is_apart(self) -> bool:
        """Buckets are reached otherwise than the installation's own, or there are none of those."""
        return bool(self.s3_endpoint_url or self.s3_region or self.s3_access_key_id)


class WebhookSettings(_Section):
    """Telling tenants' own endpoints what has happened. Which addresses and ports are open is what SAFELIGHT_OUTBOUND says."""

    is_plain_http: bool = Field(default=False, description="Whether endpoints may be `http://` too, without TLS.")
    hosts: Annotated[str, AfterValidator(_hosts)] = Field(
        "", description="Hosts to which webhooks may go (`hooks.example.com, *.example.org`). Empty: any."
    )
    timeout_s: float = Field(15.0, gt=0, le=60, description="Seconds for one attempt: name, connection, and the answer's head.")
    per_endpoint: int = Field(4, ge=1, le=32, description="Attempts of a process to one endpoint at once; one while it fails.")
    keep_days: int = Field(7, ge=2, le=365, description="Days for which the log of deliveries is kept.")
    failing_days: int = Field(
        5, ge=1, le=365, description="Days of nothing but failures after which an endpoint is switched off."
    )


class Events(_Section):
    """What the object store tells."""

    secret: SecretStr = Field(
        SecretStr(""),
        description="What `POST /events/s3` has to be sent with, 16 characters at least. Empty: it refuses everything.",
    )

    sqs_url: Annotated[str, AfterValidator(_http_url)] = Field(
        "",
        description="Address of the SQS queue that hears of the originals bucket; every server and worker reads it."
        " The region is that of the address, the credentials are the store's.",
    )

    drop_folder: str = Field(
        "",
        pattern=r"^([A-Za-z0-9_-]+/)*$",
        description="S3: prefix of the originals bucket, like `drop/`, whose objects become images without having been announced:"
        " `drop/<tenant>/<user>/anything` is that user's. Empty: none.",
    )

    @field_validator("drop_folder")
    @classmethod
    def _is_apart(cls, value: str) -> str:
        if value.startswith("incoming/") or is_id(value.partition("/")[0]):
            raise ValueError("a prefix that Safelight does not use itself")
        return value

    @field_validator("secret")
    @classmethod
    def _is_long(cls, value: SecretStr) -> SecretStr:
        if 0 < len(value.get_secret_value()) < 16:
            raise ValueError("16 characters at least")
        return value


class Develop(_Section):
    """How renditions are made."""

    slots: int = Field(default_factory=_cores, ge=1, description="Images decoded at the same time, per process.")
    waiting: int = Field(
        64,
        ge=1,
        description="Images of waiting uploads that may queue in a process before the durable queue; further uploads are answered 202"
        " at once.",
    )
    waiting_per_tenant: int = Field(
        48, ge=1, description="Those of one tenant, and its runs under way, per process: the rest stays for others."
    )
    webp_quality: int = Field(80, ge=1, le=100, description="Quality of WebP renditions.")
    jpeg_quality: int = Field(80, ge=1, le=100, description="Quality of JPEG renditions.")
    linear_side: int = Field(
        600,
        ge=0,
        le=2048,
        description="Presets up to this many pixels are reduced in linear light: finer, for a tenth of the work. 0: none.",
    )
    master_quality: int = Field(90, ge=1, le=100, description="Quality of the 2048 px master that later transforms read.")
    tiled_pixels: int = Field(
        50_000_000,
        ge=0,
        description="Width times height from which on a picture is cut into tiles for viewers as soon as it is ready; smaller ones"
        " when somebody first zooms in.",
    )


class DeliverySettings(_Section):
    """How renditions go out."""

    url_ttl_s: int = Field(3600, ge=60, description="Seconds for which a signed URL is good, at least; at most twice that.")
    memory_bytes: int = Field(64 * 1024**2, ge=0, description="Renditions kept in memory, per process.")
    disk_path: Path | None = Field(
        None,
        description="Folder that keeps renditions on this machine between memory and the store, sealed; may be shared by the"
        " processes of a machine and outlives them. Empty: none.",
    )
    disk_bytes: int = Field(10 * 1024**3, ge=16 * 1024**2, description="Bytes that it may take.")
    max_renders: int = Field(
        default_factory=_cores, ge=1, description="Renditions made on the fly at the same time, per process."
    )
    render_memory_bytes: int = Field(
        default_factory=_memory_share,
        ge=_LEAST_RENDER_MEMORY,
        description="Bytes that making all those together may take, per process; one that needs more is made alone.",
    )
    render_s: float = Field(15.0, gt=0, description="Seconds that making one of them may take; then it is refused.")
    max_animation_pixels: int = Field(
        50_000_000,
        ge=1,
        description="Width times height times frames that transforms keep playing; of more, the first frame is shown.",
    )
    max_waiting: int = Field(64, ge=0, description="Requests that may wait for that, per process; the rest gets 503.")
    bake_avif: bool = Field(
        True,
        description="Whether an AVIF made on request is encoded again, in the background and with more effort, and replaced by that.",
    )
    presets_only: bool = Field(
        False,
        description="Whether transforms that are no preset are refused (`presets_only`), signed or not, and IIIF is away.",
    )


class IiifSettings(_Section):
    """The IIIF APIs under `/iiif/`."""

    enabled: bool = Field(
        True,
        description="Whether they are there: public and unlisted images are then delivered at any region and size without a signature.",
    )
    max_side: int = Field(
        4096,
        ge=512,
        le=8192,
        description="Longest side of a result, `maxWidth` and `maxHeight` of `info.json`; `maxArea` is its square.",
    )


def _distributions(value: str) -> str:
    for word in listed(value):
        if not (word.isascii() and word.isalnum()):
            raise ValueError(f"{word!r} is no id of a distribution")
    return value


class CloudFrontSettings(_Section):
    """Distributions in front of the buckets of S3, from which stored bytes go out without Safelight, and of Safelight itself."""

    renditions_url: Annotated[str, AfterValidator(_http_url)] = Field(
        "",
        description="Address of the distribution whose origin is the renditions bucket: `https://d111111abcdef8.cloudfront.net`.",
    )
    originals_url: Annotated[str, AfterValidator(_http_url)] = Field("", description="Likewise for the originals bucket.")
    key_pair_id: str = Field("", description="Id of the public key in the key group that the distribution trusts.")
    private_key_file: Path | None = Field(None, description="Its private key, PEM: RSA of 2048 bits or ECDSA on P-256.")
    hash: Literal["sha1", "sha256"] = Field("sha256", description="Hash of the signatures; `sha1` for who still expects it.")
    front_distributions: Annotated[str, AfterValidator(_distributions)] = Field(
        "",
        description="Ids of the distributions whose origin is Safelight, separated by commas: they are told to let go of what may not"
        " be seen any more. Empty: none.",
    )
    bucket_distributions: Annotated[str, AfterValidator(_distributions)] = Field(
        "", description="Likewise for those whose origin is a bucket."
    )
    access_key_id: str = Field(
        "", description="For CloudFront's API. Empty: what the AWS SDKs find, such as the instance's role."
    )
    secret_access_key: SecretStr = Field(SecretStr(""), description="Its secret.")
    endpoint_url: Annotated[str, AfterValidator(_http_url)] = Field(
        "", description="Of CloudFront's API, for a server that speaks it. Empty: Amazon's."
    )


def _named(value: str) -> Named:
    """Watermarks by name. Raises ValueError."""
    styles = json.loads(value or "{}")
    if not isinstance(styles, dict) or not all(isinstance(style, str) for style in styles.values()):
        raise ValueError('not {"name": "options", ...}')
    return read_named(styles)


def _watermarks(value: str) -> str:
    _named(value)
    return value


def _fonts(value: str) -> str:
    from safelight.imaging.transform.fonts import covered

    for name in filter(None, map(str.strip, value.split(","))):
        try:
            covered(Path(name).read_bytes())
        except (OSError, ValueError) as error:
            raise ValueError(f"{name}: {error}") from None
    return value


class WatermarkSettings(_Section):
    """What is laid over pictures."""

    named: Annotated[str, AfterValidator(_watermarks)] = Field(
        "",
        description='Watermarks by name, JSON, each with its options as in a URL: `{"logo": "wm=01jabcdefghjkmnpqrstvwxyz0,wms=20", '
        '"draft": "wmt=Draft,wmp=tile"}`. `default` is what imgproxy\'s URLs mean.',
    )
    fonts: Annotated[str, AfterValidator(_fonts)] = Field(
        "",
        description="Files of fonts (TrueType, OpenType), separated by commas, for letters that Noto Sans lacks. Empty: none.",
    )


class ImgproxySettings(_Section):
    """What imgproxy's clients count on; keys and salts are on each tenant's ring."""

    presets: str = Field(
        "",
        description="`name=option:argument/option:argument,name=...`, as `IMGPROXY_PRESETS`. `default` goes before every URL's own options.",
    )


class Trash(_Section):
    """How long deleted images can come back."""

    days: int = Field(30, ge=0, description="Days until trashed images are purged, for tenants made from now on.")
    purge_every_s: float = Field(3600.0, gt=0, description="How often the clock looks for images to purge.")


class CareSettings(_Section):
    """How often what is kept is looked through, by whichever process comes first."""

    reconcile_days: float = Field(
        1.0,
        ge=0,
        description="Days between two reconciliations by the clock, of records, objects and search. 0: only by `safelight reconcile`.",
    )
    scrub_days: float = Field(
        30.0,
        ge=0,
        description="Days in which the clock reads every stored byte once, a share an hour, and compares checksums. 0: only by"
        " `safelight scrub`.",
    )
    scrub_bytes_per_s: int = Field(20_000_000, ge=1, description="How fast the clock may read for that, at most.")


class BackupSettings(_Section):
    """Where buckets of backups are (`safelight backup … --in s3://…`), best at another provider and with other credentials."""

    endpoint_url: Annotated[str, AfterValidator(_http_url)] = Field(
        "", description="Address of the server. Empty: AWS, or the one of `SAFELIGHT_STORAGE__…` when no access key is set here."
    )
    region: str = Field("", description="Region. Empty: from the credentials chain, else us-east-1.")
    path_style: bool | None = Field(None, description="`endpoint/bucket/key`. Default: on AWS no, elsewhere yes.")
    access_key_id: str = Field("", description="Access key. Empty: as the installation's own buckets are reached.")
    secret_access_key: SecretStr = Field(SecretStr(""), description="Its secret.")


class Auth(_Section):
    """How people sign in, and the tokens they get."""

    signup_tenants: str = Field(
        "",
        description="Names of the tenants that anybody may join, separated by blanks; `*` for all. Empty: nobody joins without"
        " an invitation.",
    )
    issuer: Annotated[str, AfterValidator(_http_url)] = Field(
        "",
        description="`iss` of access tokens, and where their keys are found. Empty: `SAFELIGHT_SERVER__PUBLIC_URL`, else the"
        " address that the server listens on.",
    )
    audience: str = Field("safelight", min_length=1, description="`aud` of access tokens.")
    algorithm: Literal["EdDSA", "ES256", "RS256"] = Field(
        "EdDSA", description="Signature of access tokens, for keys made from now on."
    )
    key_days: int = Field(
        90,
        ge=0,
        le=3650,
        description="Days after which a key for access tokens gets a successor, which is published for five minutes before it signs;"
        " the old one is believed until its last token has expired. 0: never by itself.",
    )
    access_s: int = Field(600, ge=30, le=86_400, description="Seconds for which an access token is good.")
    refresh_s: int = Field(
        30 * 86_400,
        ge=600,
        description="Seconds after which a session ends that was not refreshed; each refresh begins them anew.",
    )
    min_strength: int = Field(3, ge=0, le=4, description="Least strength of a password, by zxcvbn's score of 0 to 4.")
    breached_path: Path | None = Field(
        None,
        description="File of leaked passwords that are refused: SHA-1 hashes in hexadecimal, or beginnings of them, sorted, one a"
        " line, as the downloads of Pwned Passwords are. Default: none.",
    )
    hash_memory_kib: int = Field(19_456, ge=8_192, description="Argon2id: KiB of memory for one hash.")
    hash_passes: int = Field(2, ge=1, le=20, description="Argon2id: passes over that memory.")
    hashes_at_once: int = Field(default_factory=_cores, ge=1, description="Passwords hashed at the same time, per process.")
    hashes_waiting: int = Field(64, ge=0, description="Requests that may wait for that, per process; the rest gets 503.")
    account_failures: int = Field(
        10, ge=1, description="Failed attempts on one account after which the next waits: 1 s, then twice as long each time."
    )
    address_failures: int = Field(100, ge=1, description="The same from one address (IPv6: from one /64).")
    longest_wait_s: int = Field(900, ge=1, description="Longest such wait, in seconds.")
    step_up_s: int = Field(
        600,
        ge=30,
        description="Seconds for which a proof of who somebody is counts as recent: what is dangerous asks for one.",
    )
    passkey_domain: str = Field(
        "",
        description="Domain that passkeys are for (WebAuthn's RP ID); they are lost when it changes. Empty: the host of"
        " `SAFELIGHT_SERVER__PUBLIC_URL`, else `localhost`.",
    )
    passkey_origins: str = Field(
        "",
        description="Origins of the pages that may ask for passkeys, separated by blanks: `https://` with the domain or one below"
        " it, or `android:apk-key-hash:…`. Empty: that of `SAFELIGHT_SERVER__PUBLIC_URL`, else this server at `localhost`.",
    )


class AuditSettings(_Section):
    """The audit trail."""

    retention_days: int = Field(
        365, ge=0, description="Days after which entries of the audit trail are pruned; the chain still verifies. 0: never."
    )
    anchor_s: int = Field(
        3600,
        ge=0,
        description="Seconds between two times that every chain's head is written to the log (`audit.anchored`). 0: never.",
    )


class IssuerTerms(_Section):
    """An outside issuer, and on what terms its tokens count."""

    issuer: str = Field(min_length=1, max_length=512, description="`iss` of its tokens, exactly.")
    audiences: list[str] = Field(
        min_length=1,
        description="One of them is in a token's `aud`. Cognito's access tokens have no `aud`; theirs is in `client_id`.",
    )
    jwks_url: str = Field("", max_length=2048, description="Where its keys are. Empty: where its openid-configuration says.")
    algorithms: list[str] = Field(["RS256"], description="Signatures that are taken: " + ", ".join(ACCEPTED) + ".")
    authorized_parties: list[str] = Field([], description="If any, a token's `azp` (else `client_id`) is one of them.")
    token_use: list[str] = Field([], description="If any, a token's `token_use` is one of them: Cognito's `access`, `id`.")
    skew_s: int = Field(30, ge=0, le=MAX_SKEW_S, description="Seconds by which its clock and ours may differ.")
    name_claims: list[str] = Field(
        list(_PLAIN.name_claims), description="What a new user is called by: the first of these that is there."
    )
    role_claim: str = Field(
        "",
        description="Claim with groups or roles, such as `cognito:groups`, or a path, such as `realm_access.roles`. When given,"
        " a user's role follows it.",
    )
    roles: dict[str, Role] = Field({}, description="From such a group to a role; the highest counts.")
    default_role: Role | None = Field(Role.USER, description="For who is in none of those groups. `null`: they stay out.")
    scope_claim: str = Field("scope", description="Claim with the token's scopes.")
    scopes: dict[str, Scope] = Field(
        {}, description="From such a scope to `read`, `write` or `admin`. Empty: a token may do what its user's role allows."
    )

    def terms(self) -> Terms:
        """For the services."""
        values: dict[str, Any] = self.model_dump(exclude={"issuer"})
        values |= {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return Terms(**values)


class SettledIssuer(IssuerTerms):
    """One of the settings, which may bring users to any tenant."""

    tenant_name: str = Field("", description="Whose users they are, by the tenant's name.")
    tenant_claim: str = Field("", description="Claim with the tenant's name.")


def settled_issuers(text: str) -> list[SettledIssuer]:
    """The issuers of a setting. Raises ValueError."""
    return TypeAdapter(list[SettledIssuer]).validate_json(text) if text else []


def _issuers(value: str) -> str:
    settled_issuers(value)
    return value


class IssuersSettings(_Section):
    """Whose tokens are believed beside our own. Tenants name theirs by `/admin/issuers`."""

    trusted: Annotated[str, AfterValidator(_issuers)] = Field(
        "",
        description="JSON list of issuers, with the fields of `POST /admin/issuers` and `tenant_name`, or `tenant_claim` for a claim"
        " that has it. Empty: none but those of tenants.",
    )
    networks: Annotated[str, AfterValidator(_networks)] = Field(
        "", description="Addresses or networks of issuers in your own house, which are asked although they are not public."
    )
    ports: Annotated[str, AfterValidator(_ports)] = Field("80, 443", min_length=1, description="Ports that are asked.")
    is_http_allowed: bool = Field(
        default=False, description="Whether an issuer may be at http://. Whoever is on the way can then sign as it."
    )
    fresh_s: float = Field(
        900.0, ge=1, description="Seconds after which keys that are in use are fetched anew, behind the request."
    )
    stale_s: float = Field(
        86_400.0, ge=1, description="Seconds for which keys are believed that cannot be fetched anew; then its tokens get 503."
    )
    floor_s: float = Field(
        30.0, ge=1, description="Least seconds between two fetches of one issuer's keys, however many unknown keys are asked for."
    )
    total_s: float = Field(8.0, gt=0, le=60, description="Seconds for one document with all its redirects.")
    max_bytes: int = Field(262_144, ge=1_024, description="Bytes of one document.")


class MailSettings(_Section):
    """How letters leave."""

    host: str = Field(
        "", description="SMTP server. Empty: letters are files in the data directory, which `safelight mail` shows."
    )
    port: int = Field(587, ge=1, le=65535, description="Its port.")
    security: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="`starttls` (required, not hoped for), `tls` from the first byte (port 465), or `none`."
    )
    username: str = Field("", description="User there. Empty: none.")
    password: SecretStr = Field(SecretStr(""), description="Password there.")
    sender: str = Field("Safelight <safelight@localhost>", description="From whom letters are.")
    timeout_s: float = Field(20.0, gt=0, description="Seconds that the server may take for an answer.")
    page_url: Annotated[str, AfterValidator(_http_url)] = Field(
        "",
        description="Page that the links in letters open, with `#verify=…` or `#password=…`. Empty: `/account` of this server at"
        " `SAFELIGHT_SERVER__PUBLIC_URL`. No request can choose another.",
    )
    product: str = Field("Safelight", min_length=1, max_length=60, description="What letters call this installation.")
    letters_path: Path | None = Field(
        None, description="Folder with layouts and words of your own; see the how-to. Default: none."
    )


class Log(_Section):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe level to write.")
    format: Literal["json", "console"] = Field("json", description="One JSON object or one readable line each.")


class Settings(BaseSettings):
    """All of them. `Settings()` reads the environment; arguments come before it."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True)

    data_dir: Path = Field(Path("safelight-data"), description="Folder for everything that the embedded default keeps.")
    server: Server = Server()
    storage: Storage = Storage()
    bucket: BucketSettings = BucketSettings()
    catalog: CatalogSettings = CatalogSettings()
    search: SearchSettings = SearchSettings()
    workflows: WorkflowsSettings = WorkflowsSettings()
    cache: CacheSettings = CacheSettings()
    rate: RateSettings = RateSettings()
    quotas: QuotaSettings = QuotaSettings()
    prices: PriceSettings = PriceSettings()
    limits: Limits = Limits()
    ingest: Ingest = Ingest()
    uploads: UploadSettings = UploadSettings()
    progress: ProgressSettings = ProgressSettings()
    outbound: OutboundSettings = OutboundSettings()
    imports: ImportSettings = ImportSettings()
    remote: RemoteSettings = RemoteSettings()
    webhooks: WebhookSettings = WebhookSettings()
    events: Events = Events()
    develop: Develop = Develop()
    delivery: DeliverySettings = DeliverySettings()
    cloudfront: CloudFrontSettings = CloudFrontSettings()
    watermark: WatermarkSettings = WatermarkSettings()
    imgproxy: ImgproxySettings = ImgproxySettings()
    iiif: IiifSettings = IiifSettings()
    trash: Trash = Trash()
    care: CareSettings = CareSettings()
    backup: BackupSettings = BackupSettings()
    auth: Auth = Auth()
    audit: AuditSettings = AuditSettings()
    issuers: IssuersSettings = IssuersSettings()
    mail: MailSettings = MailSettings()
    log: Log = Log()

    @model_validator(mode="after")
    def _presets_are_sound(self) -> Self:
        # Here, and not where they stand: they may name a watermark.
        from safelight.imaging.transform.imgproxy import read_presets

        try:
            read_presets(self.imgproxy.presets, self.watermarks)
        except ValueError as error:
            raise ValueError(f"SAFELIGHT_IMGPROXY__PRESETS: {error}") from None
        return self

    @model_validator(mode="after")
    def _a_certificate_has_its_key(self) -> Self:
        if (self.server.tls_cert is None) != (self.server.tls_key is None):
            raise ValueError("SAFELIGHT_SERVER__TLS_CERT and SAFELIGHT_SERVER__TLS_KEY go together")
        return self

    @model_validator(mode="after")
    def _an_access_key_has_its_secret(self) -> Self:
        if bool(self.remote.s3_access_key_id) != bool(self.remote.s3_secret_access_key.get_secret_value()):
            raise ValueError("SAFELIGHT_REMOTE__S3_ACCESS_KEY_ID and SAFELIGHT_REMOTE__S3_SECRET_ACCESS_KEY go together")
        return self

    @model_validator(mode="after")
    def _trash_outlives_nothing(self) -> Self:
        if 0 < self.bucket.noncurrent_days <= self.trash.days:
            raise ValueError(
                f"SAFELIGHT_BUCKET__NONCURRENT_DAYS ({self.bucket.noncurrent_days}) must be more than SAFELIGHT_TRASH__DAYS"
                f" ({self.trash.days}), or 0: what is in the trash would be gone before it can come back"
            )
        return self

    @property
    def watermarks(self) -> Named:
        """By name."""
        return _named(self.watermark.named)

    @property
    def has_iiif(self) -> bool:
        """Whether any region of a picture is delivered at any size."""
        return self.iiif.enabled and not self.delivery.presets_only

    @property
    def font_files(self) -> tuple[Path, ...]:
        """Beside the bundled one."""
        return tuple(Path(name.strip()) for name in self.watermark.fonts.split(",") if name.strip())

    @property
    def objects_path(self) -> Path:
        """The embedded object store's folder."""
        return self.storage.path or self.data_dir / "objects"

    @property
    def key_file(self) -> Path:
        """The embedded master key, also for secrets in the catalog."""
        return self.storage.key_file or self.data_dir / "keys" / "master.key"

    @property
    def secrets_file(self) -> Path:
        """What the catalog's secrets are sealed with, unless a setting says it."""
        return self.data_dir / "keys" / "catalog.key"

    @property
    def catalog_url(self) -> str:
        """The database's address."""
        return self.catalog.url or f"sqlite:///{self.data_dir.resolve() / 'catalog.db'}"

    @model_validator(mode="after")
    def _passkeys_stay_at_home(self) -> Self:
        for origin in self.passkey_origins:
            url = urlsplit(origin)
            if url.scheme == "android":
                continue
            is_local = url.hostname is not None and (url.hostname == "localhost" or url.hostname.endswith(".localhost"))
            is_ours = f".{url.hostname}".endswith(f".{self.passkey_domain}")
            if not is_ours or url.geturl() != f"{url.scheme}://{url.netloc}" or not (url.scheme == "https" or is_local):
                raise ValueError(
                    f"SAFELIGHT_AUTH__PASSKEY_ORIGINS: {origin} is no https:// origin of {self.passkey_domain} or below it"
                )
        return self

    @model_validator(mode="after")
    def _drivers_are_installed(self) -> Self:
        """Only what a laptop needs is always installed; a backend without its driver would stop the start with a traceback."""
        is_on_postgres = any(url.startswith("postgres") for url in (self.catalog.url, self.search.url, self.workflows.url))
        fronts = self.cloudfront
        wanted = (
            ("postgres", "psycopg", is_on_postgres),
            ("dynamodb", "aiobotocore", self.is_on_dynamodb),
            ("s3", "obstore", bool(self.storage.url) or self.remote.is_apart),
            ("s3", "aiobotocore", bool(self.events.sqs_url or fronts.front_distributions or fronts.bucket_distributions)),
            ("valkey", "valkey", bool(self.cache.url.get_secret_value())),
            ("temporal", "temporalio", self.is_on_temporal),
        )
        missing = {extra: None for extra, driver, is_wanted in wanted if is_wanted and find_spec(driver) is None}
        if missing:
            raise ValueError(
                f"The settings name backends whose drivers are not installed: run `make install` in the clone, or install"
                f" safelight[{','.join(missing)}]"
            )
        return self

    @property
    def passkey_domain(self) -> str:
        """WebAuthn's RP ID. Addresses in numbers have none; browsers take `localhost` in their place."""
        host = urlsplit(self.server.public_url).hostname or "localhost"
        return self.auth.passkey_domain or ("localhost" if _is_number(host) else host)

    @property
    def passkey_origins(self) -> tuple[str, ...]:
        """Where pages that ask for passkeys come from."""
        if self.auth.passkey_origins:
            return tuple(self.auth.passkey_origins.split())
        url = urlsplit(self.own_url)
        if not self.server.public_url or _is_number(url.hostname or ""):
            return (f"{url.scheme}://localhost:{url.port}" if url.port else f"{url.scheme}://localhost",)
        return (f"{url.scheme}://{url.netloc}",)

    @property
    def is_embedded(self) -> bool:
        """The records are in a file in the data directory."""
        return not self.catalog.url

    @property
    def is_on_dynamodb(self) -> bool:
        """The records are in DynamoDB, which neither searches nor keeps workflows."""
        return self.catalog.url.startswith("dynamodb://")

    @property
    def search_url(self) -> str:
        """`none`, `sqlite`, or the database's address."""
        beside = "sqlite" if self.is_embedded else "none" if self.is_on_dynamodb else self.catalog.url
        return self.search.url or beside

    @property
    def workflows_url(self) -> str:
        """`sqlite`, or the database's or the Temporal server's address."""
        beside = "sqlite" if self.is_embedded or self.is_on_dynamodb else self.catalog.url
        return self.workflows.url or beside

    @property
    def is_on_temporal(self) -> bool:
        """The durable work is with a Temporal server."""
        return self.workflows_url.startswith(("temporal://", "temporals://"))

    @property
    def is_alone(self) -> bool:
        """Nobody else takes pictures into the same buckets: files of this machine, held by one server with one process."""
        return self.is_embedded and self.workflows_url == "sqlite" and not self.storage.url and self.server.workers == 1

    def of_one_process(self) -> Self:
        """For one of the processes of a server: what the machine decides by its cores and its memory is shared by all of them.

        What somebody has set is of each process, as it says.
        """
        changes: dict[str, Any] = {}
        for section, field, least in _OF_THE_MACHINE:
            chosen = changes.get(section, getattr(self, section))
            if field not in chosen.model_fields_set:
                share = max(least, getattr(chosen, field) // self.server.workers)
                changes[section] = chosen.model_copy(update={field: share})
        return self.model_copy(update=changes)

    @property
    def own_url(self) -> str:
        """Where this server is, by its settings alone: never by what a request's Host header says."""
        host = f"[{self.server.host}]" if ":" in self.server.host else self.server.host
        return self.server.public_url or f"http://{host}:{self.server.port}"

    @property
    def issuer(self) -> str:
        """The `iss` of access tokens."""
        return self.auth.issuer or self.own_url

    @property
    def mail_path(self) -> Path:
        """Where letters lie that are not sent."""
        return self.data_dir / "mail"

    @property
    def spool_path(self) -> Path:
        """Where uploads in flight are."""
        return self.ingest.spool_path or self.data_dir / "spool"


def only(values: Mapping[str, str]) -> Settings:
    """Settings by their environment names, with nothing from the environment of this process. Raises ValidationError."""

    class Only(Settings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *_: PydanticBaseSettingsSource, **__: PydanticBaseSettingsSource
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            source = EnvSettingsSource(settings_cls)
            source.env_vars = {name.lower(): value for name, value in values.items()}
            return (source,)

    return Only()


def names(model: type[BaseModel] = Settings, prefix: str = PREFIX) -> Iterator[tuple[str, str, str, str]]:
    """Every setting as (environment name, type, default, meaning), in the order of this file."""
    for name, field in model.model_fields.items():
        env = prefix + name.upper()
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from names(inner, env + "__")
            continue
        default = _TOLD[field.default_factory] if field.default_factory is not None else str(field.default)
        shown = getattr(inner, "__name__", None) if isinstance(inner, type) else str(inner).replace("typing.", "")
        yield env, shown or str(inner), default, field.description or ""


def unknown_names(environment: Mapping[str, str]) -> dict[str, str | None]:
    """Names beginning with SAFELIGHT_ that mean nothing, each with the nearest that does."""
    known = {name for name, *_ in names()} | CLIENT_NAMES
    strangers = sorted(name for name in environment if name.upper().startswith(PREFIX) and name.upper() not in known)
    return {name: next(iter(difflib.get_close_matches(name.upper(), known, n=1)), None) for name in strangers}
