"""Names and places of an export, without a server."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safelight.cli.exporting import WORKSHOP, Places, file_name, workshop
from safelight.errors import Conflict

ID = "01m7y9192dq6r4wvbmfp5tfycs"


def image(name: str = "rose.jpg", body: bytes = b"rose", **changes: Any) -> Any:
    record = {
        "id": ID,
        "file_name": name,
        "type": "image/jpeg",
        "bytes": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
        "taken_at": "2024-02-03T10:00:00Z",
        "created_at": "2026-11-21T05:25:00Z",
    }
    return record | changes


@pytest.mark.parametrize(
    ("given", "kept"),
    (
        ("rose.jpg", "rose.jpg"),
        ("", f"{ID}.jpg"),
        ("..", f"{ID}.jpg"),
        ("../../etc/passwd", "_.._etc_passwd.jpg"),
        (".htaccess", "htaccess.jpg"),
        ("a\x00b\nc.jpg", "a_b_c.jpg"),
        ("C:\\x.jpg", "C__x.jpg"),
        ("rose", "rose.jpg"),
        ("Rosé 🌹.jpg", "Rosé 🌹.jpg"),
    ),
)
def test_a_name_is_kept_as_far_as_it_is_a_name(given: str, kept: str) -> None:
    assert file_name(image(given)) == kept


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=300))
def test_no_name_leaves_its_folder_or_is_too_long(name: str) -> None:
    made = file_name(image(name))

    assert Path(made).name == made
    assert not made.startswith(".")
    assert len(made.encode(errors="replace")) <= 200


def test_images_go_by_the_time_they_were_taken_else_by_the_time_they_came_in(tmp_path: Path) -> None:
    places = Places(tmp_path)

    assert places.find(image()).path == tmp_path / "2024" / "02" / "rose.jpg"
    assert places.find(image("b.jpg", taken_at=None)).path == tmp_path / "2026" / "11" / "b.jpg"


def test_a_name_that_is_taken_gets_a_number(tmp_path: Path) -> None:
    places = Places(tmp_path)
    paths = [places.find(image(name)).path.name for name in ("rose.jpg", "ROSE.jpg", "rose.jpg")]

    assert paths == ["rose.jpg", "ROSE-2.jpg", "rose-3.jpg"]


def test_other_bytes_that_stand_there_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "2024" / "02").mkdir(parents=True)
    (tmp_path / "2024" / "02" / "rose.jpg").write_bytes(b"else")
    place = Places(tmp_path).find(image())

    assert (place.path.name, place.is_there) == ("rose-2.jpg", False)


def test_the_right_bytes_that_stand_there_are_found_again(tmp_path: Path) -> None:
    (tmp_path / "2024" / "02").mkdir(parents=True)
    (tmp_path / "2024" / "02" / "rose.jpg").write_bytes(b"rose")
    places = Places(tmp_path)

    assert [(place.path.name, place.is_there) for place in (places.find(image()), places.find(image()))] == [
        ("rose.jpg", True),
        ("rose-2.jpg", False),
    ]


def test_a_link_that_stands_there_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "2024" / "02").mkdir(parents=True)
    (tmp_path / "elsewhere").write_bytes(b"rose")
    (tmp_path / "2024" / "02" / "rose.jpg").symlink_to(tmp_path / "elsewhere")

    assert Places(tmp_path).find(image()).path.name == "rose-2.jpg"


def test_a_second_export_to_the_same_folder_is_refused(tmp_path: Path) -> None:
    with workshop(tmp_path), pytest.raises(Conflict, match="Another export"), workshop(tmp_path):
        pass


def test_what_a_killed_export_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / WORKSHOP).mkdir()
    (tmp_path / WORKSHOP / "half").write_bytes(b"ro")
    with workshop(tmp_path) as room:
        assert list(room.iterdir()) == []

    assert list(tmp_path.iterdir()) == []
