"""What somebody sees and does in the gallery, in a real browser."""

from __future__ import annotations

import base64
import re
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect
from tests.acceptance.conftest import Server
from tests.browser.conftest import Visit, put, until
from tests.photographs import photographs
from tests.pictures import jpeg

from safelight.imaging.placeholders import thumbhash

REAL = {path.name: path for path in photographs("small")}
WORDS = {
    "rocket.jpg": {"title": "On the launch pad", "tags": "space,night"},
    "astronaut.png": {"title": "Eileen Collins", "tags": "space,portrait"},
    "chelsea.png": {"title": "A <b>cat</b> & <img src=x onerror=alert(1)>", "tags": "portrait,animal"},
    "coffee.png": {"title": "Espresso", "description": "Before the meeting", "tags": "still life"},
}


@pytest.fixture(scope="session")
def library(server: Server) -> dict[str, dict]:
    """Four real photographs with words, by file name; the index knows them all."""
    records = put(server, *((name, REAL[name].read_bytes(), words) for name, words in WORDS.items()))
    with server.client() as client:
        deadline = time.monotonic() + 60
        while client.get("/images/search").json()["total"] < len(WORDS) and time.monotonic() < deadline:
            time.sleep(0.1)
    return {record["file_name"]: record for record in records}


@pytest.fixture
def seen(visit, server: Server, library) -> Visit:
    """The gallery of the four, open and painted."""
    visited = visit(server)
    visited.enter(server.api_key)
    expect(visited.page.locator(".photo")).to_have_count(len(WORDS))
    return visited


def tile(page: Page, record: dict):
    return page.locator(f'.photo[data-id="{record["id"]}"]')


def test_a_first_visit_uploads_photographs_and_sees_their_placeholders_and_then_them(visit, empty: Server):
    mine = visit(empty)
    page = mine.page
    held: list[Route] = []
    page.route("**/i/**", lambda route: held.append(route))
    mine.enter(empty.api_key)
    expect(page.get_by_role("heading", name="Drop photographs here")).to_be_visible()
    assert page.url == f"{empty.url}/"

    slow = page.context.new_cdp_session(page)
    slow.send("Network.enable")
    slow.send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 400_000},
    )
    with page.expect_file_chooser() as choosing:
        page.get_by_role("button", name="choose files").click()
    assert choosing.value.is_multiple()
    choosing.value.set_files([REAL["astronaut.png"], REAL["rocket.jpg"]])
    until(page, "[...document.querySelectorAll('.upload progress')].some((bar) => bar.value > 0 && bar.value < 1)")
    expect(page.locator(".upload")).to_have_count(2)
    expect(page.locator(".photo")).to_have_count(2)

    until(page, "[...document.querySelectorAll('.photo img')].filter((image) => image.src).length === 2")
    for canvas in page.locator(".photo canvas.placeholder").all():
        pixels = canvas.evaluate("(c) => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]")
        assert np.std(np.reshape(pixels, (-1, 4))[:, :3]) > 10
    assert page.locator(".photo .frame.loaded").count() == 0

    for route in held:
        route.continue_()
    expect(page.locator(".photo .frame.loaded")).to_have_count(2)
    assert all(image.evaluate("(i) => i.naturalWidth > 0") for image in page.locator(".photo img").all())
    assert {image.get_attribute("alt") for image in page.locator(".photo img").all()} == {"astronaut.png", "rocket.jpg"}
    expect(page.locator("#empty")).to_be_hidden()
    expect(page.locator("#uploads")).to_be_hidden()


def test_photographs_are_uploaded_by_dropping_them(visit, empty: Server):
    page = (mine := visit(empty)).page
    mine.enter(empty.api_key)
    expect(page.locator("#empty")).to_be_visible()
    data = base64.b64encode(REAL["rocket.jpg"].read_bytes()).decode()
    transfer = page.evaluate_handle(
        """(data) => {
          const transfer = new DataTransfer();
          const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
          transfer.items.add(new File([bytes], "dropped.jpg", { type: "image/jpeg" }));
          return transfer;
        }""",
        data,
    )

    page.dispatch_event("#empty", "dragenter", {"dataTransfer": transfer})
    expect(page.locator("#drop")).to_be_visible()
    page.dispatch_event("#empty", "drop", {"dataTransfer": transfer})

    expect(page.locator("#drop")).to_be_hidden()
    expect(page.locator(".photo .caption")).to_have_text("dropped.jpg")


def test_a_refused_file_shows_the_problem_in_the_servers_words(visit, empty: Server, tmp_path: Path):
    (tmp_path / "broken.jpg").write_bytes(REAL["rocket.jpg"].read_bytes()[:4000])
    (tmp_path / "notes.txt").write_text("no picture")
    mine = visit(empty)
    mine.refusals_are_fine = True
    page = mine.page
    mine.enter(empty.api_key)

    page.set_input_files("#files", [tmp_path / "broken.jpg", tmp_path / "notes.txt"])

    broken = page.locator(".upload.refused", has_text="broken.jpg")
    expect(broken.locator(".state")).to_contain_text("damaged or incomplete")
    expect(broken.locator("code")).to_have_text("corrupt_image")
    expect(page.locator(".upload.refused", has_text="notes.txt").locator("code")).to_have_text("unsupported_format")
    expect(page.get_by_role("heading", name="2 refused")).to_be_visible()
    assert page.locator(".photo").count() == 0
    broken.get_by_role("button", name="Dismiss").click()
    expect(page.locator(".upload")).to_have_count(1)


def test_an_upload_that_nobody_answers_can_be_tried_again(visit, empty: Server):
    mine = visit(empty)
    mine.refusals_are_fine = True
    page = mine.page
    mine.enter(empty.api_key)
    page.route("**/images", lambda route: route.abort() if route.request.method == "POST" else route.fallback())
    page.set_input_files("#files", REAL["rocket.jpg"])
    expect(page.locator(".upload.refused code")).to_have_text("unreachable")

    page.unroute("**/images")
    page.get_by_role("button", name="Try again").click()

    expect(page.locator(".photo")).to_have_count(1)


def test_what_is_far_below_is_asked_for_only_when_it_comes_near(visit, empty: Server):
    put(empty, *((f"panorama-{n}.jpg", jpeg(640, 200, seed=n), {}) for n in range(60)))
    mine = visit(empty, width=800, height=500)
    page = mine.page
    mine.enter(empty.api_key)
    expect(page.locator(".photo .frame.loaded").first).to_be_visible()
    page.wait_for_load_state("networkidle")

    expect(page.locator(".photo")).to_have_count(48)
    last = page.locator(".photo").last.get_attribute("data-id")
    assert 1 <= len(mine.delivered()) < 40
    assert last not in mine.delivered()

    for _ in range(40):
        page.mouse.wheel(0, 400)
        page.wait_for_timeout(30)
    expect(page.locator(".photo")).to_have_count(60)
    page.locator(".photo").last.scroll_into_view_if_needed()
    expect(page.locator(".photo").last.locator(".frame.loaded")).to_be_visible()
    assert last in mine.delivered()
    expect(page.locator("#more")).to_be_hidden()


def test_rows_fill_the_page_and_keep_the_shape_of_each_picture(seen: Visit, library):
    width = seen.page.locator("#photos").bounding_box()["width"]
    boxes = [(tile(seen.page, record).locator(".frame").bounding_box(), record) for record in library.values()]

    first = [box for box, _ in boxes if box["y"] == min(box["y"] for box, _ in boxes)]
    assert abs(sum(box["width"] for box in first) + 10 * (len(first) - 1) - width) <= 1 or len(first) == len(boxes)
    for box, record in boxes:
        assert box["width"] / box["height"] == pytest.approx(record["width"] / record["height"], rel=0.02)


def test_a_search_finds_one_and_marks_why(seen: Visit, library):
    page = seen.page
    page.keyboard.press("/")
    page.keyboard.type("meeting")

    expect(page.locator(".photo")).to_have_count(1)
    expect(tile(page, library["coffee.png"])).to_be_visible()
    expect(page.locator(".photo mark")).to_have_text("meeting")
    expect(page.locator("#tally")).to_have_text("1 photograph for “meeting”")
    assert page.url.endswith("/?q=meeting")


def test_a_search_survives_a_reload_and_ends_with_its_words(seen: Visit):
    page = seen.page
    page.fill("#words", "launch")
    expect(page.locator(".photo")).to_have_count(1)

    page.reload()
    expect(page.locator(".photo")).to_have_count(1)
    expect(page.locator("#words")).to_have_value("launch")
    page.fill("#words", "")
    expect(page.locator(".photo")).to_have_count(len(WORDS))


def test_a_mended_word_is_told(seen: Visit):
    seen.page.fill("#words", "espreso")

    expect(seen.page.locator(".photo")).to_have_count(1)
    expect(seen.page.locator("#tally")).to_have_text("1 photograph for “espresso”; nothing has “espreso”")


def test_markup_in_a_title_stays_text_also_where_it_is_marked(seen: Visit, library):
    page = seen.page
    page.fill("#words", "cat")

    expect(page.locator(".photo")).to_have_count(1)
    caption = tile(page, library["chelsea.png"]).locator(".caption").first
    expect(caption).to_have_text(WORDS["chelsea.png"]["title"])
    assert caption.evaluate("(p) => [...p.querySelectorAll('*')].map((e) => e.localName)") == ["mark"]


@pytest.mark.parametrize(
    ("highlight", "nodes"),
    [
        ("a <mark>b</mark> c", [["#text", "a "], ["MARK", "b"], ["#text", " c"]]),
        ("&lt;mark&gt; &amp;lt; &quot;&#x27;&#39;", [["#text", "<mark> &lt; \"''"]]),
        ("<script>alert(1)</script><mark>x", [["#text", "<script>alert(1)</script>"], ["MARK", "x"]]),
        ("", []),
    ],
)
def test_highlights_are_read_without_a_parser(seen: Visit, highlight, nodes):
    read = seen.page.evaluate(
        "async (text) => (await import('/static/marks.js')).marked(text).map((n) => [n.nodeName, n.textContent])", highlight
    )

    assert read == nodes


def test_a_tag_narrows_and_widens(seen: Visit):
    page = seen.page
    page.locator("#chips").get_by_role("button", name=re.compile("^portrait")).click()
    expect(page.locator(".photo")).to_have_count(2)
    pressed = page.locator('.chip[aria-pressed="true"]')
    expect(pressed).to_have_text("portrait2")
    assert page.url.endswith("/?tag=portrait")

    pressed.click()
    expect(page.locator(".photo")).to_have_count(len(WORDS))


def test_the_keyboard_is_enough(seen: Visit, library):
    page = seen.page
    first, second = (page.locator(".photo").nth(n) for n in (0, 1))
    names = [each.locator(".caption").text_content() for each in (first, second)]
    first.locator(".frame").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog").get_by_role("heading", level=1)).to_have_text(names[0])
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("dialog").get_by_role("heading", level=1)).to_have_text(names[1])
    page.keyboard.press("Escape")

    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(second.locator(".frame")).to_be_focused()


def test_the_large_view_tells_what_is_known_and_copies_a_url_that_works(seen: Visit, library):
    page = seen.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=seen.origin)
    tile(page, library["coffee.png"]).locator(".frame").click()
    box = page.get_by_role("dialog")
    expect(box).to_contain_text("Before the meeting")
    expect(box).to_contain_text("600 × 400, 467 kB, png")
    until(page, "document.querySelector('.large img').naturalWidth > 0 && !document.querySelector('.large canvas')")
    shown = box.locator(".large").bounding_box()
    assert shown["width"] / shown["height"] == pytest.approx(1.5, rel=0.02)

    box.get_by_role("button", name="Copy URL of thumb_300, webp").click()
    url = page.evaluate("navigator.clipboard.readText()")
    answer = page.request.get(url)
    assert answer.status == 200
    assert answer.headers["content-type"] == "image/webp"


def test_the_original_is_downloaded_as_it_came(seen: Visit, library):
    page = seen.page
    tile(page, library["rocket.jpg"]).locator(".frame").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download original").click()

    assert download.value.suggested_filename == "rocket.jpg"
    assert Path(download.value.path()).read_bytes() == REAL["rocket.jpg"].read_bytes()


def test_what_is_trashed_stays_away(seen: Visit, server: Server, library):
    page, gone = seen.page, library["astronaut.png"]
    tile(page, gone).locator(".frame").click()
    page.get_by_role("button", name="Move to trash").click()

    expect(tile(page, gone)).to_have_count(0)
    expect(page.locator("#toast")).to_contain_text("“Eileen Collins” is in the trash.")
    page.reload()
    expect(page.locator(".photo")).to_have_count(len(WORDS) - 1)
    with server.client() as client:
        assert client.post(f"/images/{gone['id']}/restore").status_code == 200


def test_undo_puts_it_back_in_its_place(seen: Visit, library):
    page, gone = seen.page, library["coffee.png"]
    order = [each.get_attribute("data-id") for each in page.locator(".photo").all()]
    tile(page, gone).locator(".frame").click()
    page.get_by_role("button", name="Move to trash").click()
    expect(page.locator(".photo")).to_have_count(len(WORDS) - 1)
    page.get_by_role("button", name="Undo").click()

    expect(tile(page, gone).locator(".frame")).to_be_focused()
    assert [each.get_attribute("data-id") for each in page.locator(".photo").all()] == order
    page.reload()
    expect(tile(page, gone).locator(".frame.loaded")).to_be_visible()
    assert [each.get_attribute("data-id") for each in page.locator(".photo").all()] == order


def test_a_signed_address_that_has_expired_is_renewed(visit, server: Server, library):
    mine = visit(server)
    mine.refusals_are_fine = True
    page = mine.page
    id = library["rocket.jpg"]["id"]
    refused = []

    def once(route: Route) -> None:
        if refused:
            route.fallback()
        else:
            refused.append(route.request.url)
            route.fulfill(status=403, body="{}")

    page.route(f"**/i/{id}/**", once)
    mine.enter(server.api_key)

    expect(tile(page, library["rocket.jpg"]).locator(".frame.loaded")).to_be_visible()
    assert refused
    assert any(r.url == f"{server.url}/images/{id}" for r in mine.requests)


def test_without_a_key_the_gallery_asks_for_one_and_says_when_it_is_wrong(visit, server: Server, library):
    mine = visit(server)
    mine.refusals_are_fine = True
    page = mine.page
    page.goto(server.url)
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("API key").fill("sl_wrong")
    dialog.get_by_role("button", name="Open the gallery").click()
    expect(dialog.get_by_role("alert")).to_have_text("Credentials are missing or not valid.")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    expect(dialog).to_be_visible()

    dialog.get_by_label("API key").fill(f"  {server.api_key} ")
    page.keyboard.press("Enter")
    expect(page.locator(".photo")).to_have_count(len(WORDS))
    page.reload()
    expect(page.locator(".photo")).to_have_count(len(WORDS))
    page.get_by_role("button", name="Sign out").click()
    expect(dialog).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0
    assert page.locator(".photo, .chip").count() == 0


def test_the_key_of_a_link_is_not_left_in_the_history(visit, server: Server, library):
    mine = visit(server)
    mine.enter(server.api_key)
    expect(mine.page.locator(".photo")).to_have_count(len(WORDS))

    entries = mine.page.context.new_cdp_session(mine.page).send("Page.getNavigationHistory")["entries"]
    assert not [entry["url"] for entry in entries if server.api_key in entry["url"]]


@pytest.mark.parametrize("color_scheme", ["dark", "light"])
def test_nothing_sticks_out_at_360_pixels(visit, server: Server, library, color_scheme):
    mine = visit(server, width=360, height=740, color_scheme=color_scheme)
    page = mine.page
    mine.enter(server.api_key)
    expect(page.locator(".photo")).to_have_count(len(WORDS))
    assert page.evaluate("document.documentElement.scrollWidth") == 360

    page.locator(".photo .frame").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert page.evaluate("document.querySelector('#lightbox').scrollWidth") <= 360


def test_the_page_follows_the_colour_scheme(visit, server: Server, library):
    grounds = []
    for scheme in ("dark", "light"):
        page = (mine := visit(server, color_scheme=scheme)).page
        mine.enter(server.api_key)
        grounds.append(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))

    dark, light = [sum(map(int, re.findall(r"\d+", ground)[:3])) for ground in grounds]
    assert dark < 120 < 600 < light


def test_nothing_moves_for_those_who_asked_for_stillness(visit, server: Server, library):
    page = (mine := visit(server, reduced_motion="reduce")).page
    mine.enter(server.api_key)
    expect(page.locator(".photo")).to_have_count(len(WORDS))

    assert page.locator(".photo img").first.evaluate("(i) => getComputedStyle(i).transitionDuration") == "0s"


@pytest.mark.parametrize("name", ["astronaut.png", "coffee.png", "rocket.jpg", "chelsea.png"])
def test_the_placeholder_looks_like_the_photograph(seen: Visit, name):
    picture = Image.open(REAL[name]).convert("RGBA")
    picture.thumbnail((100, 100))
    drawn = decoded(seen.page, thumbhash(np.asarray(picture)))

    drawn = Image.fromarray(drawn[..., :3].astype(np.uint8))
    coarse, wanted = (np.asarray(each.convert("RGB").resize((4, 4), Image.Resampling.BOX), float) for each in (drawn, picture))
    assert np.abs(coarse.mean((0, 1)) - wanted.mean((0, 1))).max() < 8
    assert np.corrcoef(coarse.ravel(), wanted.ravel())[0, 1] > 0.9


@pytest.mark.parametrize(("width", "height"), [(100, 100), (100, 40), (40, 100)])
def test_the_placeholder_of_a_wedge_rises_where_the_wedge_does(seen: Visit, width, height):
    rgba = np.full((height, width, 4), 255, dtype=np.uint8)
    rgba[..., :3] = np.linspace(20, 235, width)[None, :, None]
    drawn = decoded(seen.page, thumbhash(rgba))

    assert drawn.shape[1] / drawn.shape[0] == pytest.approx(width / height, rel=0.35)
    wedge = np.linspace(20, 235, drawn.shape[1])
    assert np.abs(drawn[..., :3].mean((0, 2)) - wedge).max() < 30


def test_the_placeholder_keeps_transparency(seen: Visit):
    rgba = np.full((60, 60, 4), (200, 40, 40, 255), dtype=np.uint8)
    rgba[:, :30, 3] = 0
    drawn = decoded(seen.page, thumbhash(rgba))

    assert drawn[:, :8, 3].mean() < 40
    assert drawn[:, -8:, 3].mean() > 215


@pytest.mark.parametrize("text", ["", "AAAA", "not base 64!", "////////////////////"])
def test_a_text_that_is_no_thumbhash_breaks_nothing(seen: Visit, text):
    seen.page.evaluate("async (text) => void (await import('/static/thumbhash.js')).placeholder(text)", text)


def decoded(page: Page, hash: bytes) -> np.ndarray:
    """(height, width, 4), as the page's decoder draws it."""
    drawn = page.evaluate(
        "async (hash) => { const p = (await import('/static/thumbhash.js')).decode(hash); return { ...p, rgba: [...p.rgba] }; }",
        base64.b64encode(hash).decode(),
    )
    return np.array(drawn["rgba"], dtype=float).reshape(drawn["height"], drawn["width"], 4)
