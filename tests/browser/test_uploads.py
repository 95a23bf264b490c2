"""What the how-tos show for browsers, run as it stands there by a page of another origin: tus-js-client and Uppy in a real Chromium.

Lines break and pages are reloaded while a photograph is on its way; what comes of it is a ready image of the same bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, Request
from tests.acceptance.conftest import Server, until
from tests.browser.packages import bundled, site
from tests.photographs import photographs
from tests.servers.cuttable import Cuttable, Line
from tests.servers.seaweedfs import ACCESS_KEY, SECRET_KEY, SeaweedFS

HOWTO = Path(__file__).parents[2] / "docs" / "howto"
PHOTOGRAPH = max((path.read_bytes() for path in photographs("small") if path.suffix == ".jpg"), key=len)
CHUNK_BYTES = len(PHOTOGRAPH) // 12


@dataclass
class Shop:
    """An installation that knows the origin of somebody's page, and that page's own backend, which has the key."""

    server: Server
    folder: Path
    is_told: bool = True
    """Whether the store tells of what has come; else the client does."""
    method: str = "post"
    origin: str = ""
    line: Cuttable = field(init=False)

    def announce(self, said: Any) -> Any:
        """What the backend answers: what Safelight does."""
        with self.server.client() as client:
            return client.post("/uploads", json=said | {"method": self.method}).raise_for_status().json()

    def page(self, how_to: str, holding: str, *, then: str) -> str:
        """The address of a page with the example that holds this, which ends as `then` says."""
        [example] = [code for code in re.findall(r"```js\n(.*?)```", (HOWTO / how_to).read_text(), re.DOTALL) if holding in code]
        given = f"""
            const key = {json.dumps(self.server.api_key)};
            const bytes = await (await fetch("/photograph.jpg")).blob();
            const file = new File([bytes], "sea.jpg", {{ type: "image/jpeg", lastModified: 1 }});
        """
        bundled(
            given + example.replace("https://photos.example", f"http://127.0.0.1:{self.line.port}") + then,
            self.folder / "page.js",
        )
        (self.folder / "page.html").write_text(
            '<!doctype html><meta charset="utf-8"><script type="module" src="page.js"></script>'
        )
        return f"{self.origin}/page.html"

    def arrived(self, upload: str) -> dict[str, Any]:
        """The image that the upload has become, ready and whole."""
        with self.server.client() as client:
            if not self.is_told:
                assert client.post(f"/uploads/{upload}/complete").is_success
            until(lambda: client.get(f"/uploads/{upload}").json()["state"] not in ("pending", "arrived"))
            image = client.get(f"/uploads/{upload}").json()["image_id"]
            assert image, client.get(f"/uploads/{upload}").text
            until(lambda: client.get(f"/images/{image}").json()["status"] == "ready")
            assert client.get(f"/images/{image}/original").content == PHOTOGRAPH
            return client.get(f"/images/{image}").json()


@contextlib.contextmanager
def opened(folder: Path, environment: dict[str, str]) -> Iterator[Shop]:
    shop = Shop(Server(folder / "data", environment), folder / "site")
    shop.folder.mkdir()
    (shop.folder / "photograph.jpg").write_bytes(PHOTOGRAPH)
    with site(shop.folder, shop.announce) as shop.origin, Cuttable(shop.server.port) as shop.line:
        environment["SAFELIGHT_SERVER__CORS_ORIGINS"] = shop.origin
        environment["SAFELIGHT_BUCKET__CORS_ORIGINS"] = shop.origin
        yield shop
        shop.server.stop()


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with opened(tmp_path_factory.mktemp("embedded"), {}) as shop:
        shop.server.start()
        yield shop


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The page speaks to SeaweedFS, whose bucket was prepared as the how-to says."""
    with SeaweedFS(tmp_path_factory.mktemp("seaweedfs")) as store:
        environment = {
            "SAFELIGHT_STORAGE__URL": f"s3://{store.make_bucket('originals', is_versioned=True)}",
            "SAFELIGHT_STORAGE__RENDITIONS_BUCKET": store.make_bucket("renditions", is_versioned=True),
            "SAFELIGHT_STORAGE__ENDPOINT_URL": store.url,
            "SAFELIGHT_STORAGE__ACCESS_KEY_ID": ACCESS_KEY,
            "SAFELIGHT_STORAGE__SECRET_ACCESS_KEY": SECRET_KEY,
            "SAFELIGHT_STORAGE__KMS_KEY_ID": store.make_key(),
        }
        with opened(tmp_path_factory.mktemp("s3"), environment) as shop:
            command = [sys.executable, "-m", "safelight", "bucket", "apply", "--json"]
            applied = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=120)
            assert any(item["name"] == "cors" and item["state"] == "applied" for item in json.loads(applied.stdout)["items"]), (
                applied
            )
            shop.server.start()
            shop.is_told = False
            yield shop


@pytest.fixture(params=["embedded", "s3"])
def shop(request: pytest.FixtureRequest) -> Shop:
    return request.getfixturevalue(request.param)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab; no script in it may fail."""
    context = browser.new_context()
    context.set_default_timeout(90_000)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert errors == []


def told(page: Page) -> Any:
    """What the page has come to."""
    page.wait_for_function("globalThis.done || globalThis.failed")
    assert not page.evaluate("globalThis.failed"), page.evaluate("String(globalThis.failed)")
    return page.evaluate("globalThis.done")


THEN_TUS = f"""
    upload.options.chunkSize = {CHUNK_BYTES};
    upload.options.onSuccess = () => {{ globalThis.done = upload.url; }};
    upload.options.onError = (error) => {{ globalThis.failed = error; }};
"""
THEN_UPPY = """
    uppy.addFile({ name: file.name, type: file.type, data: file });
    const { successful, failed } = await uppy.upload();
    globalThis.failed = failed[0]?.error;
    globalThis.done = successful[0] && { url: successful[0].uploadURL, ...successful[0].meta };
"""


def kept(shop: Shop, page: Page, sent: list[Request]) -> bool:
    """Whether anything of the upload that these requests speak of counts: one that goes on sooner begins anew."""
    page.wait_for_timeout(20)  # requests are told of only while the page is waited for
    with shop.server.client() as client:
        place = next((httpx.URL(request.url).path for request in sent if request.method == "PATCH"), None)
        return place is not None and client.head(place, headers={"tus-resumable": "1.0.0"}).headers["upload-offset"] != "0"


def test_tus_js_client_survives_broken_lines_and_a_reload(embedded: Shop, page: Page) -> None:
    sent: list[Request] = []
    page.on("request", lambda request: sent.append(request))
    line = embedded.line
    line.cut_after(len(PHOTOGRAPH) // 3)
    page.goto(embedded.page("resume-uploads.md", "tus-js-client", then=THEN_TUS))
    until(lambda: line.is_cut)
    line.cut_after(len(PHOTOGRAPH) // 3)
    line.be(Line.THROUGH)  # and the client tries again by itself
    until(lambda: line.is_cut)
    page.reload()
    line.be(Line.THROUGH)
    upload = told(page).rpartition("/")[2]

    image = embedded.arrived(upload)
    assert (image["file_name"], image["title"], image["tags"]) == ("sea.jpg", "Sea", ["blue", "summer"])
    assert [request.method for request in sent].count("POST") == 1, "one upload all the while"
    reloaded = max(place for place, request in enumerate(sent) if request.url.endswith("/page.html"))
    patches = [int(request.headers["upload-offset"]) for request in sent[reloaded:] if request.method == "PATCH"]
    assert len(PHOTOGRAPH) // 4 < patches[0] and len(patches) > 1


def test_uppy_goes_on_by_tus_where_the_line_broke(embedded: Shop, page: Page) -> None:
    sent: list[Request] = []
    page.on("request", lambda request: sent.append(request) if "/tus/" in request.url else None)
    embedded.line.cut_after(len(PHOTOGRAPH) // 2)
    page.goto(embedded.page("resume-uploads.md", "@uppy/tus", then=THEN_UPPY))
    until(lambda: embedded.line.is_cut)
    until(lambda: kept(embedded, page, sent))
    embedded.line.be(Line.THROUGH)
    upload = told(page)["url"].rpartition("/")[2]

    assert embedded.arrived(upload)["file_name"] == "sea.jpg"
    assert [request.method for request in sent].count("POST") == 1
    assert [request.headers["upload-offset"] for request in sent if request.method == "PATCH"][-1] != "0"


@pytest.mark.parametrize("method", ["post", "put"])
def test_uppy_sends_to_the_store(shop: Shop, page: Page, method: str) -> None:
    shop.method = method
    page.goto(shop.page("upload-directly.md", "@uppy/aws-s3", then=THEN_UPPY))
    upload = told(page)["upload"]

    assert shop.arrived(upload)["file_name"] == "sea.jpg"


def test_a_page_sends_to_the_store_without_any_library(shop: Shop, page: Page) -> None:
    shop.method = "post"
    page.goto(shop.page("upload-directly.md", "async function upload(file)", then="globalThis.done = await upload(file);"))

    assert shop.arrived(told(page))["file_name"] == "sea.jpg"
