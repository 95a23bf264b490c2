"""What operators do for what is kept, by the commands, on both profiles."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from tests.acceptance.conftest import Server
from tests.pictures import jpeg

from safelight.ports.archive import Archive
from safelight.services.moving import Holdings
from safelight.settings import Settings
from safelight.wiring import Place


def safelight(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SAFELIGHT_")} | server.environment
    command = [sys.executable, "-m", "safelight", *arguments, "--data-dir", str(server.data_dir)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert "Traceback" not in ran.stderr, ran.stderr[-4000:]
    return ran


def with_holdings(server: Server, work: Callable[[Holdings], Awaitable[object]]) -> None:
    """Do it to the buckets themselves, behind the server's back."""

    async def run() -> None:
        values = {k: v for k, v in os.environ.items() if k.startswith("SAFELIGHT_")}
        with pytest.MonkeyPatch.context() as patch:
            for name in values:
                patch.delenv(name)
            for name, value in server.environment.items():
                patch.setenv(name, value)
            place = Place.at(Settings(data_dir=server.data_dir), is_source=True)
        for part in place.parts:
            await part.open()
        try:
            await work(place.holdings)
        finally:
            for part in place.parts:
                await part.close()

    asyncio.run(run())


@pytest.fixture(scope="module", params=["embedded", "servers"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environment: dict[str, str] = {}
    if request.param == "servers":
        profile = request.getfixturevalue("servers_profile")
        base, _, _ = profile["SAFELIGHT_CATALOG__URL"].rpartition("/")
        with psycopg.connect(profile["SAFELIGHT_CATALOG__URL"], autocommit=True) as connection:
            connection.execute("CREATE DATABASE care")
        environment = profile | {
            "SAFELIGHT_CATALOG__URL": f"{base}/care",
            "SAFELIGHT_STORAGE__URL": profile["SAFELIGHT_STORAGE__URL"] + "/care",
        }
    running = Server(tmp_path_factory.mktemp("care") / "data", environment).start()
    yield running
    running.stop()


def test_reconcile_finds_and_mends_beside_a_server(server: Server) -> None:
    with server.client() as client:
        record = client.post("/images", files={"file": jpeg(seed=70)}).json()

        async def tidied_by_hand(holdings: Holdings) -> None:
            for pile in await holdings.buckets.renditions.piles():
                if f"/{record['id']}/" in pile.key:
                    await holdings.buckets.renditions.purge(pile.key)

        with_holdings(server, tidied_by_hand)
        dry = safelight(server, "reconcile", "--dry-run", "--grace", "0", "--json")
        assert dry.returncode == 1, dry.stderr
        found = json.loads(dry.stdout)
        assert found["findings"]["rendition_missing"] == {"count": 1, "mended": 0, "first": [record["id"]]}

        assert safelight(server, "reconcile", "--grace", "0").returncode == 1
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            again = safelight(server, "reconcile", "--dry-run", "--grace", "0", "--json")
            if again.returncode == 0:
                break
        assert json.loads(again.stdout)["is_clean"] is True
        assert client.get(f"/images/{record['id']}").json()["status"] == "ready"


def test_commands_refuse_a_folder_without_an_installation(tmp_path: Path) -> None:
    ran = safelight(Server(tmp_path / "nothing"), "reconcile")

    assert ran.returncode == 1
    assert "holds no installation" in ran.stderr
    assert not (tmp_path / "nothing").exists()


def test_a_backup_by_the_commands_survives_a_kill_and_is_given_back(server: Server, tmp_path: Path) -> None:
    key, folder = tmp_path / "backup.key", tmp_path / "backups"
    key.write_text("5a" * 32)
    key.chmod(0o600)
    where = ("--in", str(folder), "--key-file", str(key))
    with server.client() as client:
        record = client.post("/images", files={"file": jpeg(seed=71)}, data={"title": "Harbour"}).json()
        original = client.get(f"/images/{record['id']}/original").content
        first = safelight(server, "backup", "create", *where, "--json")
        assert first.returncode == 0, first.stderr
        for seed in range(72, 76):
            client.post("/images", files={"file": jpeg(seed=seed)})
    killed_in_the_middle(server, where, folder)
    listed = json.loads(apart("backup", "list", *where, "--json").stdout)["backups"]
    assert [one["id"] for one in listed] == [json.loads(first.stdout)["id"]]
    assert apart("backup", "verify", *where).returncode == 0
    second = json.loads(safelight(server, "backup", "create", *where, "--json").stdout)
    assert second["lost"] == []
    assert second["rows"]["images"] > listed[0]["rows"]["images"]

    back = tmp_path / "back"
    restored = apart("backup", "restore", *where, "--to", str(back), "--json")
    assert restored.returncode == 0, restored.stderr
    assert json.loads(restored.stdout)["id"] == second["id"]
    again = Server(back).start()
    with contextlib.ExitStack() as ending:
        ending.callback(again.stop)
        client = ending.enter_context(again.client())
        assert client.get(f"/images/{record['id']}").json()["title"] == "Harbour"
        assert client.get(f"/images/{record['id']}/original").content == original
        assert [one["image"]["id"] for one in client.get("/images/search", params={"q": "harbour"}).json()["results"]] == [
            record["id"]
        ]
    refused = apart("backup", "restore", *where, "--to", str(back))
    assert (refused.returncode, "not empty" in refused.stderr) == (1, True), refused.stderr


def apart(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A command that knows nothing of the installation."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SAFELIGHT_")}
    ran = subprocess.run(
        [sys.executable, "-m", "safelight", *arguments], env=environment, capture_output=True, text=True, timeout=300
    )
    assert "Traceback" not in ran.stderr, ran.stderr[-4000:]
    return ran


def killed_in_the_middle(server: Server, where: tuple[str, ...], folder: Path) -> None:
    """kill -9 as soon as the new rows are there, before the backup is."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SAFELIGHT_")} | server.environment
    command = [sys.executable, "-m", "safelight", "backup", "create", *where, "--data-dir", str(server.data_dir)]
    before = len(list((folder / "rows").iterdir()))
    running = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(list((folder / "rows").iterdir())) == before and running.poll() is None:
        time.sleep(0.001)
    running.kill()
    running.wait()
    for path in (folder / "snapshots").iterdir():  # it was faster than the kill: as if it had come too late
        if path.name != min(one.name for one in (folder / "snapshots").iterdir()):
            path.unlink()


def test_scrub_finds_bytes_that_a_disk_has_changed_and_mends_what_can_be(server: Server) -> None:
    with server.client() as client:
        mended, lost = (client.post("/images", files={"file": jpeg(seed=seed)}).json() for seed in (80, 81))
        assert safelight(server, "scrub", "--json").returncode == 0

        async def damaged(holdings: Holdings) -> None:
            for archive, ending, image in (
                (holdings.buckets.renditions, ".webp", mended),
                (holdings.buckets.originals, "/master.jpg", mended),
                (holdings.buckets.originals, "/original", lost),
            ):
                piles = [one for one in await archive.piles() if f"/{image['id']}/" in one.key and one.key.endswith(ending)]
                await _flipped(server, archive, piles[0].key)

        with_holdings(server, damaged)
        expected = {"rendition_damaged": 1, "master_damaged": 1, "original_damaged": 1}
        dry = safelight(server, "scrub", "--dry-run", "--json")
        assert (dry.returncode, _counts(dry)) == (1, expected), dry.stderr
        refused = client.get(f"/images/{lost['id']}/original")
        assert (refused.status_code, refused.json()["code"]) == (503, "damaged_object"), "though no scrub has marked it yet"
        assert client.get(f"/images/{lost['id']}").json()["problem"] is None
        assert _counts(safelight(server, "scrub", "--rate", "500MB", "--json")) == expected
        record = client.get(f"/images/{lost['id']}").json()
        assert record["problem"]["code"] == "original_damaged"
        refused = client.get(f"/images/{lost['id']}/original")
        assert (refused.status_code, refused.json()["code"]) == (503, "damaged_object")

        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and client.get(f"/images/{mended['id']}").json()["status"] != "ready":
            time.sleep(0.2)
        assert _counts(safelight(server, "scrub", "--json")) == {"original_damaged": 1}
        assert client.delete(f"/images/{lost['id']}").status_code == 204
        assert client.delete(f"/images/{lost['id']}", params={"purge": True}).status_code == 204


def _counts(ran: subprocess.CompletedProcess[str]) -> dict[str, int]:
    return {kind: one["count"] for kind, one in json.loads(ran.stdout)["findings"].items()}


async def _flipped(server: Server, archive: Archive, key: str) -> None:
    """A bit of the blob on the disk; on S3 the object, overwritten by another client that leaves no older version."""
    if "SAFELIGHT_STORAGE__URL" not in server.environment:
        objects = server.data_dir / "objects"
        with sqlite3.connect(objects / "objects.db") as rows:
            ((blob,),) = rows.execute("select blob from versions where key = ?", [key]).fetchall()
        path = objects / "blobs" / blob[:2] / blob
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        return
    data = bytearray(await archive.get(key))
    (stored,) = await archive.versions(key)
    data[len(data) // 2] ^= 1
    store = archive._store  # type: ignore[attr-defined]
    bucket, name = archive._bucket, archive._name_of(key)  # type: ignore[attr-defined]
    client = store.connection.client
    metadata = (await client.head_object(Bucket=bucket, Key=name))["Metadata"]
    await client.put_object(Bucket=bucket, Key=name, Body=bytes(data), Metadata=metadata)
    await archive.delete(key, version=stored.version)
