"""docs/reference/cli.md says what the commands say."""

from __future__ import annotations

from pathlib import Path

from safelight.cli.reference import page

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"


def test_the_page_is_as_the_commands_make_it() -> None:
    assert PAGE.read_text() == page(), "stale; run: python -m safelight.cli.reference > docs/reference/cli.md"


def test_every_option_on_the_page_is_explained() -> None:
    rows = [line for line in page().splitlines() if line.startswith("| `")]

    assert rows
    assert [row for row in rows if row.endswith("|  |")] == []
