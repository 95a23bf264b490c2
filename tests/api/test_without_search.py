"""An installation that has chosen to have no full text: everything else works, and who searches is told."""

from __future__ import annotations

from tests.pictures import jpeg


async def test_without_a_search_pictures_come_in_and_searching_says_what_is_missing(run):
    async with run({"search": {"url": "none"}}) as app:
        taken = await app.client.post("/images", files={"file": ("a.jpg", jpeg(), "image/jpeg")}, data={"title": "Sunset"})
        listed = await app.client.get("/images")
        searched = await app.client.get("/images/search", params={"q": "sunset"})

    assert (taken.status_code, len(listed.json()["images"])) == (201, 1)
    assert (searched.status_code, searched.json()["code"]) == (503, "search_unavailable")
    assert "SAFELIGHT_SEARCH__URL" in searched.json()["detail"]
    assert "retry-after" not in searched.headers
