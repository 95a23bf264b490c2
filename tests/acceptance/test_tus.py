"""tus from outside, on both profiles: tuspy as it is, clients that vanish in the middle, and a replica that goes on."""

from __future__ import annotations

import io
import random
import socket
import time
from urllib.parse import urlsplit

import httpx
from tests.acceptance.conftest import Server
from tests.pictures import jpeg
from tusclient.client import TusClient

TUS = {"tus-resumable": "1.0.0"}
BYTES = TUS | {"content-type": "application/offset+octet-stream"}


def padded(seed: int, size: int) -> bytes:
    """A picture of that many bytes: what follows the end of a JPEG is kept and means nothing."""
    data = jpeg(seed=seed)
    return data + random.Random(seed).randbytes(max(0, size - len(data)))


def became(client: httpx.Client, url: str) -> dict:
    """The upload, once it has ended."""
    deadline = time.monotonic() + 60
    while (told := client.get(f"/uploads/{url.rpartition('/')[2]}").json())["state"] in ("pending", "arrived"):
        assert time.monotonic() < deadline, told
        time.sleep(0.05)
    return told


def original_of(client: httpx.Client, url: str) -> bytes:
    told = became(client, url)
    assert told["state"] == "accepted", told
    return client.get(f"/images/{told['image_id']}/original").content


def create(client: httpx.Client, data: bytes) -> str:
    answer = client.post("/tus/", headers=TUS | {"upload-length": str(len(data))})
    assert answer.status_code == 201, answer.text
    return urlsplit(answer.headers["location"]).path


def offset_of(client: httpx.Client, url: str) -> int:
    answer = client.head(url, headers=TUS)
    assert answer.status_code == 200
    return int(answer.headers["upload-offset"])


def begin(server: Server, url: str, data: bytes, offset: int) -> socket.socket:
    """A PATCH by hand whose sender may stop anywhere."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    head = [f"PATCH {url} HTTP/1.1", f"host: 127.0.0.1:{server.port}", f"authorization: Bearer {server.api_key}"]
    head += [f"{name}: {value}" for name, value in BYTES.items()]
    head += [f"upload-offset: {offset}", f"content-length: {len(data) - offset}", "", ""]
    connection.sendall("\r\n".join(head).encode())
    return connection


def test_tuspy_uploads_and_finds_its_way_back(server, client):
    data = padded(1200, 3_000_000)
    tus = TusClient(f"{server.url}/tus/", headers={"authorization": f"Bearer {server.api_key}"})
    for words in ({}, {"filename": "sea.jpg", "filetype": "image/jpeg"}):
        first = tus.uploader(file_stream=io.BytesIO(data), chunk_size=700_000, metadata=words)
        first.upload_chunk()
        first.upload_chunk()
        assert offset_of(client, urlsplit(first.url).path) == 1_400_000
        second = tus.uploader(file_stream=io.BytesIO(data), chunk_size=1_000_000, url=first.url, upload_checksum=True)
        second.upload()

        assert original_of(client, first.url) == data
        data = padded(1201, 3_000_000)


def test_what_a_client_sent_before_it_vanished_is_kept(server, client):
    data = padded(1210, 2_000_000)
    url = create(client, data)
    connection = begin(server, url, data, 0)
    connection.sendall(data[:600_000])
    connection.close()
    deadline = time.monotonic() + 60
    while (offset := offset_of(client, url)) < 600_000:
        assert time.monotonic() < deadline, offset
        time.sleep(0.05)

    assert client.patch(url, content=data[offset:], headers=BYTES | {"upload-offset": str(offset)}).status_code == 204
    assert original_of(client, url) == data


def test_a_second_replica_goes_on_at_once_while_the_first_still_waits(networked, servers_profile, tmp_path):
    data = padded(1220, 4_000_000)
    second = Server(tmp_path / "data", servers_profile).start()
    headers = {"authorization": f"Bearer {networked.api_key}"}
    try:
        with networked.client() as client, httpx.Client(base_url=second.url, headers=headers, timeout=60) as other:
            url = create(client, data)
            assert client.patch(url, content=data[:1_000_000], headers=BYTES | {"upload-offset": "0"}).status_code == 204
            hanging = begin(networked, url, data, 1_000_000)
            hanging.sendall(b"!" * 500_000)  # and the tunnel begins

            offset = offset_of(other, url)
            assert offset == 1_000_000
            middle = other.patch(url, content=data[offset:2_500_000], headers=BYTES | {"upload-offset": str(offset)})
            assert middle.status_code == 204
            hanging.close()  # the first server notices, and has nothing to say any more
            last = other.patch(url, content=data[2_500_000:], headers=BYTES | {"upload-offset": "2500000"})
            assert last.status_code == 204

            assert original_of(client, url) == data
    finally:
        second.stop()
