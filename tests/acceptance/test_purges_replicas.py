"""What one server is asked to let go of, another one over the same S3 and PostgreSQL does not serve any more, whoever dies."""

from __future__ import annotations

import time

import boto3
import httpx
import pytest
from botocore.config import Config
from tests.acceptance.conftest import Server, until
from tests.pictures import jpeg

OLD = b"made before the purge"


@pytest.fixture
def bucket(servers_profile):
    """Of renditions, to look into and to spoil."""
    s3 = boto3.resource(
        "s3",
        endpoint_url=servers_profile["SAFELIGHT_STORAGE__ENDPOINT_URL"],
        aws_access_key_id=servers_profile["SAFELIGHT_STORAGE__ACCESS_KEY_ID"],
        aws_secret_access_key=servers_profile["SAFELIGHT_STORAGE__SECRET_ACCESS_KEY"],
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )
    return s3.Bucket(servers_profile["SAFELIGHT_STORAGE__RENDITIONS_BUCKET"])


def test_a_purge_at_one_server_that_is_killed_right_after_it_holds_at_the_other(networked, servers_profile, bucket, tmp_path):
    killed = Server(tmp_path / "data", servers_profile).start()
    headers = {"authorization": f"Bearer {networked.api_key}"}
    try:
        with networked.client() as client:
            image = client.post("/images", files={"file": jpeg(seed=77)}).json()["id"]
            url = client.post(f"/images/{image}/urls", json={"transforms": ["w=120.webp"]}).json()["urls"][0]

        def made() -> list[str]:
            """What lies under keys of any generation, any version of it."""
            return sorted(
                {
                    one.object_key
                    for one in bucket.object_versions.all()
                    if f"/{image}/" in one.object_key and "/g" in one.object_key
                }
            )

        # A first server has made it; the second takes it from the store, where it is spoilt by now, and keeps that in its memory.
        assert httpx.get(url.replace(networked.url, killed.url), timeout=60).headers["content-type"] == "image/webp"
        before = until(made)
        for key in before:
            bucket.put_object(Key=key, Body=OLD, ContentType="image/webp")
        assert httpx.get(url, timeout=60).content == OLD
        assert httpx.get(url, timeout=60).content == OLD

        asked = httpx.post(f"{killed.url}/admin/purges", json={"image": image}, headers=headers, timeout=60)
        assert asked.status_code == 202
        killed.kill()

        fresh = until(lambda: (answer := httpx.get(url, timeout=60)).content != OLD and answer)
        assert fresh.headers["content-type"] == "image/webp"
        assert fresh.headers["server-timing"].startswith("rendered")
        for _ in range(20):
            assert httpx.get(url, timeout=60).content == fresh.content
            time.sleep(0.05)
        with networked.client() as client:
            state = until(
                lambda: (found := client.get(f"/admin/purges/{asked.json()['id']}").json())["state"] == "done" and found
            )
        assert (state["images"], state["images_done"], state["cause"]) == (1, 1, "")
        assert set(made()).isdisjoint(before)
        assert httpx.get(url, timeout=60).content == fresh.content
    finally:
        if killed.process.poll() is None:
            killed.kill()
