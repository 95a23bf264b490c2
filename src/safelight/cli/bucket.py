"""`bucket`: make the buckets what they should be, or look whether they still are. Talks to the store, not to a server."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from cyclopts import App

from safelight.cli import EXIT_REFUSED, output
from safelight.cli.connection import Json

if TYPE_CHECKING:
    from safelight.adapters.storage.s3.governance import Item

bucket = App(name="bucket", help="Buckets on S3: set versioning, encryption, policy and lifecycle, and find drift.")

_BAD: Final = frozenset({"drift", "failed"})


@bucket.command
def apply(*, json: Json = False) -> int:
    """Set what is not so yet, item by item, and verify each. Leaves with 1 when one failed.

    What the buckets should be the settings say, SAFELIGHT_BUCKET__... and SAFELIGHT_STORAGE__...
    """
    return _told(is_writing=True, as_json=json)


@bucket.command
def check(*, json: Json = False) -> int:
    """Compare the buckets with what the settings say. Changes nothing; leaves with 1 on drift."""
    return _told(is_writing=False, as_json=json)


def _told(*, is_writing: bool, as_json: bool) -> int:
    from safelight import wiring
    from safelight.adapters.storage.s3 import governance
    from safelight.cli.server import settings
    from safelight.observability import configure_logging

    chosen = settings()
    configure_logging(level="warning", is_json=chosen.log.format == "json")
    work = governance.apply if is_writing else governance.check
    items: list[Item] = asyncio.run(work(wiring.s3_options(chosen), wiring.wishes(chosen)))
    if as_json:
        output.say_json({"items": [asdict(item) for item in items]})
    else:
        rows = output.table("bucket", "item", "state", "detail")
        for item in items:
            rows.add_row(item.bucket, item.name.replace("_", " "), item.state, output.text(item.detail))
        output.out().print(rows)
    return EXIT_REFUSED if any(item.state in _BAD for item in items) else 0
