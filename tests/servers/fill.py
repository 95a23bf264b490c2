"""Many images in a moment: one row written by the catalog, and the database makes the others after it."""

from __future__ import annotations

import psycopg

from safelight.adapters.catalog.tables import images

_ID = "lpad(to_hex(n), 26, '0')"
_ARRIVED = "1700000000000000 + n * 1000000::bigint"
_DATED = "CASE WHEN n % 3 = 0 THEN 1600000000000000 + n * 977777::bigint ELSE 1700000000000000 + n * 1000000::bigint END"
_OVERRIDES = {
    "id": _ID,
    "owner": "'owner' || n % 50",
    "created_at": _ARRIVED,
    "updated_at": _ARRIVED,
    "status": "(ARRAY['ready', 'ready', 'ready', 'ready', 'failed'])[1 + n % 5]",
    "visibility": "(ARRAY['private', 'private', 'private', 'public'])[1 + (n / 7) % 4]",
    "title": "'Title ' || md5(n::text)",
    "title_key": "'title ' || md5(n::text)",
    "description": "repeat(md5(n::text), 4)",
    "media_type": "(ARRAY['image/jpeg', 'image/png'])[1 + (n % 17) / 15]",
    "size_bytes": "1000 + (n * 7919::bigint) % 90000000",
    "sha256": "md5(n::text) || md5(n::text)",
    "taken_at": "CASE WHEN n % 3 = 0 THEN 1600000000000000 + n * 977777::bigint END",
    "dated_at": _DATED,
    "camera": "'Camera ' || n % 200",
    "is_trashed": "n % 20 = 0",
    "trashed_at": f"CASE WHEN n % 20 = 0 THEN {_ARRIVED} END",
}


def fill_images(url: str, pattern: str, album: str, *, first: int, count: int, analyzes: bool = True) -> None:
    """Copies of the image `pattern`, numbered from `first`, with three tags each; a tenth of them in the album.

    Fifty owners, a quarter public, one in twenty in the trash, one in twenty `failed`; tag `sea` on every one, `t0` to `t999` on a
    thousandth each, `u0` to `u49` on a fiftieth.
    """
    values = ", ".join(_OVERRIDES.get(column.name, f'pattern."{column.name}"') for column in images.columns)
    names = ", ".join(f'"{column.name}"' for column in images.columns)
    source = f"generate_series({first}, {first + count - 1}) n"
    these = f"images.id BETWEEN lpad(to_hex({first}), 26, '0') AND lpad(to_hex({first + count - 1}), 26, '0') AND images.id <> %(pattern)s"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            f"INSERT INTO images ({names}) SELECT {values.replace('%', '%%')} FROM images pattern, {source} WHERE pattern.id = %(pattern)s",
            {"pattern": pattern},
        )
        connection.execute(
            "INSERT INTO image_tags (tenant, is_trashed, tag, created_at, image, owner) SELECT tenant, is_trashed, tag, created_at, id, owner"
            f" FROM images, unnest(ARRAY['sea', 't' || size_bytes %% 1000, 'u' || size_bytes %% 50]) tag WHERE {these}",
            {"pattern": pattern},
        )
        connection.execute(
            "INSERT INTO album_images (album, image, position, is_trashed, created_at, is_lent)"
            " SELECT %(album)s, id, row_number() OVER (ORDER BY md5(id)), is_trashed, created_at, true"
            f" FROM images WHERE size_bytes %% 10 = 0 AND {these} ON CONFLICT DO NOTHING",
            {"album": album, "pattern": pattern},
        )
        if analyzes:
            connection.execute("VACUUM ANALYZE")
