"""Half a minute of chaos on each change, as the command that runs it for hours: no promise is broken. `make chaos` runs longer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("chaos")]


@pytest.mark.parametrize("profile", ("embedded", "servers"))
def test_half_a_minute_of_chaos_breaks_no_promise(profile, tmp_path):
    command = [
        sys.executable,
        "-m",
        "tests.chaos.run",
        "--profile",
        profile,
        "--minutes",
        "0.5",
        "--seed",
        "1",
        "--out",
        str(tmp_path / "out"),
    ]
    ran = subprocess.run([*command, "--clients", "1"], cwd=ROOT, capture_output=True, text=True, timeout=900)

    assert ran.returncode == 0, f"{ran.stdout[-6000:]}\n{ran.stderr[-3000:]}"
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["broken"] == []
    assert report["writes_acknowledged"] > 5
    assert sum(report["faults"].values()) >= 3
