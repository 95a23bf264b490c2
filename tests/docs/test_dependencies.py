"""What Safelight stands on: every licence is one that a company may ship with, and every pin names the bytes that it means."""

from __future__ import annotations

import importlib.util
import re
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
ALLOWED = {
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MIT-0", "MIT-CMU", "MPL-2.0", "OFL-1.1",
    "PSF-2.0", "Python-2.0", "Zlib",
}  # fmt: skip
# Linked at run time and replaceable, as the LGPL asks; nothing of theirs is changed or copied.
LESSER = {"pi-heif", "psycopg", "psycopg-binary", "psycopg-pool", "pyvips-binary"}
SPELT = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "BSD": "BSD-3-Clause",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
}

def runtime() -> dict[str, Distribution]:
    """Whatever an installation with every extra imports, by name."""
    found: dict[str, Distribution] = {}
    todo = [("safelight", frozenset(distribution("safelight").metadata.get_all("Provides-Extra") or ()))]
    asked = set()
    while todo:
        name, extras = todo.pop()
        if (name, extras) in asked:
            continue
        asked.add((name, extras))
        found[name] = distribution(name)
        for text in found[name].requires or ():
            wanted = Requirement(text)
            if wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                todo.append((canonicalize_name(wanted.name), frozenset(wanted.extras)))
    return found


def licences(found: Distribution) -> set[str]:
    """SPDX identifiers, all that are named: by the expression (PEP 639), else by classifiers, else by the old free text."""
    if expression := found.metadata.get("License-Expression"):
        return set(re.findall(r"[A-Za-z0-9.+-]+", expression)) - {"AND", "OR", "WITH"}
    classified = [
        line.rpartition(" :: ")[2] for line in found.metadata.get_all("Classifier") or () if line.startswith("License :: OSI Approved :: ")
    ]
    text = found.metadata.get("License") or ""
    said = classified or [part.strip() for part in re.split(r" AND | OR | or ", text)]
    return {SPELT.get(name, name) for name in said}


def test_every_licence_is_on_the_list():
    strange = {}
    for name, found in runtime().items():
        named = licences(found)
        allowed = ALLOWED | {"LGPL-3.0-only", "LGPL-3.0-or-later"} if name in LESSER else ALLOWED
        if not named or not named <= allowed:
            strange[name] = sorted(named)

    assert strange == {}, "look at their licences; then put them on the list, or do without"


def test_the_list_is_tried_on_all_of_them():
    """A walk that found nothing would find nothing wrong."""
    found = runtime()

    assert {"fastapi", "pyvips-binary", "psycopg-binary", "aiobotocore", "temporalio", "pi-heif", "valkey", "pydantic-core"} <= found.keys()
    assert "pytest" not in found


@pytest.mark.parametrize("lock", sorted(ROOT.glob("requirements*.lock")), ids=lambda path: path.name)
def test_every_requirement_of_the_locks_has_its_hashes(lock):
    pins = re.findall(r"^([a-z0-9][^\s=]*)==[^\n]*\n((?: {4}--hash=sha256:[0-9a-f]{64}[^\n]*\n)*)", lock.read_text(), re.M)

    assert len(pins) > 50
    assert [name for name, hashes in pins if not hashes] == []
    assert "://" not in lock.read_text()


def test_the_bill_of_materials_names_no_address():
    spec = importlib.util.spec_from_file_location("sbom", ROOT / "deploy" / "sbom.py")
    sbom = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sbom)
    part = {"name": "a", "externalReferences": [{"url": "https://a"}], "licenses": [{"license": {"id": "MIT", "text": {"content": "https://b"}}}]}

    assert sbom.without_addresses({"components": [part]}) == {"components": [{"name": "a", "licenses": [{"license": {"id": "MIT"}}]}]}
