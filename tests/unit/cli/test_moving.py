"""What `safelight move` takes for the side of a move."""

from __future__ import annotations

from pathlib import Path

import pytest

from safelight.cli import WrongUsage
from safelight.cli.moving import move, settings_at


def test_a_folder_is_the_embedded_installation_in_it_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAFELIGHT_STORAGE__URL", "s3://elsewhere")
    monkeypatch.setenv("SAFELIGHT_CATALOG__URL", "postgresql://elsewhere/db")
    (tmp_path / "catalog.db").touch()

    chosen = settings_at(tmp_path, is_source=True)

    assert (chosen.data_dir, chosen.storage.url, chosen.is_embedded) == (tmp_path, "", True)


def test_a_file_is_settings_as_systemd_docker_and_shells_write_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFELIGHT_STORAGE__REGION", "elsewhere")
    file = tmp_path / "servers.env"
    file.write_text(
        "# the new ones\n"
        "SAFELIGHT_STORAGE__URL=s3://acme-photos\n"
        'export SAFELIGHT_CATALOG__URL="postgresql://db:5432/safelight"\n'
        "SAFELIGHT_CATALOG__SECRET_KEY='${not a reference}'\n"
        "SAFELIGHT_URL=http://not-a-setting-of-the-server\n"
        "AWS_PROFILE=acme\n"
    )

    chosen = settings_at(file, is_source=False)

    assert (chosen.storage.url, chosen.catalog.url) == ("s3://acme-photos", "postgresql://db:5432/safelight")
    assert chosen.catalog.secret_key.get_secret_value() == "${not a reference}"
    assert chosen.storage.region == ""


@pytest.mark.parametrize(
    ("line", "said"),
    (
        ("SAFELIGHT_STORAGE__URI=s3://a-bucket", "SAFELIGHT_STORAGE__URL"),
        ("SAFELIGHT_STORAGE__URL=nonsense", "SAFELIGHT_STORAGE__URL"),
    ),
)
def test_a_line_that_makes_no_sense_is_named(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "servers.env"
    file.write_text(line + "\n")
    with pytest.raises(WrongUsage, match=said):
        settings_at(file, is_source=False)


def test_a_source_that_is_not_there_and_a_mistyped_file_are_refused_and_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(WrongUsage, match="no installation"):
        settings_at(tmp_path / "nothing", is_source=True)
    with pytest.raises(WrongUsage, match="no file"):
        settings_at(tmp_path / "mistyped.env", is_source=False)
    (tmp_path / "picture.env").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(WrongUsage, match="cannot be read"):
        settings_at(tmp_path / "picture.env", is_source=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["picture.env"]


def test_both_sides_the_same_are_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "catalog.db").touch()
    (tmp_path / "half.env").write_text(
        f"SAFELIGHT_DATA_DIR={tmp_path / 'data'}\nSAFELIGHT_CATALOG__URL=postgresql://db/safelight\n"
    )
    with pytest.raises(WrongUsage, match="same catalog"):
        move(from_=tmp_path / "data", to=tmp_path / "data")
    with pytest.raises(WrongUsage, match="same place"):
        move(from_=tmp_path / "data", to=tmp_path / "half.env")
