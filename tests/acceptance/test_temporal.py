"""A server and a worker whose durable work is with a Temporal server; the worker killed, and Temporal itself, while pictures come in."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest
from temporalio.client import Client
from tests.acceptance.conftest import Server, until
from tests.pictures import jpeg
from tests.servers.temporal import Temporal, new_temporal  # noqa: F401


@pytest.fixture
def server(new_server: Server, new_temporal: Temporal) -> Server:
    new_server.environment = {"SAFELIGHT_WORKFLOWS__URL": new_temporal.url(), "SAFELIGHT_LOG__LEVEL": "info"}
    return new_server.start()


@pytest.fixture
def worker(server: Server) -> Iterator[subprocess.Popen[str]]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SAFELIGHT_")} | server.environment
    command = [sys.executable, "-m", "safelight", "worker", "--json", "--data-dir", str(server.data_dir)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    assert "started" in process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_nothing_is_lost_when_a_worker_is_killed_and_temporal_is_away(server, worker, new_temporal):
    with server.client() as client:
        waited_for = send(client, 0).raise_for_status().json()

        at_once = [send(client, n, "respond-async").raise_for_status().json()["id"] for n in range(1, 13)]
        until(lambda: works_on_something(new_temporal, worker.pid))
        worker.kill()

        new_temporal.kill()
        meanwhile = [send(client, n, "respond-async").raise_for_status().json()["id"] for n in range(13, 15)]
        away = client.get("/health/ready")
        failures = client.get("/admin/failures")
        new_temporal.start()

        for image in (*at_once, *meanwhile):
            until(lambda image=image: client.get(f"/images/{image}").json()["status"] == "ready")
        until(lambda: client.get("/health/ready").status_code == 200)
        after = client.get("/admin/failures").json()

    assert waited_for["status"] == "ready"
    assert (away.status_code, away.json()["parts"]["workflows"]) == (503, "failed")
    assert (failures.status_code, failures.json()["code"]) == (503, "backend_unavailable")
    assert after["failures"] == []
    assert server.stop() == 0


def test_a_temporal_that_will_not_do_is_named_before_anything_is_made(tmp_path, new_temporal):
    refused, unavailable = (new_temporal.url("nowhere"), "namespace", 1), ("temporal://127.0.0.1:1/default", "127.0.0.1:1", 3)
    for url, named, code in (refused, unavailable):
        environment = os.environ | {"SAFELIGHT_WORKFLOWS__URL": url}
        command = [sys.executable, "-m", "safelight", "serve", "--port", "0", "--data-dir", str(tmp_path / "data")]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

        assert ran.returncode == code
        assert "SAFELIGHT_WORKFLOWS__URL" in ran.stderr
        assert named in ran.stderr
        assert not (tmp_path / "data" / "catalog.db").exists()


def send(client: httpx.Client, number: int, prefer: str = "") -> httpx.Response:
    headers = {"prefer": prefer} if prefer else {}
    return client.post("/images", files={"file": jpeg(1600, 1200, seed=number)}, headers=headers)


def works_on_something(temporal: Temporal, pid: int) -> bool:
    """Whether a step is under way in the process, as Temporal sees it."""

    async def look() -> bool:
        client = await Client.connect(temporal.address)
        async for run in client.list_workflows("ExecutionStatus = 'Running'"):
            described = await client.get_workflow_handle(run.id).describe()
            if any(step.last_worker_identity.startswith(f"{pid}@") for step in described.raw_description.pending_activities):
                return True
        return False

    return asyncio.run(look())
