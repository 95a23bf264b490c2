"""REDbot reads the answers to delivery URLs as HTTP's own editors do: it finds no fault, but for what is named here with its reason."""

from __future__ import annotations

import http.server
import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from libthumbor import CryptoURL
from tests.acceptance.conftest import Server
from tests.api.test_foreign import KEY, SALT, THUMBOR, signed
from tests.pictures import jpeg

REDBOT = Path(__file__).parents[1] / "servers" / "redbot"
FAULTS = {"bad", "warning"}
MEANT = {
    # Whoever sends an Authorization header with the request, as IIIF viewers and pages of the same host do, gets it from caches too
    # (RFC 9111 section 3.5).
    "STORE_PUBLIC_UNNECESSARY",
}


def read(*urls: str) -> dict[str, dict]:
    """What REDbot says of each."""
    python = REDBOT / ".env" / "bin" / "python"
    assert python.exists(), f"make {REDBOT.relative_to(Path.cwd())}/.env/.made"
    done = subprocess.run([python, REDBOT / "notes.py", *urls], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def faults(told: dict) -> set[tuple[str, str, str]]:
    """In which check, and what."""
    return {(note["check"], note["id"], note["summary"]) for note in told["notes"] if note["level"] in FAULTS}


@pytest.fixture
def ragged() -> Iterator[str]:
    """An answer that is wrong in two ways."""

    class Ragged(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "image/webp")
            self.send_header("ETag", "no-quotes")
            self.send_header("Cache-Control", "max-age=soon")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ragged) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_a_fault_is_found_where_there_is_one(ragged: str) -> None:
    assert {"BAD_SYNTAX", "BAD_CC_SYNTAX"} & {id for _, id, _ in faults(read(ragged)[ragged])}


def test_redbot_finds_no_fault_with_the_answers_of_any_grammar(embedded: Server) -> None:
    with embedded.client() as client:
        for key in ({"grammar": "imgproxy", "secret": KEY, "salt": SALT}, {"grammar": "thumbor", "secret": THUMBOR}):
            client.post("/admin/signing-keys", json=key).raise_for_status()
        public = client.post("/images", files={"file": jpeg(600, 400)}, data={"visibility": "public"}).json()
        private = client.post("/images", files={"file": jpeg(600, 400, seed=2)}).json()
        urls = {f"{embedded.url}{path}": 200 for path in foreign(public["id"])}
        for record in (public, private):
            transforms = ["w=300.webp", "w=300.auto", "w=auto,dpr=auto.webp", "w=300,download=sea.jpg"]
            made = client.post(f"/images/{record['id']}/urls", json={"transforms": transforms}).raise_for_status().json()
            urls |= dict.fromkeys([*made["urls"], record["renditions"][0]["url"]], 200)
    urls[f"{embedded.url}/i/{public['id']}/thumb_300.webp"] = 200
    urls[f"{embedded.url}/i/{private['id']}/thumb_300.webp"] = 404
    for name in ("3/{}/full/max/0/default.jpg", "3/{}/info.json", "2/{}/info.json", "images/{}/manifest.json"):
        urls[f"{embedded.url}/iiif/{name.format(public['id'])}"] = 200
    urls[f"{embedded.url}/iiif/3/{public['id']}"] = 303

    told = read(*urls)

    others = [f"{url}: {each['status']}" for url, each in told.items() if each["status"] != str(urls[url])]
    assert others == []
    found = [f"{url}: {fault}" for url, each in told.items() for fault in sorted(faults(each)) if fault[1] not in MEANT]
    assert found == []


def foreign(id: str) -> list[str]:
    client = CryptoURL(key=THUMBOR)
    return [
        signed(f"/rs:fill:300:100:1/plain/{id}@webp"),
        signed(f"/rs:fill:300:100:1/plain/{id}"),
        "/thumbor" + client.generate(width=50, filters=["format(webp)"], image_url=id),
        "/thumbor" + client.generate(width=50, image_url=id),
    ]
