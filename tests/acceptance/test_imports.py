"""Imports from outside: a picture on a web server that the settings let in, and a kill -9 in the middle of the fetch."""

from __future__ import annotations

import pytest
from tests.acceptance.conftest import until
from tests.acceptance.outside import Answers, Outside
from tests.pictures import jpeg

PICTURE = jpeg(900, 600, seed=8900)


class Gallery(Outside):
    """Serves `/sea.jpg`; of `/slow.jpg` the first half, and the rest when it may."""

    def __init__(self):
        self.halves = 0
        super().__init__(Shown)


class Shown(Answers):
    server: Gallery

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(PICTURE)))
        self.end_headers()
        half = len(PICTURE) // 2
        self.write(PICTURE[:half])
        if self.path == "/slow.jpg":
            self.server.halves += 1
            self.server.may_answer.wait(120)
        self.write(PICTURE[half:])


@pytest.fixture
def gallery():
    with Gallery().serving() as server:
        yield server


def test_a_picture_is_imported_and_a_fetch_that_was_killed_is_taken_up_again(new_server, gallery):
    port = gallery.port
    new_server.environment |= gallery.environment
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
    gallery.may_answer.set()
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
