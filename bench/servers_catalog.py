"""Lists of the catalog on PostgreSQL, at ten thousand images and at a million: `python -m bench.servers_catalog [large]`.

Each figure is the whole call as a service makes it: transaction, tenant's row, page of fifty, the end. Pages begin at random places,
and the two are asked in turn.
Target: p99 at a million at most three times that at ten thousand. Run it on an idle machine, from the root of the repository.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.meter import Meter
from tests.servers.fill import fill_images
from tests.servers.postgres import PostgresServer, make_cluster

from safelight.adapters.catalog.sql import SqlCatalog
from safelight.domain.ids import AlbumId, ImageId, TenantId
from safelight.domain.queries import Cursor, ImageQuery, Sort
from safelight.testing.contracts.catalog import album_in, images_in, tenant_in
from safelight.testing.factories import make_album, make_image

SMALL, LARGE, CHUNK, ROUNDS = 10_000, 1_000_000, 100_000, 400
ALBUM = AlbumId("0" * 25 + "2")
SECRETS = b"k" * 32
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


async def filled(url: str, count: int) -> TenantId:
    """A tenant of so many images."""
    catalog = SqlCatalog(url, secrets=SECRETS)
    await catalog.migrate()
    await catalog.open()
    tenant = await tenant_in(catalog)
    image = make_image(tenant.id)
    await images_in(catalog, image)
    await album_in(catalog, make_album(tenant.id, id=ALBUM), image)
    await catalog.close()
    for first in range(1, count + 1, CHUNK):
        size = min(CHUNK, count + 1 - first)
        fill_images(url, image.id, ALBUM, first=first, count=size, analyzes=first + size > count)
    return tenant.id


@dataclass(frozen=True)
class Filled:
    url: str
    catalog: SqlCatalog
    tenant: TenantId


async def measured(sizes: dict[int, Filled]) -> dict[int, dict[str, dict[str, float]]]:
    """A question to each in turn, so that whatever else the machine does meets all of them."""
    found: dict[int, dict[str, dict[str, float]]] = {count: {} for count in sizes}
    for name, fields in SHAPES.items():
        meters = {count: Meter(one.url) for count, one in sizes.items()}
        for round_ in range(ROUNDS + 50):
            for count, one in sizes.items():
                asked = placed(ImageQuery(**fields), count)
                with meters[count].question(counts=round_ >= 50):
                    async with one.catalog.tenant(one.tenant) as records:
                        await records.images.page(asked)
        for count, meter in meters.items():
            found[count][name] = meter.figures()
    return found


async def run(large: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as place:
        make_cluster(Path(place) / "cluster")
        server = PostgresServer(Path(place) / "cluster", shared_buffers="512MB", synchronous_commit="off", max_wal_size="4GB")
    try:
        server.start()
        sizes: dict[int, Filled] = {}
        for count in (SMALL, large):
            url = server.database()
            tenant = await filled(url, count)
            sizes[count] = Filled(url, SqlCatalog(url, secrets=SECRETS), tenant)
            await sizes[count].catalog.open()
        found = await measured(sizes)
        for one in sizes.values():
            await one.catalog.close()
        report: dict[str, object] = {str(count): figures for count, figures in found.items()}
        for figure in ("p50", "p99", "cpu_p50", "cpu_p99"):
            report[f"{figure}_ratio"] = {
                name: round(found[large][name][f"{figure}_ms"] / found[SMALL][name][f"{figure}_ms"], 2) for name in SHAPES
            }
        return report
    finally:
        server.remove()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(int(sys.argv[1]) if len(sys.argv) > 1 else LARGE)), indent=2))
