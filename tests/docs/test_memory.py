"""Every cache has a bound, and the page on memory has every cache."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "memory.md").read_text()
MODULES = [path for path in (ROOT / "src" / "safelight").rglob("*.py") if "testing" not in path.parts]


def rows(heading: str) -> set[tuple[str, int]]:
    """Module and entries, or name and entries, of the table below the words."""
    table = PAGE.split(heading, 1)[1].strip().split("\n\n")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {(name.strip("`"), int(row[1])) for row in cells for name in row[0].split(", ")}


def called(node: ast.AST) -> str:
    """The name of what is called, without its module."""
    function = node.func if isinstance(node, ast.Call) else node
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def argument(call: ast.Call, name: str, tree: ast.Module) -> int:
    """A number, or a constant of the module."""
    value = next(keyword.value for keyword in call.keywords if keyword.arg == name)
    if isinstance(value, ast.Name):
        value = next(
            one.value
            for one in tree.body
            if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name) and one.target.id == value.id and one.value
        )
    return int(ast.literal_eval(value))


def decorated() -> Iterator[tuple[str, int | None]]:
    """Functions that remember what they returned, and how often; None: without end."""
    for path in MODULES:
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            for decorator in getattr(node, "decorator_list", ()):
                if called(decorator) in ("lru_cache", "cache"):
                    is_bounded = isinstance(decorator, ast.Call)
                    yield f"{path.stem}.{node.name}", argument(decorator, "maxsize", tree) if is_bounded else None


def believed() -> Iterator[tuple[str, int]]:
    """Modules that make an `Expiring` or a `Believed`, and of what size."""
    for path in MODULES:
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and called(node) in ("Expiring", "Believed"):
                yield path.stem, argument(node, "size", tree)


def test_every_function_that_remembers_is_on_the_page_with_its_bound():
    found = {(name, entries) for name, entries in decorated() if entries is not None}

    assert found, "nothing was found: the test looks for the wrong thing"
    assert rows("The least recently used goes when one more comes.") == found


def test_what_is_remembered_without_a_bound_is_named_with_the_reason_why_it_ends_nevertheless():
    found = {name for name, entries in decorated() if entries is None}
    paragraph = next(one for one in PAGE.split("\n\n") if one.startswith("Remembered for good"))

    assert found, "nothing was found: the test looks for the wrong thing"
    assert set(re.findall(r"`(\w+\.\w+)`", paragraph)) == found


def test_everything_that_is_believed_for_a_while_is_on_the_page_with_its_bound():
    found = set(believed())

    assert found, "nothing was found: the test looks for the wrong thing"
    assert {(name.partition(".")[0], size) for name, size in rows("goes when that is over and something newer comes:")} == found


def test_the_pages_that_sqlite_keeps_are_those_of_the_page():
    said = {int(kib) for path in MODULES for kib in re.findall(r"cache_size=-(\d+)", path.read_text())}

    assert said == {4096}
    for file, connections in (("catalog.db", 5), ("search.db", 3)):
        assert f"| `{file}` | {connections} | 4 MiB |" in PAGE
