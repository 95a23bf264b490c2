"""An image's own values, changed by several at once."""

from __future__ import annotations

import asyncio

from tests.pictures import jpeg


async def test_of_values_that_are_set_at_the_same_time_none_is_lost(run):
    async with run() as app:
        image = (await app.client.post("/images", files={"file": jpeg(seed=77)})).json()["id"]

        answers = await asyncio.gather(*(app.client.patch(f"/images/{image}", json={"custom": {f"n{n}": n}}) for n in range(8)))

        assert [answer.status_code for answer in answers] == [200] * 8
        assert (await app.client.get(f"/images/{image}")).json()["custom"] == {f"n{n}": n for n in range(8)}
