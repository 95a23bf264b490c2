"""`export`: every original into a folder, by year and month, each verified by its SHA-256; again and again without harm.

What stands in the folder is never overwritten: a name that is taken by other bytes gets a number behind it. A file appears
only when it is whole and safe on disk, so an export that ends in the middle leaves nothing half done.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import orjson
from cyclopts import Parameter
from cyclopts.validators import Number

from safelight.cli import EXIT_INTERRUPTED, EXIT_REFUSED, output
from safelight.cli.connection import HERE, Json, Server
from safelight.cli.crew import Stop, patiently, share
from safelight.cli.naming import album_id
from safelight.errors import BadField, Conflict, DamagedObject, Forbidden, SafelightError, TooMany, Unavailable

if TYPE_CHECKING:
    from rich.console import Console

    from safelight.client import Client, Image

WORKSHOP: Final = ".safelight-export"
"""Folder inside the target for what is not whole yet: the same file system, so that a file can be moved into place at once."""
MAX_NAME_BYTES: Final = 200
"""Leaves room below the 255 of common file systems for a number and `.json`."""

Outcome = Literal["written", "already_there", "refused", "skipped"]
_UNWANTED: Final = re.compile(r'[\x00-\x1f\x7f-\x9f/\\:*?"<>|]')

_SUFFIX: Final = re.compile(r"[A-Za-z0-9]{1,10}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where an original goes, and whether it stands there already, verified."""

    image: Image
    path: Path
    is_there: bool


@dataclass(frozen=True, slots=True)
class Done:
    """What came of one image."""

    image: str
    outcome: Outcome
    path: str | None = None
    size_bytes: int = 0
    code: str | None = None
    detail: str | None = None


def file_name(image: Image) -> str:
    """A name that every file system takes: the image's own where it has one, never one that leaves its folder."""
    extension = {"image/jpeg": "jpg", "image/svg+xml": "svg"}.get(image["type"], image["type"].rpartition("/")[2])
    name = _UNWANTED.sub("_", image["file_name"]).strip().lstrip(".").rstrip(". ")
    if not name:
        name = f"{image['id']}.{extension}"
    stem, dot, suffix = name.rpartition(".")
    if not _SUFFIX.fullmatch(suffix) or not dot:
        stem, suffix = name, extension
    while len(f"{stem}.{suffix}".encode(errors="replace")) > MAX_NAME_BYTES:
        stem = stem[:-1]
    return f"{stem}.{suffix}"


def dated(image: Image) -> datetime:
    """When it was taken, else when it came in; UTC."""
    return output.when(image["taken_at"]) or output.when(image["created_at"]) or datetime.fromtimestamp(0, UTC)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(slots=True)
class Places:
    """Gives every image of a run a path of its own. Asked in the order of the catalog, so a second run finds the same ones."""

    folder: Path
    taken: set[str] = field(default_factory=set)
    """Paths given out in this run, case folded: many file systems hold A.jpg and a.jpg for the same."""

    def find(self, image: Image) -> Place:
        """The first path of `name`, `name-2`, … that is free, or that holds these very bytes."""
        moment, name = dated(image), file_name(image)
        stem, _, suffix = name.rpartition(".")
        number = 1
        while True:
            shown = name if number == 1 else f"{stem}-{number}.{suffix}"
            path = self.folder / f"{moment:%Y}" / f"{moment:%m}" / shown
            number += 1
            key = str(path).casefold()
            if key in self.taken:
                continue
            if path.is_symlink() or (path.exists() and not path.is_file()):
                continue
            if path.exists():
                if path.stat().st_size != image["bytes"] or sha256_of(path) != image["sha256"]:
                    continue
                self.taken |= {key, f"{key}.json"}
                return Place(image, path, is_there=True)
            self.taken |= {key, f"{key}.json"}
            return Place(image, path, is_there=False)


@contextmanager
def workshop(folder: Path) -> Iterator[Path]:
    """A folder inside `folder` for unfinished files, empty, this process's alone. Raises Conflict while another export has it."""
    room = folder / WORKSHOP
    room.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"Another export writes to {folder}.") from None
        for left in room.iterdir():  # by an export that was killed
            left.unlink()
        yield room
    finally:
        shutil.rmtree(room, ignore_errors=True)
        os.close(fd)


@dataclass(frozen=True, slots=True)
class Exporter:
    """Fetches one original after the other; several threads share it."""

    client: Client
    folder: Path
    room: Path
    stop: Stop
    with_sidecar: bool

    def take(self, place: Place, told: Any) -> Done | None:
        """What came of the image; None when the end was asked for meanwhile. Raises Unavailable after all patience."""
        image, shown = place.image, str(place.path.relative_to(self.folder))
        try:
            if not place.is_there:
                patiently(lambda: self._fetch(place, told), patience_s=120, stop=self.stop)
            if self.with_sidecar:
                self._describe(place)
        except (Unavailable, TooMany):
            if self.stop:
                return None
            raise
        except Forbidden:  # somebody else's public image: it is seen, but its original is theirs
            return Done(image["id"], "skipped", detail="somebody else's")
        except OSError as error:
            raise BadField(f"{self.folder / shown} cannot be written: {error.strerror}.") from error
        except SafelightError as error:
            return Done(image["id"], "refused", shown, code=error.code, detail=error.detail)
        return Done(image["id"], "already_there" if place.is_there else "written", shown, image["bytes"])

    def _fetch(self, place: Place, told: Any) -> None:
        image, written = place.image, 0

        def count(size: int) -> None:
            nonlocal written
            written += size
            told(size)

        part = self.room / image["id"]
        try:
            with part.open("wb") as file:
                digest = self.client.original(image["id"], file, told=count)
                file.flush()
                os.fsync(file.fileno())
            if digest != image["sha256"]:
                raise DamagedObject("What the server sent is not what came in: the SHA-256 differs.")
            at = dated(image).timestamp()
            os.utime(part, (at, at))
            place.path.parent.mkdir(parents=True, exist_ok=True)
            _move(part, place.path)
        except BaseException:
            told(-written)
            part.unlink(missing_ok=True)
            raise

    def _describe(self, place: Place) -> None:
        """The record beside the original, without URLs that are good for an hour."""
        record: dict[str, Any] = dict(self.client.get(place.image["id"], with_location=True))
        renditions = [{name: value for name, value in each.items() if name != "url"} for each in record["renditions"]]
        record |= {"renditions": renditions}
        del record["original_url"]
        part = self.room / f"{place.image['id']}.json"
        with part.open("wb") as file:
            file.write(orjson.dumps(record, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
            file.flush()
            os.fsync(file.fileno())
        part.replace(place.path.with_name(f"{place.path.name}.json"))


def _move(part: Path, path: Path) -> None:
    """Into place, at once, and never over something else. Raises FileExistsError."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if path.exists():
            raise FileExistsError(f"{path} has appeared meanwhile") from None
        part.rename(path)
    else:
        part.unlink()
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def export(
    folder: Path,
    /,
    *,
    album: str = "",
    tag: tuple[str, ...] = (),
    sidecar: bool = False,
    concurrency: Annotated[int, Parameter(validator=Number(gte=1, lte=32))] = 4,
    server: Server = HERE,
    json: Json = False,
) -> int:
    """Write every original into a folder, by year and month, and verify each.

    Images go to FOLDER/<year>/<month>/<name>, by the time they were taken, else by
    the time they came in. Nothing is overwritten, and what stands there with the
    right SHA-256 is not fetched again. May be interrupted and repeated. Images in
    the trash are left out.

    Parameters
    ----------
    folder
        Folder to write to; is made when there is none.
    album
        Only images of this album, by title or id.
    tag
        Only images with this tag. May be repeated.
    sidecar
        Write the whole record beside each original, as <name>.json.
    concurrency
        Originals fetched at the same time.

    """
    console, stop = output.err(), Stop()
    outcomes: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    written_bytes, began, lock = 0, time.monotonic(), threading.Lock()
    with server.connect() as client:
        filters: dict[str, Any] = {"sort": "created_at", "tag": [*tag]}
        if album:
            filters["album"] = album_id(client, album)
        images = client.list(**filters)
        first = next(images, None)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            rooms = workshop(folder)
        except OSError as error:
            raise BadField(f"{folder} cannot be written: {error.strerror}.", field="folder") from error
        with rooms as room, _bar(console) as bar, stop.at_interrupt(_ending):
            task = bar.add_task("", total=None, files=0, now="")
            exporter, places = Exporter(client, folder, room, stop, sidecar), Places(folder)

            def finish(done: Done) -> None:
                nonlocal written_bytes
                with lock:
                    outcomes[done.outcome] += 1
                    if done.outcome in ("refused", "skipped"):
                        reasons[done.code or done.detail or "unknown"] += 1
                    elif done.outcome == "written":
                        written_bytes += done.size_bytes
                    bar.update(task, files=sum(outcomes.values()))
                    if json:
                        output.say_json(_line(done))
                    elif done.outcome == "refused":
                        console.print(output.text(f"{done.path or done.image}: {done.detail} [{done.code}]"))

            def placed() -> Iterator[Place]:
                image = first
                while image is not None:
                    if image["status"] == "rejected":
                        finish(Done(image["id"], "skipped", detail="rejected"))
                    else:
                        bar.update(task, now=output.plain(image["file_name"])[-40:])
                        yield places.find(image)
                    image = next(images, None)

            def take(place: Place) -> None:
                done = exporter.take(place, lambda size: bar.update(task, advance=size))
                if done is not None:
                    finish(done)

            share(placed(), take, among=concurrency, stop=stop)
    summary: dict[str, Any] = {
        **{name: outcomes[name] for name in ("written", "already_there", "refused", "skipped")},
        "reasons": dict(reasons),
        "bytes": written_bytes,
        "seconds": round(time.monotonic() - began, 3),
        "is_interrupted": stop.is_interrupted,
    }
    if json:
        output.say_json({"summary": summary})
    else:
        _show(summary)
    if stop.failure is not None:
        raise stop.failure
    if stop.is_interrupted:
        return EXIT_INTERRUPTED
    return EXIT_REFUSED if outcomes["refused"] else 0


def _ending() -> None:
    os.write(2, b"\nFinishing the files in flight; Ctrl-C again ends at once.\n")


def _line(done: Done) -> dict[str, Any]:
    return {
        "image": done.image,
        "outcome": done.outcome,
        "file": done.path,
        "bytes": done.size_bytes,
        "code": done.code,
        "detail": done.detail,
    }


def _bar(console: Console) -> Any:
    from rich.progress import DownloadColumn, SpinnerColumn, TextColumn, TimeElapsedColumn, TransferSpeedColumn

    return output.progress(
        SpinnerColumn(),
        TextColumn("{task.fields[files]} files"),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[now]}", style="dim", markup=False),
        console=console,
    )


def _show(summary: dict[str, Any]) -> None:
    rows = output.table("", "originals", "", right=("originals",))
    rows.add_row("written", str(summary["written"]), output.size(summary["bytes"]))
    for name in ("already_there", "refused", "skipped"):
        if summary[name]:
            rows.add_row(name.replace("_", " "), str(summary[name]))
    console = output.out()
    console.print(rows)
    if summary["reasons"]:
        console.print(", ".join(f"{reason} {count}" for reason, count in summary["reasons"].items()))
    console.print(f"{summary['seconds']:.1f} s, every original verified by its SHA-256")
    if summary["is_interrupted"]:
        console.print("Interrupted. The same command goes on where this one ended.")
