"""Uploads: how many a second and what one costs the API, as a form through it and past it by presigned form and PUT.

Pictures of a few pixels and many bytes, so that it is the bytes that are measured, not developing. An upload is over when the answer is
there that names its image: of `POST /images`, or of announcing, sending and completing. Rounds of the three ways are interleaved.
Then one large file by tus beside a plain PUT, its connection never broken: what being able to go on costs whoever need not.
"""

from __future__ import annotations

import random
from typing import Any

from processes import CLIENTS, Server, asking, cpu, load, scratch, spread, upload
from upload import WAYS

from pictures import jpeg
from servers import backends

MEGABYTES = 5
LARGE_MEGABYTES = 100
TUS_TARGET = 0.8
"""Of a plain PUT's throughput."""


def measure(*, quick: bool) -> dict[str, Any]:
    """Both profiles; per way uploads a second and CPU milliseconds an upload of the server's processes, without the decoders'."""
    images, rounds = (8, 2) if quick else (40, 6)
    at_once = {"SAFELIGHT_INGEST__WAIT_S": "0"}  # answered when the image is recorded
    cells: dict[str, dict[str, dict[str, Any]]] = {}
    with scratch() as folder, backends() as environment:
        pictures = [folder / f"{number}.jpg" for number in range(4)]
        for number, path in enumerate(pictures):
            path.write_bytes(jpeg(64, 48, seed=number) + random.Random(number).randbytes(MEGABYTES * 1_000_000))
        with (
            Server(folder / "embedded", environment=at_once) as embedded,
            Server(folder / "servers", environment=environment | at_once) as networked,
        ):
            for name, server in {"embedded": embedded, "servers": networked}.items():
                found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
                for way in WAYS:
                    upload(server, pictures, len(pictures), may_lag=True, way=way)
                for number in range(rounds):
                    for way in list(WAYS)[:: 1 if number % 2 else -1]:
                        server.settle()
                        busy, before = load(), cpu(server.pid)
                        report = upload(server, pictures, images, may_lag=True, way=way)
                        server.settle()
                        spent = cpu(server.pid) - before
                        found[way].append(
                            {
                                "per_s": report["images_per_s"],
                                "cpu_ms": (spent.parent + spent.server) / images * 1000,
                                "load": busy,
                            }
                        )
                cells[name] = {
                    way: {
                        "per_s": spread([each["per_s"] for each in rows]),
                        "cpu_ms": spread([each["cpu_ms"] for each in rows]),
                        "cpu_ratio": spread(
                            [each["cpu_ms"] / beside["cpu_ms"] for each, beside in zip(rows, found["multipart"], strict=True)]
                        ),
                        "load": [each["load"] for each in rows],
                    }
                    for way, rows in found.items()
                }
    return {"megabytes": MEGABYTES, "clients": CLIENTS, "profiles": cells, "large": large(rounds)}


def large(rounds: int) -> dict[str, Any]:
    """Both profiles, on stores of their own: that of the others has next to no room left."""
    room = {"SAFELIGHT_LIMITS__MAX_BYTES": str(2 * LARGE_MEGABYTES * 1_000_000)}
    found = {}
    with scratch() as folder, backends() as environment:
        for name, more in {"embedded": {}, "servers": environment}.items():
            with Server(folder / name, environment=more | room) as server:
                found[name] = beside_put(server, rounds)
    return found


def beside_put(server: Server, rounds: int) -> dict[str, Any]:
    """Throughput of tus, whole and in pieces, against a plain PUT of the same file, round by round."""
    report: Any = asking(server, "tus.py", "--megabytes", LARGE_MEGABYTES, "--rounds", rounds)
    seconds = report["seconds"]
    return {
        "megabytes": report["megabytes"],
        "target": TUS_TARGET,
        "mb_per_s": {way: spread([report["megabytes"] / took for took in each["ended"]]) for way, each in seconds.items()},
        "to_put": {
            way: spread([plain / took for plain, took in zip(seconds["put"]["ended"], each["ended"], strict=True)])
            for way, each in seconds.items()
        },
    }
