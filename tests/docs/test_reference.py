"""What exists is documented, and the documents say what exists."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
generate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(generate)


@pytest.mark.parametrize("page", generate.PAGES)
def test_a_generated_page_is_up_to_date(page):
    assert (ROOT / "docs" / "reference" / page).read_text() == generate.HEAD + generate.PAGES[page](), "run `make docs`"


def test_every_event_starts_a_flow_or_is_quiet():
    from safelight.domain.events import EVENTS
    from safelight.flows import QUIET, STARTS

    assert set(EVENTS.values()) == set(STARTS) | QUIET
    assert not set(STARTS) & QUIET


def test_every_error_code_belongs_to_one_class():
    from safelight.errors import SafelightError

    codes: dict[str, str] = {}
    todo = [SafelightError]
    while todo:
        cls = todo.pop()
        todo += cls.__subclasses__()
        assert cls.code not in codes or cls.__module__ != "safelight.errors", (cls, codes[cls.code])
        codes[cls.code] = cls.__name__


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md")), ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_between_pages_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), target


def test_every_page_is_on_the_map():
    pages = {str(path.relative_to(ROOT / "docs")) for room in ("tutorial", "howto", "reference", "explanation") for path in (ROOT / "docs" / room).glob("*.md")}
    listed = re.findall(r"\]\(([^)#]+\.md)\)", (ROOT / "docs" / "README.md").read_text())

    assert pages - set(listed) == set()


@pytest.mark.parametrize("port", sorted((ROOT / "src/safelight/ports").glob("[a-z]*.py")), ids=lambda p: p.stem)
def test_a_port_has_at_most_nine_methods_and_a_contract_suite(port):
    import ast

    for node in ast.parse(port.read_text()).body:
        if isinstance(node, ast.ClassDef) and any(getattr(base, "id", "") == "Protocol" for base in node.bases):
            methods = [m for m in node.body if isinstance(m, ast.FunctionDef | ast.AsyncFunctionDef)]
            assert len(methods) <= 9, node.name
            assert all(ast.get_docstring(m) for m in methods), node.name
    assert (ROOT / "src/safelight/testing/contracts" / port.name).exists()
