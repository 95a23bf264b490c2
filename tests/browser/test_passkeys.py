"""A passkey made and used by a real Chromium, with DevTools' virtual authenticator, by the JavaScript of the how-to."""

from __future__ import annotations

import re
import time
from email import message_from_bytes, policy
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import jwt
import pytest
from tests.browser.test_account import ADA, GOOD, link, open_server

__all__ = ["open_server"]
HOWTO = Path(__file__).parents[2] / "docs" / "howto" / "sign-in-with-passkeys.md"
FUNCTIONS = "addPasskey, signInWithPasskey, stepUpWithPasskey"


def subjects(server, count, *, within_s=60.0):
    deadline = time.monotonic() + within_s
    while len(found := sorted((Path(server.data_dir) / "mail").glob("*.eml"))) < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return [message_from_bytes(path.read_bytes(), policy=policy.default)["subject"] for path in found]


@pytest.fixture
def page(browser, open_server):
    """At localhost, since browsers know no passkeys for an address in numbers; with the functions of the how-to."""
    context = browser.new_context()
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.goto(f"http://localhost:{urlsplit(open_server.url).port}/account")
    [script] = re.findall(r"```js\n(.*?)```", HOWTO.read_text(), re.DOTALL)
    page.evaluate(f"() => {{ {script}\n Object.assign(window, {{ {FUNCTIONS} }}); }}")
    yield page
    context.close()


def authenticator(page, *, is_user_verified=True):
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "ctap2Version": "ctap2_1",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": is_user_verified,
        "automaticPresenceSimulation": True,
    }
    made = session.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    return session, made["authenticatorId"]


def test_chromium_makes_a_passkey_signs_in_with_it_and_steps_up(page, open_server):
    session, device = authenticator(page)
    with httpx.Client(base_url=open_server.url, timeout=60) as http:
        http.post("/auth/signup", json={"email": ADA, "password": GOOD})
        assert http.post("/auth/verify", json={"token": link(open_server, 1).partition("=")[2]}).status_code == 204
        grant = http.post("/auth/signin", json={"email": ADA, "password": GOOD}).json()
        made = page.evaluate("([token, name]) => addPasskey(token, name)", [grant["access_token"], "Chromium"])
        assert made["name"] == "Chromium"
        [kept] = session.send("WebAuthn.getCredentials", {"authenticatorId": device})["credentials"]
        assert kept["isResidentCredential"] and kept["rpId"] == "localhost"

        entered = page.evaluate("() => signInWithPasskey()")
        claims = jwt.decode(entered["access_token"], options={"verify_signature": False})
        assert claims["amr"] == ["pop", "user", "mfa"] and entered["session"] != grant["session"]
        bearer = {"authorization": f"Bearer {entered['access_token']}"}
        [listed] = http.get("/auth/passkeys", headers=bearer).json()
        assert listed["id"] == made["id"] and listed["used_at"]

        fresh = page.evaluate("token => stepUpWithPasskey(token)", entered["access_token"])
        bearer = {"authorization": f"Bearer {fresh['access_token']}"}
        # Twice on one device is refused by the device itself, since the options name what is there.
        again = page.evaluate("token => addPasskey(token, 'again').catch(error => error.name)", fresh["access_token"])
        assert again == "InvalidStateError"
        assert http.delete(f"/auth/passkeys/{made['id']}", headers=bearer).status_code == 204
        refused = page.evaluate("() => signInWithPasskey().catch(error => error.code)")
        assert refused == "unauthenticated"
    told = subjects(open_server, 3)
    assert sum("passkey was added" in one for one in told) == sum("passkey was removed" in one for one in told) == 1


def test_who_does_not_unlock_the_device_makes_nothing(page, open_server):
    authenticator(page, is_user_verified=False)
    with httpx.Client(base_url=open_server.url, timeout=60) as http:
        http.post("/auth/signup", json={"email": ADA, "password": GOOD})
        http.post("/auth/verify", json={"token": link(open_server, 1).partition("=")[2]})
        grant = http.post("/auth/signin", json={"email": ADA, "password": GOOD}).json()
        told = page.evaluate("token => addPasskey(token, 'x').catch(error => error.name)", grant["access_token"])

        assert told == "NotAllowedError"
        assert http.get("/auth/passkeys", headers={"authorization": f"Bearer {grant['access_token']}"}).json() == []
