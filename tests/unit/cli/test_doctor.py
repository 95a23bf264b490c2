"""The doctor on data directories in every state, without a server."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from safelight.cli import doctor
from safelight.cli.doctor import Check, examined, here
from safelight.cli.specimens import SPECIMENS
from safelight.imaging import Format, sniff
from safelight.settings import Settings
from safelight.wiring import build, claimed, secret_keys


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SAFELIGHT_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """What a first start leaves, as far as the doctor looks at it."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    catalog = build(Settings(data_dir=folder)).catalog
    secret_keys(folder / "keys" / "catalog.key")
    secret_keys(folder / "keys" / "master.key")
    asyncio.run(catalog.migrate())
    return folder


@pytest.fixture
def without_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of something else: decoding takes two seconds."""
    monkeypatch.delitem(doctor.PARTS, "decoding")


def found(checks: Iterator[Check], name: str) -> Check:
    return next(check for check in checks if check.name == name)


def test_a_machine_that_has_everything_has_nothing_to_mend(data_dir: Path) -> None:
    failed = [check for check in examined(data_dir) if check.state == "failed"]

    assert failed == []


def test_there_is_a_specimen_of_every_format_that_comes_in() -> None:
    assert {sniff(data) for data in SPECIMENS.values()} == set(Format) == set(SPECIMENS)


def test_every_format_is_really_decoded(tmp_path: Path) -> None:
    assert found(examined(tmp_path / "none", only="decoding"), "decoders").found == ", ".join(Format)


def test_a_decoder_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(SPECIMENS, Format.HEIC, SPECIMENS[Format.HEIC][:200])
    check = found(examined(tmp_path, only="decoding"), "decoder heic")

    assert check.state == "failed"
    assert "safelight[heic]" in check.mend


def test_nothing_that_is_kept_is_changed(data_dir: Path) -> None:
    def state() -> dict[str, tuple[int, str]]:
        return {
            str(path): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "")
            for path in sorted(data_dir.rglob("*"))
        }

    before = state()
    list(examined(data_dir))

    assert state() == before


def test_a_data_directory_that_does_not_exist_yet_is_not_made(tmp_path: Path) -> None:
    assert found(examined(tmp_path / "new", only="data directory"), "data directory").state == "ok"
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ("catalog.key", "master.key"))
def test_a_key_that_others_can_read_has_failed(name: str, data_dir: Path) -> None:
    (data_dir / "keys" / name).chmod(0o644)
    check = found(examined(data_dir, only="keys"), name.replace(".", " "))

    assert check.state == "failed"
    assert check.mend == f"chmod 600 {data_dir / 'keys' / name}"


def test_a_key_that_is_gone_while_its_data_is_there_has_failed(data_dir: Path) -> None:
    (data_dir / "keys" / "master.key").unlink()

    assert found(examined(data_dir, only="keys"), "master key").state == "failed"


def test_a_damaged_database_has_failed(data_dir: Path) -> None:
    path = data_dir / "catalog.db"
    body = bytearray(path.read_bytes())
    body[4096:] = os.urandom(len(body) - 4096)
    path.write_bytes(body)

    assert found(examined(data_dir, only="databases"), "catalog").state == "failed"


def test_a_file_that_is_no_database_has_failed(data_dir: Path) -> None:
    (data_dir / "search.db").write_text("not a database, but long enough to be looked at as if it were one" * 100)

    assert found(examined(data_dir, only="databases"), "search").state == "failed"


def test_a_schema_of_another_release_has_failed_and_says_what_to_run(data_dir: Path) -> None:
    with sqlite3.connect(data_dir / "catalog.db") as database:
        database.execute("update alembic_version set version_num = '0000_before'")
    database.close()
    check = found(examined(data_dir, only="databases"), "catalog")

    assert check.state == "failed"
    assert "safelight migrate" in check.mend


def test_a_database_that_is_in_use_is_read_with_its_log(data_dir: Path) -> None:
    database = sqlite3.connect(data_dir / "search.db")
    database.execute("pragma journal_mode = wal")
    database.execute("create table words (word)")
    database.execute("insert into words values ('rose')")
    database.commit()

    assert found(examined(data_dir, only="databases"), "search").state == "ok"
    database.close()


def test_a_server_that_holds_the_data_directory_is_told(data_dir: Path) -> None:
    with claimed(data_dir):
        check = found(examined(data_dir, only="server"), "server")

    assert check.state == "ok"
    assert f"process {os.getpid()}" in check.found


def test_looking_does_not_keep_a_server_from_starting(data_dir: Path) -> None:
    list(examined(data_dir, only="server"))
    with claimed(data_dir):
        pass


def test_a_variable_that_means_nothing_has_failed_with_what_was_meant(
    without_decoding: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SAFELIGHT_LIMITS__MAX_BYTE", "1")
    checks = list(examined(tmp_path))

    assert found(iter(checks), "settings") == Check(
        "settings", "failed", "SAFELIGHT_LIMITS__MAX_BYTE is not a setting", "Did you mean SAFELIGHT_LIMITS__MAX_BYTES?"
    )
    assert checks[-1].name == "processors"


def test_a_value_that_is_out_of_range_has_failed(without_decoding: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SAFELIGHT_SERVER__PORT", "99999")

    assert found(examined(tmp_path), "settings").state == "failed"


def test_data_from_the_future_says_that_the_clock_is_wrong(data_dir: Path) -> None:
    later = time.time() + 86_400
    os.utime(data_dir / "catalog.db", (later, later))

    assert found(examined(data_dir, only="clock"), "clock").state == "failed"


def test_a_full_disk_has_failed(monkeypatch: pytest.MonkeyPatch, data_dir: Path) -> None:
    monkeypatch.setattr(here, "LEAST_FREE_BYTES", 2**62)

    assert found(examined(data_dir, only="data directory"), "disk").state == "failed"


def test_a_spool_without_room_for_the_largest_upload_has_failed(monkeypatch: pytest.MonkeyPatch, data_dir: Path) -> None:
    monkeypatch.setenv("SAFELIGHT_INGEST__SPOOL_PATH", "/proc")  # where nothing is free
    check = found(examined(data_dir, only="spool"), "spool")

    assert (check.state, "SAFELIGHT_INGEST__SPOOL_PATH" in check.mend) == ("failed", True)


def test_a_spool_that_does_not_exist_yet_is_not_made(data_dir: Path) -> None:
    assert found(examined(data_dir, only="spool"), "spool").state == "ok"
    assert not (data_dir / "spool").exists()


def test_a_file_system_without_unnamed_files_says_why(tmp_path: Path) -> None:
    assert here._without_unnamed(Path("/proc"))
    assert here._without_unnamed(tmp_path) is None


def test_a_check_that_breaks_is_a_finding(monkeypatch: pytest.MonkeyPatch, data_dir: Path) -> None:
    def broken(_: Path) -> Check:
        raise RuntimeError("no such disk")

    monkeypatch.setattr(here, "_disk", broken)
    checks = list(examined(data_dir, only="data directory"))

    assert Check("data directory", "failed", "could not be examined: RuntimeError: no such disk") in checks


def test_a_failure_decides_the_exit_code_and_a_warning_does_not(
    monkeypatch: pytest.MonkeyPatch, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "examined", lambda _: iter([Check("a", "ok", "x"), Check("b", "warning", "y")]))
    assert doctor.doctor(data_dir=data_dir) == 0

    monkeypatch.setattr(doctor, "examined", lambda _: iter([Check("c", "failed", "z", "do this")]))

    assert doctor.doctor(data_dir=data_dir) == 1
    assert "do this" in capsys.readouterr().out
