"""Elsewhere: the backends of an installation, one by one. `serve` rehearses with them before it begins, `doctor` looks at them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Protocol
from urllib.parse import urlsplit

from pydantic import SecretStr

from safelight.errors import WrongState
from safelight.ports.cdn import Cdn
from safelight.settings import Settings
from safelight.wiring.backends import (
    make_cache,
    make_catalog,
    make_cdns,
    make_inbox,
    make_kept,
    make_search,
    prepare_workflows,
    processes_at_work,
    s3_options,
    smtp_options,
    temporal_options,
)
from safelight.wiring.parts import Opening

ANSWER_S: Final = 4.0
"""What adapters wait for an answer while somebody looks, where they can be told."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look has found, without secrets; `mend` says what to do where it works and should be otherwise."""

    found: str
    mend: str = ""


Look = Callable[[], Awaitable[Seen]]


@dataclass(frozen=True, slots=True)
class Backend:
    """Something that an installation uses."""

    name: str
    setting: str
    """What says where it is."""
    rehearse: Opening | None
    """Does with it what the start does, and lets go again. None: the start does not need it."""
    look: Callable[[], Look] | None
    """Imports drivers and reads settings; what comes back asks, and changes nothing. None: it is in files of this machine.

    Both raise what keeps it from being used.
    """
    can_wait: bool = False
    """While it is away everything works, only slower."""


class _Connecting(Protocol):
    @property
    def open(self) -> Opening: ...

    @property
    def close(self) -> Opening: ...


def backends(settings: Settings) -> Iterator[Backend]:
    """All of them, in the order in which the start tries them."""
    beside = "SAFELIGHT_CATALOG__URL"
    yield Backend(
        "objects",
        "SAFELIGHT_STORAGE__ENDPOINT_URL" if settings.storage.endpoint_url else "SAFELIGHT_STORAGE__URL",
        _opening(lambda: make_kept(settings).part),
        partial(_objects, settings) if settings.storage.url else None,
    )
    yield Backend(
        "catalog",
        beside,
        None if settings.is_embedded else lambda: make_catalog(settings).plan(),
        None if settings.catalog_url.startswith("sqlite:") else partial(_catalog, settings),
    )
    search = "SAFELIGHT_SEARCH__URL" if settings.search.url else beside
    yield Backend(
        "search",
        search,
        _opening(lambda: make_search(settings)),
        None if settings.search_url in ("none", "sqlite") else partial(_search, settings, search),
    )
    for which in ("front_distributions", "bucket_distributions"):
        for cdn in make_cdns(settings, which):
            yield _distribution(cdn, f"SAFELIGHT_CLOUDFRONT__{which.upper()}")
    workflows = "SAFELIGHT_WORKFLOWS__URL" if settings.workflows.url else beside
    yield Backend(
        "workflows",
        workflows,
        partial(prepare_workflows, settings),
        None if settings.workflows_url == "sqlite" else partial(_workflows, settings, workflows),
    )
    if settings.cache.url.get_secret_value():
        cache = "SAFELIGHT_CACHE__URL"
        yield Backend("cache", cache, _opening(lambda: make_cache(settings)), partial(_cache, settings), can_wait=True)
    if settings.events.sqs_url:
        inbox = "SAFELIGHT_EVENTS__SQS_URL"
        yield Backend("inbox", inbox, _opening(lambda: make_inbox(settings)), partial(_inbox, settings), can_wait=True)
    if settings.mail.host:
        yield Backend("mail", "SAFELIGHT_MAIL__HOST", None, partial(_mail, settings))


def _opening(make: Callable[[], _Connecting | None]) -> Opening:
    async def opened_and_closed() -> None:
        if (made := make()) is not None:
            await made.open()
            await made.close()

    return opened_and_closed


def _distribution(cdn: Cdn, setting: str) -> Backend:
    return Backend("cdn", setting, _opening(lambda: cdn), partial(_cdn, cdn), can_wait=True)


def _keyless(settings: Settings) -> Settings:
    """With some key of the catalog's, so that none is made in the data directory by who only looks."""
    changes = {"secret_key": SecretStr("00" * 32), "statement_timeout_s": ANSWER_S}
    return settings.model_copy(update={"catalog": settings.catalog.model_copy(update=changes)})


def _objects(settings: Settings) -> Look:
    from safelight.adapters.storage.s3 import S3Store

    options = replace(s3_options(settings, is_read_only=True), spool_path=None, deadline_s=ANSWER_S)

    async def look() -> Seen:
        async with S3Store(options):
            return Seen(
                f"{options.originals_bucket} and {options.renditions_bucket} at {options.where} keep versions;"
                " `safelight bucket check` compares the rest"
            )

    return look


def _catalog(settings: Settings) -> Look:
    catalog = make_catalog(_keyless(settings))
    server: Callable[[], Awaitable[str]]
    if settings.is_on_dynamodb:
        from safelight.adapters.catalog.dynamodb import DynamoOptions

        options = DynamoOptions.from_url(settings.catalog.url)

        async def server() -> str:
            return f"the table {options.table} at {options.where}"

    else:
        server = _postgres(settings.catalog.url, "SAFELIGHT_CATALOG__URL")

    async def look() -> Seen:
        found = await server()
        pending = await catalog.plan()
        if not pending:
            return Seen(f"{found}, its schema is current")
        if pending[0].startswith(("0001_", "table ")):  # the first step of all
            return Seen(f"{found} has no schema yet", "Run `safelight migrate`, or let the first `safelight serve` do so.")
        raise WrongState(f"{found} lacks {', '.join(pending)} of its schema. Run `safelight migrate`.")

    return look


def _search(settings: Settings, setting: str) -> Look:
    from safelight.adapters.search import postgres as search

    server = _postgres(settings.search_url, setting)

    async def look() -> Seen:
        found = await server()
        format = await asyncio.to_thread(search.look_at, settings.search_url)
        if format is None:
            return Seen(f"{found}, no index yet; the first start makes it")
        if format != search.FORMAT:
            return Seen(f"{found}, its index is of another release", "The next start empties it; run `safelight reindex` then.")
        return Seen(f"{found}, its index is current")

    return look


def _cdn(cdn: Cdn) -> Look:
    async def look() -> Seen:
        await cdn.open()
        try:
            await cdn.ping()
        finally:
            await cdn.close()
        return Seen(f"CloudFront takes orders for {cdn.name}")

    return look


def _workflows(settings: Settings, setting: str) -> Look:
    if not settings.is_on_temporal:
        server = _postgres(settings.workflows_url, setting)

        async def look() -> Seen:
            return Seen(f"{await server()}, {_at_work(await processes_at_work(settings))}")

        return look

    from safelight.adapters.workflows import temporal

    options = temporal_options(settings)

    async def look_at_temporal() -> Seen:
        namespace = await temporal.look_at(options)
        found = f"Temporal at {options.address} keeps runs for {namespace.retention.days} days after their end"
        if namespace.retention < temporal.KEEP:
            mend = f"temporal operator namespace update --namespace {options.namespace} --retention {temporal.KEEP.days}d"
            return Seen(found, mend)
        if not namespace.is_prepared:
            return Seen(f"{found}; the first start prepares the namespace")
        return Seen(f"{found}, {_at_work(await processes_at_work(settings))}")

    return look_at_temporal


def _at_work(count: int) -> str:
    return f"{count or 'no'} {'process takes' if count == 1 else 'processes take'} part in the work"


def _cache(settings: Settings) -> Look:
    cache = make_cache(_keyless(settings))
    assert cache is not None
    address = urlsplit(settings.cache.url.get_secret_value())

    async def look() -> Seen:
        return Seen(f"{await cache.look()} at {address.hostname}:{address.port or 6379}")

    return look


def _inbox(settings: Settings) -> Look:
    inbox = make_inbox(settings)
    assert inbox is not None
    address = urlsplit(settings.events.sqs_url)
    found = f"{address.path.rpartition('/')[2]} at {address.netloc.rpartition('@')[2]}"

    async def look() -> Seen:
        await inbox.open()
        await inbox.close()
        if inbox.has_dead_letters:
            return Seen(found)
        mend = "Give it a redrive policy: what cannot be understood is deleted now."
        return Seen(f"{found} has no dead letters", mend)

    return look


def _mail(settings: Settings) -> Look:
    from safelight.adapters.mailer import smtp

    options = replace(smtp_options(settings), timeout_s=ANSWER_S)
    over = {"starttls": ", over STARTTLS", "tls": ", over TLS", "none": ""}[options.security]

    async def look() -> Seen:
        await smtp.look_at(options)
        return Seen(f"{options.host}:{options.port} greets us{over}" + (f", as {options.username}" if options.username else ""))

    return look


def _postgres(url: str, setting: str) -> Callable[[], Awaitable[str]]:
    from safelight.adapters import postgres

    return partial(asyncio.to_thread, postgres.look_at, url, setting)
