"""A claim of security without a test behind it is a hope: what the pages name as proof is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("threat-model.md", "owasp-api-top-ten.md")
PROOF = re.compile(r"\[([^\]]+)\]\((\.\./\.\./(?:tests|src/safelight/testing)/[^)#]+)#(test_\w+)\)")
EXPLANATION = ROOT / "docs" / "explanation"


def functions(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("page", PAGES)
def test_every_proof_is_a_test_that_exists(page):
    proofs = PROOF.findall((EXPLANATION / page).read_text())

    assert len(proofs) > 40
    missing = [name for _, path, name in proofs if name not in functions(EXPLANATION / path)]
    assert missing == []
    assert [name for said, _, name in proofs if said != name.removeprefix("test_").replace("_", " ")] == []


def test_every_threat_has_a_proof_or_is_the_operators():
    rows = [line for line in (EXPLANATION / "threat-model.md").read_text().splitlines() if re.match(r"\| [STRIDE] \|", line)]

    assert {row[2] for row in rows} == set("STRIDE")
    assert [row for row in rows if not PROOF.search(row) and "operator's" not in row] == []


def test_every_risk_of_the_ten_has_a_proof():
    sections = re.split(r"^## ", (EXPLANATION / "owasp-api-top-ten.md").read_text(), flags=re.M)[1:]

    assert [section.partition(":")[0] for section in sections] == [f"API{number}" for number in range(1, 11)]
    assert [section.partition(":")[0] for section in sections if not PROOF.search(section)] == []


def test_every_secret_of_the_settings_is_on_the_page_of_secrets():
    from pydantic import SecretStr
    from safelight.settings import Settings

    page = (ROOT / "docs" / "reference" / "secrets.md").read_text()
    named = []
    for section, field in Settings.model_fields.items():
        for name, inner in getattr(field.annotation, "model_fields", {}).items():
            is_file = name.endswith(("key_file", "tls_key", "secrets_file"))
            if inner.annotation is SecretStr or is_file:
                named.append(f"SAFELIGHT_{section}__{name}".upper())

    assert len(named) > 6
    assert [name for name in named if f"`{name}`" not in page] == []
