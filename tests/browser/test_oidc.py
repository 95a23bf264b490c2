"""Tokens of a certified OpenID provider at a real server. No browser: the sign-in is one's own, page by page. In this folder since
what it needs beside Python comes with the same target.
"""

from __future__ import annotations

import base64
import json
import time

import httpx
import pytest
from tests.acceptance.conftest import Server
from tests.servers.oidc_provider import OidcProvider, new_key

API = "https://images.example.org"
GROUPS = {"ada": ["owners"], "bob": []}
ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
TERMS = {
    "audiences": [API, "web"],
    "role_claim": "groups",
    "roles": {"owners": "admin"},
    "algorithms": ALGORITHMS,
}


@pytest.fixture(scope="module")
def providers():
    """One for each algorithm."""
    running = {algorithm: OidcProvider(audience=API, groups=GROUPS, algorithm=algorithm) for algorithm in ALGORITHMS}
    for algorithm, provider in running.items():
        provider.start(new_key("k-1", algorithm))
    yield running
    for provider in running.values():
        provider.stop()


@pytest.fixture
def provider(providers):
    return providers["RS256"]


@pytest.fixture(scope="module")
def running(providers, tmp_path_factory):
    """One that looks for new keys every second, so that nobody waits for half a minute."""
    environment = {
        "SAFELIGHT_ISSUERS__NETWORKS": "127.0.0.1",
        "SAFELIGHT_ISSUERS__PORTS": ",".join(str(provider.port) for provider in providers.values()),
        "SAFELIGHT_ISSUERS__IS_HTTP_ALLOWED": "true",
        "SAFELIGHT_ISSUERS__FLOOR_S": "1",
        "SAFELIGHT_ISSUERS__TOTAL_S": "60",
    }
    running = Server(tmp_path_factory.mktemp("oidc") / "data", environment).start()
    yield running
    running.stop()


@pytest.fixture
def server(running):
    """It trusts nobody when the test begins."""
    yield running
    with running.client() as client:
        for issuer in client.get("/admin/issuers").json():
            client.delete(f"/admin/issuers/{issuer['id']}").raise_for_status()


def trust(server: Server, provider: OidcProvider, **terms: object) -> dict:
    with server.client() as client:
        return client.post("/admin/issuers", json={"issuer": provider.issuer, **TERMS, **terms}).raise_for_status().json()


def ask(server: Server, token: str, path: str = "/images") -> int:
    return httpx.get(f"{server.url}{path}", headers={"authorization": f"Bearer {token}"}, timeout=60).status_code


def until(condition, *, within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def changed(token: str, **claims: object) -> str:
    header, payload, signature = token.split(".")
    whole = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))) | claims
    return f"{header}.{base64.urlsafe_b64encode(json.dumps(whole).encode()).rstrip(b'=').decode()}.{signature}"


def test_its_people_come_in_and_tampered_tokens_do_not(provider, server):
    ada, bob = provider.sign_in("ada"), provider.sign_in("bob")
    assert ask(server, ada["access_token"]) == 401
    trust(server, provider)

    for kind in ("access_token", "id_token"):
        assert ask(server, ada[kind]) == 200 and ask(server, ada[kind], "/admin/users") == 200
        assert ask(server, bob[kind]) == 200 and ask(server, bob[kind], "/admin/users") == 403
        header, payload, signature = bob[kind].split(".")
        for bad in (
            changed(bob[kind], groups=["owners"]),
            changed(bob[kind], sub="ada"),
            changed(bob[kind], exp=2**40),
            changed(bob[kind], iss=provider.issuer + "/"),
            f"{header}.{payload}.{ada[kind].split('.')[2]}",
            f"{header}.{payload}.{signature[::-1]}",
            f"{header}.{payload}.",
        ):
            assert ask(server, bad) == 401
    assert ask(server, provider.machine_token()) == 200
    with server.client() as client:
        assert {user["name"] for user in client.get("/admin/users").json()} >= {"operator", "ada", "bob", "web"}


def test_terms_that_it_does_not_meet_keep_its_people_out(provider, server):
    ada = provider.sign_in("ada")
    made = trust(server, provider, audiences=["another"])
    assert ask(server, ada["access_token"]) == 401 and ask(server, ada["id_token"]) == 401
    with server.client() as client:
        client.delete(f"/admin/issuers/{made['id']}").raise_for_status()
    trust(server, provider, algorithms=["ES256"])

    assert ask(server, ada["access_token"]) == 401


def test_it_changes_its_keys_and_is_away_for_a_while(provider, server):
    trust(server, provider)
    before = provider.sign_in("ada")["access_token"]
    assert ask(server, before) == 200
    provider.stop()
    assert ask(server, before) == 200

    provider.start(new_key("k-2"))
    after = provider.sign_in("ada")["access_token"]
    until(lambda: ask(server, after) == 200)  # its key is fetched
    until(lambda: ask(server, before) == 401)  # and the one that it has withdrawn is believed no more


@pytest.mark.parametrize("algorithm", ALGORITHMS[1:])
def test_other_signatures_than_rs256(algorithm, providers, server):
    trust(server, providers[algorithm])
    grant = providers[algorithm].sign_in("bob")

    assert ask(server, grant["access_token"]) == 200 and ask(server, grant["id_token"]) == 200
    assert ask(server, changed(grant["id_token"], sub="ada")) == 401
