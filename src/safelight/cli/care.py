"""`reconcile`, `scrub` and `backup`: what an operator does for what is kept. Talks to the backends, beside servers and workers that may be running."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter
from cyclopts.validators import Number

from safelight.cli import EXIT_REFUSED, WrongUsage, output
from safelight.cli.connection import Json
from safelight.cli.server import DataDir, settings
from safelight.errors import BadField

if TYPE_CHECKING:
    from safelight.ports.vault import Vault
    from safelight.services.backups import Backups, Copied, Pruned, Snapshot, Stage
    from safelight.services.reconciler import Finding, Reconciliation
    from safelight.services.scrub import Scrubbed
    from safelight.settings import Settings
    from safelight.wiring import Place


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
        looked_at = f"{output.many(report.images, 'image')} looked at"
        _show_findings(looked_at, report.findings, "records, objects and search agree", is_dry=dry_run)
    return 0 if report.is_clean else EXIT_REFUSED


def scrub(
    *,
    dry_run: bool = False,
    rate: str = "",
    from_start: bool = False,
    data_dir: DataDir = None,
    json: Json = False,
) -> int:
    """Read every stored byte, compare it with its checksum, and make again what can be.

    Servers and workers may be running. Damaged renditions, masters and tiles are
    removed and made again of a sound original. A damaged original stays as it
    is: its record says so, its owner is told, and it is given out no more.
    Interrupted, the next call goes on there. Leaves with 1 when anything was
    found, mended or not.

    Parameters
    ----------
    dry_run
        Change nothing; only tell.
    rate
        Bytes a second at most, as 20MB; as fast as it goes without.
    from_start
        Begin anew, although an earlier call was interrupted.

    """
    from safelight.concurrency import Pace
    from safelight.wiring import build

    pace = Pace(_bytes_of(rate, "rate") if rate else None)
    safelight = build(installed(data_dir))
    console = output.err()
    name = "scrub_command_dry" if dry_run else "scrub_command"

    async def run() -> Scrubbed:
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn()
        with output.progress(*columns, console=console) as bar:
            task = bar.add_task("Reading", total=None)
            async with safelight.beside():
                bar.update(task, total=await safelight.scrub.total())

                def told(report: Scrubbed) -> None:
                    bar.update(task, completed=report.images, description=f"Reading {output.size(report.bytes)}")

                if from_start:
                    await safelight.scrub.rounds.write(name, {})
                return await safelight.scrub.run(name, pace, mends=not dry_run, told=told)

    report = asyncio.run(run())
    if json:
        findings = _told_findings(report.findings)
        read = {"images": report.images, "objects": report.objects, "bytes": report.bytes}
        output.say_json({"is_clean": report.is_clean, "is_dry_run": dry_run} | read | {"findings": findings})
    else:
        read_out = (
            f"{output.many(report.objects, 'object')} of {output.many(report.images, 'image')} ({output.size(report.bytes)}) read"
        )
        _show_findings(read_out, report.findings, "every byte is what it was", is_dry=dry_run)
    return 0 if report.is_clean else EXIT_REFUSED


def _bytes_of(text: str, field: str) -> int:
    """The number that `output.size` writes. Raises WrongUsage."""
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?) ?([kMGT]?)B?", text)
    count = int(float(found[1]) * 1000 ** " kMGT".index(found[2] or " ")) if found else 0
    if count < 1:
        raise WrongUsage("Bytes are written as 500kB, 20MB or 1.5GB.", field=field)
    return count


def installed(data_dir: Any) -> Settings:
    """The settings of an installation that is there, and quiet logs. Raises BadField."""
    chosen = settings(data_dir=data_dir)
    if not (chosen.data_dir / "catalog.db").exists() and not chosen.catalog.url:
        raise BadField(f"{chosen.data_dir} holds no installation; name it by --data-dir.")
    quiet()
    return chosen


def quiet() -> None:
    """What a command finds it says itself."""
    from safelight.observability import configure_logging

    configure_logging(level="critical", is_json=False)


def _document(report: Reconciliation, *, is_dry: bool) -> dict[str, Any]:
    findings = _told_findings(report.findings)
    return {"is_clean": report.is_clean, "is_dry_run": is_dry, "images": report.images, "findings": findings}


def _told_findings(findings: Mapping[Any, Finding]) -> dict[str, Any]:
    return {
        kind.value: {"count": finding.count, "mended": finding.mended, "first": finding.first}
        for kind, finding in findings.items()
        if finding.count
    }


def _show_findings(looked_at: str, findings: Mapping[Any, Finding], if_clean: str, *, is_dry: bool) -> None:
    console = output.out()
    if not any(finding.count for finding in findings.values()):
        console.print(f"{looked_at}: {if_clean}.")
        return
    rows = output.table("found", "how many", "mended", "the first", right=("how many", "mended"))
    for kind, finding in findings.items():
        if finding.count:
            first = ", ".join(finding.first[:3]) + (", …" if finding.count > 3 else "")
            mended = "" if is_dry else f"{finding.mended:,}"
            rows.add_row(kind.value.replace("_", " "), f"{finding.count:,}", mended, output.text(first))
    console.print(rows)
    console.print(f"{looked_at}." + (" Nothing was changed (--dry-run)." if is_dry else ""))


backup = App(name="backup", help="Backups of records and objects: make, list, verify, give back, prune.")


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Kept:
    """Where backups are.

    Parameters
    ----------
    in_
        Folder of the backups, on another disk than the installation, or s3://bucket/prefix (see SAFELIGHT_BACKUP__...).
    key_file
        File with the key that they are sealed with: 64 hexadecimal digits. Keep it elsewhere; without it they are lost.
    passphrase_file
        Instead: a file with a passphrase.

    """

    in_: Annotated[str, Parameter(name="--in")]
    key_file: Path | None = None
    passphrase_file: Path | None = None

    def vault(self) -> Vault:
        """Connected to nothing yet. Raises WrongUsage."""
        from safelight.wiring import vault_at

        if "://" in self.in_ and not re.fullmatch(r"s3://[^/\s]+(/[^/\s]+)*/?", self.in_):
            raise WrongUsage("Backups are kept in a folder or below s3://bucket/prefix.", field="in")
        if (self.key_file is None) == (self.passphrase_file is None):
            raise WrongUsage("Give either --key-file or --passphrase-file.", field="key-file")
        passphrase = b""
        if self.passphrase_file is not None:
            try:
                passphrase = self.passphrase_file.read_bytes().strip()
            except OSError as error:
                raise WrongUsage(f"{self.passphrase_file} cannot be read ({error.strerror}).", field="passphrase-file") from None
            if len(passphrase) < 12:
                raise WrongUsage("A passphrase has at least 12 characters.", field="passphrase-file")
        return vault_at(self.in_, settings(), key_file=self.key_file, passphrase=passphrase)


@backup.command
def create(*, kept: Kept, data_dir: DataDir = None, json: Json = False) -> int:
    """Make a backup of now. Servers and workers may be running.

    What earlier backups hold is not copied again. Leaves with 1 when an original
    was missing or damaged; the backup is made all the same, and names it.
    """
    from safelight.wiring import Place

    chosen = installed(data_dir)
    place = Place.at(chosen, is_source=True)
    moments = place.moments

    async def run() -> tuple[Snapshot, Copied]:
        async with _opened(kept, place) as backups:
            return await backups.create(moments, place.holdings.buckets, _secrets_of(chosen))

    snapshot, copied = asyncio.run(run())
    if json:
        output.say_json(_told(snapshot) | {"copied": copied.objects, "copied_bytes": copied.bytes})
    else:
        console = output.out()
        console.print(
            f"Backup {snapshot.id}: {sum(sheet.rows for sheet in snapshot.tables.values()):,} rows,"
            f" {output.many(snapshot.objects, 'object')} ({output.size(snapshot.bytes)}),"
            f" of which {output.size(copied.bytes)} are new."
        )
        for key in snapshot.lost:
            console.print(output.text(f"Missing or damaged: {key}"))
    return EXIT_REFUSED if snapshot.lost else 0


@backup.command(name="list")
def list_backups(*, kept: Kept, sizes: bool = False, json: Json = False) -> int:
    """List the backups, oldest first.

    Parameters
    ----------
    sizes
        Read the index of each, and tell which of its bytes no other backup needs.

    """

    async def run() -> list[tuple[Snapshot, int | None]]:
        async with _opened(kept) as backups:
            return [*await backups.sizes()] if sizes else [(one, None) for one in await backups.all()]

    found = asyncio.run(run())
    if json:
        listed = [_told(one) | ({} if own is None else {"own_bytes": own}) for one, own in found]
        output.say_json({"backups": listed})
        return 0
    columns = ("id", "of", "images", "objects", "bytes", *(("its own",) if sizes else ()))
    rows = output.table(*columns, right=columns[2:])
    for one, own in found:
        numbers = f"{one.tables['images'].rows:,}", f"{one.objects:,}", output.size(one.bytes)
        rows.add_row(one.id, one.at.strftime("%Y-%m-%d %H:%M"), *numbers, *(() if own is None else (output.size(own),)))
    output.listing(found, rows, "There is no backup yet.")
    return 0


@backup.command
def prune(
    *,
    keep_daily: Annotated[int, Parameter(validator=Number(gte=0))] = 7,
    keep_weekly: Annotated[int, Parameter(validator=Number(gte=0))] = 4,
    keep_monthly: Annotated[int, Parameter(validator=Number(gte=0))] = 12,
    dry_run: bool = False,
    kept: Kept,
    json: Json = False,
) -> int:
    """Remove old backups, and what no kept one needs. May be interrupted, killed and repeated.

    Kept is the newest backup of each of the last days, weeks and months that
    have one, and always the newest of all.

    Parameters
    ----------
    keep_daily
        Days.
    keep_weekly
        Weeks, from Monday, UTC.
    keep_monthly
        Months.
    dry_run
        Change nothing; only tell.

    """
    from safelight.domain.backups import Retention

    retention = Retention(daily=keep_daily, weekly=keep_weekly, monthly=keep_monthly)

    async def run() -> Pruned:
        async with _opened(kept) as backups:
            return await backups.prune(retention, is_dry=dry_run)

    pruned = asyncio.run(run())
    if json:
        ids = {"kept": [one.id for one in pruned.kept], "removed": [one.id for one in pruned.removed]}
        output.say_json(ids | {"objects": pruned.objects, "is_dry_run": dry_run})
        return 0
    console = output.out()
    for one in pruned.removed:
        console.print(f"{'Would remove' if dry_run else 'Removed'} {one.id} of {one.at:%Y-%m-%d %H:%M}.")
    console.print(
        f"{output.many(len(pruned.kept), 'backup')} kept, {output.many(len(pruned.removed), 'backup')} and"
        f" {output.many(pruned.objects, 'object')} that no kept one needs removed."
        + (" Nothing was changed (--dry-run)." if dry_run else "")
    )
    return 0


@backup.command
def verify(backup: str = "latest", /, *, kept: Kept, json: Json = False) -> int:
    """Read all of a backup and compare every checksum. Leaves with 1 when something is missing or damaged.

    Parameters
    ----------
    backup
        Its id.

    """

    async def run() -> tuple[Snapshot, list[str]]:
        async with _opened(kept) as backups:
            snapshot = await backups.get(backup)
            return snapshot, await backups.verify(snapshot)

    snapshot, bad = asyncio.run(run())
    if json:
        output.say_json(_told(snapshot) | {"is_sound": not bad, "bad": bad})
    else:
        console = output.out()
        for name in bad:
            console.print(output.text(f"Missing or damaged: {name}"))
        if not bad:
            console.print(f"Backup {snapshot.id} is sound: {output.many(snapshot.objects, 'object')} and every row were read.")
    return EXIT_REFUSED if bad else 0


@backup.command
def restore(backup: str = "latest", /, *, to: Path, kept: Kept, json: Json = False) -> int:
    """Give a backup back into an empty place, and compare every row and object.

    May be interrupted, killed and repeated: nobody can open the place before it is whole.

    Parameters
    ----------
    backup
        Its id.
    to
        A data directory that is to be made, or a file of settings of an empty installation.

    """
    from safelight.cli.moving import settings_at
    from safelight.services.moving import settle
    from safelight.wiring import Place, claimed

    chosen = settings_at(to, is_source=False)
    quiet()

    async def run() -> tuple[Snapshot, int]:
        async with _opened(kept) as backups:
            snapshot = await backups.get(backup)
            _keep_secrets(chosen, snapshot.secrets)
            place = Place.at(chosen, is_source=False)
            safelight = place.safelight()
            await safelight.catalog.migrate()
            async with contextlib.AsyncExitStack() as opened:
                for part in place.parts:
                    await part.open()
                    opened.push_async_callback(part.close)

                async def index() -> int:
                    await safelight.catalog.open()
                    opened.push_async_callback(safelight.catalog.close)
                    if chosen.search_url == "none":
                        return 0
                    await safelight.library.search_index.open()
                    opened.push_async_callback(safelight.library.search_index.close)
                    return await safelight.library.reindex()

                def settled() -> Awaitable[int]:
                    return settle(safelight.catalog, place.holdings.buckets)

                tables, buckets = place.holdings.tables, place.holdings.buckets
                return snapshot, await backups.restore(snapshot, tables, buckets, index=index, settle=settled)

    with claimed(chosen.data_dir.resolve()):
        snapshot, documents = asyncio.run(run())
    back = f"Backup {snapshot.id} of {snapshot.at:%Y-%m-%d %H:%M} UTC is back: every row and {output.many(snapshot.objects, 'object')}"
    output.say(_told(snapshot) | {"documents": documents}, f"{back} were compared. Start a server on it.", as_json=json)
    return 0


@asynccontextmanager
async def _opened(kept: Kept, place: Place | None = None) -> AsyncIterator[Backups]:
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    from safelight import __version__
    from safelight.services.backups import Backups
    from safelight.wiring import utc_now

    columns = SpinnerColumn(), TextColumn("{task.description} {task.completed:,}"), TimeElapsedColumn()
    vault = kept.vault()
    quiet()
    async with contextlib.AsyncExitStack() as opened:
        bar = opened.enter_context(output.progress(*columns, console=output.err()))
        await vault.open()
        opened.push_async_callback(vault.close)
        for part in () if place is None else place.parts:
            await part.open()
            opened.push_async_callback(part.close)
        tasks: dict[str, Any] = {}

        def told(stage: Stage, more: int) -> None:
            if stage.value not in tasks:
                tasks[stage.value] = bar.add_task(stage.value.capitalize(), total=None)
            bar.advance(tasks[stage.value], more)

        yield Backups(vault, utc_now, __version__, told)


def _secrets_of(chosen: Settings) -> dict[str, str]:
    """The files that seal secrets and let the operator in; a key that the settings hold is the operator's own to keep."""
    files = {"admin.key": chosen.data_dir / "admin.key"}
    if not chosen.catalog.secret_key.get_secret_value():
        files["catalog.key"] = chosen.secrets_file
    return {name: path.read_text() for name, path in files.items() if path.exists()}


def _keep_secrets(chosen: Settings, secrets: Mapping[str, str]) -> None:
    """Before anything is sealed there: passwords can only be checked under the keys that they were hashed with."""
    from safelight.wiring import keep_secret

    files = {"admin.key": chosen.data_dir / "admin.key"}
    if not chosen.catalog.secret_key.get_secret_value():
        files["catalog.key"] = chosen.secrets_file
    for name, path in files.items():
        if name in secrets:
            keep_secret(path, secrets[name])


def _told(snapshot: Snapshot) -> dict[str, Any]:
    """All but the secrets."""
    return {
        "id": snapshot.id,
        "at": snapshot.at,
        "version": snapshot.version,
        "rows": {table: sheet.rows for table, sheet in snapshot.tables.items() if sheet.rows},
        "objects": snapshot.objects,
        "bytes": snapshot.bytes,
        "lost": list(snapshot.lost),
    }
