"""`import FOLDER`: a file is an image by its first bytes, never by its name, and is there already if the server has its SHA-256."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from safelight.cli.intake import Done, Intake, Told

CHUNK: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that begins like an image. `shown` is its path below the folder."""

    path: Path
    shown: str
    size_bytes: int
    mtime_ns: int

    @property
    def name(self) -> str:
        """See Marked."""
        return self.shown

    @property
    def stamp(self) -> str:
        """See Marked."""
        return f"{self.size_bytes} {self.mtime_ns}"


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


def hashed(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class FolderImport:
    """Takes one file after the other to its end; several threads share it."""

    intake: Intake

    def take(self, file: Candidate, told: Told) -> Done | None:
        """What came of the file. Raises as `Intake.judged`."""
        return self.intake.judged(file, lambda: self._taken(file, told))

    def _taken(self, file: Candidate, told: Told) -> Done:
        intake = self.intake
        known = intake.journal.find(file)
        sha256 = known.sha256 or hashed(file.path)
        with intake.turns.of(sha256):
            done = intake.patiently(lambda: intake.there(file, sha256, known) or self._sent(file, told))
        intake.remember(file, sha256, done)
        return done

    def _sent(self, file: Candidate, told: Told) -> Done:
        if self.intake.is_dry:
            return Done(file.shown, "would_import", file.size_bytes)
        return self.intake.became(file, self.intake.sent(file.path, told))
