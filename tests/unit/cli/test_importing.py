"""The folder and the journal of an import, without a server."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from safelight.cli import main
from safelight.cli.connection import Server
from safelight.cli.import_folder import Candidate, hashed, walk
from safelight.cli.intake import Done
from safelight.cli.journal import UNKNOWN, Journal, Known

JPEG = b"\xff\xd8\xff\xe0" + bytes(100)


def names(folder: Path, **options: bool) -> dict[str, str | None]:
    return {found.shown: found.detail if isinstance(found, Done) else None for found in walk(folder, **options)}


def test_files_come_in_order_of_their_names_through_all_folders(tmp_path: Path) -> None:
    for name in ("b.jpg", "a/z.jpg", "a/b/c.jpg", "c.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(JPEG)

    assert list(names(tmp_path)) == ["a/b/c.jpg", "a/z.jpg", "b.jpg", "c.jpg"]


def test_the_first_bytes_decide_and_never_the_name(tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("not a picture")
    (tmp_path / "picture.txt").write_bytes(JPEG)

    assert names(tmp_path) == {"notes.jpg": "not an image", "picture.txt": None}


def test_what_is_no_readable_file_is_skipped_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "gone")

    assert names(tmp_path) == {
        "dangling.jpg": "unreadable",
        "empty.jpg": "empty",
        "loop": "link to a folder",
        "pipe.jpg": "not a file",
    }


def test_a_link_to_a_file_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "real.jpg").write_bytes(JPEG)
    (tmp_path / "link.jpg").symlink_to(tmp_path / "real.jpg")

    assert names(tmp_path) == {"link.jpg": None, "real.jpg": None}


def test_hidden_files_and_folders_are_read_only_when_asked_for(tmp_path: Path) -> None:
    (tmp_path / ".trash").mkdir()
    (tmp_path / ".trash" / "a.jpg").write_bytes(JPEG)

    assert names(tmp_path) == {".trash": "hidden"}
    assert names(tmp_path, include_hidden=True) == {".trash/a.jpg": None}


def candidate(path: Path) -> Candidate:
    found = path.stat()
    return Candidate(path, path.name, found.st_size, found.st_mtime_ns)


def test_a_finished_file_is_known_to_the_next_run(tmp_path: Path) -> None:
    picture = tmp_path / "a.jpg"
    picture.write_bytes(JPEG)
    finished = Known(hashed(picture), "01")
    Journal(tmp_path / "state" / "journal.jsonl").keep(candidate(picture), finished)

    assert Journal(tmp_path / "state" / "journal.jsonl").find(candidate(picture)) == finished


def test_a_file_that_has_changed_is_not_known(tmp_path: Path) -> None:
    picture = tmp_path / "a.jpg"
    picture.write_bytes(JPEG)
    journal = Journal(tmp_path / "journal.jsonl")
    journal.keep(candidate(picture), Known(hashed(picture), "01"))
    picture.write_bytes(JPEG[:-1] + b"x")
    os.utime(picture, ns=(1, 1))

    assert journal.find(candidate(picture)) == UNKNOWN


@pytest.mark.parametrize("end", range(0, 120, 7))
def test_a_journal_that_was_cut_off_anywhere_loses_only_its_last_line(end: int, tmp_path: Path) -> None:
    path, journal = tmp_path / "journal.jsonl", Journal(tmp_path / "journal.jsonl")
    first, second = (Candidate(tmp_path / name, name, 1, 1) for name in ("a.jpg", "b.jpg"))
    journal.keep(first, Known("0" * 64, "01"))
    whole = path.stat().st_size
    journal.keep(second, Known("1" * 64, "02"))
    path.write_bytes(path.read_bytes()[: whole + end])
    Journal(path).keep(second, Known("1" * 64, "02"))

    again = Journal(path)
    assert again.find(first) == Known("0" * 64, "01")
    assert again.find(second) == Known("1" * 64, "02")


def test_every_server_key_and_folder_has_a_journal_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    here, there = Server("http://localhost:1", "sl_a_x"), Server("http://localhost:2", "sl_a_x")
    journals = [
        Journal.of(here, "/pictures"),
        Journal.of(there, "/pictures"),
        Journal.of(Server(here.url, "sl_b_x"), "/pictures"),
        Journal.of(here, "s3", "", "/pictures"),
    ]

    assert len({journal.path for journal in journals}) == 4
    assert all(journal.path.is_relative_to(tmp_path / "state" / "safelight") for journal in journals)
    assert not any("sl_" in journal.path.name for journal in journals)


def test_what_is_written_last_of_a_thing_counts(tmp_path: Path) -> None:
    thing = Candidate(tmp_path / "a.jpg", "a.jpg", 1, 1)
    journal = Journal(tmp_path / "journal.jsonl")
    for known in (Known(upload="01", tries=1), Known("0" * 64, "02")):
        journal.keep(thing, known)

    assert Journal(tmp_path / "journal.jsonl").find(thing) == Known("0" * 64, "02")


@pytest.mark.parametrize(
    "line", [b'{"name": "a.jpg", "stamp": "1 1", "tries": "x"}', b"[]", b"null", b'{"name": {}, "stamp": []}', b"\xff"]
)
def test_a_line_that_a_journal_would_not_write_is_passed_over(line: bytes, tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_bytes(line + b"\n")

    assert Journal(tmp_path / "journal.jsonl").find(Candidate(tmp_path / "a.jpg", "a.jpg", 1, 1)) == UNKNOWN


def test_the_journal_is_for_nobody_else_to_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "state" / "journal.jsonl")
    journal.keep(Candidate(tmp_path / "a.jpg", "a.jpg", 1, 1), Known("0" * 64, "01"))

    assert journal.path.stat().st_mode & 0o077 == 0
    assert journal.path.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["s3://"], "names no bucket"),
        (["nothing"], "is not a folder"),
        (["listing.json"], "read with --from"),
        (["listing.json", "--from", "imgix"], "No such file"),
        ([".", "--from", "imgix"], "Is a directory"),
        (["listing.json", "--from", "flickr"], "--from"),
    ],
)
def test_what_cannot_be_imported_from_is_told_before_a_server_is_asked(
    arguments: list[str], words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["import", *arguments, "--url", "http://127.0.0.1:9"])

    assert left.value.code == 2
    assert words in capfd.readouterr().err
