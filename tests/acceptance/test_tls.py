"""TLS by Safelight itself, for who has no proxy in front."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys

import httpx
import pytest
from tests.acceptance.conftest import Server, free_port
from tests.pictures import jpeg
from tests.servers.certificate import certificate


class TlsServer(Server):
    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"


def refused(folder, **settings: object) -> str:
    """The last line of a server that does not start; it has made nothing."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SAFELIGHT_")} | {
        k: str(v) for k, v in settings.items()
    }
    command = [sys.executable, "-m", "safelight", "serve", "--data-dir", str(folder / "data"), "--port", str(free_port())]
    ran = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert ran.returncode != 0
    assert ran.stdout == "" and "Traceback" not in ran.stderr
    assert not (folder / "data" / "catalog.db").exists()
    return ran.stderr.splitlines()[-1]


def test_https_is_served_with_the_certificate_and_plain_http_is_not(tmp_path, monkeypatch):
    cert, key = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))  # whom httpx believes
    environment = {"SAFELIGHT_SERVER__TLS_CERT": str(cert), "SAFELIGHT_SERVER__TLS_KEY": str(key)}
    server = TlsServer(tmp_path / "data", environment).start()
    old = ssl.create_default_context(cafile=str(cert))
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    try:
        with server.client() as client:
            record = client.post("/images", files={"file": ("a.jpg", jpeg())}).json()
            picture = client.get(record["renditions"][0]["url"])

        assert server.greeting["url"] == server.url
        assert record["renditions"][0]["url"].startswith(server.url)
        assert picture.status_code == 200
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{server.port}/health/live", timeout=10)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{server.url}/health/live", timeout=10, verify=old)
    finally:
        server.stop()


def test_a_certificate_without_its_key_stops_the_start(tmp_path):
    cert, key = certificate(tmp_path)

    assert "go together" in refused(tmp_path, SAFELIGHT_SERVER__TLS_CERT=cert)
    assert "go together" in refused(tmp_path, SAFELIGHT_SERVER__TLS_KEY=key)


@pytest.mark.parametrize("wrong", ["another key", "no file", "no certificate"])
def test_a_certificate_that_cannot_be_used_stops_the_start_and_is_named(tmp_path, wrong):
    (tmp_path / "other").mkdir()
    cert, key = certificate(tmp_path)
    _other, its_key = certificate(tmp_path / "other")
    match wrong:
        case "another key":
            key = its_key
        case "no file":
            cert = tmp_path / "missing.pem"
        case "no certificate":
            cert = key

    said = refused(tmp_path, SAFELIGHT_SERVER__TLS_CERT=cert, SAFELIGHT_SERVER__TLS_KEY=key)

    assert "SAFELIGHT_SERVER__TLS_CERT" in said
    assert "PRIVATE KEY" not in said
