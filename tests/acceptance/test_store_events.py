"""The store tells, and the server dies in between: SeaweedFS's own webhook, an SQS queue, and a storm of events with kill -9.

`make events-run` is the storm with five thousand events. Who is told what in which order, and who dies, follows from EVENTS_SEED; how the
processes interleave does not.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote_plus

import httpx
import pytest
from tests.acceptance.conftest import Server, until
from tests.chaos.installation import Part, Worker
from tests.pictures import jpeg
from tests.servers.postgres import PostgresServer
from tests.servers.seaweedfs import ACCESS_KEY, SECRET_KEY, Moto, SeaweedFS

SECRET = "what the store says to us"
ANYBODY = httpx.Client(timeout=60)
"""One for all threads and without a key: a new one takes longer than what it asks."""
EVENTS = int(os.environ.get("EVENTS", "300"))
KILLS = EVENTS // 100
SEED = os.environ.get("EVENTS_SEED", "5")
PATIENCE_S = 60 + EVENTS / 5


@pytest.fixture(scope="module", autouse=True)
def closed():
    yield
    ANYBODY.close()


@pytest.fixture(scope="module")
def told(tmp_path_factory, postgres_cluster):
    """A server on PostgreSQL, and a store that tells it of what it takes."""
    server = Server(tmp_path_factory.mktemp("told") / "data")
    postgres = PostgresServer(postgres_cluster).start()
    with (
        Moto(tmp_path_factory.mktemp("moto")) as moto,
        SeaweedFS(tmp_path_factory.mktemp("seaweedfs"), webhook=(f"{server.url}/events/s3", SECRET)) as s3,
    ):
        sqs = s3.client("sqs", url=moto.url)
        dead = sqs.create_queue(QueueName="dead")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": "3"})
        queue = sqs.create_queue(QueueName="photos", Attributes={"RedrivePolicy": policy})["QueueUrl"]
        server.environment = {
            "SAFELIGHT_CATALOG__URL": postgres.database(),
            "SAFELIGHT_CATALOG__SECRET_KEY": "5a" * 32,
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
    postgres.remove()


def announce(client, size, filename=""):
    answer = client.post("/uploads", json={"content_type": "image/jpeg", "size": size, "filename": filename})
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

        wait(
            lambda: all(client.get(f"/uploads/{offer['id']}").json()["state"] == "accepted" for offer in offers),
            server.log[-3000:],
        )
    found: list[str] = []

    def put_aside() -> bool:
        found.extend(
            message["Body"] for message in sqs.receive_message(QueueUrl=dead, MaxNumberOfMessages=10).get("Messages", [])
        )
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
        before = len(listed(client))
        me = client.get("/admin/users").json()[0]
        here = f"drop/default/{me['name']}"
        key = f"{here}/a folder/Grüße + 1.jpg"
        for seed in (30_001, 30_002):
            store.put_object(Bucket="originals", Key=key, Body=jpeg(seed=seed))
            for _ in range(2):
                tell(key)
        newest = client.get("/images", params={"limit": 2}).json()["images"]
        assert len(listed(client)) == before + 2
        assert [(image["file_name"], image["owner"]) for image in newest] == [("Grüße + 1.jpg", me["id"])] * 2
        assert left(key) == 0

        for foreign in (
            f"drop/nobody/{me['name']}/a.jpg",
            "drop/default/nobody/a.jpg",
            f"{here}/",
            f"{here}",
            "elsewhere/a.jpg",
            f"{here}/gone.jpg",
        ):
            if not foreign.endswith(("/", "gone.jpg")):
                store.put_object(Bucket="originals", Key=foreign, Body=jpeg(seed=30_003))
            assert tell(foreign)["ignored"] == 1
        store.put_object(Bucket="originals", Key=f"{here}/notes.txt", Body=b"hello")
        for _ in range(2):
            assert tell(f"{here}/notes.txt")["rejected"] == 1
        assert (left(f"{here}/notes.txt"), left("elsewhere/a.jpg"), len(listed(client))) == (1, 1, before + 2)


@dataclass
class Place:
    """Where a storm passes: the server that hears, who is killed meanwhile, and the ways in which an object is told of."""

    server: Server
    mortals: Sequence[Part]
    tellers: Sequence[Callable[[dict, random.Random], httpx.Response | None]]
    """Each may be called of any object at any time, before it is there too; None from a way that has no answers."""


@pytest.fixture
def embedded_place(new_server):
    """No store speaks here: an object is told of by its client, and by coming once more."""
    new_server.start()
    worker = Worker(new_server.data_dir.parent, new_server.environment)
    worker.start()
    yield Place(new_server, [new_server, worker], [completes(new_server), lambda offer, rng: send(offer)])
    worker.kill()


@pytest.fixture
def networked_place(told, tmp_path):
    server, s3, (sqs, queue, _) = told
    worker = Worker(tmp_path, server.environment)
    worker.start()

    def by_http(offer, rng):
        said = {"authorization": f"Bearer {SECRET}"}
        return ANYBODY.post(f"{server.url}/events/s3", json=notification(s3, offer, rng), headers=said)

    def by_queue(offer, rng):
        sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(notification(s3, offer, rng)))

    yield Place(server, [server, worker], [by_http, by_http, by_queue, completes(server)])
    worker.kill()


def completes(server):
    """What the client says. It knows its key while the server is down."""
    headers = {"authorization": f"Bearer {server.api_key}", "prefer": "respond-async"}
    return lambda offer, rng: ANYBODY.post(f"{server.url}/uploads/{offer['id']}/complete", headers=headers)


def send(offer):
    return ANYBODY.post(offer["url"], data=offer["fields"], files={"file": ("x", contents(offer))})


def contents(offer):
    """Every tenth is no image; no two are the same."""
    number = int(offer["filename"])
    return b"no image, number %d" % number if number % 10 == 9 else jpeg(120 + number % 60, 100, seed=10_000 + number)


def insist(ask):
    """The answer, however often the server dies before it; what a store and a client do."""

    def answered():
        try:
            answer = ask()
        except httpx.HTTPError:
            time.sleep(0.2)
            return None
        if answer is not None:
            # 409: it has not come yet, or is in; 415: it is no image.
            assert answer.status_code in (200, 201, 202, 204, 409, 415, 503), answer.text
        return answer is None or answer.status_code != 503

    until(answered, within_s=PATIENCE_S)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["embedded", "networked"])
def test_a_storm_of_events_and_kills_makes_exactly_one_image_of_each_object(where, request):
    place = request.getfixturevalue(f"{where}_place")
    server, rng, began = place.server, random.Random(f"{SEED} {where}"), time.monotonic()
    objects = max(20, EVENTS // 10)
    with server.client() as client:
        before = len(listed(client))
        offers = [announce(client, None, filename=str(number)) for number in range(objects)]
    storm = [
        (rng.choice(place.tellers), offer, random.Random(rng.random())) for offer in offers for _ in range(EVENTS // objects)
    ]
    rng.shuffle(storm)
    kills: Counter[str] = Counter()
    with ThreadPoolExecutor(1) as sender, ThreadPoolExecutor(4) as tellers:
        done = [sender.submit(insist, partial(send, offer)) for offer in offers]
        done += [tellers.submit(insist, partial(tell, offer, chance)) for tell, offer, chance in storm]
        while kills.total() < KILLS:
            time.sleep(rng.uniform(1.0, 3.0))
            mortal = rng.choice(place.mortals)
            mortal.kill()
            mortal.start()
            kills[type(mortal).__name__.lower()] += 1
    for each in done:
        each.result()
    # A last round, in order, as a store's retries would be: whatever was told before its object came is told again.
    for offer in offers:
        insist(partial(place.tellers[0], offer, rng))

    with server.client() as client:
        uploads = [client.get(f"/uploads/{offer['id']}").json() for offer in offers]
        images = {upload["image_id"] for upload in uploads} - {None}
        assert Counter(upload["state"] for upload in uploads) == {"accepted": objects - objects // 10, "rejected": objects // 10}
        assert {upload["problem"]["code"] for upload in uploads if upload["problem"]} == {"unsupported_format"}
        assert len(images) == objects - objects // 10
        assert len(listed(client)) == before + len(images)

        dead: dict[str, str] = {}

        def all_settled():
            dead.update(
                {letter["payload"]["image"]: letter["error"] for letter in client.get("/admin/failures").json()["failures"]}
            )
            return images <= {*listed(client, status="ready"), *dead}

        until(all_settled, within_s=PATIENCE_S)
        # Nothing but kills has happened to anybody.
        assert all("the process ended" in error for error in dead.values()), dead
        if dead:
            client.post("/admin/failures/retry", params={"all": True}).raise_for_status()
        until(lambda: images <= set(listed(client, status="ready")), within_s=PATIENCE_S)
        for offer, upload in rng.sample([pair for pair in zip(offers, uploads, strict=True) if pair[1]["image_id"]], 10):
            assert client.get(f"/images/{upload['image_id']}/original").content == contents(offer)
    figures = {"where": where, "events": len(storm), "objects": objects, "images": len(images), "rejected": objects // 10}
    figures |= {"killed": kills, "dead letters": len(dead), "seconds": round(time.monotonic() - began), "seed": SEED}
    print(json.dumps(figures))


def notification(s3, offer, rng):
    """What one of the stores would say of it."""
    key = offer["fields"]["key"]
    aws = {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Post",
        "s3": {"bucket": {"name": "originals"}, "object": {"key": key.replace("/", "%2F")}},
    }
    bridge = {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "detail": {"bucket": {"name": "originals"}, "object": {"key": key}},
    }
    filer = {"event_type": "create", "key": f"/buckets/originals/{key}", "message": {"new_entry": {"name": offer["id"]}}}
    return rng.choice(
        [
            {"Records": [aws]},
            {"Records": [aws, aws]},
            bridge,
            filer,
            {"Type": "Notification", "Message": json.dumps({"Records": [aws]})},
        ]
    )


def listed(client, **query):
    found, cursor = [], None
    while True:
        page = client.get("/images", params={"limit": 200, **query} | ({"cursor": cursor} if cursor else {})).json()
        found, cursor = found + [image["id"] for image in page["images"]], page["next"]
        if cursor is None:
            return found
