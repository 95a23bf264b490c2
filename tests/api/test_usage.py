"""Usage by month: counted in memory, written in batches, kept over a restart; and the month's transformations hold."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import create_engine, text
from tests.api.test_tenants import house
from tests.pictures import jpeg

from safelight.domain.usage import month_of
from safelight.errors import BackendUnavailable

PICTURE = jpeg(seed=9400)


async def report(client, **asked):
    answer = await client.get("/admin/usage", params=asked)
    assert answer.status_code == 200, answer.text
    return {each["name"]: each for each in answer.json()}


async def transform(one, record, text):
    asked = await one.client.post(f"/images/{record['id']}/urls", json={"transforms": [text]})
    assert asked.status_code == 200, asked.text
    return await one.client.get(asked.json()["urls"][0])


async def test_what_a_tenant_does_is_counted_for_it_alone_and_has_its_price(run):
    prices = {
        "currency": "CHF",
        "stored_gb_month": 2.0,
        "transformations_1000": 500.0,
        "delivered_gb": 1e6,
        "uploads_1000": 1000.0,
    }
    async with run({"prices": prices}) as app:
        shop, rival = await house(app, "shop"), await house(app, "rival")
        record = (await shop.client.post("/images", files={"file": PICTURE})).json()
        first, again = await transform(shop, record, "w=99.webp"), await transform(shop, record, "w=99.webp")
        body = await app.client.get(record["renditions"][0]["url"])
        unchanged = await app.client.get(record["renditions"][0]["url"], headers={"if-none-match": body.headers["etag"]})
        head = await app.client.head(record["renditions"][0]["url"])
        assert [first.status_code, again.status_code, body.status_code, unchanged.status_code, head.status_code] == [
            200,
            200,
            200,
            304,
            200,
        ]
        await app.safelight.meter.sample()
        await app.safelight.meter.sample()  # of this hour once

        found = await report(app.client)
        month = month_of(datetime.now(UTC))
        mine = found["shop"]
        assert list(found) == ["default", "shop", "rival"]
        assert (mine["month"], mine["uploads"], mine["uploaded_bytes"]) == (month, 1, len(PICTURE))
        assert (mine["transformations"], mine["deliveries"]) == (1, 5)
        assert mine["delivered_bytes"] == 2 * len(first.content) + len(body.content)
        assert mine["requests"] == 3
        assert (mine["average_bytes"], mine["average_images"]) == (len(PICTURE), 1)
        assert (found["rival"]["uploads"], found["rival"]["deliveries"], found["rival"]["requests"]) == (0, 0, 0)
        lines = {line["what"]: line for line in mine["lines"]}
        assert (mine["currency"], lines["transformations_1000"]["cost"], lines["uploads_1000"]["cost"]) == ("CHF", 0.5, 1.0)
        assert lines["delivered_gb"]["cost"] == pytest.approx(mine["delivered_bytes"] / 1000)
        assert mine["cost"] == pytest.approx(sum(line["cost"] for line in mine["lines"]))
        assert 0 <= lines["stored_gb_month"]["units"] <= len(PICTURE) / 1e9

        assert list(await report(shop.client)) == ["shop"]
        assert (await shop.client.get("/admin/usage", params={"tenant": rival.id})).status_code == 404
        own = (await rival.client.get("/me/usage")).json()
        assert (own["name"], own["stored"], "cost" in own) == ("rival", {"bytes": 0, "images": 0}, False)
        assert (await report(app.client, tenant=shop.id, month="1999-12"))["shop"]["uploads"] == 0
        for asked in ({"month": "2026-13"}, {"month": "x"}):
            assert (await app.client.get("/admin/usage", params=asked)).json()["code"] == "bad_field"
        user = (await shop.client.post("/admin/users", json={"name": "u"})).json()
        key = (await shop.client.post("/admin/api-keys", json={"user": user["id"], "scopes": ["read"]})).json()["token"]
        as_user = {"authorization": f"Bearer {key}"}
        assert (await shop.client.get("/admin/usage", headers=as_user)).status_code == 403
        assert (await shop.client.get("/me/usage", headers=as_user)).json()["name"] == "shop"


async def test_what_was_counted_is_there_after_a_restart_and_takes_no_row_a_request(run, tmp_path):
    async with run() as app:
        await asyncio.gather(*(app.client.get("/images") for _ in range(20)))
    engine = create_engine(f"sqlite:///{tmp_path}/data/catalog.db")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT requests FROM usage")).scalars().all() == [20]
    engine.dispose()


async def test_a_batch_that_cannot_be_written_is_kept_for_the_next(run, monkeypatch):
    async with run() as app:
        meter = app.safelight.meter
        await app.client.get("/images")
        with monkeypatch.context() as patched:

            def away(*_, **__):
                raise BackendUnavailable

            patched.setattr(type(app.safelight.catalog), "ledger", away)
            await meter.flush()
        await app.client.get("/images")

        assert (await report(app.client))["default"]["requests"] == 3


async def test_what_is_counted_before_midnight_belongs_to_the_month_that_ends(run):
    now = datetime(2026, 6, 30, 23, 59, 55, tzinfo=UTC)
    async with run(clock=lambda: now) as app:
        await app.client.get("/images")
        now += timedelta(seconds=10)
        await app.safelight.meter.flush()
        await app.client.get("/images")

        assert (await report(app.client, month="2026-06"))["default"]["requests"] == 1
        assert (await report(app.client, month="2026-07"))["default"]["requests"] >= 1


async def test_the_months_transformations_hold_and_what_was_made_goes_on(run):
    async with run() as app:
        shop = await house(app, "shop", transformations=2)
        record = (await shop.client.post("/images", files={"file": PICTURE})).json()
        for side in (90, 91):
            assert (await transform(shop, record, f"w={side}.webp")).status_code == 200
        refused = await transform(shop, record, "w=92.webp")

        assert (refused.status_code, refused.json()["code"]) == (403, "quota_exceeded")
        assert (refused.json()["which"], refused.json()["limit"], refused.json()["used"]) == ("transformations", 2, 2)
        assert (await transform(shop, record, "w=90.webp")).status_code == 200
        assert (await shop.client.get(record["renditions"][0]["url"])).status_code == 200  # presets are part of the image
        await app.safelight.meter.flush()
        assert (await transform(shop, record, "w=93.webp")).status_code == 403  # by what is written down
        await app.client.patch(f"/admin/tenants/{shop.id}", json={"quotas": {"transformations": 3}})
        assert (await transform(shop, record, "w=93.webp")).status_code == 200
