"""`safelight doctor` for an installation on other machines, from outside: what it says, and what it keeps to itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.conftest import Server, free_port, of_its_own
from tests.servers.seaweedfs import SECRET_KEY


@pytest.fixture
def profile(servers_profile: dict[str, str]) -> dict[str, str]:
    return of_its_own(servers_profile)


def examined(profile: dict[str, str], data_dir: Path) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code and the findings by name. Nothing else may be written anywhere."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SAFELIGHT_")} | profile
    before = sorted(data_dir.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-m", "safelight", "doctor", "--json", "--data-dir", str(data_dir)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stderr == ""
    assert [secret for secret in ("hush", SECRET_KEY, profile["SAFELIGHT_CATALOG__SECRET_KEY"]) if secret in done.stdout] == []
    assert sorted(data_dir.rglob("*")) == before
    document = json.loads(done.stdout)
    assert list(document) == ["checks", "ok", "warning", "failed"]
    assert all(list(check) == ["name", "state", "found", "mend"] for check in document["checks"])
    return done.returncode, {check["name"]: check for check in document["checks"]}


def test_a_running_installation_on_other_machines_is_well(profile: dict[str, str], new_server: Server) -> None:
    new_server.environment = profile
    new_server.start()
    code, found = examined(profile, new_server.data_dir)

    assert code == 0, found
    assert {found[name]["state"] for name in ("catalog", "search", "workflows", "objects", "catalog key")} == {"ok"}
    assert "1 process takes part" in found["workflows"]["found"]
    assert "runs as process" in found["server"]["found"]


def test_nothing_is_said_of_files_that_do_not_matter_there(profile: dict[str, str], tmp_path: Path) -> None:
    code, found = examined(profile, tmp_path / "data")

    assert code == 0, found
    assert found.keys() & {"SQLite", "disk", "fsync", "file system", "master key", "keys"} == set()
    assert [check for check in found.values() if ".db" in check["found"]] == []
    assert "are free" in found["spool"]["found"]
    assert found["catalog"]["state"] == "warning"
    assert "safelight migrate" in found["catalog"]["mend"]


def test_a_failure_leaves_with_1_and_tells_no_password(profile: dict[str, str], tmp_path: Path) -> None:
    gone = f"postgresql://postgres:hush@127.0.0.1:{free_port()}/d"
    code, found = examined(profile | {"SAFELIGHT_CATALOG__URL": gone}, tmp_path / "data")

    assert code == 1
    assert "does not answer (SAFELIGHT_CATALOG__URL)" in found["catalog"]["found"]
    assert found["objects"]["state"] == "ok"
