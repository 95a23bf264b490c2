"""Lists of the catalog on PostgreSQL, at ten thousand images and at a million: `python -m bench.servers_catalog [large]`.

Each figure is the whole call as a service makes it: transaction, tenant's row, page of fifty, the end. Pages begin at random places.
Target: p99 at a million at most three times that at ten thousand. Run it on an idle machine, from the root of the repository.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.servers.fill import fill_images
from tests.servers.postgres import PostgresServer, make_cluster

from safelight.adapters.catalog.sql import SqlCatalog
from safelight.domain.ids import AlbumId, ImageId
from safelight.domain.queries import Cursor, ImageQuery, Sort
from safelight.testing.contracts.catalog import album_in, images_in, tenant_in
from safelight.testing.factories import make_album, make_image

SMALL, LARGE, CHUNK, ROUNDS = 10_000, 1_000_000, 100_000, 400
ALBUM = AlbumId("0" * 25 + "2")
SHAPES = {
    "newest": {},
    "by title": {"sort": Sort.TITLE},
    "by size": {"sort": Sort.SIZE_DESC},
    "own and public": {"visible_to": "owner7"},
    "own": {"owner": "owner7"},
    "a rarer tag": {"tags": ("u7",)},
    "a common tag": {"tags": ("sea",)},
    "an album": {"album": ALBUM, "sort": Sort.POSITION},
}


def placed(query: ImageQuery, count: int) -> ImageQuery:
    """Behind a random place of the order."""
    if query.sort.column == "title":
        value: int | str = f"title {random.randrange(16**6):06x}"
    elif query.sort.column == "size":
        value = random.randrange(90_000_000)
    elif query.sort is Sort.POSITION:
        value = random.randrange(max(1, min(count, CHUNK) // 10))
    else:
        value = 1_700_000_000_000_000 + random.randrange(count) * 1_000_000
    return ImageQuery(
        **{
            **{name: getattr(query, name) for name in ("sort", "owner", "visible_to", "tags", "album")},
            "cursor": Cursor(query.sort, value, ImageId("0" * 26)),
        }
    )


async def measured(url: str, tenant: str, count: int) -> dict[str, dict[str, float]]:
    catalog = SqlCatalog(url, secrets=b"k" * 32)
    await catalog.open()
    found: dict[str, dict[str, float]] = {}
    for name, fields in SHAPES.items():
        query, took = ImageQuery(**fields), []
        for round_ in range(ROUNDS + 50):
            asked = placed(query, count)
            began = time.perf_counter()
            async with catalog.tenant(tenant) as records:
                await records.images.page(asked)
            if round_ >= 50:
                took.append((time.perf_counter() - began) * 1000)
        took.sort()
        found[name] = {"p50_ms": round(statistics.median(took), 2), "p99_ms": round(took[int(len(took) * 0.99)], 2)}
    await catalog.close()
    return found


async def run(large: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as place:
        make_cluster(Path(place) / "cluster")
        server = PostgresServer(
            Path(place) / "cluster", shared_buffers="512MB", synchronous_commit="off", max_wal_size="4GB"
        ).start()
        try:
            report: dict[str, object] = {}
            for count in (SMALL, large):
                url = server.database()
                catalog = SqlCatalog(url, secrets=b"k" * 32)
                await catalog.migrate()
                await catalog.open()
                tenant = await tenant_in(catalog)
                image = make_image(tenant.id)
                await images_in(catalog, image)
                await album_in(catalog, make_album(tenant.id, id=ALBUM), image)
                await catalog.close()
                began = time.perf_counter()
                for first in range(1, count + 1, CHUNK):
                    size = min(CHUNK, count + 1 - first)
                    fill_images(url, image.id, ALBUM, first=first, count=size, analyzes=first + size > count)
                report[f"{count}"] = {"filled_s": round(time.perf_counter() - began, 1), **await measured(url, tenant.id, count)}
            small, big = report[str(SMALL)], report[str(large)]
            report["p99_ratio"] = {name: round(big[name]["p99_ms"] / small[name]["p99_ms"], 2) for name in SHAPES}  # type: ignore[index]
            return report
        finally:
            server.remove()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(int(sys.argv[1]) if len(sys.argv) > 1 else LARGE)), indent=2))
