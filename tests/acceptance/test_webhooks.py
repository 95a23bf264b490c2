"""Webhooks from outside: a real receiver, and a server that dies by kill -9 between an attempt and its answer, and before any."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from standardwebhooks import Webhook
from tests.acceptance.conftest import until
from tests.acceptance.outside import Answers, Outside
from tests.pictures import jpeg


class Receiver(Outside):
    """Notes what comes, and answers when it may."""

    def __init__(self):
        self.heard = []
        super().__init__(Heard)

    def of(self, type):
        """(headers, body) of each message of this type, in the order of coming."""
        return [(headers, body) for headers, body in list(self.heard) if json.loads(body)["type"] == type]


class Heard(Answers):
    server: Receiver

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.heard.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.server.may_answer.wait(120)
        self.send_response(204)
        self.end_headers()


@pytest.fixture
def receiver():
    with Receiver().serving() as server:
        yield server


def test_what_was_accepted_is_told_though_the_server_dies_before_and_while_it_is(new_server, receiver):
    port = receiver.port
    new_server.environment |= receiver.environment | {
        "SAFELIGHT_WEBHOOKS__IS_PLAIN_HTTP": "true",
        "SAFELIGHT_WEBHOOKS__TIMEOUT_S": "1",
        "SAFELIGHT_WEBHOOKS__PER_ENDPOINT": "2",
    }
    new_server.start()
    with new_server.client() as client:
        made = client.post(
            "/admin/webhooks",
            json={"url": f"http://127.0.0.1:{port}/hook?token=hidden", "events": ["image.accepted", "image.ready"]},
        )
        assert made.status_code == 201, made.text
        endpoint = made.json()
        images = [
            client.post("/images", files={"file": jpeg(seed=n)}, headers={"prefer": "respond-async"}).json()["id"]
            for n in range(6)
        ]
        until(lambda: receiver.heard)  # an attempt is under way; others have not begun
    new_server.kill()
    before = len(receiver.heard)
    receiver.may_answer.set()

    new_server.start()
    with new_server.client() as client:
        log = f"/admin/webhooks/{endpoint['id']}/deliveries"

        def all_delivered():
            deliveries = client.get(log).json()["deliveries"]
            return len(deliveries) == 12 and all(one["state"] == "delivered" for one in deliveries) and deliveries

        deliveries = until(all_delivered)
    assert before < 12
    for type in ("image.accepted", "image.ready"):
        assert {json.loads(body)["data"]["id"] for _, body in receiver.of(type)} == set(images)
    verifier = Webhook(endpoint["secret"])
    bodies = {}
    for headers, body in receiver.heard:
        assert verifier.verify(body, headers)
        assert bodies.setdefault(headers["webhook-id"], body) == body
    assert set(bodies) == {one["message_id"] for one in deliveries}
    assert max(Counter(headers["webhook-id"] for headers, _ in receiver.heard).values()) >= 2  # the one that the kill cut off
    assert "token=hidden" not in new_server.log
    assert endpoint["secret"] not in new_server.log
