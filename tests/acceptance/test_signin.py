"""Signing in as a stranger's program sees it: a real server, a real mail server, and nothing known of either but their addresses."""

from __future__ import annotations

import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import jwt
import pyotp
import pytest
from tests.acceptance.conftest import Server
from tests.pictures import jpeg
from tests.servers.postgres import PostgresServer
from tests.servers.smtp import Sink

from safelight.cli import main

ADA, GOOD, BETTER = "ada@example.org", "umbrella-seventeen-kites", "quiet harbour / 41 lanterns"
OPEN = {
    "SAFELIGHT_AUTH__SIGNUP_TENANTS": "default",
    "SAFELIGHT_AUTH__HASH_MEMORY_KIB": "8192",
    "SAFELIGHT_AUTH__HASH_PASSES": "1",
    "SAFELIGHT_RATE__AUTH_PER_MINUTE": "1000",
}


def mailing(port):
    return {"SAFELIGHT_MAIL__HOST": "127.0.0.1", "SAFELIGHT_MAIL__PORT": str(port), "SAFELIGHT_MAIL__SECURITY": "none"}


@pytest.fixture(params=["files", "postgresql"])
def place(request, tmp_path):
    """Settings of the catalog; a database of the test's own, so that no other server sends its letters."""
    if request.param == "files":
        yield {}
        return
    postgres = PostgresServer(request.getfixturevalue("postgres_cluster")).start()
    yield {"SAFELIGHT_CATALOG__URL": postgres.database(), "SAFELIGHT_CATALOG__SECRET_KEY": "5a" * 32}
    postgres.remove()


def letter(sink, count, *, within_s=90.0):
    deadline = time.monotonic() + within_s
    while len(sink.messages) < count:
        assert time.monotonic() < deadline, f"{len(sink.messages)} of {count} letters"
        time.sleep(0.05)
    return sink.messages[count - 1].get_body(("plain",)).get_content()


def token_of(text):
    return re.search(r"#(?:verify|password)=(\S+)", text).group(1)


def test_from_sign_up_to_sign_out_everywhere(tmp_path, place):
    with Sink(tmp_path) as sink:
        server = Server(tmp_path / "data", {**OPEN, **place, **mailing(sink.port)}).start()
        try:
            with httpx.Client(base_url=server.url, timeout=60) as http:
                journey(server, http, sink)
        finally:
            server.stop()


def journey(server: Server, http: httpx.Client, sink: Sink) -> None:
    def post(path, **body):
        return http.post(f"/auth{path}", json=body)

    def listing(grant):
        return http.get("/images", headers={"authorization": f"Bearer {grant['access_token']}"}).status_code

    assert post("/signup", email=ADA, password=GOOD).status_code == 202
    text = letter(sink, 1)
    assert f"{server.url}/account#verify=" in text
    assert http.get("/account").status_code == 200
    assert post("/signin", email=ADA, password=GOOD).status_code == 401
    token = token_of(text)
    with ThreadPoolExecutor(4) as threads:
        used = list(threads.map(lambda _: post("/verify", token=token).status_code, range(4)))
    assert sorted(used) == [204, 400, 400, 400]

    grant = post("/signin", email=ADA, password=GOOD).json()
    headers = {"authorization": f"Bearer {grant['access_token']}"}
    sent = http.post("/images", headers=headers, files={"file": ("photo.jpg", jpeg(640, 480), "image/jpeg")})
    assert sent.status_code == 201, sent.text
    assert sent.json()["owner"] == jwt.decode(grant["access_token"], options={"verify_signature": False})["sub"]

    # The operator is another user of the same tenant; Ada sees her own picture only.
    with server.client() as operator:
        operator.post("/images", files={"file": ("other.jpg", jpeg(320, 200), "image/jpeg")})
    assert [image["id"] for image in http.get("/images", headers=headers).json()["images"]] == [sent.json()["id"]]

    next_grant = post("/refresh", refresh_token=grant["refresh_token"]).json()
    assert listing(next_grant) == 200
    assert post("/refresh", refresh_token=grant["refresh_token"]).status_code == 401  # a replay
    assert post("/refresh", refresh_token=next_grant["refresh_token"]).status_code == 401
    assert listing(next_grant) == 401

    grant = post("/signin", email=ADA, password=GOOD).json()
    with ThreadPoolExecutor(6) as threads:
        raced = list(threads.map(lambda _: post("/refresh", refresh_token=grant["refresh_token"]).status_code, range(6)))
    # Those who were there in time are told to use the winner's; whoever came later is a replay.
    assert raced.count(200) == 1
    assert set(raced) <= {200, 409, 401}

    assert post("/password/forgot", email=ADA).status_code == 202
    assert post("/password/reset", token=token_of(letter(sink, 2)), password=BETTER).status_code == 204
    assert post("/signin", email=ADA, password=GOOD).status_code == 401
    grants = [post("/signin", email=ADA, password=BETTER).json() for _ in range(2)]
    headers = {"authorization": f"Bearer {grants[0]['access_token']}"}
    assert len(http.get("/auth/sessions", headers=headers).json()) == 2
    assert http.delete("/auth/sessions", headers=headers).status_code == 204
    for grant in grants:
        assert listing(grant) == 401
        assert post("/refresh", refresh_token=grant["refresh_token"]).status_code == 401
    letter(sink, 3)
    assert "was changed" in sink.messages[2]["subject"]
    for secret in (GOOD, BETTER, token, grants[0]["access_token"], grants[0]["refresh_token"]):
        assert secret not in server.log


def test_a_second_factor_from_enrolment_to_its_loss(tmp_path, place, capsys):
    with Sink(tmp_path) as sink:
        server = Server(tmp_path / "data", {**OPEN, **place, **mailing(sink.port)}).start()
        try:
            with httpx.Client(base_url=server.url, timeout=60) as http:
                second_factor(server, http, sink, capsys)
        finally:
            server.stop()


def second_factor(server: Server, http: httpx.Client, sink: Sink, capsys: pytest.CaptureFixture) -> None:
    def post(path, grant=None, **body):
        headers = {"authorization": f"Bearer {grant['access_token']}"} if grant else {}
        return http.post(f"/auth{path}", json=body, headers=headers)

    def ticket():
        answer = post("/signin", email=ADA, password=GOOD)
        assert (answer.status_code, answer.json()["code"]) == (401, "mfa_required")
        return answer.json()["ticket"]

    def at_once(code):
        """The session that four sign-ins with one code bring, beside refusals."""
        with ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(lambda each: post("/mfa/verify", ticket=each, code=code), [ticket() for _ in range(4)]))
        # 503: a catalog without turns tells who was second to come again.
        assert [answer.status_code for answer in answers].count(200) == 1, [answer.text for answer in answers]
        assert {answer.status_code for answer in answers} <= {200, 400, 503}
        return next(answer.json() for answer in answers if answer.status_code == 200)

    post("/signup", email=ADA, password=GOOD)
    assert post("/verify", token=token_of(letter(sink, 1))).status_code == 204
    grant = post("/signin", email=ADA, password=GOOD).json()
    secret = post("/mfa/totp", grant).json()["secret"]
    totp = pyotp.TOTP(secret)
    # The code before: taken within the drift, and it leaves the one of now to sign in with.
    confirmed = post("/mfa/totp/confirm", grant, code=totp.at(time.time() - 10))
    assert confirmed.status_code == 200, confirmed.text
    codes = confirmed.json()["recovery_codes"]
    letter(sink, 2)

    at_once(codes[0])
    newest = at_once(totp.at(time.time() + 20))
    claims = jwt.decode(newest["access_token"], options={"verify_signature": False})
    assert claims["amr"] == ["pwd", "otp", "mfa"]
    with pytest.raises(SystemExit) as left:
        main(["user", "reset-mfa", ADA, "--url", server.url, "--api-key", server.api_key])
    assert left.value.code == 0 and "password alone" in capsys.readouterr().out
    assert post("/signin", email=ADA, password=GOOD).status_code == 200
    assert http.get("/images", headers={"authorization": f"Bearer {newest['access_token']}"}).status_code == 401
    letter(sink, 4)
    told = [message["subject"] for message in sink.messages]
    assert sum("recovery code was used" in one for one in told) == 1 and sum("were reset" in one for one in told) == 1
    for each in (secret, *codes, GOOD):
        assert each not in server.log


def test_a_mail_server_that_is_down_loses_no_letter(tmp_path):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    server = Server(tmp_path / "data", {**OPEN, **mailing(port)}).start()
    try:
        with httpx.Client(base_url=server.url, timeout=60) as http:
            assert http.post("/auth/signup", json={"email": ADA, "password": GOOD}).status_code == 202
        deadline = time.monotonic() + 60
        while "workflows.step_failed" not in server.log:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        server.kill()
        with Sink(tmp_path, port=port) as sink:
            server.start()
            token = token_of(letter(sink, 1))
            with httpx.Client(base_url=server.url, timeout=60) as http:
                assert http.post("/auth/verify", json={"token": token}).status_code == 204
    finally:
        server.stop()


def test_without_a_mail_server_letters_are_shown_by_a_command(tmp_path, capsys):
    server = Server(tmp_path / "data", OPEN).start()
    try:
        with httpx.Client(base_url=server.url, timeout=60) as http:
            http.post("/auth/signup", json={"email": ADA, "password": GOOD, "language": "de"})
            deadline = time.monotonic() + 60
            while not list(Path(tmp_path / "data" / "mail").glob("*.eml")):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            with pytest.raises(SystemExit) as left:
                main(["mail", "show", "--data-dir", str(tmp_path / "data")])
            said = capsys.readouterr().out

            assert left.value.code == 0
            assert f"to: {ADA}" in said and "bestätigen" in said
            assert http.post("/auth/verify", json={"token": token_of(said)}).status_code == 204
    finally:
        server.stop()
