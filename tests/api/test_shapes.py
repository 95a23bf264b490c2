"""What is answered is what the OpenAPI document promises: plain values are built by hand, so a test compares them."""

from __future__ import annotations

from tests.pictures import jpeg

from safelight.adapters.storage.memory import MemoryStorage
from safelight.api.schemas.images import FoundImage, ImageOut, ImagePage, RenditionOut, SearchPage


def exactly(model, value):
    """The value has the model's fields, no more and no fewer, and is valid."""
    assert set(value) == set(model.model_fields)
    return model.model_validate(value)


async def test_records_pages_and_results_have_exactly_the_promised_shape(run):
    async with run(originals=MemoryStorage(), renditions=MemoryStorage()) as app:
        record = (await app.client.post("/images", files={"file": jpeg()}, data={"title": "Shape"})).json()
        page = (await app.client.get("/images")).json()
        found = (await app.client.get("/images/search")).json()

        exactly(ImageOut, record)
        exactly(RenditionOut, record["renditions"][0])
        exactly(ImageOut, page["images"][0])
        exactly(ImagePage, page)
        exactly(SearchPage, found)
        for result in found["results"]:
            exactly(FoundImage, result)
