"""`bucket`: make the buckets what they should be, or look whether they still are. Talks to the store, not to a server."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import App, Parameter
from cyclopts.validators import Number

from safelight.cli import EXIT_REFUSED, output
from safelight.cli.connection import Json

if TYPE_CHECKING:
    from safelight.adapters.storage.s3.governance import Governance, Item

bucket = App(name="bucket", help="Buckets on S3: set versioning, encryption, policy and lifecycle, and find drift.")

Days = Annotated[int, Parameter(validator=Number(gte=0))]
_BAD: Final = frozenset({"drift", "failed"})


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Wishes:
    """What the buckets should be beyond what the settings say; `check` has to be told the same as `apply`.

    Parameters
    ----------
    ip_allow
        Network (CIDR) from which objects may be read and written, once for each. Default: any.
    cors_origin
        Origin of pages that upload directly, once for each. Default: no CORS rule.
    queue_arn
        SQS queue that hears of objects under `incoming/`. Default: no notification.
    archive_after_days
        Days until originals go to a cheaper class; 0 leaves them.
    archive_class
        That class. It should answer at once: an original may be read at any time.
    tier_after_days
        Days until renditions go to intelligent tiering; 0 leaves them.
    noncurrent_days
        Days until replaced and deleted versions are gone; longer than trash lasts. 0 keeps them.

    """

    ip_allow: tuple[str, ...] = ()
    cors_origin: tuple[str, ...] = ()
    queue_arn: str | None = None
    archive_after_days: Days = 90
    archive_class: str = "GLACIER_IR"
    tier_after_days: Days = 30
    noncurrent_days: Days = 90

    def governance(self) -> Governance:
        """As the adapter takes it."""
        from safelight.adapters.storage.s3.governance import Governance

        return Governance(
            ip_allow_list=self.ip_allow,
            cors_origins=self.cors_origin,
            queue_arn=self.queue_arn,
            archive_after_days=self.archive_after_days or None,
            archive_storage_class=self.archive_class,
            tiering_after_days=self.tier_after_days or None,
            noncurrent_days=self.noncurrent_days or None,
        )


DEFAULTS: Final = Wishes()


@bucket.command
def apply(*, wishes: Wishes = DEFAULTS, json: Json = False) -> int:
    """Set what is not so yet, item by item, and verify each. Leaves with 1 when one failed."""
    return _told(wishes, is_writing=True, as_json=json)


@bucket.command
def check(*, wishes: Wishes = DEFAULTS, json: Json = False) -> int:
    """Compare the buckets with what they should be. Changes nothing; leaves with 1 on drift."""
    return _told(wishes, is_writing=False, as_json=json)


def _told(wishes: Wishes, *, is_writing: bool, as_json: bool) -> int:
    from safelight import wiring
    from safelight.adapters.storage.s3 import governance
    from safelight.cli.server import settings
    from safelight.observability import configure_logging

    chosen = settings()
    configure_logging(level="warning", is_json=chosen.log.format == "json")
    work = governance.apply if is_writing else governance.check
    items: list[Item] = asyncio.run(work(wiring.s3_options(chosen), wishes.governance()))
    if as_json:
        output.say_json({"items": [asdict(item) for item in items]})
    else:
        rows = output.table("bucket", "item", "state", "detail")
        for item in items:
            rows.add_row(item.bucket, item.name.replace("_", " "), item.state, output.text(item.detail))
        output.out().print(rows)
    return EXIT_REFUSED if any(item.state in _BAD for item in items) else 0
