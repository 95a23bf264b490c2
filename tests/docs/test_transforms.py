"""docs/reference/transforms.md lists what the parser knows, and its examples are examples."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from safelight.imaging.transform import Fit, parse, parse_request
from safelight.imaging.transform.options import NAMES, OPTIONS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "transforms.md"


def rows(heading: str) -> list[list[str]]:
    section = PAGE.read_text().split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("| `")]


def test_the_table_lists_exactly_the_options_that_the_parser_knows() -> None:
    listed = {name for row in rows("Options") for cell in row[:2] for name in re.findall(r"`(.+)`", cell)}

    assert listed == set(NAMES)
    assert all(len(row) == 6 and all(row[i] for i in (0, 2, 3, 4, 5)) for row in rows("Options"))


def test_every_fit_is_explained() -> None:
    assert {row[0].strip("`") for row in rows("Fitting")} - {"fit"} == {fit.value for fit in Fit}


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_example_is_good_and_uses_its_option(option) -> None:
    names = [part.partition("=")[0] for part in option.example.split(",")]

    assert option.short in names or option.name in names
    assert parse_request(f"{option.example}.webp")


def test_the_three_spellings_of_one_key_are_one() -> None:
    section = PAGE.read_text().split("## One key for one picture\n")[1].split("\n## ")[0]
    *spellings, canonical = [text for text in re.findall(r"`([^`]+)`", section) if "=" in text]

    assert len(spellings) == 3
    assert {parse(f"{text}.webp").text for text in spellings} == {f"{canonical}.webp"}
