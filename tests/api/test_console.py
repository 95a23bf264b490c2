"""The gallery's and the API page's files as any client gets them; what they do in a browser is proved in tests/browser."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

import safelight.console
from safelight.api.app import Front
from safelight.console.routes import FILES, router
from safelight.settings import Settings
from safelight.wiring import build

STATIC = Path(safelight.console.__file__).parent / "static"
PAGES = {"/": "index.html", "/docs": "docs.html", "/account": "account.html"}
ADDRESSES = [*PAGES, *(f"/static/{name}" for name in FILES)]
TYPES = {"css": "text/css", "html": "text/html", "js": "text/javascript", "svg": "image/svg+xml"}


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    front = Front(build(Settings(data_dir=tmp_path / "data")), works=False, console=router)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(front), base_url="http://test") as client:
        yield client


@pytest.mark.parametrize("address", ADDRESSES)
async def test_a_file_says_what_it_is(client, address):
    answer = await client.get(address)

    extension = PAGES.get(address, address).rpartition(".")[2]
    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == TYPES[extension]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-cache"
    assert len(answer.content) == int(answer.headers["content-length"]) > 0


@pytest.mark.parametrize("address", ["/", "/docs", "/static/gallery.js"])
async def test_head_tells_the_same_without_the_bytes(client, address):
    whole, head = await client.get(address), await client.head(address)

    assert head.status_code == 200
    assert head.content == b""
    for name in ("content-length", "content-type", "etag", "cache-control"):
        assert head.headers[name] == whole.headers[name], name


@pytest.mark.parametrize("address", ["/", "/docs", "/static/gallery.css"])
@pytest.mark.parametrize("condition", ["{}", 'W/{}, "other"', '"other", {}', "*"])
async def test_what_the_client_has_is_not_sent_again(client, address, condition):
    etag = (await client.get(address)).headers["etag"]

    answer = await client.get(address, headers={"if-none-match": condition.format(etag)})

    assert answer.status_code == 304
    assert answer.content == b""
    assert answer.headers["etag"] == etag


async def test_another_etag_gets_the_whole(client):
    answer = await client.get("/", headers={"if-none-match": '"other"'})

    assert answer.status_code == 200


async def test_every_file_has_an_etag_of_its_own(client):
    etags = [(await client.get(address)).headers["etag"] for address in ADDRESSES]

    assert len(set(etags)) == len(etags)


async def test_the_gallery_may_load_nothing_but_its_own(client):
    policy = (await client.get("/")).headers["content-security-policy"]

    assert policy == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


async def test_the_api_page_may_run_no_inline_script(client):
    policy = (await client.get("/docs")).headers["content-security-policy"]

    assert "script-src 'self';" in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize(
    "path",
    [
        "/static/routes.py",
        "/static/../routes.py",
        "/static/..%2froutes.py",
        "/static/%2e%2e%2froutes.py",
        "/static/....//routes.py",
        "/static/%2fetc%2fpasswd",
        "/static//etc/passwd",
        "/static/index.html",
        "/static/redoc.standalone.js",
        "/static/gallery.js%00.css",
        "/static/",
    ],
)
async def test_a_name_that_is_not_listed_leads_nowhere(client, path):
    answer = await client.send(httpx.Request("GET", httpx.URL("http://test").copy_with(raw_path=path.encode())))

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "not_found"


async def test_pages_are_not_part_of_the_api_document(client):
    paths = (await client.get("/openapi.json")).json()["paths"]

    assert not {path for path in paths if path in PAGES or path.startswith("/static")}


def test_every_file_of_the_folder_is_served():
    served = {name for name, package in FILES.items() if package == "safelight.console"} | set(PAGES.values())

    assert served == {path.name for path in STATIC.iterdir()}


@pytest.mark.parametrize("path", sorted(STATIC.iterdir()), ids=lambda path: path.name)
def test_no_file_names_another_host(path):
    text = path.read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")

    assert not re.search(r"(https?:)?//[a-z0-9-]+\.[a-z]", text)


class _Inline(HTMLParser):
    """Collects what a strict policy would stop, and every address in the page."""

    def __init__(self) -> None:
        super().__init__()
        self.stopped: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if (tag == "script" and "src" not in given) or tag == "style":
            self.stopped.append(tag)
        self.stopped += [name for name in given if name == "style" or name.startswith("on")]
        self.addresses += [given[name] or "" for name in ("src", "href") if name in given]


@pytest.mark.parametrize("page", PAGES.values())
def test_a_page_has_no_inline_script_or_style(page):
    parser = _Inline()
    parser.feed((STATIC / page).read_text())

    assert parser.stopped == []
    assert all(re.match(r"/|#", address) for address in parser.addresses)


@pytest.mark.parametrize("path", sorted(STATIC.glob("*.js")), ids=lambda path: path.name)
def test_no_script_turns_text_into_markup(path):
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser", path.read_text()
    )
