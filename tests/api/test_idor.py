"""Nobody reaches what is not theirs by naming it (OWASP API1:2023), tried on every operation of the OpenAPI document.

Each place of an operation that takes an id, in its path, its query or its body, is given the id of a stranger's thing and the id of
nothing: both have to be answered alike, word for word, by a user of the same tenant and by the administrator of another. Afterwards
the stranger's rows are what they were. An operation that this cannot feed fails, and says what to add.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from tests.people import Person, moved_in
from tests.pictures import jpeg

from safelight.adapters.storage.memory import MemoryStorage
from safelight.api.app import Front, create_api
from safelight.api.schemas.common import ID
from safelight.domain.accounts import Role
from safelight.domain.ids import new_id
from safelight.settings import Settings
from safelight.wiring import build

NAMED: dict[tuple[str, str], str] = {
    ("images_list", "album"): "albums",
    ("images_list", "owner"): "users",
    ("usage_of_tenants", "tenant"): "tenants",
    ("admin_failures", "tenant"): "tenants",
    ("admin_discard_failures", "tenant"): "tenants",
    ("admin_retry_failures", "tenant"): "tenants",
    ("recipes_place", "albums"): "albums",
    ("warmings_add", "filter.album"): "albums",
    ("redevelopments_add", "filter.album"): "albums",
    ("images_create", "album_id"): "albums",
    ("uploads_create", "album_id"): "albums",
    ("imports_create", "album_id"): "albums",
    ("albums_patch", "cover"): "images",
    ("albums_add", "images"): "images",
    ("albums_add", "before"): "images",
    ("albums_remove", "image"): "images",
    ("albums_share", "user"): "users",
    ("albums_unshare", "user"): "users",
    ("admin_add_api_key", "user"): "users",
    ("purges_add", "image"): "images",
    ("webhooks_delivery", "delivery"): "deliveries",
    ("webhooks_replay", "delivery"): "deliveries",
}
"""What an id names where the path does not tell: operation and parameter, or field of the body."""
BODIES: dict[str, dict] = {
    "images_patch": {"title": "taken"},
    "images_urls": {"transforms": ["w=20.webp"]},
    "albums_patch": {"title": "taken"},
    "albums_add": {"images": []},
    "albums_share": {"level": "view"},
    "uploads_create": {"filename": "a.jpg", "content_type": "image/jpeg", "size": 100},
    "imports_create": {"url": "https://images.example.org/a.jpg"},
    "admin_invite_user": {"email": "taken@example.org"},
    "admin_add_api_key": {"name": "taken"},
    "admin_change_api_key": {"name": "taken"},
    "admin_change_issuer": {"skew_s": 7},
    "me_change_own_key": {"name": "taken"},
    "purges_add": {},
    "tenants_change": {"trash_days": 1},
    "recipes_place": {"albums": []},
    "warmings_add_image": {"transforms": ["w=20.webp"]},
    "warmings_add": {"transforms": ["w=20.webp"], "filter": {}},
    "redevelopments_add": {"filter": {}, "dry_run": True},
    "albums_add_link": {"expires_at": (datetime.now(UTC) + timedelta(days=30)).isoformat()},
    "webhooks_patch": {"description": "taken", "is_enabled": False},
    "webhooks_replay_since": {"since": datetime(2026, 1, 1, tzinfo=UTC).isoformat()},
    "auth_rename_passkey": {"name": "taken"},
}
"""A body that the operation would take, but for the id."""
OPEN: dict[str, str] = {
    "privacy_erasure": "who knows the address of a certificate may read it; it says nothing of anybody",
    "shared_shared": "whoever has the link may read it",
    "shared_open_shared": "the same",
    "shared_shared_original": "the same",
    "recipes_put": "a name is everybody's own: putting a recipe there makes it",
    "presets_set": "a name is everybody's own: setting one makes it",
}
"""Operations that are answered whoever asks, and why."""
WITHIN_THE_TENANT: dict[tuple[str, str], str] = {("albums_share", "user"): "an album is lent to a user of the same tenant"}
"""What users of a tenant may name to each other, and why; whoever is of another may not."""
OPERATORS = ("/admin/failures", "/admin/token-keys")
"""What belongs to the installation: neither of the two may ask for any of it."""
SOMEBODYS = re.compile(
    "(?:tenants|users|api_keys|signing_keys|sessions|passkeys|trusted_issuers|images|image_tags|albums|album_images|album_grants|album_links|uploads|webhooks|webhook_deliveries|purges)"
)
UNWATCHED = {"last_used_at", "used_at"}


@dataclass(frozen=True)
class Place:
    """Where an operation takes an id: `where` is path, query or body."""

    operation: str
    method: str
    path: str
    where: str
    name: str

    def __str__(self) -> str:
        return f"{self.operation}.{self.name}"

    @property
    def kind(self) -> str:
        """What it is the id of."""
        if (kind := NAMED.get((self.operation, self.name))) is not None:
            return kind
        return self.path.split("{" + self.name + "}")[0].rstrip("/").rsplit("/", 1)[-1] if self.where == "path" else ""


def document() -> dict:
    return create_api(build(Settings())).openapi()


def takes_id(schema: dict) -> bool:
    """Whether the schema is of an id, perhaps of none or of several."""
    if schema.get("pattern") == ID["pattern"]:
        return True
    return any(takes_id(each) for each in (*schema.get("anyOf", ()), schema.get("items", {})) if each)


def places(document: dict) -> Iterator[Place]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            here = (operation["operationId"], method.upper(), path)
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path" and parameter["schema"].get("type") != "integer":
                    yield Place(*here, "path", parameter["name"])
                elif parameter["in"] == "query" and takes_id(parameter["schema"]):
                    yield Place(*here, "query", parameter["name"])
            for content in operation.get("requestBody", {}).get("content", {}).values():
                for name in fields(content["schema"], document):
                    yield Place(*here, "body", name)


def fields(schema: dict, document: dict, prefix: str = "") -> Iterator[str]:
    """The fields of a body that take an id, `filter.album` for one of an object in it."""
    for ref in [each.get("$ref") for each in (schema, *schema.get("anyOf", ()))]:
        if ref:
            schema = document["components"]["schemas"][ref.rpartition("/")[2]]
    for name, field in schema.get("properties", {}).items():
        if takes_id(field):
            yield prefix + name
        else:
            yield from fields(field, document, f"{prefix}{name}.")


def asked(place: Place, document: dict, value: str, own: dict[str, str]) -> tuple[str, dict]:
    """The request with this id in that place, and in the others what the attacker has."""
    path, options = place.path, {}
    for name in re.findall(r"\{(\w+)\}", path):
        other = Place(place.operation, place.method, place.path, "path", name)
        mine = "1" if name == "n" else own.get(other.kind, "nothing")
        path = path.replace("{" + name + "}", value if (place.where, place.name) == ("path", name) else mine)
    operation = document["paths"][place.path][place.method.lower()]
    content = operation.get("requestBody", {}).get("content", {})
    if place.where == "query":
        options["params"] = {place.name: value}
    if "multipart/form-data" in content:
        options["files"] = {"file": ("a.jpg", jpeg(32, 24, seed=99))}
        options["data"] = {place.name: value} if place.where == "body" else {}
    elif content:
        body = dict(BODIES.get(place.operation, {}))
        if place.where == "body":
            *outer, name = place.name.split(".")
            held = body
            for each in outer:
                held[each] = held = dict(held[each])
            held[name] = [value] if isinstance(held.get(name), list) else value
            if place.operation == "albums_add" and place.name == "before":
                body["images"] = [own["images"]]
        options["json"] = body
    return path, options


def rows(path) -> set[str]:
    """Every row that belongs to somebody, but for when something was used last."""
    with sqlite3.connect(path) as database:
        database.row_factory = sqlite3.Row
        tables = [
            name
            for (name,) in database.execute("select name from sqlite_master where type = 'table'")
            if SOMEBODYS.fullmatch(name)
        ]
        assert len(tables) > 10, tables
        return {
            repr((table, {name: row[name] for name in row.keys() if name not in UNWATCHED}))  # noqa: SIM118 (a Row is no dict)
            for table in tables
            for row in database.execute(f"select * from {table}")
        }


def test_every_id_of_the_document_can_be_tried():
    whole = document()
    kinds = {
        "images", "albums", "uploads", "imports", "users", "api-keys", "signing-keys", "issuers", "webhooks", "deliveries", "purges",
        "sessions", "passkeys", "tenants", "presets", "recipes", "warm", "redevelopments", "links",
    }  # fmt: skip
    for place in places(whole):
        if place.operation in OPEN or place.path.startswith(OPERATORS):
            continue
        assert place.kind in kinds, f"{place}: add to NAMED what it is the id of, and to `tests.people` a thing of this kind"
        body = whole["paths"][place.path][place.method.lower()].get("requestBody", {})
        needs_one = body.get("required", False) and "multipart/form-data" not in body["content"]
        assert not needs_one or place.operation in BODIES, f"{place}: add to BODIES what the operation would take"


def told(answer, id: str) -> tuple:
    """What of an answer tells one id from another."""
    text = answer.text.replace(id, "ID")
    headers = {
        name: value
        for name, value in answer.headers.items()
        if name not in ("x-request-id", "ratelimit", "retry-after", "location", "etag", "content-length")
    }
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    return answer.status_code, value, headers


@pytest.mark.parametrize("who", ["a user of the same tenant", "an administrator of another tenant"])
async def test_naming_a_stranger_s_thing_is_naming_nothing(run, tmp_path, who):
    whole = document()
    settings = {"rate": {"user_per_s": 0, "address_per_s": 0, "auth_per_minute": 0}}
    async with run(settings, originals=MemoryStorage(), renditions=MemoryStorage()) as app:
        front = Front(app.safelight)
        victim = await moved_in(front, app.safelight, "mallards-nest-ada", role=Role.ADMIN, seed=1)
        same = who == "a user of the same tenant"
        attacker = await moved_in(
            front,
            app.safelight,
            "crows-nest-bob",
            role=Role.USER if same else Role.ADMIN,
            tenant=victim.tenant if same else None,
            seed=2,
        )
        await is_real(app, victim)
        before = rows(app.safelight.settings.data_dir / "catalog.db")
        for place in places(whole):
            is_shared = place.kind == "tenants" or (place.operation, place.name) in WITHIN_THE_TENANT
            if place.operation in OPEN or (same and is_shared):
                continue
            fake = new_id()
            real = victim.things.get(place.kind, fake)
            answers = []
            for id in (real, fake):
                path, options = asked(place, whole, id, attacker.things)
                answers.append(await app.client.request(place.method, path, headers=attacker.headers, **options))
                is_refused = answers[-1].status_code >= 400 or not place.path.startswith(OPERATORS)
                assert is_refused, (str(place), answers[-1].text)
            assert told(answers[0], real) == told(answers[1], fake), f"{place}: a {place.kind} of somebody else is told from none"
            text = answers[0].text.replace(real, "")
            assert not [mark for mark in victim.marks if mark in text and mark not in attacker.marks], (
                str(place),
                answers[0].text,
            )
            now = rows(app.safelight.settings.data_dir / "catalog.db")
            changed = before - now
            assert not [row for row in changed if not is_mine(row, attacker)], (str(place), answers[0].text, changed)
            before = now


def is_mine(row: str, attacker: Person) -> bool:
    return attacker.user in row or any(id in row for kind, id in attacker.things.items() if kind != "tenants")


async def is_real(app, victim: Person) -> None:
    """The victim gets an answer about everything that others are refused."""
    for path in (
        "/images/{images}", "/albums/{albums}", "/uploads/{uploads}", "/imports/{imports}", "/admin/webhooks/{webhooks}",
        "/admin/webhooks/{webhooks}/deliveries/{deliveries}", "/admin/purges/{purges}", "/admin/tenants/{tenants}",
    ):  # fmt: skip
        answer = await app.client.get(path.format_map(victim.things), headers=victim.headers)
        assert answer.status_code == 200, (path, answer.text)
    for path, kind in (
        ("/admin/api-keys", "api-keys"),
        ("/admin/users", "users"),
        ("/admin/issuers", "issuers"),
        ("/auth/sessions", "sessions"),
        ("/auth/passkeys", "passkeys"),
        ("/admin/signing-keys", "signing-keys"),
        ("/admin/presets", "presets"),
    ):
        assert victim.things[kind] in (await app.client.get(path, headers=victim.headers)).text, path
