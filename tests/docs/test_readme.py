"""The commands of the README and the tutorial, run as they stand against a real server."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.conftest import Server
from tests.photographs import photographs

ROOT = Path(__file__).parents[2]


def commands(page: Path, heading: str) -> list[str]:
    """The `$` lines of the first console block under a heading, continuation lines joined."""
    section = page.read_text().split(f"## {heading}", 1)[1]
    block = re.search(r"```console\n(.*?)```", section, re.S)
    assert block
    joined = block.group(1).replace("\\\n", " ")
    return [line.removeprefix("$ ") for line in joined.splitlines() if line.startswith("$ ")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(photographs("small")[0], tmp_path / "photo.jpg")
    return tmp_path


def test_the_example_from_upload_to_delivery_runs_as_it_stands(folder):
    server = Server(folder / "safelight-data").start()
    lines = [line.replace("http://127.0.0.1:8000", server.url) for line in commands(ROOT / "README.md", "From upload to delivery")]
    # Indexing is asynchronous: whoever types has waited long enough, a script has not.
    script = "\n".join(["set -euo pipefail", *lines[:-1], "sleep 1", lines[-1]])
    try:
        ran = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, timeout=60)
    finally:
        server.stop()

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("ready ")
    assert (folder / "thumb.webp").read_bytes()[8:12] == b"WEBP"
    assert '"total":1' in ran.stdout


def test_every_make_target_of_the_readme_exists():
    targets = set(re.findall(r"`?make ([a-z-]+)", (ROOT / "README.md").read_text()))
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert targets <= set(re.findall(r"^  ([a-z-]+)", listed, re.M))
