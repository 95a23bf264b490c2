"""A server that knows its CloudFront distribution tells it what may not be seen any more, also when it is killed in between."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from tests.acceptance.conftest import Server
from tests.pictures import jpeg
from tests.servers.cloudfront import CloudFront
from tests.servers.seaweedfs import Moto

PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def cloudfront(tmp_path_factory):
    with Moto(tmp_path_factory.mktemp("moto")) as server:
        yield CloudFront(server)


@pytest.fixture
def distribution(cloudfront: CloudFront, new_server: Server) -> str:
    """In front of the server, which is not started yet."""
    distribution = cloudfront.distribution()
    new_server.environment |= {
        "SAFELIGHT_CLOUDFRONT__FRONT_DISTRIBUTIONS": distribution,
        "SAFELIGHT_CLOUDFRONT__ENDPOINT_URL": cloudfront.url,
        "SAFELIGHT_CLOUDFRONT__ACCESS_KEY_ID": "x",
        "SAFELIGHT_CLOUDFRONT__SECRET_ACCESS_KEY": "y",
    }
    return distribution


def paths_of(image: str) -> set[str]:
    return {f"{prefix}{image}/*" for prefix in ("/i/", "/iiif/2/", "/iiif/3/")}


def comes_true(what: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def test_what_may_not_be_seen_any_more_is_purged_although_the_server_is_killed(cloudfront, distribution, new_server):
    new_server.start()
    with new_server.client() as client:
        trashed, narrowed, untouched = (
            client.post("/images", files={"file": jpeg(seed=n)}, data={"visibility": "public"}).json()["id"] for n in range(3)
        )
        merge = {"content-type": "application/merge-patch+json"}
        assert client.patch(f"/images/{narrowed}", json={"visibility": "private"}, headers=merge).status_code == 200
        assert client.patch(f"/images/{untouched}", json={"title": "Rose"}, headers=merge).status_code == 200
        assert client.delete(f"/images/{trashed}").status_code in (200, 204)
    new_server.kill()
    new_server.start()

    assert comes_true(lambda: cloudfront.paths(distribution) >= paths_of(trashed) | paths_of(narrowed))
    assert cloudfront.paths(distribution) == paths_of(trashed) | paths_of(narrowed)
    with new_server.client() as client:
        assert comes_true(lambda: {one["state"] for one in client.get("/admin/purges").json()["purges"]} == {"done"})
        listed = client.get("/admin/purges").json()["purges"]
        assert {(one["what"], one["value"]) for one in listed} == {("image", trashed), ("image", narrowed)}

    by_hand(cloudfront, distribution, new_server)


def by_hand(cloudfront: CloudFront, distribution: str, new_server: Server) -> None:
    """The same server is asked to purge, and the command waits until the CDN is done."""

    def safelight(*arguments: str) -> tuple[int, str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SAFELIGHT_")}
        environment |= {"SAFELIGHT_URL": new_server.url, "SAFELIGHT_API_KEY": new_server.api_key}
        done = subprocess.run(
            [sys.executable, "-m", "safelight", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout

    with new_server.client() as client:
        tagged = [client.post("/images", files={"file": jpeg(seed=7 + n)}, data={"tags": "sea"}).json()["id"] for n in range(2)]
        code, out = safelight("purge", "tag", "sea", "--wait", "--json")
        assert code == 0
        purge = json.loads(out)
        assert (purge["state"], purge["images"], purge["images_done"], purge["value"]) == ("done", 2, 2, "sea")
        assert cloudfront.paths(distribution) >= paths_of(tagged[0]) | paths_of(tagged[1])
        assert client.get(f"/admin/purges/{purge['id']}").json() == purge

        asked = client.post("/admin/purges", json={"tenant": True})
        assert asked.status_code == 202
        assert asked.headers["location"] == f"/admin/purges/{asked.json()['id']}"
        for body in ({}, {"tag": "sea", "tenant": True}, {"image": "x" * 27}, {"tag": "\x00"}, {"tags": "sea"}):
            assert client.post("/admin/purges", json=body).status_code in (400, 422), body
        assert client.post("/admin/purges", json={"image": "../../*"}).status_code == 404
        metrics = client.get("/metrics").text
        assert 'safelight_purges_total{outcome="done"}' in metrics


def test_a_distribution_that_is_not_there_stops_the_start_and_is_named(cloudfront, distribution, new_server):
    new_server.environment["SAFELIGHT_CLOUDFRONT__FRONT_DISTRIBUTIONS"] = "E00000000000"
    with pytest.raises((AssertionError, json.JSONDecodeError)):
        new_server.start()

    assert "SAFELIGHT_CLOUDFRONT__FRONT_DISTRIBUTIONS" in new_server.log
