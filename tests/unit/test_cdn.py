"""deploy/cdn: what stands in front collapses Accept to what Safelight tells apart, and changes nothing that Safelight would do."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from safelight.imaging.transform import best_format, parse

FOLDER = Path(__file__).parents[2] / "deploy" / "cdn"
CASES = [tuple(case) for case in json.loads((Path(__file__).parent / "cdn.json").read_text())]
"""Accept headers and what becomes of them; `node deploy/cdn/check.mjs` tries the functions in JavaScript with the same."""


def named(pattern: str, accept: str) -> bool:
    return re.search(pattern, accept) is not None


def by_nginx(accept: str) -> str:
    text = (FOLDER / "nginx.conf").read_text()
    found = {kind: re.search(rf'"~\*(\(\^.*)" "image/{kind}";', text)[1] for kind in ("avif", "webp")}
    kept = [f"image/{kind}" if named(f"(?i){pattern}", accept) else "" for kind, pattern in found.items()]
    table = dict(re.findall(r'^    "([^~"]*)" "([^"]*)";$', text, re.MULTILINE))
    return table.get(",".join(kept), "*/*")


def by_fastly(accept: str) -> str:
    text = (FOLDER / "fastly.vcl").read_text()
    found = dict(re.findall(r'set var\.(\w+) = req\.http\.Accept ~ "(.*)";', text))
    return ",".join(f"image/{kind}" for kind in ("avif", "webp") if named(found[kind], accept)) or "*/*"


def by_caddy(accept: str) -> str:
    text = (FOLDER / "Caddyfile").read_text()
    kept = []
    for kind in ("avif", "webp"):
        block = text.split(f"@{kind} {{")[1].split("}\n")[0] + text.split(f"@{kind} {{")[1].split("}\n")[1]
        says, refuses = (re.search(rf"^\s*{word}header_regexp Accept (.*)$", block, re.MULTILINE)[1] for word in ("", "not "))
        if named(says, accept) and not named(refuses, accept):
            kept.append(f"image/{kind}")
    return ",".join(kept) or "*/*"


@pytest.mark.parametrize(("accept", "collapsed"), CASES)
@pytest.mark.parametrize("by", (by_nginx, by_fastly, by_caddy))
def test_accept_is_collapsed(by, accept, collapsed):
    assert by(accept) == collapsed


@pytest.mark.parametrize(("accept", "collapsed"), CASES)
@pytest.mark.parametrize("plays", (True, False))
def test_a_collapsed_header_chooses_the_same_format(accept, collapsed, plays):
    spec = parse("w=9.auto")

    assert best_format(collapsed, spec, plays=plays) is best_format(accept, spec, plays=plays)


def test_every_file_is_in_the_readme():
    listed = set(re.findall(r"\]\(([^)]+)\)", (FOLDER / "README.md").read_text()))

    assert listed == {path.name for path in FOLDER.iterdir()} - {"README.md", "package.json", "check.mjs"}
