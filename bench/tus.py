"""A large file by tus, in one request and in pieces, beside a plain PUT, by turns: a load generator in a process of its own.

    $ SAFELIGHT_API_KEY=... python bench/tus.py --url http://127.0.0.1:8000 --megabytes 100 --rounds 5

One JSON object on standard output: seconds by way and round. `answered` is until the last answer, `ended` until the file has been looked
at, which a PUT's answer waits for and that of tus does not; the first bytes are a JPEG's, so that all of it is hashed and refused by its
decoder or kept, the same by all ways. `chunked` is tus in requests of 8 MB. The server must take files of that size. Called by `uploads`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections.abc import Callable

import httpx

TUS = {"tus-resumable": "1.0.0"}
CHUNK_BYTES = 8_000_000
PATIENCE_S = 120.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    data = b"\xff\xd8\xff\xe0" + random.Random(1).randbytes(chosen.megabytes * 1_000_000 - 4)
    headers = {"authorization": f"Bearer {os.environ['SAFELIGHT_API_KEY']}"}
    client = httpx.Client(base_url=chosen.url, headers=headers, timeout=300)

    def put() -> str:
        said = {"method": "put", "size": len(data), "content_type": "image/jpeg"}
        offer = client.post("/uploads", json=said).raise_for_status().json()
        client.put(offer["url"], content=data, headers=offer["headers"]).raise_for_status()
        client.post(f"/uploads/{offer['id']}/complete")  # a store of its own tells nobody
        return str(offer["id"])

    def tus(size: int) -> str:
        created = client.post("/tus/", headers=TUS | {"upload-length": str(len(data))}).raise_for_status()
        url = created.headers["location"]
        for offset in range(0, len(data), size):
            told = TUS | {"content-type": "application/offset+octet-stream", "upload-offset": str(offset)}
            client.patch(url, content=data[offset : offset + size], headers=told).raise_for_status()
        return str(url.rpartition("/")[2])

    ways: dict[str, Callable[[], str]] = {"put": put, "tus": lambda: tus(len(data)), "chunked": lambda: tus(CHUNK_BYTES)}
    times: dict[str, dict[str, list[float]]] = {way: {"answered": [], "ended": []} for way in ways}
    for _ in range(chosen.rounds):
        for way, send in ways.items():
            begun = time.perf_counter()
            upload = send()
            times[way]["answered"].append(time.perf_counter() - begun)
            while client.get(f"/uploads/{upload}").json()["state"] in ("pending", "arrived"):
                if time.perf_counter() - begun > PATIENCE_S:
                    raise SystemExit(f"by {way} nothing became of {upload}")
                time.sleep(0.01)
            times[way]["ended"].append(time.perf_counter() - begun)
    print(json.dumps({"megabytes": chosen.megabytes, "seconds": times}))


if __name__ == "__main__":
    main()
