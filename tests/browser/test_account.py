"""Links in letters, opened in a real Chromium."""

from __future__ import annotations

import json
import re
import time
from email import message_from_bytes, policy
from pathlib import Path

import httpx
import pytest
from tests.acceptance.conftest import Server
from tests.browser.conftest import until

ADA, GOOD, BETTER = "ada@example.org", "umbrella-seventeen-kites", "quiet harbour / 41 lanterns"


@pytest.fixture
def open_server(tmp_path):
    running = Server(tmp_path / "data", {"SAFELIGHT_AUTH__SIGNUP_TENANTS": "default"}).start()
    yield running
    running.stop()


def link(server, count, *, within_s=60.0):
    folder = Path(server.data_dir) / "mail"
    deadline = time.monotonic() + within_s
    while len(found := sorted(folder.glob("*.eml"))) < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    text = message_from_bytes(found[-1].read_bytes(), policy=policy.default).get_body(("plain",)).get_content()
    return re.search(r"http\S+", text).group(0)


def test_the_links_of_letters_confirm_an_address_and_choose_a_password(browser, open_server):
    context = browser.new_context()
    page = context.new_page()
    asked, complaints = [], []
    page.on("request", lambda request: asked.append(request))
    page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    with httpx.Client(base_url=open_server.url, timeout=60) as http:
        http.post("/auth/signup", json={"email": ADA, "password": GOOD})
        address = link(open_server, 1)
        page.goto(address)
        until(page, "!document.getElementById('verify').hidden")
        # Opening alone uses nothing up, and the token is in nothing that was sent and no longer in the address bar.
        token = address.partition("=")[2]
        assert page.url == f"{open_server.url}/account"
        assert not any(token in request.url for request in asked)
        page.click("#verify button")
        until(page, "document.getElementById('says').textContent.includes('confirmed')")
        assert http.post("/auth/signin", json={"email": ADA, "password": GOOD}).status_code == 200

        http.post("/auth/password/forgot", json={"email": ADA})
        page.goto("about:blank")
        page.goto(link(open_server, 2))
        until(page, "!document.getElementById('password').hidden")
        page.fill("#new", BETTER)
        page.click("#password button")
        until(page, "document.getElementById('says').textContent.includes('is kept')")
        assert http.post("/auth/signin", json={"email": ADA, "password": BETTER}).status_code == 200
    assert complaints == [], json.dumps(complaints)
    context.close()
