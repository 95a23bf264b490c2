"""`safelight worker` beside a server, and `safelight migrate`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

from tests.pictures import jpeg


def test_a_worker_takes_part_and_stops_when_told(new_server):
    new_server.start()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SAFELIGHT_")}
    command = [sys.executable, "-m", "safelight", "worker", "--json", "--data-dir", str(new_server.data_dir)]
    log = new_server.data_dir.parent / "worker.log"
    with log.open("w") as told:
        worker = subprocess.Popen(command, env=environment, stderr=told, stdout=subprocess.PIPE, text=True)
    try:
        for _ in range(600):
            if "worker.started" in log.read_text():
                break
            time.sleep(0.05)
        with new_server.client() as client:
            ids = [
                client.post("/images", files={"file": jpeg(seed=n)}, headers={"prefer": "respond-async"}).json()["id"]
                for n in range(10)
            ]
            for image_id in ids:
                for _ in range(200):
                    if client.get(f"/images/{image_id}").json()["status"] == "ready":
                        break
                    time.sleep(0.05)
                assert client.get(f"/images/{image_id}").json()["status"] == "ready"
            assert client.get("/admin/failures").json()["failures"] == []
    finally:
        worker.send_signal(signal.SIGTERM)
        said, _ = worker.communicate(timeout=30)

    assert worker.returncode == 0, log.read_text()
    assert "worker.started" in log.read_text()
    assert "worker.stopped" in log.read_text()
    assert [json.loads(line)["worker"] for line in said.splitlines()] == ["started", "stopped"]


def test_a_worker_without_an_installation_says_what_to_do(tmp_path):
    command = [sys.executable, "-m", "safelight", "worker", "--data-dir", str(tmp_path / "nothing")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30)

    assert ran.returncode == 1
    assert "safelight serve" in ran.stderr


def test_migrate_brings_an_empty_folder_up_to_date_and_check_says_so(tmp_path):
    command = [sys.executable, "-m", "safelight", "migrate", "--data-dir", str(tmp_path / "data")]
    planned = subprocess.run([*command, "--plan"], capture_output=True, text=True, timeout=30)
    behind = subprocess.run([*command, "--check"], capture_output=True, text=True, timeout=30)
    applied = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=30)
    current = subprocess.run([*command, "--check", "--json"], capture_output=True, text=True, timeout=30)

    assert (planned.returncode, "0001_first_light" in planned.stdout) == (0, True)
    assert behind.returncode == 1
    assert '"applied":["0001' in applied.stdout
    assert (current.returncode, current.stdout.strip()) == (0, '{"is_current":true,"pending":[],"applied":[]}')
