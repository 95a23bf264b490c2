"""The OpenAPI document is true: valid, complete, and every route asks who is there."""

from __future__ import annotations

import re

import pytest
from openapi_spec_validator import validate

from safelight.adapters.storage.memory import MemoryStorage
from safelight.api.app import create_api
from safelight.settings import Settings
from safelight.wiring import build

OPEN_TO_ALL = {
    "/health/live",
    "/health/ready",
    "/metrics",
    "/erasures/{tenant}/{id}",
    "/shared/{token}",
    "/shared/{token}/open",
    "/shared/{token}/originals/{id}",
    "/auth/signup",
    "/auth/verify",
    "/auth/signin",
    "/auth/mfa/verify",
    "/auth/passkeys/signin",
    "/auth/passkeys/signin/options",
    "/auth/refresh",
    "/auth/signout",
    "/auth/password/forgot",
    "/auth/password/reset",
    "/.well-known/jwks.json",
    "/.well-known/openid-configuration",
}


@pytest.fixture
def document(tmp_path):
    return create_api(build(Settings(data_dir=tmp_path))).openapi()


def test_the_document_is_valid_openapi_3_1(document):
    validate(document)

    assert document["openapi"].startswith("3.1")


def test_every_operation_says_what_it_does_and_how_it_refuses(document):
    names = set()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            here = (method, path)
            assert operation["description"] and operation["summary"], here
            assert operation["operationId"] not in names, here
            names.add(operation["operationId"])
            refusals = {
                code: status
                for status, response in operation["responses"].items()
                for code in response.get("content", {}).get("application/problem+json", {}).get("examples", ())
            }
            for code, status in refusals.items():
                assert document["components"]["examples"][code]["value"]["status"] == int(status), (here, code)
            assert bool(operation.get("security")) == (path not in OPEN_TO_ALL and path != "/events/s3"), here
            assert all(status[0] == "2" or response["description"] for status, response in operation["responses"].items()), here


def test_every_reference_of_the_document_leads_somewhere(document):
    def walk(value):
        if isinstance(value, dict):
            yield from ([value["$ref"]] if isinstance(value.get("$ref"), str) else ())
            value = list(value.values())
        for each in value if isinstance(value, list) else ():
            yield from walk(each)

    for reference in walk(document):
        found = document
        for step in reference.removeprefix("#/").split("/"):
            assert step in found, reference
            found = found[step]


def test_every_tag_is_explained(document):
    used = {tag for operations in document["paths"].values() for operation in operations.values() for tag in operation["tags"]}

    assert {tag["name"] for tag in document["tags"]} == used


async def test_another_method_is_told_all_that_the_address_takes(run):
    async with run(originals=MemoryStorage(), renditions=MemoryStorage()) as app:
        answer = await app.client.put("/images/" + "0" * 26)

        assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
        assert answer.headers["allow"] == "DELETE, GET, PATCH"


async def test_no_route_answers_without_a_key_or_beyond_its_scope(run, document):
    async with run({"events": {"secret": "s" * 16}}, originals=MemoryStorage(), renditions=MemoryStorage()) as app:
        user = (await app.client.post("/admin/users", json={"name": "reader"})).json()
        body = {"user": user["id"], "scopes": ["read"]}
        reader = {"authorization": f"Bearer {(await app.client.post('/admin/api-keys', json=body)).json()['token']}"}
        for path, operations in document["paths"].items():
            if path in OPEN_TO_ALL:
                continue
            address = re.sub(r"\{\w+\}", "0" * 26, path)
            for method in operations:
                stranger = await app.client.request(method, address, headers={"authorization": ""}, json={})
                assert (stranger.status_code, stranger.json()["code"]) == (401, "unauthenticated"), (method, path)
                if method != "get" or path.startswith("/admin"):
                    limited = await app.client.request(method, address, headers=reader, json={})
                    assert 400 <= limited.status_code < 500, (method, path, limited.text)


@pytest.mark.parametrize(
    "token",
    ["", "x", "sl_", "sl__", "sl_" + "0" * 26 + "_", "sl_" + "0" * 26 + "_" + "x" * 43, "x" * 100_000, "sl_\x00", "ß" * 100],
)
async def test_a_wrong_key_is_refused_whatever_it_looks_like(run, token):
    async with run(originals=MemoryStorage(), renditions=MemoryStorage()) as app:
        answer = await app.client.get("/images", headers={"authorization": f"Bearer {token}".encode()})

        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_a_revoked_key_opens_nothing_from_now_on(run):
    async with run(originals=MemoryStorage(), renditions=MemoryStorage()) as app:
        me = (await app.client.get("/admin/users")).json()[0]
        made = (await app.client.post("/admin/api-keys", json={"user": me["id"]})).json()
        headers = {"authorization": f"Bearer {made['token']}"}
        assert (await app.client.get("/images", headers=headers)).status_code == 200

        await app.client.delete(f"/admin/api-keys/{made['id']}")
        assert (await app.client.get("/images", headers=headers)).status_code == 401
        listed = (await app.client.get("/admin/api-keys")).json()
        assert all(key["token"] is None for key in listed)
