"""`safelight import` from a bucket and from listings of other services: killed, resumed, and repeated for nothing."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from pathlib import Path

import httpx
import pytest
from tests.acceptance.conftest import until
from tests.acceptance.outside import Answers, Outside
from tests.acceptance.test_cli import Shell
from tests.pictures import jpeg
from tests.servers.seaweedfs import ACCESS_KEY, SECRET_KEY, SeaweedFS

from safelight.adapters.storage.s3.source import S3Source
from safelight.cli.connection import Server
from safelight.cli.import_bucket import Thing
from safelight.cli.journal import Journal, Known
from safelight.client import Client

PICTURES = {f"shoes/{number}.jpg": jpeg(120, 80, seed=9300 + number) for number in range(6)}


class Cloud(Outside):
    """Delivers PICTURES, counts who asks, and holds `held` back until it may answer."""

    def __init__(self):
        self.asked = Counter()
        self.held = ""
        super().__init__(Delivered)


class Delivered(Answers):
    server: Cloud

    def do_GET(self):
        name = self.path.lstrip("/")
        self.server.asked[name] += 1
        if name == self.server.held:
            self.server.may_answer.wait(120)
        body = PICTURES.get(name)
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.write(body or b"")


@pytest.fixture
def cloud():
    with Cloud().serving() as server:
        yield server


@pytest.fixture
def near(new_server, cloud):
    new_server.environment |= cloud.environment
    return new_server.start()


def shell_of(server, home: Path, **environment: str) -> Shell:
    home.mkdir(exist_ok=True)
    return Shell(server.url, server.api_key, home, environment)


def counts(run, *names: str) -> tuple[int, ...]:
    summary = run.documents[-1]["summary"]
    return tuple(summary[name] for name in names)


def test_an_account_at_cloudinary_is_moved_once_though_the_command_is_killed(near, cloud, tmp_path):
    base = f"http://127.0.0.1:{cloud.port}"
    resources = [
        {
            "public_id": name.removesuffix(".jpg"),
            "format": "jpg",
            "version": 1,
            "resource_type": "image",
            "bytes": len(body),
            "secure_url": f"{base}/{name}",
            "tags": ["Sale"],
            "context": {"custom": {"caption": f"Shoe {name}"}},
        }
        for name, body in PICTURES.items()
    ]
    gone = {"public_id": "gone", "resource_type": "image", "secure_url": f"{base}/gone.jpg"}
    film = {"public_id": "film", "resource_type": "video", "secure_url": f"{base}/film.mp4"}
    listing = tmp_path / "listing.json"
    listing.write_text(json.dumps({"resources": [*resources, gone, film, {}], "next_cursor": None}, indent=1))
    shell = shell_of(near, tmp_path / "home")
    arguments = ("import", "--from", "cloudinary", listing, "--json", "--concurrency", "2")

    cloud.held = "shoes/3.jpg"
    process = shell.start(*arguments)
    until(lambda: cloud.asked["shoes/3.jpg"])
    process.kill()
    process.communicate()
    cloud.may_answer.set()
    resumed = shell(*arguments)
    again = shell(*arguments)

    assert resumed.code == 1, resumed.err
    assert counts(resumed, "refused", "skipped", "not_begun") == (2, 1, 0)
    assert counts(again, "imported", "already_there", "refused") == (0, 6, 2)
    refused = {line["file"]: line for line in resumed.documents[:-1] if line["outcome"] == "refused"}
    assert (refused["gone"]["code"], refused["gone"]["url"]) == ("source_refused", f"{base}/gone.jpg")
    assert "404" in refused["gone"]["detail"]
    assert [line["code"] for name, line in refused.items() if name.startswith("line ")] == ["bad_line"]
    # Each was fetched once, the one in flight too; only what had failed is asked for in every run.
    assert [cloud.asked[name] for name in PICTURES] == [1] * 6
    assert cloud.asked["gone.jpg"] >= 2
    with Client(shell.url, shell.key) as client:
        images = sorted(client.list(), key=lambda image: image["file_name"])
        assert [image["file_name"] for image in images] == [f"{number}.jpg" for number in range(6)]
        assert {(*image["tags"], image["status"]) for image in images} == {("sale", "ready")}
        assert [image["title"] for image in images] == [f"Shoe {name}" for name in PICTURES]
        assert images[0]["custom"]["cloudinary"]["public_id"] == "shoes/0"
        assert [(album["title"], album["image_count"]) for album in client.albums()] == [("shoes", 6)]


def test_a_table_of_imgix_finds_what_is_there_already_though_nothing_is_remembered(near, cloud, tmp_path):
    base = f"http://127.0.0.1:{cloud.port}"
    listing = tmp_path / "assets.csv"
    rows = [f'/{name},Shoe,"sale, {number}"' for number, name in enumerate(PICTURES)]
    listing.write_text("\n".join(["Origin path,Name,Tags", *rows, "/169.jpg,Secret,x"]))
    arguments = ("import", "--from", "imgix", listing, "--base-url", base, "--album", "Shop", "--json")
    first = shell_of(near, tmp_path / "home")(*arguments)
    elsewhere = shell_of(near, tmp_path / "other")(*arguments)
    inside = tmp_path / "inside.json"
    inside.write_text(json.dumps([{"origin_path": "a.jpg", "url": "http://169.254.169.254/a.jpg"}]))
    guarded = shell_of(near, tmp_path / "home")("import", "--from", "imgix", inside, "--json")

    assert counts(first, "imported", "refused") == (6, 1), first.out + first.err
    # The other machine asks for the same imports, and is told what became of them.
    assert counts(elsewhere, "refused") == (1,)
    assert guarded.documents[0]["code"] == "source_not_allowed"
    with Client(near.url, near.api_key) as client:
        assert len(list(client.list())) == 6
        assert [(album["title"], album["image_count"]) for album in client.albums()] == [("Shop", 6)]


@pytest.fixture(scope="module")
def bucket(servers_profile):
    """Six pictures, a text and an empty file below `old/`, in the store that the networked server uses."""
    url = servers_profile["SAFELIGHT_STORAGE__ENDPOINT_URL"]
    store = SeaweedFS.__new__(SeaweedFS)  # only for its client and its buckets: the server runs
    store.url = url
    name = store.make_bucket(f"old-{uuid.uuid4().hex[:12]}")
    client = store.client()
    for key, body in PICTURES.items():
        client.put_object(
            Bucket=name,
            Key=f"old/{key}",
            Body=body,
            ContentType="image/jpeg",
            Metadata={"title": f"Shoe {key[6]}", "tags": "sale, old"},
        )
    client.put_object(Bucket=name, Key="old/copy of 0.jpg", Body=PICTURES["shoes/0.jpg"])
    client.put_object(Bucket=name, Key="old/notes.jpg", Body=b"not a picture")
    client.put_object(Bucket=name, Key="old/empty.jpg", Body=b"")
    client.put_object(Bucket=name, Key="other/x.jpg", Body=jpeg(seed=9400))
    return name, {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_ENDPOINT_URL_S3": url}


def new_user(server) -> str:
    with Client(server.url, server.api_key) as client:
        token = client.add_api_key(client.add_user(f"importer {uuid.uuid4()}")["id"])["token"]
    assert token is not None
    return token


@pytest.mark.parametrize("which", ["networked", "embedded"])
def test_a_bucket_is_moved_once_though_the_command_is_killed(which, request, bucket, tmp_path):
    server = request.getfixturevalue(which)
    name, environment = bucket
    home = tmp_path / "home"
    home.mkdir()
    shell = Shell(server.url, new_user(server), home, environment)
    arguments = ("import", f"s3://{name}/old/", "--json", "--concurrency", "2")
    process = shell.start(*arguments)
    assert process.stdout is not None
    while json.loads(process.stdout.readline())["outcome"] == "skipped":
        pass
    process.kill()
    process.communicate()
    resumed, again = shell(*arguments), shell(*arguments)

    assert (resumed.code, again.code) == (0, 0), resumed.out + resumed.err
    assert counts(again, "imported", "copied", "already_there", "skipped") == (0, 0, 7, 2)
    assert again.documents[-1]["summary"]["skipped_by_reason"] == {"empty": 1, "not an image": 1}
    copied = [line["copied"] for line in resumed.documents[:-1] if line["outcome"] == "imported"]
    assert set(copied) <= {which == "networked"} and copied
    with Client(shell.url, shell.key) as client:
        # Others of this server's users may have shown theirs to everybody.
        images = sorted((one for one in client.list() if "s3" in one["custom"]), key=lambda image: image["custom"]["s3"]["key"])
        assert len(images) == len({image["sha256"] for image in images}) == 6
        assert [*client.list(trashed="true")] == []
        named = [image for image in images if image["title"]]
        assert {image["title"] for image in named} <= {f"Shoe {number}" for number in range(6)} and len(named) >= 5
        assert {tuple(image["tags"]) for image in named} == {("sale", "old")}
        assert all(image["status"] == "ready" and image["file_name"].endswith(".jpg") for image in images)


def test_a_double_that_a_killed_run_was_taking_back_is_taken_back_by_the_next_one(networked, bucket, tmp_path, monkeypatch):
    name, environment = bucket
    token, home = new_user(networked), tmp_path / "home"
    home.mkdir()
    body = PICTURES["shoes/1.jpg"]
    with Client(networked.url, token) as client:
        (tmp_path / "1.jpg").write_bytes(body)
        kept = client.upload(tmp_path / "1.jpg")
        offer = client.announce(size=len(body))
        assert httpx.put(offer["url"], content=body, headers=offer["headers"]).status_code == 200
        double = client.complete_upload(offer["id"])
        assert double["duplicate_of"] == kept["id"]
        client.delete(double["id"])
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    (found,) = S3Source(name, "old/shoes/1").list()
    Journal.of(Server(networked.url, token), "s3", environment["AWS_ENDPOINT_URL_S3"], name).keep(
        Thing(found), Known(upload=offer["id"])
    )
    done = Shell(networked.url, token, home, environment)("import", f"s3://{name}/old/shoes/1", "--json")

    assert counts(done, "already_there", "refused") == (1, 0), done.out
    with Client(networked.url, token) as client:
        assert [image["id"] for image in client.list()] == [kept["id"]]
        assert [*client.list(trashed="true")] == []


def test_the_journal_may_be_lost_and_nothing_is_copied_or_counted_twice(networked, bucket, tmp_path):
    name, environment = bucket
    token = new_user(networked)
    runs = []
    for home in (tmp_path / "one", tmp_path / "two"):
        home.mkdir()
        runs.append(Shell(networked.url, token, home, environment)("import", f"s3://{name}/old/shoes/", "--json"))

    assert [counts(run, "imported", "already_there") for run in runs] == [(6, 0), (0, 6)], runs[1].err
    with Client(networked.url, token) as client:
        assert len(list(client.list())) == 6
