"""The interactive API page in a real browser: it draws itself from our own document and speaks to our own API."""

from __future__ import annotations

import json

from playwright.sync_api import expect
from tests.acceptance.conftest import Server


def test_the_api_page_lists_images_after_authorize(visit, server: Server):
    page = visit(server).page
    page.goto(f"{server.url}/docs")
    page.get_by_role("button", name="Authorize").click()
    page.locator(".auth-container input").fill(server.api_key)
    page.locator(".auth-container").get_by_role("button", name="Apply credentials").click()
    page.get_by_role("button", name="Close").click()

    operation = page.locator(".opblock", has=page.locator('[data-path="/images"]'), has_text="GET").first
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Execute").click()

    answer = operation.locator(".live-responses-table .response").first
    expect(answer.locator(".response-col_status")).to_contain_text("200")
    assert "images" in json.loads(answer.locator("code.language-json").inner_text())


def test_the_api_page_remembers_the_key_and_asks_no_stranger(visit, server: Server):
    mine = visit(server)
    mine.page.goto(f"{server.url}/docs")
    mine.page.get_by_role("button", name="Authorize").click()
    mine.page.locator(".auth-container input").fill(server.api_key)
    mine.page.locator(".auth-container").get_by_role("button", name="Apply credentials").click()
    mine.page.reload()
    mine.page.get_by_role("button", name="Authorize").click()

    expect(mine.page.locator(".auth-container").get_by_role("button", name="Remove authorization")).to_be_visible()
    assert {request.url for request in mine.requests} >= {f"{server.url}/openapi.json"}


def test_the_api_page_follows_the_colour_scheme(visit, server: Server):
    for scheme, is_dark in (("dark", True), ("light", False)):
        page = visit(server, color_scheme=scheme).page
        page.goto(f"{server.url}/docs")

        expect(page.locator(".opblock").first).to_be_visible()
        assert page.evaluate("document.documentElement.classList.contains('dark-mode')") is is_dark
