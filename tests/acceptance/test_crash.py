"""kill -9 of the whole server at random moments while uploads run: nothing acknowledged is lost, nothing is left over."""

from __future__ import annotations

import random
import sqlite3
import threading
import time

import httpx
import pytest
from tests.pictures import jpeg

UPLOADS = 200
KILLS = 4


@pytest.mark.slow
def test_every_acknowledged_image_is_ready_after_kills_and_no_object_is_an_orphan(new_server):
    pictures = [jpeg(160 + n % 50, 120, seed=n) for n in range(UPLOADS)]
    acknowledged: dict[str, int] = {}
    waiting = list(range(UPLOADS))
    lock = threading.Lock()
    new_server.start()
    key = new_server.api_key

    def sender() -> None:
        while True:
            with lock:
                if not waiting:
                    return
                n = waiting.pop()
            while True:
                try:
                    answer = httpx.post(
                        f"{new_server.url}/images",
                        files={"file": pictures[n]},
                        headers={"authorization": f"Bearer {key}", "prefer": "respond-async" if n % 2 else "wait=20"},
                        timeout=30,
                    )
                except httpx.HTTPError:
                    time.sleep(0.2)  # the server is dead: the client does not know what became of it, and sends it again
                    continue
                if answer.status_code in (201, 202):
                    with lock:
                        acknowledged[answer.json()["id"]] = n
                    break
                assert answer.status_code == 503, answer.text

    senders = [threading.Thread(target=sender) for _ in range(4)]
    for thread in senders:
        thread.start()
    rng = random.Random(7)
    killed_while_waiting = 0
    for _ in range(KILLS):
        time.sleep(rng.uniform(0.3, 1.5))
        killed_while_waiting += bool(waiting)
        new_server.kill()
        new_server.start()
    for thread in senders:
        thread.join(240)
        assert not thread.is_alive()
    assert killed_while_waiting >= 3

    with new_server.client() as client:
        deadline = time.monotonic() + 60
        while client.get("/images", params={"status": "developing"}).json()["images"] and time.monotonic() < deadline:
            time.sleep(0.5)
        assert client.get("/images", params={"status": "developing"}).json()["images"] == []
        assert client.get("/admin/failures").json()["failures"] == []
        for image_id in acknowledged:
            record = client.get(f"/images/{image_id}").json()
            assert record["status"] == "ready", record
            assert len(record["renditions"]) == 12
        sample = random.Random(1).sample(sorted(acknowledged), 20)
        for image_id in sample:
            assert client.get(f"/images/{image_id}/original").content == pictures[acknowledged[image_id]]
            for rendition in client.get(f"/images/{image_id}").json()["renditions"]:
                assert len(httpx.get(rendition["url"]).content) == rendition["bytes"]
    assert new_server.stop() == 0

    # Every object belongs to a row of the catalog, and the other way round.
    catalog = sqlite3.connect(new_server.data_dir / "catalog.db")
    known = {image_id for (image_id,) in catalog.execute("SELECT id FROM images")}
    catalog.close()
    index = sqlite3.connect(new_server.data_dir / "objects" / "objects.db")
    objects = {key.split("/")[1] for (key,) in index.execute("SELECT DISTINCT key FROM versions")}
    index.close()
    assert set(acknowledged) <= known
    assert objects <= known
