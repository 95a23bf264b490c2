"""Tokens of a Cognito user pool (moto's emulator) at a real server: accepted, tampered with and refused; named over the command line."""

from __future__ import annotations

import base64
import json
import subprocess
import sys

import botocore.session
import httpx
import pytest
from botocore.config import Config
from tests.acceptance.conftest import Server
from tests.servers.moto import CREDENTIALS, REGION, MotoServer

PASSWORD = "Umbrella-17-kites"


@pytest.fixture(scope="module")
def cognito():
    running = MotoServer().start()
    yield running
    running.remove()


class Pool:
    """A user pool with one app client; people sign in as they do at Cognito."""

    def __init__(self, moto: MotoServer, *groups: str) -> None:
        self.client = botocore.session.Session().create_client(
            "cognito-idp",
            region_name=REGION,
            endpoint_url=moto.url,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            config=Config(retries={"max_attempts": 0}, read_timeout=60),
        )
        self.id = self.client.create_user_pool(PoolName="photos")["UserPool"]["Id"]
        app = self.client.create_user_pool_client(
            UserPoolId=self.id, ClientName="web", ExplicitAuthFlows=["ALLOW_ADMIN_USER_PASSWORD_AUTH"]
        )
        self.app = app["UserPoolClient"]["ClientId"]
        for group in groups:
            self.client.create_group(UserPoolId=self.id, GroupName=group)
        self.issuer = f"https://cognito-idp.{REGION}.amazonaws.com/{self.id}"
        self.jwks_url = f"{moto.url}/{self.id}/.well-known/jwks.json"

    def add(self, name: str, *groups: str) -> None:
        self.client.admin_create_user(UserPoolId=self.id, Username=name, MessageAction="SUPPRESS")
        self.client.admin_set_user_password(UserPoolId=self.id, Username=name, Password=PASSWORD, Permanent=True)
        for group in groups:
            self.client.admin_add_user_to_group(UserPoolId=self.id, Username=name, GroupName=group)

    def sign_in(self, name: str) -> dict[str, str]:
        answer = self.client.admin_initiate_auth(
            UserPoolId=self.id,
            ClientId=self.app,
            AuthFlow="ADMIN_USER_PASSWORD_AUTH",
            AuthParameters={"USERNAME": name, "PASSWORD": PASSWORD},
        )
        return answer["AuthenticationResult"]


@pytest.fixture(scope="module")
def server(cognito, tmp_path_factory):
    environment = {
        "SAFELIGHT_ISSUERS__NETWORKS": "127.0.0.1",
        "SAFELIGHT_ISSUERS__PORTS": str(cognito.port),
        "SAFELIGHT_ISSUERS__IS_HTTP_ALLOWED": "true",
        "SAFELIGHT_ISSUERS__TOTAL_S": "60",
    }
    running = Server(tmp_path_factory.mktemp("issuers") / "data", environment).start()
    yield running
    running.stop()


def safelight(server: Server, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "safelight", "issuer", *words, "--url", server.url, "--api-key", server.api_key]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def ask(server: Server, token: str, path: str = "/images") -> httpx.Response:
    return httpx.get(f"{server.url}{path}", headers={"authorization": f"Bearer {token}"}, timeout=60)


def changed(token: str, **claims: object) -> str:
    header, payload, signature = token.split(".")
    whole = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))) | claims
    return f"{header}.{base64.urlsafe_b64encode(json.dumps(whole).encode()).rstrip(b'=').decode()}.{signature}"


def test_a_cognito_pool_lets_its_people_in_with_both_kinds_of_token(cognito, server, tmp_path):
    pool = Pool(cognito, "photo-admins", "staff")
    pool.add("ada", "photo-admins")
    pool.add("bob", "staff")
    ada, bob = pool.sign_in("ada"), pool.sign_in("bob")
    assert ask(server, ada["AccessToken"]).status_code == 401

    added = safelight(
        server, "add", pool.issuer, "--audience", pool.app, "--jwks-url", pool.jwks_url, "--token-use", "access", "--token-use", "id",
        "--role-claim", "cognito:groups", "--role", "photo-admins=admin", "--json",
    )  # fmt: skip
    assert added.returncode == 0, added.stderr
    assert pool.issuer in safelight(server, "list").stdout

    for grant, status in ((ada, 200), (bob, 403)):
        for kind in ("AccessToken", "IdToken"):
            assert ask(server, grant[kind]).status_code == 200
            assert ask(server, grant[kind], "/admin/users").status_code == status
    with server.client() as client:
        people = {user["name"]: user["role"] for user in client.get("/admin/users").json()}
    assert people["ada"] == "admin" and people["bob"] == "user"

    for kind in ("AccessToken", "IdToken"):
        for claims in ({"sub": "root"}, {"cognito:groups": ["photo-admins"]}, {"exp": 2**40}, {"token_use": "refresh"}):
            assert ask(server, changed(bob[kind], **claims)).status_code == 401
    assert ask(server, pool.sign_in("bob")["RefreshToken"]).status_code == 401

    token = tmp_path / "token"
    token.write_text(bob["IdToken"])
    told = safelight(server, "check", pool.issuer, "--token-file", str(token))
    assert told.returncode == 0 and "stands for bob (user)" in told.stdout
    token.write_text(changed(bob["IdToken"], sub="root"))
    assert safelight(server, "check", pool.issuer, "--token-file", str(token)).returncode == 1

    assert safelight(server, "remove", pool.issuer).returncode == 0
    assert ask(server, ada["AccessToken"]).status_code == 401


def test_another_pool_of_the_same_cognito_opens_nothing(cognito, server):
    """Its tokens are signed with the same key here, so only the names stand between them."""
    mine, other = Pool(cognito), Pool(cognito)
    other.add("eve")
    with server.client() as client:
        wish = {"issuer": mine.issuer, "audiences": [mine.app], "jwks_url": mine.jwks_url, "token_use": ["access", "id"]}
        client.post("/admin/issuers", json=wish).raise_for_status()
    eve = other.sign_in("eve")

    for kind in ("AccessToken", "IdToken"):
        assert ask(server, eve[kind]).status_code == 401
        assert ask(server, changed(eve[kind], iss=mine.issuer, aud=mine.app, client_id=mine.app)).status_code == 401


def test_an_issuer_in_our_own_house_is_out_of_reach_until_a_setting_opens_it(cognito, new_server):
    pool = Pool(cognito)
    pool.add("ada")
    new_server.environment = {"SAFELIGHT_ISSUERS__PORTS": str(cognito.port), "SAFELIGHT_ISSUERS__IS_HTTP_ALLOWED": "true"}
    new_server.start()
    with new_server.client() as client:
        wish = {"issuer": pool.issuer, "audiences": [pool.app], "jwks_url": pool.jwks_url}
        made = client.post("/admin/issuers", json=wish).raise_for_status().json()
        check = client.post(f"/admin/issuers/{made['id']}/check")

    assert (check.status_code, check.json()["code"]) == (422, "source_unreachable")
    refused = ask(new_server, pool.sign_in("ada")["AccessToken"])
    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    assert int(refused.headers["retry-after"]) > 0
