"""`import`: every image of a folder that is not on the server yet, many at a time, again and again without harm.

A file is an image by its first bytes, never by its name. Whether it is there already the server says, asked by SHA-256; a
journal remembers the hash of every file that was finished, so that the next run reads only what is new.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self

import orjson
from cyclopts import Parameter
from cyclopts.validators import Number

from safelight.cli import EXIT_INTERRUPTED, EXIT_REFUSED, WrongUsage, output
from safelight.cli.connection import HERE, Json, Server, Visibility, album_id
from safelight.cli.crew import Stop, Turns, patiently, share
from safelight.errors import Forbidden, Missing, SafelightError, TooMany, Unauthenticated, Unavailable

if TYPE_CHECKING:
    from rich.console import Console

    from safelight.client import Client, Image

CHUNK: Final = 1024 * 1024
SETTLE_S: Final = 120.0
"""How long a file may be developed until it counts as imported without its renditions."""

Outcome = Literal["imported", "would_import", "already_there", "in_trash", "refused", "skipped"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that begins like an image. `shown` is its path below the folder."""

    path: Path
    shown: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Done:
    """What came of one file."""

    shown: str
    outcome: Outcome
    size_bytes: int = 0
    image: str | None = None
    code: str | None = None
    detail: str | None = None


def walk(folder: Path, *, include_hidden: bool = False, below: str = "") -> Iterator[Candidate | Done]:
    """Every file of the folder in order of names: a candidate, or why it is skipped. Links to folders are not followed."""
    from safelight.imaging import sniff
    from safelight.imaging.formats import SNIFF_BYTES

    def skipped(reason: str) -> Done:
        return Done(shown, "skipped", detail=reason)

    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        yield Done(below or ".", "skipped", detail="unreadable folder")
        return
    for entry in entries:
        shown = f"{below}{entry.name}"
        if entry.name.startswith(".") and not include_hidden:
            yield skipped("hidden")
            continue
        try:
            if entry.is_dir(follow_symlinks=False):
                yield from walk(Path(entry.path), include_hidden=include_hidden, below=f"{shown}/")
                continue
            found = entry.stat()
            if stat.S_ISDIR(found.st_mode):
                yield skipped("link to a folder")
            elif not stat.S_ISREG(found.st_mode):
                yield skipped("not a file")  # a pipe or device: opening one could wait for ever
            elif found.st_size == 0:
                yield skipped("empty")
            else:
                with Path(entry.path).open("rb", buffering=0) as file:
                    head = file.read(SNIFF_BYTES)
                if sniff(head) is None:
                    yield skipped("not an image")
                else:
                    yield Candidate(Path(entry.path), shown, found.st_size, found.st_mtime_ns)
        except OSError:
            yield skipped("unreadable")


@dataclass(frozen=True, slots=True)
class Finished:
    """What a file held, and which image it is."""

    sha256: str
    image: str


class Journal:
    """What became of finished files, by path, size and time of change; JSON lines, one written whole at a time.

    A journal belongs to one server, one API key and one folder. Without it everything works, only slower.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[tuple[str, int, int], Finished] = {}
        self._lock = threading.Lock()
        try:
            lines = path.read_bytes().splitlines()
        except FileNotFoundError:
            lines = []
        for line in lines:
            try:
                entry = orjson.loads(line)
                finished = Finished(str(entry["sha256"]), str(entry["image"]))
                self._known[entry["path"], entry["size_bytes"], entry["mtime_ns"]] = finished
            except (orjson.JSONDecodeError, KeyError, TypeError):
                continue  # the line that a dying process did not finish

    @classmethod
    def of(cls, server: Server, folder: Path) -> Journal:
        """The journal of this folder for this server and key, below $XDG_STATE_HOME or ~/.local/state."""
        key_id = "_".join(server.key.split("_")[:2]) if server.key.count("_") >= 2 else server.key
        names = (server.url.rstrip("/"), key_id, str(folder.resolve()))
        digest = hashlib.sha256("\0".join(names).encode(errors="surrogateescape")).hexdigest()
        home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        return cls(home / "safelight" / f"import-{digest[:16]}.jsonl")

    def find(self, file: Candidate) -> Finished | None:
        """What became of the file, if it was finished before and has not changed since."""
        return self._known.get((file.shown, file.size_bytes, file.mtime_ns))

    def keep(self, file: Candidate, finished: Finished) -> None:
        """Remember a finished file."""
        key = (file.shown, file.size_bytes, file.mtime_ns)
        with self._lock:
            if self._known.get(key) == finished:
                return
            self._known[key] = finished
            entry = {"path": file.shown, "size_bytes": file.size_bytes, "mtime_ns": file.mtime_ns, **asdict(finished)}
            try:
                line = orjson.dumps(entry) + b"\n"
            except orjson.JSONEncodeError:
                return  # a name that is not text; it is hashed again next time
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                # One write, begun by a line end: what a torn line before it has lost stays its own loss.
                os.write(fd, b"\n" + line)
            finally:
                os.close(fd)


def hashed(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Importer:
    """Takes one file after the other to its end; several threads share it."""

    client: Client
    journal: Journal
    words: dict[str, object]
    stop: Stop
    is_dry: bool
    patience_s: float
    waits: Callable[[SafelightError], object]
    turns: Turns = field(default_factory=Turns)

    def take(self, file: Candidate, told: Callable[[int], object]) -> Done | None:
        """What came of the file; None when the end was asked for before it began to be sent.

        Raises what makes the rest pointless too: Unauthenticated, Forbidden, Unavailable after all patience.
        """
        try:
            before = self.journal.find(file)
            sha256 = before.sha256 if before else hashed(file.path)
            with self.turns.of(sha256):
                done = patiently(
                    lambda: self._there(file, sha256, before) or self._sent(file, told),
                    patience_s=self.patience_s,
                    stop=self.stop,
                    told=self.waits,
                )
        except OSError as error:
            return Done(file.shown, "refused", file.size_bytes, code="unreadable", detail=f"{error.strerror}.")
        except (Unavailable, TooMany):
            if self.stop:
                return None
            raise
        except (Unauthenticated, Forbidden):
            raise
        except SafelightError as error:
            return Done(file.shown, "refused", file.size_bytes, code=error.code, detail=error.detail)
        if done.outcome in ("imported", "already_there") and done.image is not None and not self.is_dry:
            self.journal.keep(file, Finished(sha256, done.image))
        return done

    def _there(self, file: Candidate, sha256: str, before: Finished | None) -> Done | None:
        image = self.client.by_sha256(sha256)
        if image is not None:
            return Done(file.shown, "already_there", file.size_bytes, image["id"])
        if before is not None:
            # It was there once. Who has put it into the trash since does not want it back; who has lost it does.
            with contextlib.suppress(Missing):
                if self.client.get(before.image)["trashed_at"] is not None:
                    return Done(file.shown, "in_trash", file.size_bytes, before.image)
        return None

    def _sent(self, file: Candidate, told: Callable[[int], object]) -> Done:
        if self.is_dry:
            return Done(file.shown, "would_import", file.size_bytes)
        sent = 0

        def count(size: int) -> None:
            nonlocal sent
            sent += size
            told(size)

        try:
            image = self._settled(self.client.upload(file.path, told=count, is_background=True, **self.words))  # type: ignore[arg-type] # made in `import_`
        except BaseException:
            told(-sent)
            raise
        if image["problem"] is not None:
            problem = image["problem"]
            return Done(file.shown, "refused", file.size_bytes, image["id"], problem["code"], problem["detail"])
        return Done(file.shown, "imported", file.size_bytes, image["id"])

    def _settled(self, image: Image) -> Image:
        """The image when it is developed, if the upload has been answered before."""
        deadline = time.monotonic() + SETTLE_S
        while image["status"] == "developing" and time.monotonic() < deadline and not self.stop.wait(0.5):
            try:
                image = self.client.get(image["id"])
            except Missing:
                break  # taken away meanwhile; it had been accepted
        return image


@dataclass(slots=True)
class Tally:
    """What came of all files so far."""

    outcomes: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    bytes_imported: int = 0

    def add(self, done: Done) -> None:
        """Count one file."""
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
    folder: Path,
    /,
    *,
    tag: tuple[str, ...] = (),
    album: str = "",
    visibility: Visibility = "private",
    concurrency: Annotated[int, Parameter(validator=Number(gte=1, lte=32))] = 4,
    dry_run: bool = False,
    include_hidden: bool = False,
    patience: Annotated[float, Parameter(validator=Number(gte=0))] = 120.0,
    server: Server = HERE,
    json: Json = False,
) -> int:
    """Send every image of a folder that is not there yet.

    Images are told by their first bytes, and what is there already by its
    SHA-256. A file that is refused is reported with its code, and the import goes
    on; the exit code is 1 then. Ctrl-C finishes the files in flight and leaves
    with 130, a second one ends at once. What an earlier import of this folder
    has sent and you have put into the trash stays there. With --json there is a
    line for each file, and the summary is the last one. May be interrupted and
    repeated.

    Parameters
    ----------
    folder
        Folder to read, with all folders in it.
    tag
        Tag of every image sent. May be repeated.
    album
        Album to put them into, by title or id. Is made when there is none of that title. Images that are there already
        stay as they are.
    visibility
        Who may see them: you, whoever has the link, everybody.
    concurrency
        Files sent at the same time.
    dry_run
        Send nothing; tell what would be sent.
    include_hidden
        Also read files and folders whose names begin with a dot.
    patience
        Seconds to wait for a server that is busy or away, before giving up.

    """
    if not folder.is_dir():
        raise WrongUsage(f"{folder} is not a folder; single files are sent by `safelight upload`.", field="folder")
    console, stop, tally = output.err(), Stop(), Tally()
    with server.connect() as client:
        next(client.list(limit=1), None)  # a wrong key or address is told before the folder is read
        with console.status("Reading the folder"):
            found = list(walk(folder, include_hidden=include_hidden))
        files = [each for each in found if isinstance(each, Candidate)]
        words: dict[str, object] = {"tags": tag, "visibility": visibility}
        if album and files and not dry_run:
            words["album"] = album_id(client, album, make=True)
        began = time.monotonic()
        with _Screen(console, files) as screen, stop.at_interrupt(screen.ending):
            importer = Importer(client, Journal.of(server, folder), words, stop, dry_run, patience, screen.waiting)
            lock, results = threading.Lock(), 0

            def finish(done: Done) -> None:
                tally.add(done)
                if json:
                    output.say_json(_line(done))
                elif done.outcome == "refused":
                    screen.say(f"{done.shown}: {done.detail} [{done.code}]")

            def take(file: Candidate) -> None:
                nonlocal results
                with screen.file(file) as told:
                    done = importer.take(file, told)
                if done is not None:
                    with lock:
                        results += 1
                        finish(done)

            for each in found:
                if isinstance(each, Done):
                    finish(each)
            share(files, take, among=min(concurrency, max(1, len(files))), stop=stop)
    seconds = time.monotonic() - began
    summary = tally.document(seconds=seconds, left=len(files) - results, is_interrupted=stop.is_interrupted, is_dry=dry_run)
    if json:
        output.say_json({"summary": summary})
    else:
        _show(tally, summary)
    if stop.failure is not None:
        raise stop.failure
    if stop.is_interrupted:
        return EXIT_INTERRUPTED
    return EXIT_REFUSED if tally.outcomes["refused"] else 0


def _line(done: Done) -> dict[str, object]:
    return {
        "file": done.shown,
        "outcome": done.outcome,
        "image": done.image,
        "bytes": done.size_bytes,
        "code": done.code,
        "detail": done.detail,
    }


def _show(tally: Tally, summary: dict[str, object]) -> None:
    rows = output.table("", "files", "", right=("files",))
    because = {
        "refused": ", ".join(f"{code} {count}" for code, count in tally.refused.most_common()),
        "skipped": ", ".join(f"{reason} {count}" for reason, count in tally.skipped.most_common()),
        "imported": output.size(tally.bytes_imported),
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
    """The progress bar: files, bytes, rate, time left and the file in hand. Says nothing where there is no terminal."""

    def __init__(self, console: Console, files: list[Candidate]) -> None:
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn

        columns = (
            TextColumn("{task.fields[files]} of {task.fields[total_files]} files"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeRemainingColumn(),
            TextColumn("{task.fields[now]}", style="dim", markup=False),
        )
        self._console = console
        self._bar = output.progress(*columns, console=console)
        total = sum(file.size_bytes for file in files)
        self._task = self._bar.add_task("", total=total, files=0, total_files=len(files), rate="", now="")
        self._began, self._files, self._lock = time.monotonic(), 0, threading.Lock()

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
        os.write(2, b"\nFinishing the files in flight; Ctrl-C again ends at once.\n")

    def waiting(self, error: SafelightError) -> None:
        """The server is busy or away."""
        self._bar.update(self._task, now=f"waiting: {output.plain(error.detail)}")

    def file(self, file: Candidate) -> _FileTurn:
        """Round the work on one file; yields what counts its bytes."""
        return _FileTurn(self, file)

    def begun(self, file: Candidate) -> None:
        """A file is in hand."""
        self._bar.update(self._task, now=output.plain(file.shown)[-40:])

    def advanced(self, size: int) -> None:
        """So many bytes more are done."""
        self._bar.update(self._task, advance=size)

    def ended(self) -> None:
        """A file is done."""
        with self._lock:
            self._files += 1
            rate = self._files / max(0.001, time.monotonic() - self._began)
            self._bar.update(self._task, files=self._files, rate=f"{rate:.1f} files/s")


@dataclass(slots=True)
class _FileTurn:
    """Counts the bytes of one file so that, whatever came of it, all of them are done at its end."""

    screen: _Screen
    file: Candidate
    counted: int = 0

    def __enter__(self) -> Callable[[int], object]:
        self.screen.begun(self.file)
        return self._count

    def _count(self, size: int) -> None:
        self.counted += size
        self.screen.advanced(size)

    def __exit__(self, *_: object) -> None:
        self.screen.advanced(self.file.size_bytes - self.counted)
        self.screen.ended()
