"""`move`: an installation from one set of backends to another, while nobody serves either. Talks to the backends, not to a server."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Self

from cyclopts import Parameter
from cyclopts.validators import Number
from pydantic import ValidationError

from safelight.cli import WrongUsage, output
from safelight.cli.connection import Json
from safelight.cli.server import refusal
from safelight.errors import WrongState

if TYPE_CHECKING:
    from rich.console import Console

    from safelight.services.moving import Report, Stage
    from safelight.settings import Settings
    from safelight.wiring import Place

_SHOWN: Final = {
    "count": "Counting the objects",
    "objects": "Copying objects",
    "rows": "Copying rows",
    "verify_objects": "Reading objects back",
    "verify_rows": "Comparing rows",
    "index": "Making the search index",
}
_OF_BYTES: Final = frozenset({"objects", "verify_objects"})


def move(
    *,
    from_: Annotated[Path, Parameter(name="--from")],
    to: Annotated[Path, Parameter(name="--to")],
    concurrency: Annotated[int, Parameter(validator=Number(gte=1, lte=64))] = 8,
    json: Json = False,
) -> int:
    """Copy a whole installation to other backends, and verify every byte.

    Each side is a data directory (files and SQLite in it) or a file of settings,
    one SAFELIGHT_NAME=value a line. The target must be empty. Stop every server
    and worker of both first. Every version, delete marker, user, key and album
    is copied as it is, secrets are sealed with the target's own key, and the
    search index is made anew. Then every object is read back and its SHA-256
    compared, and so is every row. The source is only read. May be interrupted,
    killed and repeated: the same command goes on where it ended.

    Parameters
    ----------
    from_
        Where the installation is: a data directory or a file of settings.
    to
        Where it is to be: a data directory or a file of settings.
    concurrency
        Objects on their way at the same time.

    """
    from safelight.observability import configure_logging
    from safelight.wiring import Place

    source_settings, target_settings = settings_at(from_, is_source=True), settings_at(to, is_source=False)
    configure_logging(level="error", is_json=False)
    _require_apart(source_settings, target_settings)
    console = output.err()
    began = time.monotonic()
    with _claimed(source_settings, target_settings):
        source = Place.at(source_settings, is_source=True)
        target = Place.at(target_settings, is_source=False)
        try:
            with _Screen(console) as screen:
                report = asyncio.run(_moved(source, target, from_, concurrency, screen))
        except KeyboardInterrupt:
            console.print("Interrupted. The same command goes on where this one ended.")
            raise
        _keep_operators_key(source_settings, target_settings)
    document = {
        "from": str(from_),
        "to": str(to),
        "is_resumed": report.is_resumed,
        "carried": report.carried,
        "buckets": {name: asdict(shelf) for name, shelf in report.buckets.items()},
        "tables": {name: asdict(sheet) for name, sheet in report.tables.items()},
        "documents": report.documents,
        "unsettled": report.unsettled,
        "seconds": round(time.monotonic() - began, 3),
    }
    if json:
        output.say_json(document)
    else:
        _show(report, document)
    return 0


def settings_at(place: Path, *, is_source: bool) -> Settings:
    """What a side of a move names. Nothing of it comes from the environment. Raises WrongUsage."""
    from safelight.settings import CLIENT_NAMES, PREFIX, only, unknown_names

    if place.is_dir() or not place.exists():
        if place.suffix and not place.exists():
            raise WrongUsage(
                f"There is no file {place}. A data directory that is to be made has no dot in its name.", field="place"
            )
        if is_source and not (place / "catalog.db").exists():
            raise WrongUsage(f"{place} holds no installation: there is no catalog.db in it.", field="from")
        return only({f"{PREFIX}DATA_DIR": str(place)})
    values = _values(place)
    strangers = unknown_names(values)
    if strangers:
        name, near = next(iter(strangers.items()))
        raise WrongUsage(f"{place}: {name} is not a setting" + (f"; did you mean {near}?" if near else "."), field=name)
    try:
        return only({name: value for name, value in values.items() if name.upper() not in CLIENT_NAMES})
    except ValidationError as error:
        raise WrongUsage(f"{place}: {refusal(error)}", field="place") from None


def _values(file: Path) -> dict[str, str]:
    """The settings in a file as systemd, Docker and shells write it; lines for others are left alone."""
    from dotenv import dotenv_values

    from safelight.settings import PREFIX

    try:
        found = dotenv_values(file, interpolate=False, encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUsage(f"{file} cannot be read as a file of settings ({type(error).__name__}).", field="place") from None
    return {name: value for name, value in found.items() if value is not None and name.upper().startswith(PREFIX)}


def _require_apart(source: Settings, target: Settings) -> None:
    if source.catalog_url == target.catalog_url:
        raise WrongUsage("Both sides have the same catalog (SAFELIGHT_CATALOG__URL or the data directory).", field="to")

    def objects(side: Settings) -> object:
        storage = side.storage
        return (storage.endpoint_url, storage.url.rstrip("/")) if storage.url else side.objects_path.resolve()

    if objects(source) == objects(target):
        raise WrongUsage(
            "Both sides keep their objects in the same place (SAFELIGHT_STORAGE__URL or the data directory).", field="to"
        )


@contextlib.contextmanager
def _claimed(source: Settings, target: Settings) -> Iterator[None]:
    """Hold both data directories, so that no server of this machine starts on either. Raises DataDirInUse."""
    from safelight.wiring import claimed

    folders = {side.data_dir.resolve() for side in (source, target) if side is target or side.data_dir.exists()}
    with contextlib.ExitStack() as held:
        for folder in sorted(folders):
            held.enter_context(claimed(folder))
        yield


async def _moved(source: Place, target: Place, name: Path, concurrency: int, screen: _Screen) -> Report:
    from safelight.services import moving

    for side, place in (("source", source), ("target", target)):
        if count := await place.processes_at_work():
            raise WrongState(
                f"{output.many(count, 'server or worker', 'servers and workers')} at work on the {side}. Stop them first."
            )
    safelight = target.safelight()
    await safelight.catalog.migrate()
    async with contextlib.AsyncExitStack() as opened:
        for part in (*source.parts, *target.parts):
            await part.open()
            opened.push_async_callback(part.close)

        async def index() -> int:
            await safelight.catalog.open()
            opened.push_async_callback(safelight.catalog.close)
            if target.settings.search_url == "none":
                return 0
            await safelight.library.search_index.open()
            opened.push_async_callback(safelight.library.search_index.close)
            return await safelight.library.reindex(screen.indexed)

        def settle() -> Any:
            return moving.settle(safelight.catalog, target.holdings.buckets)

        move = moving.Move(source.holdings, target.holdings, screen.told, at_once=concurrency)
        ours = target.lasting_keys()
        keys = [key for key in source.lasting_keys() if key not in ours]
        return await move.run(_identity(source.settings, name), index, settle, keys)


def _identity(settings: Settings, name: Path) -> str:
    """The source as it is known to the target, whatever the way to it was: no secret is in it."""
    from urllib.parse import urlsplit

    if settings.is_embedded:
        return str(settings.data_dir.resolve())
    if settings.is_on_dynamodb:
        return settings.catalog_url
    parts = urlsplit(settings.catalog_url)
    return f"postgresql://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _keep_operators_key(source: Settings, target: Settings) -> None:
    """The token file of the first start, by which commands on this machine find their key, goes where the installation goes."""
    from safelight.wiring import keep_secret

    was = source.data_dir / "admin.key"
    if was.exists():
        keep_secret(target.data_dir / "admin.key", was.read_text())


class _Screen:
    """A bar for what is going on now, on a terminal; elsewhere a line for each stage."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self._console = console
        self._bar = output.progress(
            SpinnerColumn(),
            TextColumn("{task.description:<24}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[shown]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._task: Any = None
        self._stage = ""
        self._documents = 0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def told(self, stage: Stage, more: int, total: int) -> None:
        """So much more of the stage is done."""
        if stage.value != self._stage:
            self._stage = stage.value
            if not self._console.is_terminal:
                self._console.print(f"{_SHOWN[self._stage]} …")
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(_SHOWN[self._stage], total=total or None, shown="")
        self._bar.advance(self._task, more)
        done = int(self._bar.tasks[0].completed)
        self._bar.update(self._task, shown=output.size(done) if self._stage in _OF_BYTES else f"{done:,}")

    def indexed(self, count: int) -> None:
        """So many documents are in the new index."""
        from safelight.services.moving import Stage

        self.told(Stage.INDEX, count - self._documents, 0)
        self._documents = count


def _show(report: Report, document: dict[str, Any]) -> None:
    console = output.out()
    objects = output.table("objects", "keys", "versions", "markers", "bytes", right=("keys", "versions", "markers", "bytes"))
    for name, shelf in report.buckets.items():
        objects.add_row(name, f"{shelf.keys:,}", f"{shelf.versions:,}", f"{shelf.markers:,}", output.size(shelf.bytes))
    console.print(objects)
    rows = output.table("records", "rows", "SHA-256 of all, on both sides", right=("rows",))
    for name, sheet in report.tables.items():
        if sheet.rows:
            rows.add_row(name.replace("_", " "), f"{sheet.rows:,}", sheet.sha256[:16])
    console.print(rows)
    console.print(f"Every object was read back and has the SHA-256 of the source; {report.documents:,} images can be searched.")
    if report.unsettled:
        console.print(f"{output.many(report.unsettled, 'image')} will be developed when a server or worker starts at the target.")
    console.print(f"Moved in {document['seconds']:.1f} s. The source is as it was; keep it until the target has proved itself.")
