"""IIIF viewers in a real Chromium, on a page of another origin, draw a picture of 100 megapixels."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import pyvips
from PIL import Image
from playwright.sync_api import Browser, Page, Response
from tests.acceptance.conftest import Server
from tests.browser.packages import MIRADOR, OPENSEADRAGON, site

SQUARES, SIDE = 20, 500
"""Squares along each side, and pixels along each of theirs: 10,000 x 10,000."""


def colour(column: int, row: int) -> tuple[int, int, int]:
    """No two squares have the same."""
    return 20 + 11 * column, 20 + 11 * row, 255 if (column + row) % 2 else 40


@pytest.fixture(scope="module")
def viewers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("viewers")
    for viewer in (OPENSEADRAGON, MIRADOR):
        viewer.fetch(folder)
    with site(folder) as address:
        yield address, folder


@pytest.fixture(scope="module")
def large(server: Server) -> dict:
    board = np.array([[colour(column, row) for column in range(SQUARES)] for row in range(SQUARES)], np.uint8)
    picture = pyvips.Image.new_from_array(board).copy(interpretation="srgb").zoom(SIDE, SIDE)
    with server.client() as client:
        data = picture.jpegsave_buffer(Q=90)
        answer = client.post(
            "/images", files={"file": ("board.jpg", data)}, data={"visibility": "public", "title": "A large board"}, timeout=120
        )
        assert answer.status_code == 201, answer.text
        record = answer.json()
        deadline = time.monotonic() + 120
        while record["status"] == "developing":
            assert time.monotonic() < deadline
            time.sleep(0.1)
            record = client.get(f"/images/{record['id']}").json()
    assert (record["status"], record["width"], record["height"]) == ("ready", SQUARES * SIDE, SQUARES * SIDE)
    return record


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab that notes what went wrong; nothing may have."""
    context = browser.new_context(viewport={"width": 1000, "height": 1000})
    context.set_default_timeout(120_000)
    page = context.new_page()
    refused: list[str] = []
    page.on(
        "response",
        lambda answer: (
            refused.append(f"{answer.status} {answer.url}") if answer.status >= 400 and "favicon" not in answer.url else None
        ),
    )
    page.on(
        "requestfailed",
        lambda request: refused.append(f"{request.failure} {request.url}") if "ABORTED" not in str(request.failure) else None,
    )
    page.on("pageerror", lambda error: refused.append(str(error)))
    yield page
    context.close()
    assert refused == []


def shot(page: Page) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"), int)


def looks_like(pixel: np.ndarray, expected: tuple[int, int, int]) -> bool:
    return bool(np.abs(pixel - np.array(expected)).max() <= 8)


def test_openseadragon_draws_100_megapixels_and_goes_down_to_the_pixel(page: Page, viewers, server: Server, large: dict) -> None:
    address, folder = viewers
    service = f"{server.url}/iiif/3/{large['id']}"
    (folder / "osd.html").write_text(
        f"""<!doctype html><meta charset="utf-8"><style>html, body, #v {{ margin: 0; width: 1000px; height: 1000px }}</style>
        <div id="v"></div><script src="openseadragon.js"></script><script>
        const viewer = OpenSeadragon({{ id: "v", tileSources: "{service}/info.json", showNavigationControl: false, immediateRender: true,
          animationTime: 0, blendTime: 0, visibilityRatio: 1, minPixelRatio: 1, maxZoomPixelRatio: 4, drawer: "canvas" }});
        const drawn = () => viewer.world.getItemCount() === 1 && viewer.world.getItemAt(0).getFullyLoaded();
        function look(x, y, scale) {{
          const item = viewer.world.getItemAt(0);
          viewer.viewport.zoomTo(item.imageToViewportZoom(scale), null, true);
          viewer.viewport.panTo(item.imageToViewportCoordinates(x, y), true);
          viewer.forceRedraw();
        }}</script>"""
    )
    tiles: list[Response] = []
    page.on("response", lambda answer: tiles.append(answer) if answer.url.endswith(".jpg") else None)
    page.goto(f"{address}/osd.html")
    page.wait_for_function("drawn()")
    page.wait_for_timeout(100)
    seen = shot(page)
    for column, row in ((0, 0), (19, 0), (0, 19), (19, 19), (7, 12)):
        assert looks_like(seen[50 * row + 25, 50 * column + 25], colour(column, row)), (column, row)
    assert tiles

    for column, row in ((0, 0), (19, 19), (12, 5), (3, 16)):
        page.evaluate("([x, y]) => look(x, y, 1)", [SIDE * column + SIDE // 2, SIDE * row + SIDE // 2])
        page.wait_for_timeout(100)
        page.wait_for_function("drawn()")
        page.wait_for_timeout(100)
        middle = page.evaluate(
            "(() => { const c = viewer.viewport.viewportToImageCoordinates(viewer.viewport.getCenter()); return [c.x, c.y] })()"
        )
        expected = colour(int(middle[0] // SIDE), int(middle[1] // SIDE))
        assert looks_like(shot(page)[500, 500], expected), (column, row, middle)

    regions = {answer.url.split("/")[-4] for answer in tiles}
    assert any(region.split(",")[2] == "512" for region in regions if "," in region), "down to single pixels"
    assert all(answer.status == 200 and answer.headers["link"] for answer in tiles)
    with server.client() as client:
        figures = client.get("/metrics").text
    assert 'safelight_renders_total{source="tiles"}' in figures
    assert (
        'safelight_renders_total{source="original"} ' not in figures
        or 'safelight_renders_total{source="original"} 0.0' in figures
    )


def test_mirador_shows_an_album(page: Page, viewers, server: Server, large: dict) -> None:
    address, folder = viewers
    with server.client() as client:
        album = client.post("/albums", json={"title": "Boards"}).json()["id"]
        client.post(f"/albums/{album}/images", json={"images": [large["id"]]}).raise_for_status()
    (folder / "mirador.html").write_text(
        f"""<!doctype html><meta charset="utf-8"><div id="m" style="position: absolute; width: 1000px; height: 1000px"></div>
        <script src="mirador.js"></script><script>
        Mirador.viewer({{ id: "m", windows: [{{ manifestId: "{server.url}/iiif/albums/{album}/manifest.json" }}],
          workspaceControlPanel: {{ enabled: false }} }});</script>"""
    )
    page.goto(f"{address}/mirador.html")
    page.get_by_text("Boards").first.wait_for()
    deadline = time.monotonic() + 120
    while True:  # it draws when it has laid itself out, and says so nowhere
        seen = shot(page).reshape(-1, 3)
        found = sum(
            bool((np.abs(seen - np.array(colour(column, row))).max(axis=1) <= 8).any())
            for column in range(0, 20, 6)
            for row in range(0, 20, 6)
        )
        if found == 16:
            break
        assert time.monotonic() < deadline, f"{found} of 16 squares are drawn"
        page.wait_for_timeout(200)
