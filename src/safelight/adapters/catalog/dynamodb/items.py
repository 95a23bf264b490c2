"""Items: records as items of the table and back, and every key there is. Pure; reads and writes nothing.

One table for everything. A key says what an item is (`PK=IMAGE#{id}`, `SK=META`); the attributes that end in `_key` put it into
the indexes, see `table`. What is sorted is text that sorts as its value does: whole numbers as 16 hexadecimal digits from -2**63
on, titles before a NUL, and the image's id behind them, so that a place in an order is one string and a cursor names it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any, Final

import orjson

from safelight.adapters.catalog import rows
from safelight.adapters.catalog.dynamodb.numbers import SHARDS
from safelight.domain.albums import Album
from safelight.domain.ids import AlbumId, ImageId, TenantId, UserId
from safelight.domain.images import Image, Status, Visibility
from safelight.domain.purges import OURS, Purge
from safelight.domain.queries import Sort, micros
from safelight.domain.redevelopments import Redevelopment
from safelight.domain.sharing import Grant, Link
from safelight.domain.uploads import KEPT, Upload
from safelight.domain.webhooks import Delivery
from safelight.errors import BadField, DamagedRecord

Item = dict[str, Any]
Key = tuple[str, str]

META: Final = "META"
MOVING: Final = ("MOVING", META)
"""There while somebody fills the table."""
_JSON: Final = ("custom", "metadata", "renditions", "earlier", "problem", "focal_point", "recipe", "developed_recipe")
_UPLOAD_JSON: Final = ("custom", "problem", "pieces")
_PURGE_JSON: Final = ("slice", "invalidations")
_LOWEST: Final = 1 << 63
ORDER: Final = {"created_at": "created_key", "taken_at": "taken_key", "title": "title_key", "size": "size_key"}
"""The attribute that sorts by this column."""
FILTERS: Final = (
    "owner", "status", "visibility", "media_type", "camera", "created_at", "dated_at", "size_bytes", "tags",
)  # fmt: skip
"""What a list may be narrowed by: copied into the indexes, so that what is left out is not fetched."""


# The wire


def encoded(item: Mapping[str, Any]) -> dict[str, Any]:
    """The item with DynamoDB's types; what is None is left out."""
    return {name: typed(value) for name, value in item.items() if value is not None}


def typed(value: Any) -> dict[str, Any]:
    """One value. Raises BadField for text that has no UTF-8 form."""
    match value:
        case bool():
            return {"BOOL": value}
        case int():
            return {"N": str(value)}
        case str():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise BadField("Text must be valid Unicode.") from error
            return {"S": str(value)}
        case bytes():
            return {"B": value}
        case list() | tuple():
            return {"L": [typed(one) for one in value]}
        case _:
            raise TypeError(type(value))


def decoded(item: Mapping[str, Any]) -> Item:
    """The item without types."""
    return {name: _plain(value) for name, value in item.items()}


def _plain(value: Mapping[str, Any]) -> Any:
    ((kind, inner),) = value.items()
    match kind:
        case "N":
            return int(inner)
        case "L":
            return [_plain(one) for one in inner]
        case "B":
            return bytes(inner)
        case _:
            return inner


def key_of(item: Mapping[str, Any]) -> Key:
    """What the item is found by."""
    return item["PK"], item["SK"]


def placed(key: Key, columns: Mapping[str, Any]) -> Item:
    """An item with this key."""
    return {"PK": key[0], "SK": key[1], **columns}


def columns_of(item: Mapping[str, Any], record: type) -> Item:
    """What the item has of a record's fields, None for what it has not."""
    return {one.name: item.get(one.name) for one in fields(record)}


def _as_text(columns: Item, names: Sequence[str]) -> Item:
    """The same with these columns as JSON. Raises BadField for what JSON cannot say."""
    return columns | {name: None if columns[name] is None else rows.dump_json(columns[name]) for name in names}


# Sorting


def number_key(value: int) -> str:
    """Text that sorts as these numbers do. Raises BadField beyond 64 bits."""
    if not -_LOWEST <= value < _LOWEST:
        raise BadField("A value is out of the range that can be kept.")
    return f"{value + _LOWEST:016x}"


def order_key(value: int | str, image_id: str) -> str:
    """The place of an image in an order."""
    return f"{value}\x00{image_id}" if isinstance(value, str) else number_key(value) + image_id


def order_value(key: str, sort: Sort) -> int | str:
    """What an image at this place is sorted by."""
    return key.rpartition("\x00")[0] if sort.column == "title" else int(key[:16], 16) - _LOWEST


# Images


def image_key(image_id: str) -> Key:
    """The image itself."""
    return f"IMAGE#{image_id}", META


def owners(tenant: TenantId, owner: UserId, *, is_trashed: bool) -> str:
    """The partition of UserIndex with one owner's images."""
    return f"USER#{tenant}#{owner}#{'TRASH' if is_trashed else 'LIVE'}"


def public(tenant: TenantId) -> str:
    """The partition of UserIndex with everybody's public images."""
    return f"PUBLIC#{tenant}"


def tenants(tenant: TenantId, *, is_trashed: bool) -> str:
    """The partition of TenantIndex with all images."""
    return f"TENANT#{tenant}#{'TRASH' if is_trashed else 'LIVE'}"


def twins(tenant: TenantId, owner: UserId, sha256: str) -> str:
    """The partition of the table with this owner's images of these bytes, oldest first."""
    return f"SHA256#{tenant}#{owner}#{sha256}"


def trash(tenant: TenantId) -> str:
    """The partition of the table with the tenant's trash in the order of throwing away."""
    return f"TRASH#{tenant}"


def image_item(image: Image) -> Item:
    """The image with all that sorts and finds it. Raises BadField for what cannot be kept."""
    return image_entry(rows.image_columns(image))


def image_entry(columns: Mapping[str, Any]) -> Item:
    """The same from its row."""
    image_id, is_trashed = columns["id"], columns["is_trashed"]
    return placed(image_key(image_id), _as_text(dict(columns), _JSON)) | {
        "tags": list(columns["tags"]),
        "user_key": owners(columns["tenant"], columns["owner"], is_trashed=is_trashed),
        "tenant_key": tenants(columns["tenant"], is_trashed=is_trashed),
        "created_key": order_key(columns["created_at"], image_id),
        "taken_key": order_key(columns["dated_at"], image_id),
        "title_key": order_key(columns["title_key"], image_id),
        "size_key": order_key(columns["size_bytes"], image_id),
    }


def image_of(item: Item) -> Image:
    """The image from its item. Raises DamagedRecord for an item that is none."""
    try:
        columns = item | {name: None if item.get(name) is None else orjson.loads(item[name]) for name in _JSON}
        return rows.image_of([columns.get(name) for name in rows.IMAGE_COLUMNS])
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedRecord("An item of the catalog cannot be read.") from error


def found_by(item: Item) -> Iterator[Item]:
    """The items beside an image's own that look-ups go by; they follow from it and are written with it."""
    tenant, image_id = item["tenant"], item["id"]
    if item["is_trashed"]:
        yield {"PK": trash(tenant), "SK": order_key(item["trashed_at"], image_id), "image": image_id}
        return
    if item["status"] not in (Status.REJECTED, Status.FAILED):
        yield {"PK": twins(tenant, item["owner"], item["sha256"]), "SK": item["created_key"], "image": image_id}
    if item["visibility"] == Visibility.PUBLIC:
        entry = {name: item[name] for name in (*FILTERS, *ORDER.values())}
        yield entry | {"PK": item["PK"], "SK": "PUBLIC", "user_key": public(tenant)}


# Albums


def album_key(album_id: str) -> Key:
    """The album itself."""
    return f"ALBUM#{album_id}", META


def place_key(album_id: str, image_id: str) -> Key:
    """An image in the album."""
    return f"ALBUM#{album_id}", f"IMAGE#{image_id}"


def holder_key(image_id: str, album_id: str) -> Key:
    """The same, found from the image."""
    return f"IMAGE#{image_id}", f"ALBUM#{album_id}"


def album_item(album: Album) -> Item:
    """The album with what lists it, newest id first. Raises BadField for what cannot be kept."""
    return album_entry(rows.album_columns(album))


def album_entry(columns: Mapping[str, Any]) -> Item:
    """The same from its row."""
    return placed(album_key(columns["id"]), columns) | {
        "tenant_key": f"ALBUMS#{columns['tenant']}",
        "user_key": f"ALBUMS#{columns['tenant']}#{columns['owner']}",
        "created_key": columns["id"],
    }


def album_of(item: Item, image_count: int) -> Album:
    """The album from its item."""
    names = ("id", "tenant", "owner", "title", "description", "cover", "created_at", "updated_at", "revision")
    return rows.album_of({name: item.get(name) for name in names} | {"image_count": image_count})


def place_item(album_id: AlbumId, image: Item, position: int, *, is_lent: bool) -> Item:
    """The image's place in the album; `is_lent`: by the will of its owner."""
    pk, sk = place_key(album_id, image["id"])
    return {
        "PK": pk,
        "SK": sk,
        "image": image["id"],
        "position": position,
        "album_key": pk,
        "created_key": image["created_key"],
        "is_trashed": image["is_trashed"],
        "is_lent": is_lent,
    }


def grant_key(album_id: str, user: str) -> Key:
    """What a user has of the album."""
    return f"ALBUM#{album_id}", f"GRANT#{user}"


def grants_of(tenant: str, user: str) -> str:
    """The partition of the table with what a user has of albums, by their ids."""
    return f"GRANTS#{tenant}#{user}"


def grant_items(columns: Mapping[str, Any]) -> tuple[Item, Item]:
    """The grant from its row, with the album and with the user."""
    album, user = columns["album"], columns["user"]
    return placed(grant_key(album, user), columns), placed((grants_of(columns["tenant"], user), album), columns)


def grant_of(item: Item) -> Grant:
    """The grant from either item. Raises DamagedRecord for an item that is none."""
    try:
        return rows.grant_of(columns_of(item, Grant))
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedRecord("An item of the catalog cannot be read.") from error


def link_key(link_id: str) -> Key:
    """A link to an album."""
    return f"LINK#{link_id}", META


def link_entry(album_id: str, link_id: str) -> Key:
    """The link in the list of its album."""
    return f"ALBUM#{album_id}", f"LINK#{link_id}"


def link_by(tenant: str, user: str, link_id: str) -> Key:
    """The link in the list of who made it."""
    return f"LINKS#{tenant}#{user}", link_id


def link_of(item: Item) -> Link:
    """The link from its item. Raises DamagedRecord for an item that is none."""
    try:
        return rows.link_of(columns_of(item, Link))
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedRecord("An item of the catalog cannot be read.") from error


# Uploads


def upload_key(upload_id: str) -> Key:
    """The upload itself."""
    return f"UPLOAD#{upload_id}", META


def due(tenant: TenantId) -> str:
    """The partition of the table with the tenant's uploads in the order in which somebody has to look after them."""
    return f"DUE#{tenant}"


def due_key(upload: Item) -> Key:
    """The upload's place in that order."""
    return due(upload["tenant"]), number_key(upload["due_at"]) + upload["id"]


def upload_item(upload: Upload) -> Item:
    """The upload; DynamoDB forgets it when no clock has come to do so. Raises BadField for what cannot be kept."""
    return upload_entry(rows.upload_columns(upload))


def upload_entry(columns: Mapping[str, Any]) -> Item:
    """The same from its row."""
    forget_at = int((rows.moment(columns["due_at"]) + KEPT).timestamp())
    kept = _as_text(dict(columns), _UPLOAD_JSON)
    return placed(upload_key(columns["id"]), kept) | {"tags": list(columns["tags"]), "forget_at": forget_at}


def upload_due(upload: Item) -> Item:
    """What tells when somebody has to look after it."""
    return placed(due_key(upload), {"upload": upload["id"], "forget_at": upload["forget_at"]})


def upload_of(item: Item) -> Upload:
    """The upload from its item. Raises DamagedRecord for an item that is none."""
    try:
        columns = item | {name: None if item.get(name) is None else orjson.loads(item[name]) for name in _UPLOAD_JSON}
        return rows.upload_of(columns_of(columns, Upload))
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedRecord("An item of the catalog cannot be read.") from error


# Webhooks

ENDPOINTS: Final = "WEBHOOKS"
"""The partition of the table with every tenant's enabled endpoints."""


def endpoint_key(tenant: str, endpoint: str) -> Key:
    """A webhook endpoint."""
    return f"TENANT#{tenant}", f"WEBHOOK#{endpoint}"


def endpoint_entry(endpoint: str) -> Key:
    """The endpoint among all that are enabled."""
    return ENDPOINTS, endpoint


def deliveries(tenant: str, endpoint: str) -> str:
    """The partition of the table with what an endpoint is told, oldest first."""
    return f"DELIVERIES#{tenant}#{endpoint}"


def deliveries_due(tenant: str, endpoint: str) -> str:
    """The partition of the table with what of it is still to be told, in the order of being due."""
    return f"DELIVERIESDUE#{tenant}#{endpoint}"


def delivery_due_key(delivery: Item) -> Key:
    """The delivery's place in that order."""
    return deliveries_due(delivery["tenant"], delivery["endpoint"]), number_key(delivery["due_at"]) + delivery["id"]


def delivery_item(delivery: Delivery) -> Item:
    """The delivery; DynamoDB forgets it when no clock has come to do so. Raises BadField for what cannot be kept."""
    return delivery_entry(rows.delivery_columns(delivery))


def delivery_entry(columns: Mapping[str, Any]) -> Item:
    """The same from its row."""
    forget_at = columns["forget_at"]
    # `forget_at` is the table's own, in seconds.
    times = {"forget_at_us": forget_at, "forget_at": int((rows.moment(forget_at) + timedelta(days=1)).timestamp())}
    key = deliveries(columns["tenant"], columns["endpoint"]), columns["id"]
    return placed(key, _as_text(dict(columns), ("attempts",)) | times)


def delivery_due(delivery: Item) -> Item:
    """What tells when it is due."""
    return placed(delivery_due_key(delivery), {"delivery": delivery["id"], "forget_at": delivery["forget_at"]})


def delivery_of(item: Item) -> Delivery:
    """The delivery from its item. Raises DamagedRecord for an item that is none."""
    try:
        columns = columns_of(item, Delivery)
        return rows.delivery_of(columns | {"forget_at": item["forget_at_us"], "attempts": orjson.loads(item["attempts"])})
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedRecord("An item of the catalog cannot be read.") from error


# Purges


def purges_due(*, is_ours: bool) -> str:
    """The partition of the table with every tenant's purges that have not ended, in the order of being due: of our caches, or of CDNs."""
    return "PURGESDUE#OURS" if is_ours else "PURGESDUE"


def purges(tenant: str) -> str:
    """The partition of the table with a tenant's purges, oldest first."""
    return f"PURGES#{tenant}"


def purge_due_key(purge: Item) -> Key:
    """The purge's place in that order."""
    return purges_due(is_ours=purge["state"] in OURS), number_key(purge["due_at"]) + purge["id"]


def purge_item(purge: Purge) -> Item:
    """The purge. Raises BadField for what cannot be kept."""
    return purge_entry(rows.purge_columns(purge))


def purge_entry(columns: Mapping[str, Any]) -> Item:
    """The same from its row."""
    return placed((purges(columns["tenant"]), columns["id"]), _as_text(dict(columns), _PURGE_JSON))


def purge_due(purge: Item) -> Item:
    """What tells when it is due."""
    return placed(purge_due_key(purge), {"tenant": purge["tenant"], "purge": purge["id"]})


def purge_of(item: Item) -> Purge:
    """The purge from its item. Raises DamagedRecord for an item that is none."""
    try:
        columns = columns_of(item, Purge)
        return rows.purge_of(columns | {name: orjson.loads(item[name]) for name in _PURGE_JSON})
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedRecord("An item of the catalog cannot be read.") from error


# Redevelopments

REDEVELOPING: Final = "REDEVELOPING"
"""The partition of the table with every tenant's redevelopments that somebody has to look after."""
_REDEVELOPMENT_JSON: Final = ("selection", "recipe", "under_way")


def redevelopments(tenant: str) -> str:
    """The partition of the table with a tenant's redevelopments, oldest first."""
    return f"REDEVELOPMENTS#{tenant}"


def redevelopment_item(one: Redevelopment) -> Item:
    """The redevelopment. Raises BadField for what cannot be kept."""
    return redevelopment_entry(rows.redevelopment_columns(one))


def redevelopment_entry(columns: Mapping[str, Any]) -> Item:
    """The same from its row."""
    return placed((redevelopments(columns["tenant"]), columns["id"]), _as_text(dict(columns), _REDEVELOPMENT_JSON))


def at_work(redevelopment: Item) -> Item:
    """What tells that there is something to do."""
    return placed((REDEVELOPING, redevelopment["id"]), {"tenant": redevelopment["tenant"]})


def redevelopment_of(item: Item) -> Redevelopment:
    """The redevelopment from its item. Raises DamagedRecord for an item that is none."""
    try:
        columns = columns_of(item, Redevelopment)
        found = {name: None if item.get(name) is None else orjson.loads(item[name]) for name in _REDEVELOPMENT_JSON}
        return rows.redevelopment_of(columns | found)
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedRecord("An item of the catalog cannot be read.") from error


# The journal

_JOURNAL_KEPT: Final = timedelta(days=60)


def journal(tenant: TenantId) -> str:
    """The partition of the table with what has happened to the tenant's images."""
    return f"JOURNAL#{tenant}"


def journal_of_image(tenant: TenantId, image_id: str) -> str:
    """The same for one image."""
    return f"JOURNAL#{tenant}#{image_id}"


def journal_place(number: int) -> str:
    """The place of an entry in either."""
    return f"{number:038d}"


def journal_items(tenant: str, columns: Mapping[str, Any]) -> tuple[Item, Item]:
    """An entry under its tenant, and again under its image; DynamoDB forgets what no sweep has."""
    place = journal_place(columns["number"])
    kept = {**columns, "forget_at": int((rows.moment(columns["at"]) + _JOURNAL_KEPT).timestamp())}
    return placed((journal(TenantId(tenant)), place), kept), placed(
        (journal_of_image(TenantId(tenant), columns["image"]), place), kept
    )


# The rest


def told_key(number: int) -> Key:
    """An event in the outbox; its number says where."""
    return f"OUTBOX#{number % SHARDS}", f"{number:038d}"


def inherited_key(purpose: str, key_id: str) -> Key:
    """A key of an installation that this one was moved from."""
    return "INHERITED", f"{purpose}#{key_id}"


def bytes_key(tenant: TenantId, owner: UserId, sha256: str) -> Key:
    """Whose turn it was to add these bytes: what two who add them at once both write."""
    return f"BYTES#{tenant}#{owner}#{sha256}", META


def turn_item(key: Key, image_id: str) -> Item:
    """Whose turn it was; of no use after the seconds that an upload takes to be recorded."""
    return placed(key, {"image": image_id, "forget_at": int(time.time()) + _TURN_S})


_TURN_S: Final = 24 * 3600


def usage_key(tenant: str, month: str) -> Key:
    """What a tenant has used in a month."""
    return f"USAGE#{month}", tenant


def tenant_key(tenant: str) -> Key:
    """The tenant itself."""
    return f"TENANT#{tenant}", META


def tenant_entry(tenant: str) -> Key:
    """The tenant in the list of all."""
    return "TENANTS", tenant


def tenant_name(name: str) -> Key:
    """Holds the name for one tenant. Hashed, since a key has at most a kilobyte."""
    return f"TENANTNAME#{digest(name)}", META


def user_key(tenant: str, user_id: str) -> Key:
    """A user."""
    return f"TENANT#{tenant}", f"USER#{user_id}"


def user_name(tenant: str, name: str) -> Key:
    """Holds the name for one user of the tenant."""
    return f"TENANT#{tenant}", f"USERNAME#{digest(name)}"


def api_key(tenant: str, key_id: str) -> Key:
    """An API key."""
    return f"TENANT#{tenant}", f"KEY#{key_id}"


def api_key_holder(key_id: str) -> Key:
    """Whose an API key is."""
    return f"KEY#{key_id}", META


def ring_key(tenant: str, kid: str) -> Key:
    """A signing key."""
    return f"TENANT#{tenant}", f"RING#{digest(kid) if len(kid) > 200 else kid}"


def credential_key(tenant: str, user: str) -> Key:
    """How a user signs in."""
    return f"TENANT#{tenant}", f"CREDENTIAL#{user}"


def address_key(tenant: str, email: str) -> Key:
    """Holds the address for one user of the tenant."""
    return f"TENANT#{tenant}", f"EMAIL#{digest(email)}"


def code_key(tenant: str, user: str, letter: str) -> Key:
    """The code that a user has for a letter."""
    return f"TENANT#{tenant}", f"CODE#{user}#{letter}"


def session_key(session_id: str) -> Key:
    """A session."""
    return f"SESSION#{session_id}", META


def session_entry(tenant: str, user: str, session_id: str) -> Key:
    """The session in the list of its user."""
    return f"SESSIONS#{tenant}#{user}", session_id


def totp_key(tenant: str, user: str) -> Key:
    """A user's authenticator app."""
    return f"TENANT#{tenant}", f"TOTP#{user}"


def passkey_key(passkey_id: str) -> Key:
    """A passkey."""
    return f"PASSKEY#{passkey_id}", META


def passkey_entry(tenant: str, user: str, passkey_id: str) -> Key:
    """The passkey in the list of its user."""
    return f"PASSKEYS#{tenant}#{user}", passkey_id


def spent_key(mark: str) -> Key:
    """What was used."""
    return f"SPENT#{digest(mark)}", META


def issuer_key(tenant: str, issuer_id: str) -> Key:
    """An issuer that a tenant trusts."""
    return f"TENANT#{tenant}", f"ISSUER#{issuer_id}"


def issuer_entry(issuer: str, tenant: str) -> Key:
    """The tenant in the list of those who trust this `iss`; each is in it once."""
    return f"ISSUER#{digest(issuer)}", tenant


def issuer_turn(issuer: str) -> Key:
    """Whose turn it last was to say on what terms this `iss` is trusted, of all tenants."""
    return f"ISSUERTURN#{digest(issuer)}", META


def identity_key(tenant: str, issuer: str, subject: str) -> Key:
    """Who an issuer's subject is. The length goes first, so that no two pairs are one text."""
    return f"IDENTITY#{tenant}#{digest(f'{len(issuer)} {issuer}{subject}')}", META


def identity_entry(tenant: str, user: str, pk: str) -> Key:
    """An identity in the list of its user."""
    return f"IDENTITIES#{tenant}#{user}", pk


def failures_key(subject: str) -> Key:
    """Failed attempts."""
    return f"FAILURES#{digest(subject)}", META


def token_key(kid: str) -> Key:
    """A key for access tokens."""
    return "TOKENKEYS", kid


def unsealed(chain: str) -> str:
    """The partition of the table with entries of the audit trail that have no place yet, oldest first."""
    return f"UNSEALED#{chain}"


def trail(chain: str) -> str:
    """The partition of the table with the chain's sealed entries, in order."""
    return f"TRAIL#{chain}"


def trail_of(chain: str, actor: str) -> str:
    """The partition of the table with the places of one actor's entries."""
    return f"TRAILOF#{chain}#{actor}"


def trail_place(number: int) -> str:
    """A number that sorts as text."""
    return f"{number:018d}"


def trail_head(chain: str) -> Key:
    """Where the chain ends."""
    return f"TRAILHEAD#{chain}", META


EXPIRY_SHARDS: Final = 4
"""Partitions of what expires: one takes a thousand writes a second."""


def expiry(shard: int) -> str:
    """The partition of TenantIndex with what expires."""
    return f"EXPIRY#{shard}"


_FORGOTTEN: Final = timedelta(days=30)
"""After this DynamoDB forgets by itself what no clock has swept."""


def expiring(name: str, at: datetime) -> Item:
    """What lists an item by the time at which it is of no more use."""
    return {
        "tenant_key": expiry(sum(name.encode()) % EXPIRY_SHARDS),
        "created_key": order_key(micros(at), digest(name)),
        "forget_at": int((at + _FORGOTTEN).timestamp()),
    }


def ids_of(entries: Sequence[Item]) -> list[ImageId]:
    """The images that entries of an index stand for: their own items, public ones, places in albums."""
    return [ImageId((one["PK"] if one["PK"].startswith("IMAGE#") else one["SK"]).removeprefix("IMAGE#")) for one in entries]


def digest(text: str) -> str:
    """What stands for a text of any length in a key. Raises BadField for text that has no UTF-8 form."""
    try:
        return hashlib.sha256(text.encode()).hexdigest()
    except UnicodeEncodeError as error:
        raise BadField("Text must be valid Unicode.") from error
