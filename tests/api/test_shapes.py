"""What is answered is what the OpenAPI document promises: plain values are built by hand, so a test compares them."""

from __future__ import annotations

from safelight.adapters.storage.memory import MemoryStorage
from safelight.api import schemas
from tests.pictures import jpeg


def exactly(model, value):
    """The value has the model's fields, no more and no fewer, and is valid."""
    assert set(value) == set(model.model_fields)
    return model.model_validate(value)


async def test_records_pages_and_results_have_exactly_the_promised_shape(run):
    async with run(originals=MemoryStorage(), renditions=MemoryStorage()) as app:
        record = (await app.client.post("/images", files={"file": jpeg()}, data={"title": "Shape"})).json()
        page = (await app.client.get("/images")).json()
        found = (await app.client.get("/images/search")).json()

        exactly(schemas.ImageOut, record)
        exactly(schemas.RenditionOut, record["renditions"][0])
        exactly(schemas.ImageOut, page["images"][0])
        exactly(schemas.ImagePage, page)
        exactly(schemas.SearchPage, found)
        for result in found["results"]:
            exactly(schemas.FoundImage, result)
