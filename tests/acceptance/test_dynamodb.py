"""The main job on S3 for bytes, DynamoDB for records, and PostgreSQL for workflows and search: three servers, one product."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import psycopg
import pytest
from botocore.session import get_session
from PIL import Image as Pillow
from tests.acceptance.conftest import Server, until
from tests.photographs import photographs
from tests.pictures import jpeg
from tests.servers.moto import CREDENTIALS, REGION, MotoServer

from safelight.adapters.catalog.dynamodb import table


@pytest.fixture(scope="module")
def dynamodb():
    server = MotoServer().start()
    yield server
    server.remove()


@pytest.fixture(scope="module")
def server(tmp_path_factory, servers_profile, dynamodb):
    beside = f"d{uuid4().hex[:12]}"
    with psycopg.connect(servers_profile["SAFELIGHT_CATALOG__URL"], autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {beside}")
    postgres = f"{servers_profile['SAFELIGHT_CATALOG__URL'].rpartition('/')[0]}/{beside}"
    profile = (
        servers_profile
        | CREDENTIALS
        | {
            "SAFELIGHT_CATALOG__URL": dynamodb.catalog_url("ImageMetadata"),
            "SAFELIGHT_STORAGE__URL": servers_profile["SAFELIGHT_STORAGE__URL"] + "/on-dynamodb",
            "SAFELIGHT_SEARCH__URL": postgres,
            "SAFELIGHT_WORKFLOWS__URL": postgres,
        }
    )
    running = Server(tmp_path_factory.mktemp("dynamodb") / "data", profile).start()
    yield running
    running.stop()


@pytest.fixture
def client(server):
    with server.client() as client:
        yield client


def upload(client: httpx.Client, data: bytes, name: str = "picture.jpg", **fields: str) -> dict:
    answer = client.post("/images", files={"file": (name, data)}, data=fields)
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_a_photograph_comes_in_is_developed_found_and_delivered(client):
    path = photographs("small")[0]
    album = client.post("/albums", json={"title": "Summer"}).json()
    record = upload(client, path.read_bytes(), path.name, title="Lighthouse at dusk", tags="sea,dusk", album_id=album["id"])

    assert (record["status"], record["tags"]) == ("ready", ["sea", "dusk"])
    assert sorted(tag["tag"] for tag in client.get("/tags").json()) == ["dusk", "sea"]
    listed = client.get("/images", params={"album": album["id"], "sort": "position"}).json()["images"]
    assert [image["id"] for image in listed] == [record["id"]]
    assert client.get(f"/albums/{album['id']}").json()["image_count"] == 1
    rendition = next(r for r in record["renditions"] if (r["preset"], r["format"]) == ("thumb_300", "webp"))
    with Pillow.open(io.BytesIO(httpx.get(rendition["url"], timeout=60).content)) as picture:
        assert picture.size == (rendition["width"], rendition["height"])
    until(lambda: client.get("/images/search", params={"q": "lighthose"}).json()["results"])
    again = upload(client, path.read_bytes())
    assert again["duplicate_of"] == record["id"]


def test_pages_follow_each_other_in_every_order(client):
    ids = {upload(client, jpeg(64, 64 + n, seed=300 + n), title=f"{n % 3}", tags="paged")["id"] for n in range(5)}
    for sort in ("created_at", "-created_at", "title", "-size", "taken_at"):
        seen: list[str] = []
        answer = client.get("/images", params={"tag": "paged", "limit": 2, "sort": sort})
        while True:
            assert answer.status_code == 200, answer.text
            seen += [image["id"] for image in answer.json()["images"]]
            if "next" not in answer.links:
                break
            answer = client.get(answer.links["next"]["url"])

        assert len(seen) == 5
        assert set(seen) == ids


def test_the_trash_hides_restores_and_purges(client):
    album = client.post("/albums", json={"title": "Trash"}).json()
    record = upload(client, jpeg(80, 60, seed=400), album_id=album["id"])
    path = f"/images/{record['id']}"

    assert client.patch(path, json={"title": "Edited"}, headers={"if-match": '"0"'}).status_code == 412
    assert client.delete(path).status_code == 204
    assert httpx.get(record["renditions"][0]["url"], timeout=60).status_code == 404
    assert client.get(f"/albums/{album['id']}").json()["image_count"] == 0
    assert client.post(f"{path}/restore").status_code == 200
    assert client.get(f"/albums/{album['id']}").json()["image_count"] == 1
    client.delete(path)
    assert client.delete(path, params={"purge": "true"}).status_code == 204
    assert client.get(path).status_code == 404
    assert httpx.get(record["renditions"][0]["url"], timeout=60).status_code == 403  # as for an image that never was


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SAFELIGHT_")}
    command = [sys.executable, "-m", "safelight", *words]
    return subprocess.run(command, env=kept | environment, capture_output=True, text=True, timeout=120)


def test_migrate_plans_checks_and_makes_the_table(dynamodb, tmp_path):
    settings = CREDENTIALS | {"SAFELIGHT_CATALOG__URL": dynamodb.catalog_url(), "SAFELIGHT_DATA_DIR": str(tmp_path)}

    planned = json.loads(run("migrate", "--plan", "--json", **settings).stdout)["pending"]
    assert planned[1:3] == ["time to live", "point-in-time recovery"]
    assert run("migrate", "--check", **settings).returncode == 1
    assert json.loads(run("migrate", "--json", **settings).stdout)["applied"] == planned
    assert run("migrate", "--check", **settings).returncode == 0


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("dynamodb://table?password=hunter2", "credentials have no place in it"),
        ("dynamodb://images?endpoint_url=http://127.0.0.1:1", "does not answer"),
    ],
    ids=["a parameter that there is not", "nobody there"],
)
def test_a_bad_address_stops_the_start_and_names_the_setting(tmp_path, url, said):
    stopped = run("serve", "--data-dir", str(tmp_path), **CREDENTIALS, SAFELIGHT_CATALOG__URL=url)

    assert stopped.returncode not in (0, 70)
    assert "SAFELIGHT_CATALOG__URL" in stopped.stderr
    assert said in stopped.stderr
    assert "hunter2" not in stopped.stderr
    assert "Traceback" not in stopped.stderr


def refused(command: str, **settings: str) -> str:
    """What the process says on leaving, which it does with nothing done and without a trace."""
    stopped = run(command, **settings)
    assert (stopped.returncode, stopped.stdout) == (1, "")
    assert "Traceback" not in stopped.stderr
    return stopped.stderr.splitlines()[-1]


def test_a_table_of_another_schema_is_refused_with_what_to_run(dynamodb, tmp_path):
    url = dynamodb.catalog_url()
    settings = CREDENTIALS | {"SAFELIGHT_CATALOG__URL": url, "SAFELIGHT_DATA_DIR": str(tmp_path / "data")}
    absent = refused("worker", **settings)
    assert ("SAFELIGHT_CATALOG__URL" in absent, "safelight migrate" in absent) == (True, True), absent
    run("migrate", **settings)
    secrets = {name.lower(): value for name, value in CREDENTIALS.items()}
    client = get_session().create_client("dynamodb", region_name=REGION, endpoint_url=dynamodb.url, **secrets)
    for revision, command, said in (("0000_before", "worker", "older"), ("9999_of_tomorrow", "serve", "newer")):
        item = table.SCHEMA | {"revision": {"S": revision}}
        client.put_item(TableName=urlsplit(url).netloc, Item=item)

        line = refused(command, **settings)
        assert (said in line, "safelight migrate" in line) == (True, True), line
    client.close()


def test_credentials_that_dynamodb_does_not_know_stop_the_start_and_are_named(tmp_path):
    strict = MotoServer(has_permissions=True).start()
    try:
        settings = {"SAFELIGHT_CATALOG__URL": strict.catalog_url(), "SAFELIGHT_DATA_DIR": str(tmp_path / "data")}
        line = refused("serve", AWS_ACCESS_KEY_ID="AKIANOBODY", AWS_SECRET_ACCESS_KEY="hush", **settings)
    finally:
        strict.remove()

    assert ("SAFELIGHT_CATALOG__URL" in line, "AWS_ACCESS_KEY_ID" in line, "hush" in line) == (True, True, False), line
    assert not (tmp_path / "data" / "admin.key").exists()
