"""Upload photographs over HTTP, so many at a time: a load generator in a process of its own, so that its CPU is nobody else's.

    $ SAFELIGHT_API_KEY=... python bench/upload.py --url http://127.0.0.1:8000 --clients 4 --images 24 [--way form] PHOTO.jpg ...

Through the API by `multipart`, or past it by a presigned `form` or `put`: announced, sent to the store, completed. One JSON object on standard output: seconds from the first byte sent to the last answer, the time of each upload, statuses,
bytes per rendition. An upload counts as done when its answer is there; 201 means that its renditions are ready.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

BOUNDARY = "safelight-bench-3f1c9a"
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


def form(name: str, data: bytes, fields: Mapping[str, str] = MappingProxyType({})) -> list[bytes]:
    """The body's pieces, the file's last; its bytes are shared by every upload of it."""
    head = "".join(
        f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="{key}"\r\n\r\n{value}\r\n' for key, value in fields.items()
    )
    head += f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="file"; filename="{name}"\r\ncontent-type: image/jpeg\r\n\r\n'
    return [head.encode(), data, f"\r\n--{BOUNDARY}--\r\n".encode()]


class Wire:
    """The connections of one client, one to each server."""

    def __init__(self) -> None:
        self._connections: dict[str, http.client.HTTPConnection] = {}

    def ask(self, method: str, url: str, headers: Mapping[str, str], pieces: Sequence[bytes] = ()) -> tuple[int, bytes]:
        """Status and body. Raises OSError."""
        address = urlsplit(url)
        if address.netloc not in self._connections:
            self._connections[address.netloc] = http.client.HTTPConnection(address.hostname or "", address.port, timeout=180)
        connection = self._connections[address.netloc]
        try:
            connection.putrequest(method, f"{address.path}?{address.query}" if address.query else address.path)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.putheader("content-length", str(sum(map(len, pieces))))
            connection.endheaders()
            for piece in pieces:
                connection.send(piece)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except OSError:
            connection.close()
            raise


def through(wire: Wire, url: str, key: Mapping[str, str], name: str, data: bytes) -> tuple[int, bytes]:
    return wire.ask("POST", f"{url}/images", {**key, **FORM}, form(name, data))


def past(method: str, wire: Wire, url: str, key: Mapping[str, str], name: str, data: bytes) -> tuple[int, bytes]:
    said = json.dumps({"method": method, "filename": name, "content_type": "image/jpeg", "size": len(data)}).encode()
    status, body = wire.ask("POST", f"{url}/uploads", {**key, "content-type": "application/json"}, [said])
    if status != 201:
        return status, body
    offer = json.loads(body)
    if method == "post":
        status, body = wire.ask("POST", offer["url"], FORM, form(name, data, offer["fields"]))
    else:
        status, body = wire.ask("PUT", offer["url"], offer["headers"], [data])
    return wire.ask("POST", f"{url}/uploads/{offer['id']}/complete", key) if status < 300 else (status, body)


WAYS = {"multipart": through, "form": partial(past, "post"), "put": partial(past, "put")}


def main() -> None:
    parser = argparse.ArgumentParser(description="Upload photographs, so many at a time.")
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--url", required=True)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--images", type=int, required=True)
    parser.add_argument("--way", choices=WAYS, default="multipart")
    chosen = parser.parse_args()
    contents = [path.read_bytes() for path in chosen.photos]
    key = {"authorization": f"Bearer {os.environ['SAFELIGHT_API_KEY']}"}
    numbers, lock = itertools.count(), threading.Lock()
    statuses: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    times: list[float] = []
    ids: dict[str, str] = {}
    refusals: list[str] = []
    barrier = threading.Barrier(chosen.clients + 1)

    def client() -> None:
        wire = Wire()
        barrier.wait()
        while (number := next(numbers)) < chosen.images:
            which = number % len(contents)
            started = time.perf_counter()
            try:
                answered, body = WAYS[chosen.way](wire, chosen.url, key, chosen.photos[which].name, contents[which])
                status = str(answered)
            except OSError as error:
                status, body = type(error).__name__, b""
            took = time.perf_counter() - started
            with lock:
                statuses[status] += 1
                times.append(took)
                if status not in ("201", "202"):
                    refusals.append(body[:300].decode(errors="replace"))
                if status == "201":  # a 202 has no renditions yet
                    record = json.loads(body)
                    ids[chosen.photos[which].stem] = record["id"]
                    for rendition in record["renditions"]:
                        extension = {"jpeg": "jpg"}.get(rendition["format"], rendition["format"])
                        sizes[f"{rendition['preset']}.{extension}"] += rendition["bytes"]

    threads = [threading.Thread(target=client) for _ in range(chosen.clients)]
    for thread in threads:
        thread.start()
    barrier.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - began
    done = max(1, statuses["201"])
    times.sort()
    json.dump(
        {
            "wall_s": wall,
            "images": chosen.images,
            "statuses": statuses,
            "images_per_s": chosen.images / wall,
            "p50_s": times[len(times) // 2],
            "max_s": times[-1],
            "bytes_per_image": {name: round(size / done) for name, size in sizes.items()},
            "ids": ids,
            "refusals": refusals[:3],
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
