"""Imports from outside: a picture on a web server that the settings let in, and a kill -9 in the middle of the fetch."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tests.acceptance.conftest import until
from tests.pictures import jpeg

PICTURE = jpeg(900, 600, seed=8900)


class Gallery(ThreadingHTTPServer):
    """Serves `/sea.jpg`; of `/slow.jpg` the first half, and the rest when it may."""

    daemon_threads = True

    def __init__(self):
        self.halves = 0
        self.may_end = threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Gallery

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(PICTURE)))
        self.end_headers()
        half = len(PICTURE) // 2
        self.wfile.write(PICTURE[:half])
        self.wfile.flush()
        if self.path == "/slow.jpg":
            self.server.halves += 1
            self.server.may_end.wait(120)
        try:
            self.wfile.write(PICTURE[half:])
        except OSError:
            self.close_connection = True  # whoever asked is dead

    def log_message(self, *_):
        """Quiet."""


@pytest.fixture
def gallery():
    server = Gallery()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.may_end.set()
    server.shutdown()
    server.server_close()


def test_a_picture_is_imported_and_a_fetch_that_was_killed_is_taken_up_again(new_server, gallery):
    port = gallery.server_address[1]
    new_server.environment |= {
        "SAFELIGHT_OUTBOUND__NETWORKS": "127.0.0.1/32",
        "SAFELIGHT_OUTBOUND__PORTS": str(port),
        "SAFELIGHT_OUTBOUND__IDLE_S": "120",
        "SAFELIGHT_OUTBOUND__TOTAL_S": "120",
    }
    new_server.start()
    with new_server.client() as client:
        whole = client.post("/imports", json={"url": f"http://127.0.0.1:{port}/sea.jpg", "title": "Sea"})
        assert whole.status_code == 201, whole.text
        assert client.get(whole.json()["original_url"]).content == PICTURE
        client.delete(f"/images/{whole.json()['id']}")
        client.delete(f"/images/{whole.json()['id']}", params={"purge": True})
        slow = client.post(
            "/imports", json={"url": f"http://127.0.0.1:{port}/slow.jpg", "title": "Slow"}, headers={"prefer": "respond-async"}
        )
        assert slow.status_code == 202, slow.text
        until(lambda: gallery.halves == 1)
    new_server.kill()

    new_server.start()
    until(lambda: gallery.halves == 2)
    gallery.may_end.set()
    with new_server.client() as client:
        told = until(lambda: (found := client.get(slow.headers["location"]).json())["state"] != "pending" and found)
        assert (told["state"], told["problem"]) == ("accepted", None)
        record = until(lambda: (found := client.get(f"/images/{told['image_id']}").json())["status"] != "developing" and found)
        assert (record["status"], record["title"], record["file_name"]) == ("ready", "Slow", "slow.jpg")
        assert client.get(record["original_url"]).content == PICTURE
        assert [image["id"] for image in client.get("/images").json()["images"]] == [record["id"]]
        refused = client.post("/imports", json={"url": "http://169.254.169.254/latest/meta-data/"})
        assert (refused.status_code, refused.json()["code"]) == (403, "source_not_allowed")  # port 80 is not among the settings'
    assert "/slow.jpg" not in new_server.log
