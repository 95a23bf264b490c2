"""`POST /events/s3` at the door: who may tell, and what is understood. The events of a real store are in tests/acceptance."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest
from tests.pictures import jpeg

from safelight.domain.uploads import UploadState
from safelight.errors import BackendUnavailable

SECRET = "a secret of sixteen or more"
ON = {"events": {"secret": SECRET}}
FOREIGN = {"Records": [{"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "b"}, "object": {"key": "incoming/x/y"}}}]}


def signed(body: bytes, secret: str = SECRET) -> dict[str, str]:
    return {"authorization": "", "x-safelight-signature": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}


async def test_without_a_secret_nobody_may_tell(run):
    async with run() as app:
        for headers in ({"authorization": "Bearer "}, {"authorization": "Bearer x"}, signed(b"{}", "")):
            answer = await app.client.post("/events/s3", content=b"{}", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_who_has_the_secret_may_tell_as_bearer_or_by_signature(run):
    async with run(ON) as app:
        body = json.dumps(FOREIGN).encode()
        for headers in ({"authorization": f"Bearer {SECRET}"}, signed(body)):
            answer = await app.client.post("/events/s3", content=body, headers=headers)
            assert (answer.status_code, answer.json()) == (200, {"accepted": 0, "rejected": 0, "ignored": 1})
        metrics = (await app.client.get("/metrics")).text
        assert 'safelight_store_events_total{outcome="ignored"} 2.0' in metrics


async def test_nobody_else_may_tell(run):
    async with run(ON) as app:
        body = json.dumps(FOREIGN).encode()
        for headers in (
            {"authorization": ""},
            {"authorization": "Bearer "},
            {"authorization": f"Bearer {SECRET}x"},
            {"authorization": f"Bearer {app.token}"},
            {"authorization": f"Basic {SECRET}"},
            signed(body, SECRET + "x"),
            signed(body + b" "),
            {"authorization": "", "x-safelight-signature": "sha256="},
            {"authorization": "", "x-safelight-signature": "é".encode("latin-1").decode("latin-1")},
        ):
            answer = await app.client.post(
                "/events/s3", content=body, headers={k: v.encode("latin-1") for k, v in headers.items()}
            )
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"Records": [1]}', b'{"a": "\\ud800"}', b"x" * 2_000_000],
    ids=["empty", "half", "a list", "no UTF-8", "deep", "a record that is none", "a lone surrogate", "large"],
)
async def test_what_no_store_says_is_refused(run, body):
    async with run(ON) as app:
        answer = await app.client.post("/events/s3", content=body, headers={"authorization": f"Bearer {SECRET}"})

        assert answer.status_code == 400
        assert answer.json()["code"] in ("bad_request", "bad_field")


async def test_what_became_an_image_leaves_the_drop_folder_though_the_first_who_took_it_in_could_not_clear_it(run, monkeypatch):
    async with run({"events": {"drop_folder": "drop/"}}) as app:
        async with app.safelight.catalog.directory() as directory:
            (tenant,) = await directory.tenants()
        async with app.safelight.catalog.tenant(tenant.id) as records:
            (user,) = await records.accounts.users()
        uploads, key = app.safelight.uploads, f"drop/{tenant.name}/{user.name}/harbour.jpg"
        bucket = uploads.incoming._bucket
        await bucket.put(key, jpeg(64, 48), media_type="image/jpeg")

        async def away(self, upload):
            raise BackendUnavailable

        with monkeypatch.context() as broken:
            broken.setattr(type(uploads.incoming), "discard", away)
            with pytest.raises(BackendUnavailable):  # so that whoever told of it tells again
                await uploads.found(key)
        taken = await uploads.found(key)

        assert taken.state is UploadState.ACCEPTED
        assert await bucket.versions(key) == []
        assert [image["id"] for image in (await app.client.get("/images")).json()["images"]] == [taken.image]


async def test_a_short_secret_stops_the_start(run):
    with pytest.raises(ValueError, match="16 characters"):
        async with run({"events": {"secret": "short"}}):
            pass
