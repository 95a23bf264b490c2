"""Metadata: one record and a page of fifty, read over HTTP from a catalog of a thousand and one of a hundred thousand.

The catalog is filled through its own tables before the server starts; records are as `develop` leaves them, with twelve
renditions, EXIF and tags. Both servers run side by side and take turns.
"""

from __future__ import annotations

import hashlib
import random
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from processes import Server, cpu, load, scratch, spread
from wire import full_speed, has

SIZES = (1_000, 100_000)
CONNECTIONS = 16
CHUNK = 2_000
TAGS = ("lake", "summer", "portrait", "street", "night", "family", "macro", "winter", "harbour", "wedding", "sport", "garden")
CAMERAS = ("SONY ILCE-6000", "Apple iPhone 13 Pro", "Canon EOS R6", "NIKON Z 6", "DJI FC550", "Google Pixel 8")


def records(tenant: str, owner: str, count: int) -> Iterator[Any]:
    """Records of several years, a tenth of them public."""
    from safelight.domain.ids import ImageId, TenantId, UserId, new_id
    from safelight.domain.images import Image, Rendition, Status, Visibility
    from safelight.imaging import PRESETS

    chance = random.Random(11)
    newest = datetime(2026, 11, 1, tzinfo=UTC)
    for number in range(count):
        at = newest - timedelta(seconds=977 * (count - number))
        id = ImageId(new_id(at.timestamp()))
        image = Image(
            id=id,
            tenant=TenantId(tenant),
            owner=UserId(owner),
            created_at=at,
            updated_at=at + timedelta(seconds=1),
            revision=2,
            status=Status.READY,
            visibility=Visibility.PUBLIC if chance.random() < 0.1 else Visibility.PRIVATE,
            title=f"{chance.choice(TAGS).title()} {number}",
            description="As it was that evening, seen from the other side of the water." if chance.random() < 0.5 else "",
            file_name=f"DSC{number % 100_000:05}.JPG",
            tags=tuple(chance.sample(TAGS, chance.randint(0, 4))),
            media_type="image/jpeg",
            size_bytes=chance.randint(900_000, 9_000_000),
            sha256=hashlib.sha256(id.encode()).hexdigest(),
            width=6000,
            height=4000,
            taken_at=at - timedelta(days=chance.randint(0, 400)),
            camera=chance.choice(CAMERAS),
            thumbhash="3OcRJYB4d3h/iIeHeEh3eIhw+j2wBw==",
            dominant_color="#6b7d5f",
            phash=f"{chance.getrandbits(64):016x}",
            metadata={
                "exif": {
                    "make": "SONY",
                    "model": "ILCE-6000",
                    "lens": "E 16-50mm F3.5-5.6 OSS",
                    "exposure_time": "1/250",
                    "f_number": 8.0,
                    "iso": 100,
                    "focal_length": 24.0,
                    "software": "v3.20",
                    "date_time_original": "2026:05:09 13:02:11",
                    "white_balance": "auto",
                    "flash": "off",
                },
                "iptc": {},
                "xmp": {"rating": 4},
            },
        )
        renditions = tuple(
            Rendition(
                preset=preset.name,
                format=format,
                media_type=f"image/{format}",
                width=preset.side,
                height=preset.side * 2 // 3,
                size_bytes=preset.side * 150,
                etag=hashlib.sha256(f"{id}{preset.name}{format}".encode()).hexdigest(),
                object_key=f"{tenant}/{id}/1/{preset.name}.{extension}",
            )
            for preset in PRESETS
            for format, extension in (("webp", "webp"), ("jpeg", "jpg"))
        )
        yield replace(image, renditions=renditions)


def fill(data_dir: Path, count: int) -> list[str]:
    """A data directory with so many records, of the installation's first user; their ids. No bytes are stored for them."""
    from sqlalchemy import insert

    from safelight.adapters.catalog.engines import Sqlite
    from safelight.adapters.catalog.rows import image_columns, micros
    from safelight.adapters.catalog.tables import image_tags, images

    with Server(data_dir):
        pass  # schema, tenant, user, key
    path = data_dir / "catalog.db"
    with sqlite3.connect(path) as connection:
        ((owner, tenant),) = connection.execute("SELECT id, tenant FROM users LIMIT 1").fetchall()
    connection.close()
    ids: list[str] = []
    engine = Sqlite(f"sqlite:///{path}", busy_timeout_s=5).writer()
    rows: list[dict[str, Any]] = []
    tags: list[dict[str, Any]] = []

    def flush() -> None:
        with engine.begin() as connection:
            connection.execute(insert(images), rows)
            if tags:
                connection.execute(insert(image_tags), tags)
        rows.clear()
        tags.clear()

    for image in records(tenant, owner, count):
        ids.append(image.id)
        rows.append(image_columns(image))
        stamp = {"tenant": tenant, "is_trashed": False, "created_at": micros(image.created_at), "image": image.id}
        tags += [stamp | {"tag": tag, "owner": image.owner} for tag in image.tags]
        if len(rows) == CHUNK:
            flush()
    if rows:
        flush()
    engine.dispose()
    return ids


def measure(*, quick: bool) -> dict[str, Any]:
    """The section's result."""
    if not has("wrk"):
        print("  wrk is not on the path (on Debian: apt-get install wrk): left out", file=sys.stderr)
        return {"left_out": "wrk is not installed"}
    rounds, seconds = (2, 3) if quick else (5, 6)
    cells: dict[str, list[dict[str, Any]]] = {}
    filled: dict[str, float] = {}
    with scratch() as folder, ExitStack() as stack:
        servers: dict[int, tuple[Server, dict[str, list[str]]]] = {}
        for count in SIZES:
            began = time.perf_counter()
            ids = fill(folder / f"records-{count}", count)
            filled[str(count)] = round(time.perf_counter() - began, 1)
            print(f"  {count} records in {filled[str(count)]} s", flush=True)
            server = stack.enter_context(Server(folder / f"records-{count}", environment={"SAFELIGHT_LOG__LEVEL": "warning"}))
            chosen = random.Random(5).sample(ids, min(len(ids), 5_000))
            servers[count] = server, {"record": [f"/images/{id}" for id in chosen], "page": pages(server)}
        for number in range(rounds):
            for count, (server, questions) in servers.items():
                for question, paths in questions.items():
                    busy, before = load(), cpu(server.pid).total
                    cell = full_speed(server.url, paths, connections=CONNECTIONS, seconds=seconds, headers=server.headers)
                    cell["cpu_us"] = (cpu(server.pid).total - before) / cell["requests"] * 1e6
                    cells.setdefault(f"{question} of {count}", []).append(cell | busy)
                    print(
                        f"  {question} of {count} {number + 1}/{rounds}: {cell['requests_per_s']:.0f}/s, "
                        f"{cell['cpu_us']:.0f} us CPU, p99 {cell['p99_ms']:.1f} ms",
                        flush=True,
                    )
    figures = ("requests_per_s", "cpu_us", "p50_ms", "p99_ms")
    return {
        "connections": CONNECTIONS,
        "fill_s": filled,
        "cells": {name: {figure: spread([row[figure] for row in rows]) for figure in figures} for name, rows in cells.items()},
        "rounds": cells,
    }


def pages(server: Server) -> list[str]:
    """The first page and, by following `next`, some behind it."""
    paths, path = [], "/images?limit=50"
    with server.client() as client:
        while len(paths) < 20:
            paths.append(path)
            page = client.get(path).raise_for_status().json()
            if not page["next"]:
                break
            path = f"/images?limit=50&cursor={page['next']}"
    return paths


if __name__ == "__main__":
    import json

    print(json.dumps(measure(quick=True), indent=1))
