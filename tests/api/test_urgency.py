"""What somebody waits for goes first: which requests say so, and what becomes of that on the way to the engine."""

from __future__ import annotations

import asyncio

import pytest
from tests.pictures import jpeg

from safelight.adapters.storage.memory import MemoryStorage
from safelight.adapters.workflows.memory import MemoryWorkflows


class Noting(MemoryWorkflows):
    """The engine of the tests, which notes how it was asked."""

    def __init__(self, bound):
        super().__init__(bound)
        self.asked = {}

    async def start(self, flow, run_id, payload, *, is_urgent=False, party="", after_s=0.0):
        self.asked[flow, payload.get("image") or payload.get("upload")] = (is_urgent, party)
        await super().start(flow, run_id, payload, is_urgent=is_urgent, party=party, after_s=after_s)


def overrides():
    engines = []

    def engine(bound):
        engines.append(Noting(bound))
        return engines[0]

    return engines, {"originals": MemoryStorage(), "renditions": MemoryStorage(), "workflows": engine}


@pytest.mark.parametrize(
    ("headers", "is_urgent"),
    [
        ({}, True),
        ({"prefer": "wait=5"}, True),
        ({"prefer": "respond-async"}, False),
        ({"prefer": "wait=0"}, False),
        ({"priority": "u=3"}, True),
        ({"priority": "u=7"}, False),
        ({"priority": "i, u=5"}, False),
        ({"priority": "u=7;x"}, False),
        ({"priority": "u=77"}, True),
        ({"priority": "nonsense \u00e9".encode("latin-1")}, True),
    ],
    ids=str,
)
async def test_an_upload_is_urgent_unless_nobody_waits_for_it(run, headers, is_urgent):
    engines, parts = overrides()
    async with run(**parts) as app:
        record = (await app.client.post("/images", files={"file": jpeg()}, headers=headers)).json()
        async with asyncio.timeout(60):
            while ("develop", record["id"]) not in engines[0].asked:
                await asyncio.sleep(0.01)
        tenant = (await app.client.get("/admin/users")).json()[0]
        asked = engines[0].asked["develop", record["id"]]

        assert asked[0] is is_urgent
        assert len(asked[1]) == 26, tenant


@pytest.mark.parametrize("headers", [{}, {"prefer": "respond-async"}], ids=str)
async def test_an_import_and_the_image_that_comes_of_it_are_as_urgent_as_its_request(run, headers):
    engines, parts = overrides()
    async with run(**parts) as app:
        answer = await app.client.post("/imports", json={"url": "http://nowhere.invalid/x.jpg"}, headers=headers)
        async with asyncio.timeout(60):
            while not (asked := [how for (flow, _), how in engines[0].asked.items() if flow == "import"]):
                await asyncio.sleep(0.01)

        assert answer.status_code in (202, 422)
        assert asked[0][0] is not bool(headers)
