"""A real Chromium against a real server. Run by `make test-browser`; the plain test run leaves this folder out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, sync_playwright
from tests.acceptance.conftest import Server

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TELL_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy violated: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
"""


def until(page: Page, condition: str, *, within_s: float = 60.0) -> None:
    """Wait for a JavaScript condition. (`page.wait_for_function` polls by eval, which the page's policy forbids.)"""
    deadline = time.monotonic() + within_s
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(10)


@dataclass
class Visit:
    """One tab with a fresh profile. What it asks for and complains of is kept; at the end nothing may have gone wrong."""

    page: Page
    origin: str
    requests: list[Request] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    refusals_are_fine: bool = False
    """Chromium writes every answer of 400 and above to the console; a test that provokes one says so."""

    def delivered(self) -> set[str]:
        """Ids of the images whose pixels were asked for."""
        return {urlsplit(r.url).path.split("/")[2] for r in self.requests if urlsplit(r.url).path.startswith("/i/")}

    def enter(self, key: str, path: str = "/") -> None:
        self.page.goto(f"{self.origin}{path}#key={key}")
        until(self.page, "!location.hash")

    def verify(self) -> None:
        strangers = [r.url for r in self.requests if not r.url.startswith((self.origin + "/", "data:", "blob:" + self.origin))]
        complaints = [c for c in self.complaints if not (self.refusals_are_fine and c.startswith("Failed to load resource"))]
        assert strangers == []
        assert complaints == []


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Callable[..., Visit]]:
    """Opens tabs: `visit(server, width=360, color_scheme="light")`."""
    if "empty" in request.fixturenames:
        request.getfixturevalue("empty")  # before the tabs, so that they are closed before their server stops
    visits: list[Visit] = []

    def open(server: Server, *, width: int = 1280, height: int = 800, **options: object) -> Visit:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        context.add_init_script(TELL_VIOLATIONS)
        context.set_default_timeout(15_000)
        visit = Visit(context.new_page(), server.url)
        visit.page.on("request", lambda request: visit.requests.append(request))
        visit.page.on("console", lambda m: visit.complaints.append(m.text) if m.type in ("error", "warning") else None)
        visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
        visits.append(visit)
        return visit

    yield open
    for each in visits:
        each.page.context.close()
    for each in visits:
        each.verify()


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Server]:
    """A server without any image."""
    server = Server(tmp_path / "data").start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server with a few images, for all tests that leave it as they found it."""
    running = Server(tmp_path_factory.mktemp("browser") / "data").start()
    yield running
    running.stop()


def put(server: Server, *files: tuple[str, bytes, dict[str, str]]) -> list[dict]:
    """Upload (name, bytes, fields), several at a time; the records in the order of the files."""
    with server.client() as client, ThreadPoolExecutor(4) as pool:

        def one(file: tuple[str, bytes, dict[str, str]]) -> dict:
            name, data, fields = file
            answer = client.post("/images", files={"file": (name, data)}, data=fields)
            assert answer.status_code == 201, answer.text
            return answer.json()

        return list(pool.map(one, files))
