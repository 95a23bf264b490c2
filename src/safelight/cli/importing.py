"""`import`: every picture of a folder, of a bucket or of an account elsewhere that is not on the server yet, many at a time.

May be done again and again without harm: whether a picture is there already the server says, and a journal remembers what
became of everything that was finished. What is particular to each kind of place is in `import_folder`, `import_bucket` and
`import_listing`, what they have in common in `intake`.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, Self

from cyclopts import Parameter
from cyclopts.validators import Number

from safelight.cli import EXIT_INTERRUPTED, EXIT_REFUSED, WrongUsage, output
from safelight.cli.accounts import Service
from safelight.cli.connection import HERE, Json, Server, Visibility
from safelight.cli.crew import Stop, share
from safelight.cli.import_bucket import BucketImport
from safelight.cli.import_bucket import found as objects
from safelight.cli.import_folder import FolderImport, walk
from safelight.cli.import_listing import Folders, ListingImport
from safelight.cli.import_listing import found as listed
from safelight.cli.intake import Done, Intake, Item, Told
from safelight.cli.journal import Journal
from safelight.cli.naming import album_id

if TYPE_CHECKING:
    from rich.console import Console

    from safelight.errors import SafelightError


class Importer(Protocol):
    """Takes one item after the other to its end; several threads share it."""

    def take(self, item: Any, told: Told) -> Done | None:
        """What came of it; None when the end was asked for before. The item is one of those that were found for it, hence Any."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be imported from a place, which its words tell from all others, and what takes it.

    Counted is what can be read twice without asking anybody, so that its progress has an end.
    """

    place: tuple[str, ...]
    found: Callable[[], Iterable[Item | Done]]
    importer: Callable[[Intake], Importer]
    is_counted: bool = True


@dataclass(slots=True)
class Expected:
    """How much there is to import, as far as that is known."""

    items: int = 0
    bytes: int = 0

    def add(self, each: Item | Done) -> None:
        """One more, if it is one."""
        if not isinstance(each, Done):
            self.items += 1
            self.bytes += each.size_bytes


@dataclass(slots=True)
class Tally:
    """What came of all items so far."""

    outcomes: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    bytes_imported: int = 0
    copied: int = 0

    def add(self, done: Done) -> None:
        """Count one item."""
        self.copied += done.is_copied
        self.outcomes[done.outcome] += 1
        if done.outcome == "refused":
            self.refused[done.code or "unknown"] += 1
        elif done.outcome == "skipped":
            self.skipped[done.detail or "unknown"] += 1
        elif done.outcome in ("imported", "would_import"):
            self.bytes_imported += done.size_bytes

    def document(self, *, seconds: float, left: int, is_interrupted: bool, is_dry: bool) -> dict[str, object]:
        """The summary for machines."""
        return {
            "imported": self.outcomes["imported"],
            "copied": self.copied,
            "would_import": self.outcomes["would_import"],
            "already_there": self.outcomes["already_there"],
            "in_trash": self.outcomes["in_trash"],
            "refused": self.outcomes["refused"],
            "refused_by_code": dict(self.refused),
            "skipped": self.outcomes["skipped"],
            "skipped_by_reason": dict(self.skipped),
            "not_begun": left,
            "bytes": self.bytes_imported,
            "seconds": round(seconds, 3),
            "images_per_s": round(self.outcomes["imported"] / seconds, 3) if seconds > 0 else 0.0,
            "is_interrupted": is_interrupted,
            "is_dry_run": is_dry,
        }


def import_(
    source: str,
    /,
    *,
    from_: Annotated[Service | None, Parameter(name="--from")] = None,
    tag: tuple[str, ...] = (),
    album: str = "",
    visibility: Visibility = "private",
    base_url: str = "",
    endpoint_url: Annotated[str, Parameter(env_var=("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"))] = "",
    concurrency: Annotated[int, Parameter(validator=Number(gte=1, lte=32))] = 4,
    dry_run: bool = False,
    include_hidden: bool = False,
    patience: Annotated[float, Parameter(validator=Number(gte=0))] = 120.0,
    server: Server = HERE,
    json: Json = False,
) -> int:
    """Bring every image of a folder, a bucket or an account elsewhere that is not there yet.

    From a folder, images are told by their first bytes, and what is there already
    by its SHA-256. From s3://bucket/prefix too, by the credentials that the AWS
    SDKs find; where the server keeps its uploads in the same store, that one
    copies. With --from the source is a listing of a Cloudinary or imgix account,
    CSV or JSON, and the server fetches the pictures itself. What is refused is
    reported with its code, and the import goes on; the exit code is 1 then. Ctrl-C
    finishes what is in flight and leaves with 130, a second one ends at once. What
    an earlier import has sent and you have put into the trash stays there. With
    --json there is a line for each item, and the summary is the last one. May be
    interrupted, killed and repeated.

    Parameters
    ----------
    source
        Folder to read, with all folders in it; s3://bucket/prefix; or a listing.
    from_
        Whose listing it is.
    tag
        Tag of every image sent. May be repeated.
    album
        Album to put them into, by title or id. Is made when there is none of that title. Images that are there already
        stay as they are. Without it, those of a listing go into albums called like their folders.
    visibility
        Who may see them: you, whoever has the link, everybody.
    base_url
        Where imgix, or better the origin behind it, delivers the paths of its listing.
    endpoint_url
        Address of the store of an s3:// source, where it is not AWS.
    concurrency
        Images sent or fetched at the same time.
    dry_run
        Send nothing; tell what would be sent.
    include_hidden
        Also read files and folders whose names begin with a dot.
    patience
        Seconds to wait for a server that is busy or away, before giving up.

    """
    console, stop, tally = output.err(), Stop(), Tally()
    plan = _plan(source, from_, base_url, endpoint_url, to_folders=not album, include_hidden=include_hidden)
    with server.connect() as client:
        next(client.list(limit=1), None)  # a wrong key or address is told before the source is read
        expected, results = Expected(), 0
        if plan.is_counted:
            with console.status("Reading the source"):
                for each in plan.found():
                    expected.add(each)
        words: dict[str, Any] = {"tags": tag, "visibility": visibility}
        if album and not dry_run and (expected.items or not plan.is_counted):
            words["album"] = album_id(client, album, make=True)
        began = time.monotonic()
        with _Screen(console, expected) as screen, stop.at_interrupt(screen.ending):
            journal = Journal.of(server, *plan.place)
            importer = plan.importer(Intake(client, journal, words, stop, dry_run, patience, screen.waiting))
            lock = threading.Lock()

            def finish(done: Done) -> None:
                tally.add(done)
                if json:
                    output.say_json(_line(done))
                elif done.outcome == "refused":
                    screen.say(f"{done.shown}: {done.detail} [{done.code}]" + (f" {done.url}" if done.url else ""))

            def take(each: Item | Done) -> None:
                nonlocal results
                if isinstance(each, Done):
                    with lock:
                        finish(each)
                    return
                if not plan.is_counted:
                    with lock:
                        expected.add(each)
                with screen.item(each) as told:
                    done = importer.take(each, told)
                if done is not None:
                    with lock:
                        results += 1
                        finish(done)

            share(
                plan.found(), take, among=min(concurrency, max(1, expected.items)) if plan.is_counted else concurrency, stop=stop
            )
    seconds = time.monotonic() - began
    left = expected.items - results
    summary = tally.document(seconds=seconds, left=left, is_interrupted=stop.is_interrupted, is_dry=dry_run)
    if json:
        output.say_json({"summary": summary})
    else:
        _show(tally, summary)
    if stop.failure is not None:
        raise stop.failure
    if stop.is_interrupted:
        return EXIT_INTERRUPTED
    return EXIT_REFUSED if tally.outcomes["refused"] else 0


def _plan(
    source: str, service: Service | None, base_url: str, endpoint_url: str, *, to_folders: bool, include_hidden: bool
) -> Plan:
    """How to import from there. Raises WrongUsage."""
    if service is None and source.startswith("s3://"):
        from safelight.wiring import source_at

        bucket, _, prefix = source.removeprefix("s3://").partition("/")
        if not bucket:
            raise WrongUsage(f"{source} names no bucket; write s3://bucket/prefix.", field="source")
        store = source_at(bucket, prefix, endpoint_url=endpoint_url)
        place = ("s3", endpoint_url, bucket)
        return Plan(place, lambda: objects(store), lambda intake: BucketImport(intake, store, bucket), is_counted=False)
    path = Path(source)
    if service is None:
        if not path.is_dir():
            what = "single files are sent by `safelight upload`, listings of an account read with --from"
            raise WrongUsage(f"{path} is not a folder; {what}.", field="source")
        files = list(walk(path, include_hidden=include_hidden))
        return Plan((str(path.resolve()),), lambda: files, FolderImport)
    try:
        path.open("rb").close()
    except OSError as error:
        why = f"{path} cannot be read ({error.strerror}); --from {service} reads a listing, CSV or JSON."
        raise WrongUsage(why, field="source") from None
    return Plan(
        (service,),
        lambda: listed(path, service, base_url),
        lambda intake: ListingImport(intake, Folders(intake.client) if to_folders else None),
    )


def _line(done: Done) -> dict[str, object]:
    return {
        "file": done.shown,
        "url": done.url,
        "outcome": done.outcome,
        "image": done.image,
        "bytes": done.size_bytes,
        "copied": done.is_copied,
        "code": done.code,
        "detail": done.detail,
    }


def _show(tally: Tally, summary: dict[str, object]) -> None:
    rows = output.table("", "images", "", right=("images",))
    because = {
        "refused": ", ".join(f"{code} {count}" for code, count in tally.refused.most_common()),
        "skipped": ", ".join(f"{reason} {count}" for reason, count in tally.skipped.most_common()),
        "imported": output.size(tally.bytes_imported) + (f", {tally.copied} copied by the store" if tally.copied else ""),
        "would_import": output.size(tally.bytes_imported),
    }
    for name in ("imported", "would_import", "already_there", "in_trash", "refused", "skipped", "not_begun"):
        count = summary[name]
        if count or name == ("would_import" if summary["is_dry_run"] else "imported"):
            rows.add_row(name.replace("_", " "), str(count), because.get(name, "") if count else "")
    console = output.out()
    console.print(rows)
    console.print(f"{summary['seconds']:.1f} s, {summary['images_per_s']:.1f} images/s")
    if summary["is_interrupted"]:
        console.print("Interrupted. The same command goes on where this one ended.")


class _Screen:
    """The progress bar: images, bytes, rate, time left and what is in hand. Says nothing where there is no terminal."""

    def __init__(self, console: Console, expected: Expected) -> None:
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn

        columns = (
            TextColumn("{task.fields[done]} of {task.fields[items]} images"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeRemainingColumn(),
            TextColumn("{task.fields[now]}", style="dim", markup=False),
        )
        self._console = console
        self._bar = output.progress(*columns, console=console)
        self._expected = expected
        self._task = self._bar.add_task("", total=expected.bytes, done=0, items=expected.items, rate="", now="")
        self._began, self._done, self._lock = time.monotonic(), 0, threading.Lock()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """A line above the bar."""
        self._console.print(output.text(text))

    def ending(self) -> None:
        """What the first Ctrl-C says. Called from a signal handler, which may hold any lock: it only writes to the descriptor."""
        os.write(2, b"\nFinishing what is in flight; Ctrl-C again ends at once.\n")

    def waiting(self, error: SafelightError) -> None:
        """The server is busy or away."""
        self._bar.update(self._task, now=f"waiting: {output.plain(error.detail)}")

    def item(self, item: Item) -> _Turn:
        """Round the work on one item; yields what counts its bytes."""
        return _Turn(self, item)

    def begun(self, item: Item) -> None:
        """An item is in hand."""
        expected = self._expected
        self._bar.update(self._task, total=expected.bytes, items=expected.items, now=output.plain(item.shown)[-40:])

    def advanced(self, size: int) -> None:
        """So many bytes more are done."""
        self._bar.update(self._task, advance=size)

    def ended(self) -> None:
        """An item is done."""
        with self._lock:
            self._done += 1
            rate = self._done / max(0.001, time.monotonic() - self._began)
            self._bar.update(self._task, done=self._done, rate=f"{rate:.1f} images/s")


@dataclass(slots=True)
class _Turn:
    """Counts the bytes of one item so that, whatever came of it, all of them are done at its end."""

    screen: _Screen
    item: Item
    counted: int = 0

    def __enter__(self) -> Callable[[int], object]:
        self.screen.begun(self.item)
        return self._count

    def _count(self, size: int) -> None:
        self.counted += size
        self.screen.advanced(size)

    def __exit__(self, *_: object) -> None:
        self.screen.advanced(self.item.size_bytes - self.counted)
        self.screen.ended()
