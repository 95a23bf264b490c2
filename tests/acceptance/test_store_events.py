"""The store tells, and the server dies in between: SeaweedFS's own webhook, an SQS queue, and a storm of events with kill -9.

`EVENTS=5000` makes the storm as large as that; `make nightly` does.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections import Counter
from urllib.parse import quote_plus

import httpx
import pytest

from tests.acceptance.conftest import Server
from tests.pictures import jpeg
from tests.servers.seaweedfs import ACCESS_KEY, SECRET_KEY, Moto, SeaweedFS

SECRET = "what the store says to us"
EVENTS = int(os.environ.get("EVENTS", "500"))
PATIENCE_S = 60 + EVENTS / 5


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A server and a store that tells it of what it takes."""
    server = Server(tmp_path_factory.mktemp("told") / "data")
    with Moto(tmp_path_factory.mktemp("moto")) as moto, SeaweedFS(tmp_path_factory.mktemp("seaweedfs"), webhook=(f"{server.url}/events/s3", SECRET)) as s3:
        sqs = s3.client("sqs", url=moto.url)
        dead = sqs.create_queue(QueueName="dead")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": "3"})
        queue = sqs.create_queue(QueueName="photos", Attributes={"RedrivePolicy": policy})["QueueUrl"]
        server.environment = {
            "SAFELIGHT_STORAGE__URL": f"s3://{s3.make_bucket('originals', is_versioned=True)}",
            "SAFELIGHT_STORAGE__RENDITIONS_BUCKET": s3.make_bucket("renditions", is_versioned=True),
            "SAFELIGHT_STORAGE__ENDPOINT_URL": s3.url,
            "SAFELIGHT_STORAGE__ACCESS_KEY_ID": ACCESS_KEY,
            "SAFELIGHT_STORAGE__SECRET_ACCESS_KEY": SECRET_KEY,
            "SAFELIGHT_EVENTS__SECRET": SECRET,
            "SAFELIGHT_EVENTS__SQS_URL": queue,
            "SAFELIGHT_EVENTS__DROP_FOLDER": "drop/",
        }
        server.start()
        yield server, s3, (sqs, queue, dead)
        server.kill()


def announce(client, size):
    answer = client.post("/uploads", json={"content_type": "image/jpeg", "size": size})
    assert answer.status_code == 201, answer.text
    return answer.json()


def wait(until, what):
    deadline = time.monotonic() + PATIENCE_S
    while not until():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


@pytest.mark.parametrize("data", [jpeg(seed=981), b"no image at all"], ids=["accepted", "rejected"])
def test_the_stores_own_webhook_is_enough(told, data, request):
    server, s3, _ = told
    with server.client() as client:
        offer = announce(client, len(data))
        assert httpx.post(offer["url"], data=offer["fields"], files={"file": ("x", data)}).status_code == 204
        outcome = request.node.callspec.id

        wait(lambda: client.get(f"/uploads/{offer['id']}").json()["state"] == outcome, f"never {outcome}: {server.log[-3000:]}")
    left = s3.client().list_object_versions(Bucket="originals", Prefix=offer["fields"]["key"])
    wait(lambda: "Versions" not in s3.client().list_object_versions(Bucket="originals", Prefix=offer["fields"]["key"]), left)


def test_what_the_queue_brings_is_taken_in_and_what_it_cannot_mean_is_put_aside(told):
    server, s3, (sqs, queue, dead) = told
    rng = random.Random(6)
    pictures = [jpeg(130 + n, 100, seed=20_000 + n) for n in range(6)]
    with server.client() as client:
        offers = [announce(client, len(data)) for data in pictures]
        for offer, data in zip(offers, pictures, strict=True):
            # The store's own webhook hears of it as well: the two race.
            assert httpx.post(offer["url"], data=offer["fields"], files={"file": ("x", data)}).status_code == 204
            for _ in range(3):
                sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(notification(s3, offer, rng)))
        for body in ("not JSON", '{"Event": "s3:TestEvent"}', '{"Records": [1]}'):
            sqs.send_message(QueueUrl=queue, MessageBody=body)

        wait(lambda: all(client.get(f"/uploads/{offer['id']}").json()["state"] == "accepted" for offer in offers), server.log[-3000:])
    found: list[str] = []

    def put_aside() -> bool:
        found.extend(message["Body"] for message in sqs.receive_message(QueueUrl=dead, MaxNumberOfMessages=10).get("Messages", []))
        return len(set(found)) == 2

    wait(put_aside, "the dead letters never came")
    assert set(found) == {"not JSON", '{"Records": [1]}'}
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    wait(
        lambda: set(sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"].values()) == {"0"},
        "the queue is never empty",
    )


def test_what_is_dropped_into_a_folder_belongs_to_whom_its_key_names_and_each_version_is_one_image(told):
    server, s3, _ = told
    store, told_by = s3.client(), {"authorization": f"Bearer {SECRET}"}

    def tell(key):
        record = {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "originals"}, "object": {"key": quote_plus(key)}}}
        answer = httpx.post(f"{server.url}/events/s3", json={"Records": [record] * 3}, headers=told_by, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def left(key):
        return len(store.list_object_versions(Bucket="originals", Prefix=key).get("Versions", []))

    with server.client() as client:
        before = count(client)
        me = client.get("/admin/users").json()[0]
        here = f"drop/default/{me['name']}"
        key = f"{here}/a folder/Grüße + 1.jpg"
        for seed in (30_001, 30_002):
            store.put_object(Bucket="originals", Key=key, Body=jpeg(seed=seed))
            for _ in range(2):
                tell(key)
        newest = client.get("/images", params={"limit": 2}).json()["images"]
        assert count(client) == before + 2
        assert [(image["file_name"], image["owner"]) for image in newest] == [("Grüße + 1.jpg", me["id"])] * 2
        assert left(key) == 0

        for foreign in (f"drop/nobody/{me['name']}/a.jpg", "drop/default/nobody/a.jpg", f"{here}/", f"{here}", "elsewhere/a.jpg", f"{here}/gone.jpg"):
            if not foreign.endswith(("/", "gone.jpg")):
                store.put_object(Bucket="originals", Key=foreign, Body=jpeg(seed=30_003))
            assert tell(foreign)["ignored"] == 1
        store.put_object(Bucket="originals", Key=f"{here}/notes.txt", Body=b"hello")
        for _ in range(2):
            assert tell(f"{here}/notes.txt")["rejected"] == 1
        assert (left(f"{here}/notes.txt"), left("elsewhere/a.jpg"), count(client)) == (1, 1, before + 2)


@pytest.mark.slow
def test_a_storm_of_events_and_kills_makes_exactly_one_image_of_each_object(told):
    server, s3, (sqs, queue, _) = told
    rng = random.Random(5)
    objects = max(20, EVENTS // 10)
    with server.client() as client:
        before = count(client)
        offers = [announce(client, None) for _ in range(objects)]
    pictures = {offer["id"]: jpeg(120 + n % 60, 100, seed=10_000 + n) for n, offer in enumerate(offers)}
    storm = [notification(s3, offer, rng) for offer in offers for _ in range(EVENTS // objects)]
    rng.shuffle(storm)
    lock, answers = threading.Lock(), Counter()
    key = server.api_key

    def sender() -> None:
        while True:
            with lock:
                if not storm:
                    return
                body = storm.pop()
                is_queued = len(storm) % 3 == 0
            if is_queued:
                sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(body))
            while not is_queued:
                try:
                    answer = httpx.post(f"{server.url}/events/s3", json=body, headers={"authorization": f"Bearer {SECRET}"}, timeout=60)
                except httpx.HTTPError:
                    time.sleep(0.2)  # the server is dead; as a store does, say it again
                    continue
                answers[answer.status_code] += 1
                if answer.status_code == 200:
                    break
                assert answer.status_code == 503, answer.text

    def client_of_ours() -> None:
        """Sends every object, and completes some of them at the same time as the store tells of it."""
        for offer in offers:
            sent = httpx.post(offer["url"], data=offer["fields"], files={"file": ("x", pictures[offer["id"]])}, timeout=60)
            assert sent.status_code == 204, sent.text
            if rng.random() < 0.2:
                try:
                    headers = {"authorization": f"Bearer {key}", "prefer": "respond-async"}
                    httpx.post(f"{server.url}/uploads/{offer['id']}/complete", headers=headers, timeout=60)
                except httpx.HTTPError:
                    pass

    threads = [threading.Thread(target=client_of_ours), *(threading.Thread(target=sender) for _ in range(4))]
    for thread in threads:
        thread.start()
    for _ in range(3):
        time.sleep(rng.uniform(0.5, 1.5))
        server.kill()
        server.start()
    for thread in threads:
        thread.join(PATIENCE_S * 3)
        assert not thread.is_alive()
    # A last round, in order, as a store's retries would be: whatever was told before its object came is told again.
    for offer in offers:
        httpx.post(
            f"{server.url}/events/s3", json=notification(s3, offer, rng), headers={"authorization": f"Bearer {SECRET}"}, timeout=60
        ).raise_for_status()

    with server.client() as client:
        uploads = [client.get(f"/uploads/{offer['id']}").json() for offer in offers]
        assert Counter(upload["state"] for upload in uploads) == {"accepted": objects}
        assert len({upload["image_id"] for upload in uploads}) == objects
        assert count(client) == before + objects
        wait(lambda: count(client, status="ready") == before + objects, "not all of them are ready")
        assert client.get("/admin/failures").json()["failures"] == []
        for upload in rng.sample(uploads, 10):
            assert client.get(f"/images/{upload['image_id']}/original").content == pictures[upload["id"]]


def notification(s3, offer, rng):
    """What one of the stores would say of it."""
    key = offer["fields"]["key"]
    aws = {"eventSource": "aws:s3", "eventName": "ObjectCreated:Post", "s3": {"bucket": {"name": "originals"}, "object": {"key": key.replace("/", "%2F")}}}
    bridge = {"source": "aws.s3", "detail-type": "Object Created", "detail": {"bucket": {"name": "originals"}, "object": {"key": key}}}
    filer = {"event_type": "create", "key": f"/buckets/originals/{key}", "message": {"new_entry": {"name": offer["id"]}}}
    return rng.choice([{"Records": [aws]}, {"Records": [aws, aws]}, bridge, filer, {"Type": "Notification", "Message": json.dumps({"Records": [aws]})}])


def count(client, **query):
    total, cursor = 0, None
    while True:
        page = client.get("/images", params={"limit": 200, **query} | ({"cursor": cursor} if cursor else {})).json()
        total, cursor = total + len(page["images"]), page["next"]
        if cursor is None:
            return total
