"""Two servers over the same S3 and PostgreSQL are one installation."""

from __future__ import annotations

import httpx
from tests.acceptance.conftest import Server
from tests.pictures import jpeg


def test_what_one_server_took_in_the_other_knows_and_delivers(networked, servers_profile, tmp_path):
    second = Server(tmp_path / "data", servers_profile).start()
    headers = {"authorization": f"Bearer {networked.api_key}"}
    try:
        with networked.client() as client:
            record = client.post("/images", files={"file": jpeg(seed=60)}).json()
        seen = httpx.get(f"{second.url}/images/{record['id']}", headers=headers)
        delivered = httpx.get(record["renditions"][0]["url"].replace(networked.url, second.url))
        answer = httpx.post(f"{second.url}/images", files={"file": jpeg(seed=61)}, headers=headers, timeout=60)
        with networked.client() as client:
            other = client.get(f"/images/{answer.json()['id']}/original")
    finally:
        second.stop()

    assert (seen.status_code, seen.json()["status"]) == (200, "ready")
    assert delivered.status_code == 200
    assert (answer.status_code, other.content) == (201, jpeg(seed=61))
    assert second.greeting["api_key"] is None, "the second finds an installation and makes none"
    assert not (second.data_dir / "admin.key").exists()
