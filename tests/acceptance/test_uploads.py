"""Direct uploads from outside: form and PUT, by httpx, curl, requests and boto3, on the embedded store and on a real S3 server."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import subprocess

import boto3
import httpx
import pytest
import requests
from botocore.config import Config
from tests.pictures import jpeg


def announce(client, data, **said):
    answer = client.post("/uploads", json={"filename": "sea.jpg", "content_type": "image/jpeg", "size": len(data), **said})
    assert answer.status_code == 201, answer.text
    return answer.json()


def send(offer, data, **fields):
    """What any HTTP client does, without a key of ours."""
    if offer["method"] == "POST":
        return httpx.post(offer["url"], data={**offer["fields"], **fields}, files={"file": ("x", data)}, timeout=60)
    return httpx.put(offer["url"], content=data, headers=offer["headers"], timeout=60)


def state_of(client, offer):
    return client.get(f"/uploads/{offer['id']}").json()["state"]


@pytest.mark.parametrize("method", ["post", "put"])
def test_a_file_goes_to_the_store_and_becomes_an_image(client, method):
    data = jpeg(seed=900 + len(method) * 7 + ord(method[1]))
    offer = announce(client, data, method=method, title="Sea", tags=["direct"], sha256=hashlib.sha256(data).hexdigest())

    assert client.post(f"/uploads/{offer['id']}/complete").json()["code"] == "not_arrived"
    assert send(offer, data).is_success
    answer = client.post(f"/uploads/{offer['id']}/complete")

    assert answer.status_code == 201, answer.text
    record = answer.json()
    assert (record["title"], record["tags"], record["file_name"], record["status"]) == ("Sea", ["direct"], "sea.jpg", "ready")
    assert record["sha256"] == hashlib.sha256(data).hexdigest()
    assert client.get(record["original_url"]).content == data
    assert httpx.get(record["renditions"][0]["url"]).status_code == 200
    again = client.post(f"/uploads/{offer['id']}/complete")
    assert (again.status_code, again.json()["id"]) == (201, record["id"])
    assert client.get(f"/uploads/{offer['id']}").json()["image_id"] == record["id"]


@pytest.mark.parametrize("method", ["post", "put"])
def test_curl_sends_it(client, tmp_path, method):
    data = jpeg(seed=955 + len(method))
    offer = announce(client, data, method=method)
    (tmp_path / "sea.jpg").write_bytes(data)
    if method == "post":
        words = [part for name, value in offer["fields"].items() for part in ("-F", f"{name}={value}")]
        words += ["-F", f"file=@{tmp_path / 'sea.jpg'}"]
    else:
        words = [part for name, value in offer["headers"].items() for part in ("-H", f"{name}: {value}")]
        words += ["-T", str(tmp_path / "sea.jpg")]
    command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", *words, offer["url"]]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)

    assert said.stdout == {"post": "204", "put": "200"}[method]
    assert client.post(f"/uploads/{offer['id']}/complete").status_code == 201


def test_a_form_is_sent_as_the_manual_of_boto3_shows(client):
    data = jpeg(seed=957)
    offer = announce(client, data)

    assert (
        requests.post(offer["url"], data=offer["fields"], files={"file": ("sea.jpg", io.BytesIO(data))}, timeout=60).status_code
        == 204
    )
    assert client.post(f"/uploads/{offer['id']}/complete").status_code == 201


def test_a_form_for_s3_says_what_boto3_would_say(networked, servers_profile):
    """Fields and conditions, but for the moment of signing; and ours are of this one file."""
    with networked.client() as client:
        offer = announce(client, b"x" * 1234)
    key = offer["fields"]["key"]
    boto = boto3.client(
        "s3",
        endpoint_url=servers_profile["SAFELIGHT_STORAGE__ENDPOINT_URL"],
        aws_access_key_id=servers_profile["SAFELIGHT_STORAGE__ACCESS_KEY_ID"],
        aws_secret_access_key=servers_profile["SAFELIGHT_STORAGE__SECRET_ACCESS_KEY"],
        region_name="us-east-1",
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    sealing = {name: value for name, value in offer["fields"].items() if name.startswith("x-amz-server-side-encryption")}
    fields = {"Content-Type": "image/jpeg", **sealing}
    asked = [["content-length-range", 1234, 1234], *({name: value} for name, value in fields.items())]
    theirs = boto.generate_presigned_post("originals", key, Fields=fields, Conditions=asked)

    assert sealing
    assert (offer["url"], offer["fields"].keys()) == (theirs["url"], theirs["fields"].keys())
    assert conditions(offer["fields"]) == conditions(theirs["fields"])


def conditions(fields):
    policy = json.loads(base64.b64decode(fields["policy"]))
    said = [list(*one.items()) if isinstance(one, dict) else one for one in policy["conditions"]]
    return sorted(one for one in said if one[0] != "x-amz-date")


@pytest.mark.parametrize("method", ["post", "put"])
def test_the_store_takes_nothing_but_what_was_announced(client, method):
    data = jpeg(seed=960)
    offer = announce(client, data, method=method)
    other = announce(client, data, method=method)

    refusals = [send(offer, data + b"x"), send(offer, data[:-1]), send(offer, data * 20)]
    if method == "post":
        refusals.append(send(offer, data, **{"Content-Type": "text/html"}))
        refusals.append(send(offer, data, key=other["fields"]["key"]))
        refusals.append(send({**offer, "fields": {**offer["fields"], "x-amz-meta-a": "b"}}, data))
    else:
        refusals.append(send({**offer, "headers": {**offer["headers"], "Content-Type": "text/html"}}, data))
        refusals.append(send({**offer, "url": offer["url"].replace(offer["id"], other["id"])}, data))
    for refusal in refusals:
        assert refusal.status_code in (400, 403, 413), refusal.text
    for each in (offer, other):
        assert client.post(f"/uploads/{each['id']}/complete").json()["code"] == "not_arrived"
        assert client.delete(f"/uploads/{each['id']}").status_code == 204
        assert state_of(client, each) == "abandoned"


def test_a_file_that_is_no_image_is_refused_with_its_reason_and_kept_nowhere(client):
    page = b"<html><script>alert(1)</script></html>"
    offer = announce(client, page, filename="../../etc/passwd\x00.jpg")
    assert offer["filename"] == "passwd.jpg"
    send(offer, page)

    for _ in range(2):
        answer = client.post(f"/uploads/{offer['id']}/complete")
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_format")
    assert state_of(client, offer) == "rejected"


def test_what_comes_after_the_end_changes_nothing(client):
    data, other = jpeg(seed=970), jpeg(seed=971)
    offer = announce(client, data, size=None)
    send(offer, data)
    record = client.post(f"/uploads/{offer['id']}/complete").json()
    send(offer, other)  # S3 cannot know; the embedded store refuses

    assert client.post(f"/uploads/{offer['id']}/complete").json()["id"] == record["id"]
    assert client.get(record["original_url"]).content == data
