"""`safelight move`: files and SQLite to S3 with PostgreSQL or DynamoDB and back, killed on the way, and everything is as it was."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest
from tests.acceptance.conftest import Server, until
from tests.pictures import jpeg, png
from tests.servers.moto import CREDENTIALS, moto  # noqa: F401

from safelight.cli.moving import settings_at
from safelight.wiring import Place

ADA = {"email": "ada@example.org", "password": "umbrella-seventeen-kites"}
SIGNING_UP = {
    "SAFELIGHT_AUTH__SIGNUP_TENANTS": "default",
    "SAFELIGHT_AUTH__HASH_MEMORY_KIB": "8192",
    "SAFELIGHT_AUTH__HASH_PASSES": "1",
}


def command(source: Path, target: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "safelight", "move", "--from", str(source), "--to", str(target), *more]


def clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("SAFELIGHT_")}


def move(source: Path, target: Path, *more: str) -> dict:
    ran = subprocess.run(command(source, target, "--json", *more), env=clean(), capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-4000:]
    return json.loads(ran.stdout)


def refused(source: Path, target: Path) -> str:
    ran = subprocess.run(command(source, target), env=clean(), capture_output=True, text=True, timeout=120)
    assert ran.returncode == 1, (ran.returncode, ran.stderr[-4000:])
    assert "Traceback" not in ran.stderr
    return ran.stderr


async def held(place: Path) -> tuple[dict, dict]:
    """Everything an installation holds, without what is its own: version ids, times of markers, and the keys it was handed."""
    there = Place.at(settings_at(place, is_source=True), is_source=True)
    for part in there.parts:
        await part.open()
    objects, rows = {}, {}
    for name, archive in there.holdings.archives:
        for pile in await archive.piles(limit=10_000):
            layers = []
            for layer in pile.layers:
                if layer.is_marker:
                    layers.append(None)
                    continue
                stored = await archive.stat(pile.key, version=layer.version)
                layers.append((stored.etag, stored.size_bytes, stored.media_type, stored.modified_at, dict(stored.metadata)))
            objects[name, pile.key] = layers
    tables = there.holdings.tables
    for table in set(tables.names) - {"inherited_keys"}:
        rows[table] = [dict(row) for row in await tables.read(table, limit=10_000)]
    for part in there.parts:
        await part.close()
    return objects, rows


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> Server:
    """A stopped server on files with a bit of everything."""
    server = Server(tmp_path_factory.mktemp("start") / "data", SIGNING_UP).start()
    httpx.post(f"{server.url}/auth/signup", json=ADA, timeout=60).raise_for_status()
    letter = until(lambda: next(server.data_dir.glob("mail/**/*.eml"), None)).read_text()
    token = re.search(r"#verify=3D([\w.-]+(?:=\n[\w.-]+)*)|#verify=([\w.-]+)", letter)
    told = (token[1] or token[2]).replace("=\n", "")
    httpx.post(f"{server.url}/auth/verify", json={"token": told}, timeout=60).raise_for_status()
    with server.client() as client:
        records = [
            client.post("/images", files={"file": jpeg(seed=80 + number)}, data={"title": f"Harbour {number}"}).json()
            for number in range(4)
        ]
        client.put(f"/images/{records[0]['id']}/original", files={"file": png(300, 200, seed=90)})
        client.delete(f"/images/{records[1]['id']}")
        album = client.post("/albums", json={"title": "Ports"}).json()
        client.post(f"/albums/{album['id']}/images", json={"images": [records[2]["id"], records[0]["id"]]})
        deadline = time.monotonic() + 60
        while client.get("/images/search", params={"q": "harbour"}).json()["total"] != 3:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert server.stop() == 0
    return server


@pytest.fixture(scope="module", params=["postgresql", "dynamodb"])
def networked_place(request, tmp_path_factory, servers_profile) -> Path:
    """A file of settings: empty places on the servers that the other tests use too."""
    url = servers_profile["SAFELIGHT_CATALOG__URL"]
    database = f"m{uuid4().hex[:12]}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {database}")
    folder = tmp_path_factory.mktemp("networked")
    mine = servers_profile | {
        "SAFELIGHT_DATA_DIR": str(folder / "data"),
        "SAFELIGHT_CATALOG__URL": f"{url.rpartition('/')[0]}/{database}",
        "SAFELIGHT_STORAGE__URL": f"{servers_profile['SAFELIGHT_STORAGE__URL']}/moved-{database}",
    }
    if request.param == "dynamodb":
        postgres = mine["SAFELIGHT_CATALOG__URL"]
        mine |= {"SAFELIGHT_WORKFLOWS__URL": postgres, "SAFELIGHT_SEARCH__URL": postgres}
        mine["SAFELIGHT_CATALOG__URL"] = request.getfixturevalue("moto").catalog_url()
    file = folder / "servers.env"
    file.write_text("".join(f"{name}={value!r}\n" for name, value in mine.items()))
    return file


def environment(file: Path) -> dict[str, str]:
    return dict(line.replace("'", "").split("=", 1) for line in file.read_text().splitlines()) | CREDENTIALS


def test_a_move_there_killed_on_the_way_and_back_again_gives_what_was(filled, networked_place, tmp_path):
    before = asyncio.run(held(filled.data_dir))
    killed = subprocess.Popen(
        command(filled.data_dir, networked_place, "--concurrency", "1"),
        env=clean(),
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        asyncio.run(first_objects_at(networked_place))
    finally:
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()

    half = Server(tmp_path / "half", environment(networked_place))
    with pytest.raises(AssertionError, match="not finished"):
        half.start()
    there = move(filled.data_dir, networked_place)
    assert there["is_resumed"]
    versions = sum(shelf["versions"] + shelf["markers"] for shelf in there["buckets"].values())
    assert 0 < there["carried"] < versions
    assert asyncio.run(held(networked_place)) == before
    assert "not empty" in refused(filled.data_dir, networked_place)

    back = tmp_path / "back"
    again = move(networked_place, back)
    assert not again["is_resumed"]
    carried = {name: sheet["rows"] for name, sheet in there["tables"].items()}
    assert {name: sheet["rows"] for name, sheet in again["tables"].items()} == carried | {"inherited_keys": 4}
    assert asyncio.run(held(back)) == before

    assert (back / "admin.key").read_text() == (filled.data_dir / "admin.key").read_text()
    for server in (Server(back), Server(tmp_path / "networked", environment(networked_place))):
        serves_what_was(server, filled.api_key)


def serves_what_was(server: Server, api_key: str) -> None:
    server.start()
    headers = {"authorization": f"Bearer {api_key}"}
    with contextlib.ExitStack() as ending:
        ending.callback(server.stop)
        client = ending.enter_context(httpx.Client(base_url=server.url, headers=headers, timeout=60))
        found = client.get("/images/search", params={"q": "harbuor"}).json()
        assert found["total"] == 3
        images = {image["title"]: image for image in client.get("/images").json()["images"]}
        assert sorted(images) == ["Harbour 0", "Harbour 2", "Harbour 3"]
        first = images["Harbour 0"]
        assert client.get(f"/images/{first['id']}/original", params={"version": 1}).content == jpeg(seed=80)
        assert client.get(f"/images/{first['id']}/original").content == png(300, 200, seed=90)
        assert httpx.get(first["renditions"][0]["url"]).status_code == 200
        [trashed] = client.get("/images", params={"trashed": True}).json()["images"]
        assert client.post(f"/images/{trashed['id']}/restore").status_code == 200
        assert client.get(f"/images/{trashed['id']}/original").content == jpeg(seed=81)
        assert client.post("/images", files={"file": jpeg(seed=99)}).status_code == 201
        # What was done before the move, under another key.
        asked = {"actor": first["owner"], "object": f"image/{first['id']}"}
        entries = client.get("/admin/audit", params=asked).raise_for_status().json()["entries"]
        assert {entry["user"] for entry in entries} == {first["owner"]}
        assert client.post("/auth/signin", json=ADA).status_code == 200


async def first_objects_at(place: Path) -> None:
    """Until the target has an object."""
    target = Place.at(settings_at(place, is_source=False), is_source=True)
    storage = next(part for part in target.parts if part.name == "storage")
    await storage.open()
    try:
        async with asyncio.timeout(120):
            while not await target.holdings.buckets.originals.piles(limit=1):
                await asyncio.sleep(0.02)
    finally:
        await storage.close()


def test_a_source_or_target_at_work_is_refused(new_server, tmp_path, networked_place, networked, servers_profile):
    new_server.start()
    assert "Stop it" in refused(new_server.data_dir, networked_place)
    assert "Stop it" in refused(networked_place, new_server.data_dir)
    file = tmp_path / "at-work.env"
    file.write_text("".join(f"{name}={value!r}\n" for name, value in servers_profile.items()))
    ran = refused(file, tmp_path / "copy")
    assert "at work on the source" in ran
