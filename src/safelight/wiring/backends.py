"""Backends: which adapter keeps which promise, by the settings.

Adapters are imported where they are chosen, so that a command that needs few of them starts fast.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from safelight import flows
from safelight.errors import BadField
from safelight.ports.archive import Tables
from safelight.ports.catalog import Catalog
from safelight.ports.cdn import Cdn
from safelight.ports.inbox import Inbox
from safelight.ports.incoming import Incoming, Reception
from safelight.ports.mailer import Mailer
from safelight.ports.outbound import FetchLimits, Outbound
from safelight.ports.search import Search
from safelight.ports.shelf import Shelf
from safelight.ports.source import Source
from safelight.ports.storage import Storage
from safelight.ports.vault import Vault
from safelight.ports.workflows import Workflows
from safelight.services.development import Buckets
from safelight.settings import Settings, listed

if TYPE_CHECKING:
    from safelight.adapters.cache.valkey import ValkeyCache
    from safelight.adapters.mailer.smtp import SmtpOptions
    from safelight.adapters.storage.incoming import EmbeddedIncoming
    from safelight.adapters.storage.s3 import S3ForeignBuckets, S3Options, S3Store
    from safelight.adapters.storage.s3.governance import Governance
    from safelight.adapters.workflows.temporal import TemporalOptions
from safelight.wiring.keys import catalog_keys, secret_box
from safelight.wiring.parts import Clock, Opening, Part


def make_outbound() -> Outbound:
    """The way out to addresses that users name."""
    from safelight.adapters.outbound.httpx import HttpxOutbound

    return HttpxOutbound()


def make_foreign_buckets(settings: Settings, limits: FetchLimits) -> S3ForeignBuckets | None:
    """The buckets that operators list as sources; None where nothing says how any bucket is reached."""
    storage, remote = settings.storage, settings.remote
    if not (storage.url or remote.is_apart):
        return None
    from safelight.adapters.storage.s3 import S3ForeignBuckets

    server = (
        _s3_server(
            remote.s3_endpoint_url,
            remote.s3_region,
            remote.s3_access_key_id,
            remote.s3_secret_access_key,
            path_style=remote.s3_path_style,
        )
        if remote.is_apart
        else replace(s3_options(settings), originals_bucket="", renditions_bucket="", prefix="")
    )
    options = replace(server, connect_timeout_s=limits.connect_s, attempt_timeout_s=limits.idle_s, deadline_s=limits.total_s)
    return S3ForeignBuckets(options, own=own_buckets(settings))


def own_buckets(settings: Settings) -> frozenset[str]:
    """In which the objects of all tenants lie; none on files."""
    if not settings.storage.url:
        return frozenset()
    options = s3_options(settings)
    return frozenset({options.originals_bucket, options.renditions_bucket})


def make_catalog(settings: Settings, *, is_whole: bool = True) -> Catalog:
    """SQLite, PostgreSQL or DynamoDB. Not whole: one that is still being filled, whose schema nobody checks."""
    if settings.is_on_dynamodb:
        from safelight.adapters.catalog.dynamodb import DynamoCatalog, DynamoOptions

        options = DynamoOptions.from_url(settings.catalog.url, deadline_s=settings.catalog.statement_timeout_s)
        return DynamoCatalog(options, secrets=secret_box(settings), is_whole=is_whole)
    from safelight.adapters.catalog.sql import SqlCatalog

    return SqlCatalog(
        settings.catalog_url,
        secrets=secret_box(settings),
        readers=settings.catalog.readers,
        writers=settings.catalog.writers,
        statement_s=settings.catalog.statement_timeout_s,
        is_whole=is_whole,
    )


def make_tables(settings: Settings) -> Tables:
    """The rows of that catalog as they lie."""
    if settings.is_on_dynamodb:
        from safelight.adapters.catalog.dynamodb import DynamoOptions, DynamoTables

        options = DynamoOptions.from_url(settings.catalog.url, deadline_s=settings.catalog.statement_timeout_s)
        return DynamoTables(options, secrets=secret_box(settings), spool=settings.spool_path)
    from safelight.adapters.catalog.sql_tables import SqlTables

    return SqlTables(settings.catalog_url, secrets=secret_box(settings))


def make_cache(settings: Settings) -> ValkeyCache | None:
    """None without a server: a process's own memory would answer with what another process has changed."""
    url = settings.cache.url.get_secret_value()
    if not url:
        return None
    from safelight.adapters.cache.servers import Tls
    from safelight.adapters.cache.valkey import ValkeyCache

    chosen = settings.cache
    tls = Tls(ca=chosen.ca_file, certificate=chosen.certificate_file, key=chosen.key_file)
    return ValkeyCache(url, key=catalog_keys(settings)[0], is_cluster=chosen.is_cluster, tls=tls, deadline_s=chosen.deadline_s)


def make_inbox(settings: Settings) -> Inbox | None:
    """The queue of the store's events, where there is one."""
    if not settings.events.sqs_url:
        return None
    from safelight.adapters.inbox.sqs import SqsInbox

    storage = settings.storage
    return SqsInbox(
        settings.events.sqs_url,
        access_key_id=storage.access_key_id,
        secret_access_key=storage.secret_access_key.get_secret_value(),
    )


def make_shelf(settings: Settings) -> Shelf | None:
    """The disk before the store, where one is set."""
    delivery = settings.delivery
    if delivery.disk_path is None:
        return None
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    from safelight.adapters.shelf.disk import DiskShelf

    # A key of its own, the same after a restart: one that is changed only forgets what was kept.
    key = HKDF(SHA256(), 32, salt=None, info=b"safelight shelf").derive(catalog_keys(settings)[0])
    return DiskShelf(delivery.disk_path, capacity_bytes=delivery.disk_bytes, key=key)


def make_incoming(settings: Settings, bucket: Storage) -> EmbeddedIncoming:
    """What takes uploads where no store does."""
    from safelight.adapters.storage.incoming import EmbeddedIncoming

    # Derived, so that what seals URLs is not what encrypts the catalog's secrets.
    secrets = [hmac.digest(key, b"safelight-incoming-v1", hashlib.sha256) for key in catalog_keys(settings)]
    return EmbeddedIncoming(bucket, secrets=secrets)


@dataclass(frozen=True)
class Kept:
    """The bytes' side of an installation, connected to nothing yet."""

    buckets: Buckets
    incoming: Incoming
    reception: Reception | None
    part: Part
    sweep: Opening | None = None
    s3: S3Store | None = None


def make_kept(settings: Settings, *, is_read_only: bool = False) -> Kept:
    """S3 or files."""
    if settings.storage.url:
        from safelight.adapters.storage.s3 import S3Incoming, S3Store

        s3 = S3Store(s3_options(settings, is_read_only=is_read_only))
        buckets = Buckets(s3.bucket("originals"), s3.bucket("renditions"))
        return Kept(buckets, S3Incoming(s3), None, Part("storage", s3.open, s3.close, s3.ping), s3=s3)
    from safelight.adapters.storage.local import LocalStore

    store = LocalStore(settings.objects_path, key_file=settings.key_file if settings.storage.is_encrypted else None)
    buckets = Buckets(store.bucket("originals"), store.bucket("renditions"))
    incoming = make_incoming(settings, store.bucket("incoming"))
    part = Part("storage", store.open, store.close, lambda: buckets.originals.scan("", limit=1))
    return Kept(buckets, incoming, incoming, part, store.sweep)


def stand_ins(store: S3Store, settings: Settings, clock: Clock, chores: Mapping[str, Opening]) -> dict[str, Opening]:
    """What the clock does where the buckets' lifecycle has no such rule; told by the same settings as `safelight bucket`."""
    wanted = wishes(settings)

    def unless_ruled(item: str, chore: Opening) -> Opening:
        async def stand_in() -> object:
            return None if await store.has_rule(wanted, item) else await chore()

        return stand_in

    abort = unless_ruled("abort_multipart", lambda: store.abort_uploads(before=clock() - timedelta(days=1)))
    expire = chores.get("expire_noncurrent")
    made = {"abort_multipart": abort}
    return made if expire is None else made | {"expire_noncurrent": unless_ruled("noncurrent_versions", expire)}


def vault_at(place: str, settings: Settings, *, key_file: Path | None, passphrase: bytes) -> Vault:
    """The backups in a folder or below `s3://bucket/prefix`, sealed with the keys of the file or with one made of the passphrase."""
    if not place.startswith("s3://"):
        from safelight.adapters.storage.vault import DirectoryVault

        return DirectoryVault(Path(place), key_file=key_file, passphrase=passphrase)
    from safelight.adapters.storage.s3 import S3Vault

    storage, backup = settings.storage, settings.backup
    reached = backup if backup.access_key_id or backup.endpoint_url else storage
    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    options = replace(
        _s3_server(
            reached.endpoint_url, reached.region, reached.access_key_id, reached.secret_access_key, path_style=reached.path_style
        ),
        originals_bucket=bucket,
        renditions_bucket=bucket,
        prefix=prefix.strip("/") + "/" if prefix.strip("/") else "",
        is_encrypted=False,  # what goes there is sealed already
        renditions_cache_control="private, no-store",
        needs_versions=False,
        connect_timeout_s=storage.connect_timeout_s,
        attempt_timeout_s=storage.attempt_timeout_s,
        deadline_s=storage.deadline_s,
    )
    return S3Vault(options, key_file=key_file, passphrase=passphrase)


def make_mailer(settings: Settings, clock: Clock) -> Mailer:
    """SMTP, or letters as files. Raises BadField for a password without TLS."""
    if not settings.mail.host:
        from safelight.adapters.mailer.files import FilesMailer

        return FilesMailer(settings.mail_path, sender=settings.mail.sender, clock=clock)
    from safelight.adapters.mailer.smtp import SmtpMailer

    return SmtpMailer(smtp_options(settings), clock=clock)


def smtp_options(settings: Settings) -> SmtpOptions:
    """How to reach the mail server, from the settings. Raises BadField for a password without TLS."""
    from safelight.adapters.mailer.smtp import SmtpOptions

    mail = settings.mail
    if mail.security == "none" and mail.password.get_secret_value():
        raise BadField("A password is not sent without TLS; set SAFELIGHT_MAIL__SECURITY.", field="SAFELIGHT_MAIL__SECURITY")
    return SmtpOptions(
        host=mail.host,
        port=mail.port,
        security=mail.security,
        username=mail.username,
        password=mail.password.get_secret_value(),
        sender=mail.sender,
        timeout_s=mail.timeout_s,
    )


def source_at(bucket: str, prefix: str, *, endpoint_url: str = "") -> Source:
    """A bucket that pictures are imported from, by the credentials that the AWS SDKs find."""
    from safelight.adapters.storage.s3.source import S3Source

    return S3Source(bucket, prefix, endpoint_url=endpoint_url or None)


def s3_options(settings: Settings, *, is_read_only: bool = False) -> S3Options:
    """How to talk to the buckets, from the settings. Raises BadField when they are not on S3."""
    storage = settings.storage
    if not storage.url:
        raise BadField("SAFELIGHT_STORAGE__URL names no bucket: the embedded store has none.", field="SAFELIGHT_STORAGE__URL")
    bucket, _, prefix = storage.url.removeprefix("s3://").partition("/")
    return replace(
        _s3_server(
            storage.endpoint_url, storage.region, storage.access_key_id, storage.secret_access_key, path_style=storage.path_style
        ),
        originals_bucket=bucket,
        renditions_bucket=storage.renditions_bucket or f"{bucket}-renditions",
        prefix=prefix.rstrip("/") + "/" if prefix else "",
        public_endpoint_url=storage.public_endpoint_url or None,
        is_encrypted=storage.is_encrypted,
        kms_key_id=storage.kms_key_id or None,
        spool_path=settings.spool_path,
        is_read_only=is_read_only,
        connect_timeout_s=storage.connect_timeout_s,
        attempt_timeout_s=storage.attempt_timeout_s,
        deadline_s=storage.deadline_s,
        max_connections=storage.max_connections,
    )


def _s3_server(
    endpoint_url: str, region: str, access_key_id: str, secret_access_key: SecretStr, *, path_style: bool | None
) -> S3Options:
    """How a server of buckets is reached, whichever they are; what is empty in the settings is left to the adapter."""
    from safelight.adapters.storage.s3 import S3Options

    return S3Options(
        originals_bucket="",
        renditions_bucket="",
        endpoint_url=endpoint_url or None,
        region=region or None,
        path_style=path_style,
        access_key_id=access_key_id or None,
        secret_access_key=secret_access_key.get_secret_value() or None,
    )


def wishes(settings: Settings) -> Governance:
    """What the buckets should be, for `safelight bucket` and for the clock that does what they lack."""
    from safelight.adapters.storage.s3.governance import Governance

    bucket = settings.bucket
    return Governance(
        ip_allow_list=listed(bucket.ip_allow),
        cors_origins=listed(bucket.cors_origins),
        queue_arn=bucket.queue_arn or None,
        archive_after_days=bucket.archive_after_days or None,
        archive_storage_class=bucket.archive_class,
        tiering_after_days=bucket.tier_after_days or None,
        noncurrent_days=bucket.noncurrent_days or None,
    )


def make_search(settings: Settings) -> Search:
    """Full text in SQLite or PostgreSQL, or none."""
    if settings.search_url == "none":
        from safelight.adapters.search.none import NoSearch

        return NoSearch()
    if settings.search_url == "sqlite":
        from safelight.adapters.search.sqlite import SqliteSearch

        return SqliteSearch(settings.data_dir / "search.db")
    from safelight.adapters.search.postgres import PostgresSearch

    return PostgresSearch(settings.search_url, statement_s=settings.catalog.statement_timeout_s)


def engine_of(settings: Settings) -> Callable[[flows.Bound], Workflows]:
    """The engine of durable runs, to be given its steps."""

    def engine(bound: flows.Bound) -> Workflows:
        if settings.is_on_temporal:
            from safelight.adapters.workflows.temporal import TemporalWorkflows

            return TemporalWorkflows(
                temporal_options(settings),
                bound,
                concurrency=settings.develop.waiting,
                per_party=settings.develop.waiting_per_tenant,
            )
        from safelight.adapters.workflows.dbos import DbosWorkflows

        return DbosWorkflows(
            workflows_url(settings),
            bound,
            concurrency=settings.develop.waiting,
            per_party=settings.develop.waiting_per_tenant,
        )

    return engine


def temporal_options(settings: Settings) -> TemporalOptions:
    """How to reach the Temporal server, from the settings."""
    from safelight.adapters.workflows.temporal import TemporalOptions

    chosen = settings.workflows
    return TemporalOptions.from_url(
        chosen.url,
        queue=chosen.queue,
        api_key=chosen.api_key.get_secret_value(),
        ca=chosen.ca_file,
        certificate=chosen.certificate_file,
        key=chosen.key_file,
    )


async def processes_at_work(settings: Settings) -> int:
    """How many servers and workers take part in its durable work now."""
    if settings.is_on_temporal:
        from safelight.adapters.workflows import temporal

        return await temporal.processes_at_work(temporal_options(settings))
    from safelight.adapters.workflows.stores import store_at

    return await asyncio.to_thread(store_at(workflows_url(settings)).slots().held)


async def prepare_workflows(settings: Settings) -> None:
    """Reach what keeps the durable work, where that is elsewhere, and make it ready. Raises what opening raises."""
    if settings.is_on_temporal:
        from safelight.adapters.workflows.temporal import prepare

        await prepare(temporal_options(settings))
    elif settings.workflows_url != "sqlite":
        await processes_at_work(settings)


def workflows_url(settings: Settings) -> str:
    """Where the engine's tables are, as SQLAlchemy writes it."""
    is_file = settings.workflows_url == "sqlite"
    return f"sqlite:///{settings.data_dir.resolve() / 'workflows.db'}" if is_file else settings.workflows_url


def make_cdns(settings: Settings, which: str) -> Sequence[Cdn]:
    """The distributions of this setting: `front_distributions` or `bucket_distributions`."""
    chosen = settings.cloudfront
    ids = listed(getattr(chosen, which))
    if not ids:
        return ()
    from safelight.adapters.cdn.cloudfront import CloudFrontCdn

    return tuple(
        CloudFrontCdn(
            id,
            setting=f"SAFELIGHT_CLOUDFRONT__{which.upper()}",
            endpoint_url=chosen.endpoint_url,
            access_key_id=chosen.access_key_id,
            secret_access_key=chosen.secret_access_key.get_secret_value(),
        )
        for id in ids
    )
