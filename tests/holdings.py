"""What an installation holds, row by row and object by object, to be compared with what another one does."""

from __future__ import annotations

from safelight.services.backups import objects_of


async def rows_of(place):
    return {
        table: [dict(row) for row in await place.holdings.tables.read(table, limit=10_000)]
        for table in place.holdings.tables.names
    }


async def state(place):
    """All rows, and the SHA-256 of the bytes of each object that they name, read through."""
    rows = await rows_of(place)
    objects = {}
    for row in rows["images"]:
        for named in objects_of(row):
            archive = dict(place.holdings.archives)[named.bucket]
            versions = [stored for stored in await archive.versions(named.key) if not stored.is_marker]
            if not versions and "/master_" in named.key:
                continue  # there is none of a small picture
            stored = versions[0]
            body = await archive.get(named.key, version=stored.version)
            found = await archive.stat(named.key, version=stored.version)
            objects[named.key] = (len(body), stored.etag, found.media_type, found.modified_at, dict(found.metadata))
    return rows, objects
