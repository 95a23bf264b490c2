"""`reconcile`: what an operator does for what is kept. Talks to the backends, beside servers and workers that may be running."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from safelight.cli import EXIT_REFUSED, output
from safelight.cli.connection import Json
from safelight.cli.server import DataDir, settings
from safelight.errors import BadField

if TYPE_CHECKING:
    from safelight.services.reconciler import Reconciliation
    from safelight.settings import Settings


def reconcile(
    *,
    dry_run: bool = False,
    grace: Annotated[float, Parameter(validator=Number(gte=0))] = 60.0,
    data_dir: DataDir = None,
    json: Json = False,
) -> int:
    """Hold records, objects and search against each other, and mend what differs.

    Servers and workers may be running. Missing renditions and masters are
    developed again, work that nobody does is started again, delete markers and
    the search are put right, objects that no record knows are removed. An image
    whose original is missing keeps its record and its renditions, and says so
    as its problem. Leaves with 1 when anything was found, mended or not.

    Parameters
    ----------
    dry_run
        Change nothing; only tell.
    grace
        Minutes: what has changed more recently is left alone, since somebody may be at work on it. 0 only while nobody serves.

    """
    from safelight.wiring import build

    chosen = installed(data_dir)
    safelight = build(chosen)
    console = output.err()

    async def run() -> Reconciliation:
        from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

        from safelight.services.reconciler import ALL

        columns = SpinnerColumn(), TextColumn("Looking at {task.completed:,} images"), TimeElapsedColumn()
        with output.progress(*columns, console=console) as bar:
            task = bar.add_task("", total=None)
            async with safelight.beside():
                mends = frozenset() if dry_run else ALL
                told = lambda more: bar.advance(task, more)  # noqa: E731
                return await safelight.reconciler.run(mends=mends, grace=timedelta(minutes=grace), told=told)

    report = asyncio.run(run())
    if json:
        output.say_json(_document(report, is_dry=dry_run))
    else:
        _show(report, is_dry=dry_run)
    return 0 if report.is_clean else EXIT_REFUSED


def installed(data_dir: Any) -> Settings:
    """The settings of an installation that is there, and quiet logs. Raises BadField."""
    from safelight.observability import configure_logging

    chosen = settings(data_dir=data_dir)
    if not (chosen.data_dir / "catalog.db").exists() and not chosen.catalog.url:
        raise BadField(f"{chosen.data_dir} holds no installation; name it by --data-dir.")
    configure_logging(level="critical", is_json=False)
    return chosen


def _document(report: Reconciliation, *, is_dry: bool) -> dict[str, Any]:
    findings = {
        kind.value: {"count": finding.count, "mended": finding.mended, "first": finding.first}
        for kind, finding in report.findings.items()
        if finding.count
    }
    return {"is_clean": report.is_clean, "is_dry_run": is_dry, "images": report.images, "findings": findings}


def _show(report: Reconciliation, *, is_dry: bool) -> None:
    console = output.out()
    looked_at = f"{output.many(report.images, 'image')} looked at"
    if report.is_clean:
        console.print(f"{looked_at}: records, objects and search agree.")
        return
    rows = output.table("found", "how many", "mended", "the first", right=("how many", "mended"))
    for kind, finding in report.findings.items():
        if finding.count:
            first = ", ".join(finding.first[:3]) + (", …" if finding.count > 3 else "")
            mended = "" if is_dry else f"{finding.mended:,}"
            rows.add_row(kind.value.replace("_", " "), f"{finding.count:,}", mended, output.text(first))
    console.print(rows)
    console.print(f"{looked_at}." + (" Nothing was changed (--dry-run)." if is_dry else ""))
