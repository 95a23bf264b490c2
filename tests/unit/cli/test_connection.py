"""Which server a command talks to, and with which key."""

from __future__ import annotations

from pathlib import Path

import pytest

from safelight.cli import WrongUsage
from safelight.cli.connection import Server, how_to_reach
from safelight.errors import Unauthenticated


def write_key(folder: Path, key: str = "sl_local") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "admin.key").write_text(key + "\n")
    return folder


def test_a_given_key_comes_before_the_one_in_the_data_directory(tmp_path: Path) -> None:
    assert Server(api_key="sl_given", data_dir=write_key(tmp_path)).key == "sl_given"


@pytest.mark.parametrize("url", ("http://127.0.0.1:8000", "http://localhost:9", "http://[::1]:8000", "http://photos.localhost"))
def test_a_server_on_this_machine_is_asked_with_the_key_of_its_first_start(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_key(tmp_path / "safelight-data")
    monkeypatch.chdir(tmp_path)

    assert Server(url).key == "sl_local"


@pytest.mark.parametrize(
    "url", ("https://photos.example", "http://10.0.0.7:8000", "http://localhost.example", "http://127.0.0.1@evil.example")
)
def test_the_key_in_the_working_directory_goes_to_no_other_machine(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_key(tmp_path / "safelight-data")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Unauthenticated, match="SAFELIGHT_API_KEY"):
        Server(url).key


def test_a_named_data_directory_is_believed_for_any_server(tmp_path: Path) -> None:
    assert Server("http://safelight:8000", data_dir=write_key(tmp_path)).key == "sl_local"


def test_no_key_at_all_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Unauthenticated, match="SAFELIGHT_API_KEY.*safelight serve"):
        Server(data_dir=tmp_path / "nothing").key


def test_an_address_without_a_scheme_is_wrong_usage() -> None:
    with pytest.raises(WrongUsage, match="http://"):
        Server("photos.example", "sl_x").connect()


def test_the_advice_names_the_port_of_a_local_server() -> None:
    assert "safelight serve --port 8123" in how_to_reach("http://localhost:8123")
    assert "serve" not in how_to_reach("https://photos.example")
