"""Carrying: the rows of the SQL schema as items of the table and back, for `safelight move`. Pure; secrets pass as they are sealed.

A row is one item, and those that it is found by. Reading, the latter are passed over, since they follow from it, and so do the rows
of `image_tags` from their image's. An item that is neither is somebody's mistake, and ends a move rather than being left behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import orjson
from sqlalchemy import JSON, Table

from safelight.adapters.catalog import rows
from safelight.adapters.catalog.carried import TABLES
from safelight.adapters.catalog.dynamodb import items
from safelight.adapters.catalog.dynamodb.items import Item, Key
from safelight.domain.queries import Sort
from safelight.errors import WrongState
from safelight.ports.archive import Row

KEPT_KEYS: Final = {("SCHEMA", items.META), items.MOVING}
"""Of the table itself, not of what it holds."""

_TABLES: Final = {
    ("ALBUM", "GRANT"): "album_grants",
    ("ALBUM", "IMAGE"): "album_images",
    ("ALBUM", "META"): "albums",
    ("FAILURES", "META"): "failures",
    ("IDENTITY", "META"): "identities",
    ("IMAGE", "META"): "images",
    ("LINK", "META"): "album_links",
    ("PASSKEY", "META"): "passkeys",
    ("SESSION", "META"): "sessions",
    ("SPENT", "META"): "spent",
    ("TENANT", "CODE"): "codes",
    ("TENANT", "CREDENTIAL"): "credentials",
    ("TENANT", "ISSUER"): "trusted_issuers",
    ("TENANT", "KEY"): "api_keys",
    ("TENANT", "META"): "tenants",
    ("TENANT", "RING"): "signing_keys",
    ("TENANT", "TOTP"): "totps",
    ("TENANT", "USER"): "users",
    ("TENANT", "WEBHOOK"): "webhooks",
    ("TRAILHEAD", "META"): "trail_heads",
    ("UPLOAD", "META"): "uploads",
}
"""What begins so is a row of this table."""
_PARTITIONS: Final = {
    "DELIVERIES": "webhook_deliveries",
    "INHERITED": "inherited_keys",
    "JOURNAL": "journal",
    "OUTBOX": "events",
    "PURGES": "purges",
    "REDEVELOPMENTS": "redevelopments",
    "TOKENKEYS": "token_keys",
    "TRAIL": "trail",
    "UNSEALED": "trail",
    "USAGE": "usage",
}
"""The same, whatever its second key."""
_FOLLOWING: Final = {("ALBUM", "LINK"), ("IMAGE", "ALBUM"), ("IMAGE", "PUBLIC"), ("TENANT", "EMAIL"), ("TENANT", "USERNAME")}
_FOLLOWING_PARTITIONS: Final = {
    "BYTES", "DELIVERIESDUE", "DUE", "GRANTS", "IDENTITIES", "ISSUER", "ISSUERTURN", "KEY", "LINKS", "PASSKEYS", "PURGESDUE", "REDEVELOPING",
    "SESSIONS", "SHA256", "TAGS", "TENANTNAME", "TENANTS", "TRAILOF", "TRASH", "WEBHOOKS",
}  # fmt: skip
_LISTS: Final = {("images", "tags"), ("uploads", "tags"), ("webhooks", "events")}
"""JSON columns that are lists in the item; the others are JSON text."""


def row_of(item: Item) -> tuple[str, Row] | None:
    """The table and the row that the item stands for; None for one that follows from another. Raises WrongState for a stranger."""
    pk, sk = item["PK"], item["SK"]
    kind, name = pk.partition("#")[0], sk.partition("#")[0]
    if (pk, sk) in KEPT_KEYS or kind in _FOLLOWING_PARTITIONS or (kind, name) in _FOLLOWING:
        return None
    table = _PARTITIONS.get(kind) or _TABLES.get((kind, name))
    if table is None:
        raise WrongState(f"The table has an item that this release does not know ({kind}, {name}).")
    if table == "journal" and pk.count("#") > 1:  # the same once more, under its image
        return None
    known = item | _from_key(table, item)
    return table, {str(column.name): _value(known, TABLES[table], str(column.name)) for column in TABLES[table].columns}


def _from_key(table: str, item: Item) -> Item:
    """What the row has in columns and the item only in its key, or in another form."""
    _, _, name = item["PK"].partition("#")
    match table:
        case "album_images":
            return {"album": name, "created_at": items.order_value(item["created_key"], Sort.CREATED)}
        case "events":
            return {"tenant": orjson.loads(item["payload"])["tenant"]}
        case "images":
            return {"title_key": items.order_value(item["title_key"], Sort.TITLE)}
        case "journal":
            return {"tenant": name}
        case "trail_heads":
            return {"chain": name}
        case "usage":
            counts = {str(column.name): 0 for column in TABLES["usage"].columns} | {"last_hour": -1}
            return counts | item | {"month": name, "tenant": item["SK"]}
        case "webhook_deliveries":
            return {"forget_at": item["forget_at_us"]}
        case _:
            return {}


def _value(item: Item, table: Table, name: str) -> Any:
    value = item.get(name)
    is_json = isinstance(table.columns[name].type, JSON) and (table.name, name) not in _LISTS
    return orjson.loads(value) if is_json and value is not None else value


def tags_of(image: Row) -> Iterator[Row]:
    """The rows of `image_tags` that follow from an image's."""
    for tag in dict.fromkeys(image["tags"]):
        yield {name: image[name] for name in ("tenant", "is_trashed", "created_at", "owner")} | {"tag": tag, "image": image["id"]}


def items_of(table: str, row: Row) -> list[Item]:
    """The row's own item, then those that it is found by; none for a row of `image_tags`, which its image carries."""
    if table == "image_tags":
        return []
    own = _OWN[table](row) if table in _OWN else _plain(table, row)
    return [own, *_beside(table, row, own)]


def _plain(table: str, row: Row) -> Item:
    columns = {name: _kept(table, name, value) for name, value in row.items()}
    if table in _EXPIRING:
        name, at = _EXPIRING[table]
        columns |= items.expiring(row[name], rows.moment(row[at]))
    return items.placed(_KEYS[table](row), columns)


def _kept(table: str, name: str, value: Any) -> Any:
    is_json = isinstance(TABLES[table].columns[name].type, JSON) and (table, name) not in _LISTS
    return rows.dump_json(value) if is_json and value is not None else value


def _image_place(row: Row) -> Item:
    created_key = items.order_key(row["created_at"], row["image"])
    image = {"id": row["image"], "created_key": created_key, "is_trashed": row["is_trashed"]}
    return items.place_item(row["album"], image, row["position"], is_lent=row["is_lent"])


def _trail_key(row: Row) -> Key:
    if row["number"] is None:
        return items.unsealed(row["chain"]), row["id"]
    return items.trail(row["chain"]), items.trail_place(row["number"])


def _event(row: Row) -> Item:
    columns = {name: _kept("events", name, value) for name, value in row.items() if name != "tenant"}
    return items.placed(items.told_key(row["number"]), columns)


def _entries(row: Row) -> tuple[Item, Item]:
    columns = {name: _kept("journal", name, value) for name, value in row.items() if name != "tenant"}
    return items.journal_items(row["tenant"], columns)


_KEYS: Final[Mapping[str, Callable[[Row], Key]]] = {
    "album_links": lambda row: items.link_key(row["id"]),
    "api_keys": lambda row: items.api_key(row["tenant"], row["id"]),
    "codes": lambda row: items.code_key(row["tenant"], row["user"], row["letter"]),
    "credentials": lambda row: items.credential_key(row["tenant"], row["user"]),
    "failures": lambda row: items.failures_key(row["subject"]),
    "identities": lambda row: items.identity_key(row["tenant"], row["issuer"], row["subject"]),
    "inherited_keys": lambda row: items.inherited_key(row["purpose"], row["id"]),
    "passkeys": lambda row: items.passkey_key(row["id"]),
    "sessions": lambda row: items.session_key(row["id"]),
    "signing_keys": lambda row: items.ring_key(row["tenant"], row["kid"]),
    "spent": lambda row: items.spent_key(row["mark"]),
    "tenants": lambda row: items.tenant_key(row["id"]),
    "token_keys": lambda row: items.token_key(row["kid"]),
    "totps": lambda row: items.totp_key(row["tenant"], row["user"]),
    "trail": _trail_key,
    "trail_heads": lambda row: items.trail_head(row["chain"]),
    "trusted_issuers": lambda row: items.issuer_key(row["tenant"], row["id"]),
    "usage": lambda row: items.usage_key(row["tenant"], row["month"]),
    "users": lambda row: items.user_key(row["tenant"], row["id"]),
    "webhooks": lambda row: items.endpoint_key(row["tenant"], row["id"]),
}
"""Of items that have a row's columns and little else."""
_OWN: Final[Mapping[str, Callable[[Row], Item]]] = {
    "album_grants": lambda row: items.grant_items(row)[0],
    "album_images": _image_place,
    "albums": items.album_entry,
    "events": _event,
    "images": items.image_entry,
    "journal": lambda row: _entries(row)[0],
    "purges": items.purge_entry,
    "redevelopments": items.redevelopment_entry,
    "uploads": items.upload_entry,
    "webhook_deliveries": items.delivery_entry,
}
"""Of the others, the whole item."""
_EXPIRING: Final = {
    "codes": ("id", "expires_at"),
    "failures": ("subject", "last_at"),
    "sessions": ("id", "expires_at"),
    "spent": ("mark", "expires_at"),
}
"""By what name, and when, an item is listed as of no more use."""


def _beside(table: str, row: Row, own: Item) -> Iterator[Item]:
    match table:
        case "album_grants":
            yield items.grant_items(row)[1]
        case "album_images":
            yield items.placed(items.holder_key(row["image"], row["album"]), {})
        case "album_links":
            for key in (items.link_entry(row["album"], row["id"]), items.link_by(row["tenant"], row["made_by"], row["id"])):
                yield items.placed(key, {"tenant": row["tenant"]})
        case "api_keys":
            yield items.placed(items.api_key_holder(row["id"]), {"tenant": row["tenant"], "user": row["user"]})
        case "credentials":
            yield items.placed(items.address_key(row["tenant"], row["email"]), {"user": row["user"]})
        case "identities":
            yield items.placed(items.identity_entry(row["tenant"], row["user"], own["PK"]), {})
        case "images":
            yield from items.found_by(own)
        case "journal":
            yield _entries(row)[1]
        case "passkeys":
            yield items.placed(items.passkey_entry(row["tenant"], row["user"], row["id"]), {})
        case "purges" if row["due_at"] is not None:
            yield items.purge_due(own)
        case "redevelopments" if row["is_at_work"]:
            yield items.at_work(own)
        case "sessions":
            yield items.placed(items.session_entry(row["tenant"], row["user"], row["id"]), {})
        case "tenants":
            yield items.placed(items.tenant_entry(row["id"]), {})
            yield items.placed(items.tenant_name(row["name"]), {"tenant": row["id"]})
        case "trail" if row["number"] is not None:
            yield items.placed((items.trail_of(row["chain"], row["actor"]), own["SK"]), {"number": row["number"]})
        case "trusted_issuers":
            yield items.placed(items.issuer_entry(row["issuer"], row["tenant"]), {"issuer_id": row["id"]})
        case "uploads":
            yield items.upload_due(own)
        case "users":
            yield items.placed(items.user_name(row["tenant"], row["name"]), {"user": row["id"]})
        case "webhook_deliveries" if row["due_at"] is not None:
            yield items.delivery_due(own)
        case "webhooks" if row["disabled_at"] is None:
            yield items.placed(items.endpoint_entry(row["id"]), {"tenant": row["tenant"]})
