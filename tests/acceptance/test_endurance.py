"""`make load` and `make soak` work, and more than a server can do is refused as they demand. What they measure takes them longer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from tests.photographs import photographs
from tests.pictures import jpeg

ROOT = Path(__file__).parents[2]


def ran(*command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], input=stdin, cwd=ROOT, capture_output=True, text=True, timeout=400)


def test_what_is_too_much_is_refused_with_503_and_nothing_else(new_server):
    new_server.environment |= {"SAFELIGHT_SERVER__MAX_REQUESTS": "8", "SAFELIGHT_DELIVERY__MAX_WAITING": "1", "SAFELIGHT_DELIVERY__MAX_RENDERS": "1",
                               "SAFELIGHT_LOG__LEVEL": "warning", "SAFELIGHT_RATE__USER_PER_S": "0"}  # fmt: skip
    new_server.start()
    with new_server.client() as client:
        path = f"/images/{client.post('/images', files={'file': jpeg(900, 600)}).raise_for_status().json()['id']}"
        specs = [f"h={40 + n % 400},w={50 + n // 4}.webp" for n in range(100)]
        cold = client.post(f"{path}/urls", json={"transforms": specs}).raise_for_status().json()["urls"]
    order = {
        "url": new_server.url, "key": new_server.api_key, "seconds": 1.0, "connections": 256, "timeout_s": 120,
        "rates": {"record": 300.0, "cold": 90.0, "upload": 20.0},
        "asks": {"record": [path], "cold": [url.removeprefix(new_server.url) for url in cold], "upload": [str(small_photograph())]},
    }  # fmt: skip
    done = ran("bench/crowd.py", stdin=json.dumps(order))

    assert done.returncode == 0, done.stderr[-3000:]
    kinds = json.loads(done.stdout)["kinds"]
    assert {words for kind in kinds.values() for words in kind["wrong"]} == set()
    assert {status for kind in kinds.values() for status in kind["statuses"]} <= {"200", "201", "202", "503"}
    for kind in ("record", "cold"):
        assert kinds[kind]["statuses"].get("503", 0) > 0, kinds[kind]
    assert httpx.get(f"{new_server.url}/health/ready", timeout=60).status_code == 200
    assert "Traceback" not in new_server.log


def small_photograph() -> Path:
    return next(path for path in photographs("small") if path.suffix == ".jpg")


def test_make_load_measures(tmp_path):
    done = ran("bench/load.py", "--quick", "--only", "cold", "--seconds", "1.5", "--steps", "2", "--out", str(tmp_path))

    assert (tmp_path / "load.json").exists(), done.stderr[-3000:]
    found = json.loads((tmp_path / "load.json").read_text())["found"]["cold"]
    kinds = [report["kinds"]["cold"] for report in (*found["steps"], *found["plateaus"], *found["overloads"])]
    assert sum(kind["accepted"] for kind in kinds) > 0
    assert [kind["wrong"] for kind in kinds if kind["wrong"]] == []


@pytest.mark.xdist_group("chaos")
def test_make_soak_measures(tmp_path):
    done = ran("bench/soak.py", "--minutes", "0.2", "--small", "--out", str(tmp_path))

    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    result = json.loads((tmp_path / "soak.json").read_text())
    assert result["broken"] == []
    assert result["requests"] > 10
    assert len(result["samples"]) > 3
