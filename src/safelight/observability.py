"""Logs and figures: one structlog chain for our own and everybody else's records, correlation ids, Prometheus instruments.

Set up once by a door; everybody logs through `structlog.get_logger()`. An event and keys, never a sentence with values; never
a key, a token or a signed URL.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECRET_KEYS: Final = frozenset({"authorization", "token", "secret", "sig", "signature", "password", "api_key", "cookie"})


def _redact(_: Any, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    for key in event.keys() & _SECRET_KEYS:
        event[key] = "[redacted]"
    return event


_keeper: ContextVar[Callable[..., None] | None] = ContextVar("log keeper", default=None)
_NOT_KEPT: Final = frozenset({"event", "level", "timestamp", "run_id", "flow", "exception", "exc_info"})


@contextmanager
def kept_by(keeper: Callable[..., None]) -> Iterator[None]:
    """The keeper gets each record that is logged in the block, redacted, as `keeper("info image.ready", image_id=...)`."""
    token = _keeper.set(keeper)
    try:
        yield
    finally:
        _keeper.reset(token)


def _keep(_: Any, level: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    keeper = _keeper.get()
    if keeper is not None:
        keeper(f"{level} {event.get('event', '')}", **{name: value for name, value in event.items() if name not in _NOT_KEPT})
    return event


def configure_logging(*, level: str = "info", is_json: bool = True) -> None:
    """Send every record of the process to standard error, one JSON object or one coloured line each."""
    chain: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _redact,
        _keep,
        structlog.processors.format_exc_info if is_json else structlog.processors.StackInfoRenderer(),
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if is_json
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            # The default shows the values of local variables: passwords, keys and tokens among them.
            exception_formatter=structlog.dev.plain_traceback,
        )
    )
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *chain, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=chain,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        ),
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for loud in ("dbos", "httpx", "httpcore", "alembic", "asyncio", "pyvips", "temporalio"):
        logging.getLogger(loud).setLevel(logging.WARNING)


class Instruments:
    """Every figure that Safelight tells, in one registry of its own so that tests and processes do not share state."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        seconds = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
        self.requests = Histogram(
            "safelight_http_request_seconds",
            "Time from the request's first byte to the response's last, by route and status class.",
            ("method", "route", "status"),
            buckets=seconds,
            registry=self.registry,
        )
        self.in_flight = Gauge("safelight_http_requests_in_flight", "Requests being answered.", registry=self.registry)
        self.streams = Gauge("safelight_event_streams", "Streams of events that clients follow.", registry=self.registry)
        self.deliveries = Counter(
            "safelight_deliveries",
            "Renditions delivered, by where they were found.",
            ("source",),
            registry=self.registry,
        )
        self.deliveries_from_memory = self.deliveries.labels("memory")
        self.renders = Counter(
            "safelight_renders",
            "Renditions made on request, by what they were made of.",
            ("source",),
            registry=self.registry,
        )
        self.abandoned = Counter(
            "safelight_deliveries_abandoned",
            "Deliveries whose client went away before its answer.",
            registry=self.registry,
        )
        self.accepted = Counter("safelight_images_accepted", "Images taken in.", ("format",), registry=self.registry)
        self.accepted_bytes = Counter("safelight_accepted_bytes", "Bytes of originals taken in.", registry=self.registry)
        self.refused = Counter("safelight_refusals", "Refusals, by their stable code.", ("code",), registry=self.registry)
        self.developed = Histogram(
            "safelight_develop_seconds",
            "Time to develop one image: decode, renditions, storing and publishing.",
            ("outcome",),
            buckets=seconds,
            registry=self.registry,
        )
        self.cache_reads = Counter(
            "safelight_cache_reads",
            "Looks into the shared cache, by what was looked for and whether it was there (hit, miss).",
            ("what", "outcome"),
            registry=self.registry,
        )
        self.dead = Counter("safelight_dead_runs", "Runs that became dead letters.", ("flow",), registry=self.registry)
        self.drift = Gauge(
            "safelight_reconcile_found",
            "What the last reconciliation of this process found that did not agree, by its kind.",
            ("kind",),
            registry=self.registry,
        )
        self.mended = Counter(
            "safelight_reconcile_mended",
            "What reconciliations have mended, by its kind.",
            ("kind",),
            registry=self.registry,
        )
        self.reconciled_at = Gauge(
            "safelight_reconcile_finished_timestamp_seconds",
            "When this process last finished a reconciliation, in seconds since 1970.",
            registry=self.registry,
        )
        self.scrub_found = Counter(
            "safelight_scrub_found",
            "Objects that scrubbing found damaged, missing or not to be read, by kind.",
            ("kind",),
            registry=self.registry,
        )
        self.scrub_mended = Counter(
            "safelight_scrub_mended",
            "Those of them that were made again or taken away, by kind.",
            ("kind",),
            registry=self.registry,
        )
        self.scrub_bytes = Counter("safelight_scrub_bytes", "Bytes that scrubbing has read.", registry=self.registry)
        self.scrubbed_at = Gauge(
            "safelight_scrub_finished_timestamp_seconds",
            "When the clock last finished reading everything, in seconds since 1970; 0 before the first time.",
            registry=self.registry,
        )
        self.store_events = Counter(
            "safelight_store_events",
            "Events of the object store, by what became of them.",
            ("outcome",),
            registry=self.registry,
        )
        self.mails = Counter(
            "safelight_mails", "Letters that were due, by what became of them.", ("outcome",), registry=self.registry
        )
        self.webhooks = Counter(
            "safelight_webhook_deliveries",
            "Webhook deliveries that ended: delivered, or failed after the last attempt.",
            ("outcome",),
            registry=self.registry,
        )
        self.webhook_attempts = Histogram(
            "safelight_webhook_attempt_seconds",
            "Time of one attempt to deliver a webhook, by whether it was taken (delivered, failed).",
            ("outcome",),
            buckets=seconds,
            registry=self.registry,
        )
        self.redeveloped = Counter(
            "safelight_redeveloped_images",
            "Images that redevelopments saw the end of (done, failed).",
            ("outcome",),
            registry=self.registry,
        )
        self.purges = Counter(
            "safelight_purges", "Purges of caches that came to an end (done, failed).", ("outcome",), registry=self.registry
        )
        self.relayed = Counter("safelight_events_relayed", "Events told to the workflow engine.", registry=self.registry)
