"""Listings of other services: their shapes, and whatever else somebody may hand over in their name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from safelight.cli import listings
from safelight.cli.listings import Broken, Entry, entries

ASSETS = [{"public_id": f"a{number}", "tags": ["x]", 'y"{'], "context": {"custom": {"alt": "\\"}}} for number in range(3)]
PAGES = frozenset({"resources", "data"})


def read(tmp_path: Path, text: str | bytes, name: str = "listing.json") -> list[Entry | Broken]:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(entries(path, pages=PAGES))


def names(found: list[Entry | Broken]) -> list[str]:
    return [str(each.fields.get("public_id")) if isinstance(each, Entry) else f"{each.line}: {each.reason}" for each in found]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ASSETS),
        json.dumps(ASSETS, indent=2),
        "\n".join(map(json.dumps, ASSETS)),
        json.dumps({"resources": ASSETS, "next_cursor": "x", "rate": {"limit": 1}, "derived": [{"public_id": "no"}]}),
        json.dumps({"resources": ASSETS[:2], "next_cursor": "x"}) + json.dumps({"resources": ASSETS[2:]}, indent=1),
        json.dumps({"links": {"next": "x"}, "data": ASSETS}),
        "\ufeff" + json.dumps(ASSETS),
        " \n" + json.dumps(ASSETS[0]) + "\n\n" + "\r\n".join(map(json.dumps, ASSETS[1:])),
    ],
    ids=["array", "indented", "lines", "page", "pages", "json:api", "bom", "blank lines"],
)
@pytest.mark.parametrize("chunk", [1, 7, 65536])
def test_every_shape_of_json_gives_the_same_entries(
    text: str, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listings, "CHUNK", chunk)

    assert [each.fields for each in read(tmp_path, text) if isinstance(each, Entry)] == ASSETS


def test_a_broken_entry_is_named_by_its_line_and_the_others_are_read(tmp_path: Path) -> None:
    lines = [json.dumps(ASSETS[0]), '{"public_id": "cut', "[1, 2]", b"\xff{}".decode("latin-1"), json.dumps(ASSETS[1])]
    found = read(tmp_path, "\n".join(lines).encode("latin-1"))

    assert [name.partition(" ")[0] for name in names(found)] == ["a0", "2:", "3:", "4:", "a1"]


def test_a_broken_entry_of_an_array_is_named_by_its_line(tmp_path: Path) -> None:
    found = read(tmp_path, '[\n{"public_id": "a"},\n{"public_id": nothing},\n{"public_id": "b"}\n]')

    assert [name.split(" ")[0] for name in names(found)] == ["a", "3:", "b"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "{",
        "[",
        '[{"a',
        "]",
        "}{",
        "[}",
        '"',
        "[" * 500,
        '{"resources": [' * 300,
        "null",
        "\\",
        '{"a": "\\',
        "\x00" * 50,
    ],
)
@pytest.mark.parametrize("name", ["listing.json", "listing.csv", "listing"])
def test_what_is_no_listing_has_no_entries_and_is_no_crash(text: str, name: str, tmp_path: Path) -> None:
    assert [each for each in read(tmp_path, text, name) if isinstance(each, Entry)] == []


def test_an_end_in_the_middle_is_told(tmp_path: Path) -> None:
    assert names(read(tmp_path, json.dumps(ASSETS, indent=1)[:-40])) == ["a0", "a1", "26: begins an entry that does not end"]


@pytest.mark.parametrize("name", ["listing.json", "listing.csv", "lines.json"])
def test_an_entry_that_is_too_long_is_named_and_the_next_one_is_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listings, "MAX_ENTRY", 1000)
    long = "x" * 5000
    text = {
        "listing.json": f'[{{"public_id": "{long}"}},\n{{"public_id": "b"}}]',
        "lines.json": f'{{"public_id": "a"}}\n{{"public_id": "{long}"}}\n{{"public_id": "b"}}',
        "listing.csv": f"public_id\n{long}\nb",
    }[name]

    *_, broken, last = names(read(tmp_path, text, name))
    assert (broken.partition(":")[2], last) == (" longer than 1000 bytes", "b")


def test_a_table_is_read_by_its_header_whatever_parts_its_columns(tmp_path: Path) -> None:
    for delimiter in ",;\t":
        rows = [
            ["\ufeffPublic ID", "Secure-URL", "Tags"],
            ["a", "https://x/a", '"one, two"' if delimiter == "," else "one, two"],
            [],
        ]
        (entry,) = read(tmp_path, "\r\n".join(delimiter.join(row) for row in rows), "listing.csv")

        assert entry == Entry(2, {"public_id": "a", "secure_url": "https://x/a", "tags": "one, two"})


def test_a_broken_row_is_named_by_its_line_and_the_others_are_read(tmp_path: Path) -> None:
    found = read(tmp_path, b'public_id,tags\na,x\nb,"x"y\nc,x,z\nd\n\xff,x\n"e\nf",x\n', "listing.csv")

    assert [name.split(" ")[0] for name in names(found)] == ["a", "3:", "4:", "d", "6:", "e\nf"]
