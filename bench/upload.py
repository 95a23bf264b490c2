"""Upload photographs over HTTP, so many at a time: a load generator in a process of its own, so that its CPU is nobody else's.

    $ SAFELIGHT_API_KEY=... python bench/upload.py --url http://127.0.0.1:8000 --clients 4 --images 24 PHOTO.jpg ...

One JSON object on standard output: seconds from the first byte sent to the last answer, the time of each upload, statuses,
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
from pathlib import Path
from urllib.parse import urlsplit

BOUNDARY = "safelight-bench-3f1c9a"


def form(path: Path) -> list[bytes]:
    """The body's pieces; the file's bytes are shared by every upload of it."""
    head = (
        f"--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{path.name}\"\r\n"
        f"content-type: image/jpeg\r\n\r\n"
    )
    return [head.encode(), path.read_bytes(), f"\r\n--{BOUNDARY}--\r\n".encode()]


def main() -> None:
    parser = argparse.ArgumentParser(description="Upload photographs, so many at a time.")
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--url", required=True)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--images", type=int, required=True)
    chosen = parser.parse_args()
    address = urlsplit(chosen.url)
    forms = [form(path) for path in chosen.photos]
    headers = {
        "authorization": f"Bearer {os.environ['SAFELIGHT_API_KEY']}",
        "content-type": f"multipart/form-data; boundary={BOUNDARY}",
    }
    numbers, lock = itertools.count(), threading.Lock()
    statuses: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    times: list[float] = []
    ids: dict[str, str] = {}
    refusals: list[str] = []
    barrier = threading.Barrier(chosen.clients + 1)

    def client() -> None:
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=180)
        barrier.wait()
        while (number := next(numbers)) < chosen.images:
            which = number % len(forms)
            pieces = forms[which]
            started = time.perf_counter()
            try:
                connection.putrequest("POST", "/images")
                for name, value in headers.items():
                    connection.putheader(name, value)
                connection.putheader("content-length", str(sum(map(len, pieces))))
                connection.endheaders()
                for piece in pieces:
                    connection.send(piece)
                answer = connection.getresponse()
                status, body = str(answer.status), answer.read()
            except OSError as error:
                connection.close()
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
