"""People who have one of everything that has an id, and whose name is in all of it: whoever else is told that name was told too much."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import httpx
from tests.pictures import jpeg

from safelight.api.app import Front
from safelight.domain.accounts import Role, Scope
from safelight.domain.ids import TenantId, UserId
from safelight.domain.images import normal_tag
from safelight.domain.uploads import Method
from safelight.testing.factories import (
    make_album,
    make_delivery,
    make_endpoint,
    make_issuer,
    make_key,
    make_passkey,
    make_purge,
    make_session,
    make_signing_key,
    make_tenant,
    make_upload,
    make_user,
)
from safelight.wiring import Safelight


@dataclass(frozen=True)
class Person:
    """Who they are, their access token, and what they have by what it is called in paths."""

    name: str
    tenant: TenantId
    user: UserId
    token: str
    things: dict[str, str]

    @property
    def headers(self) -> dict[str, str]:
        """That say who asks."""
        return {"authorization": f"Bearer {self.token}"}

    @property
    def marks(self) -> tuple[str, ...]:
        """What nobody else is to read: the name, and every id."""
        return (self.name, self.user, *self.things.values())


async def moved_in(
    front: Front, safelight: Safelight, name: str, *, role: Role, tenant: TenantId | None = None, seed: int
) -> Person:
    """A new user with one of everything: of the tenant, or of a new one that is theirs."""
    now = datetime.now(UTC)
    catalog = safelight.catalog
    if tenant is None:
        made = make_tenant(name=f"of-{name}")
        async with catalog.directory(writes=True) as directory:
            await directory.add_tenant(made)
        async with catalog.tenant(made.id, writes=True) as records:
            await records.accounts.add_signing_key(make_signing_key(made.id))
        tenant = made.id
    user = make_user(tenant, name=f"user {name}", role=role)
    session = make_session(user, created_at=now, agent=f"agent {name}")
    key = make_key(user, name=f"key {name}", scopes=frozenset({Scope.READ}))
    signing = make_signing_key(tenant)
    issuer = replace(make_issuer(tenant), issuer=f"https://{name}.example.org")
    endpoint = make_endpoint(
        tenant, description=f"hook {name}", events=("image.restored",), url=f"https://{name}.example.org/hook"
    )
    delivery = make_delivery(endpoint, created_at=now, forget_at=now.replace(year=now.year + 1), due_at=None)
    upload = make_upload(tenant, user.id, file_name=f"{name}.jpg", created_at=now)
    # It is not asked for by anybody, so that it stays as it is.
    asked = make_upload(
        tenant, user.id, file_name=f"{name}.jpg", created_at=now, method=Method.URL, source=f"https://{name}.example.org/a.jpg"
    )
    passkey = make_passkey(user, name=f"passkey {name}")
    album = make_album(tenant, user.id, title=f"album {name}", description=name)
    purge = make_purge(tenant, due_at=datetime.max.replace(tzinfo=UTC, year=9000), cause=name)
    async with catalog.tenant(tenant, writes=True) as records:
        await records.accounts.add_user(user)
        await records.accounts.api_keys.add(key)
        await records.accounts.add_signing_key(signing)
        await records.accounts.issuers.add(issuer)
        await records.people.add_session(session)
        await records.factors.add_passkey(passkey)
        await records.webhooks.add(endpoint)
        await records.webhooks.deliveries.add(delivery)
        await records.uploads.add(upload)
        await records.uploads.add(asked)
        await records.albums.add(album)
    async with catalog.directory(writes=True) as directory:
        await directory.outbox.purges.add(purge)
    token = (await safelight.tokens.issue(user, session)).text
    transport = httpx.ASGITransport(front, raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://test", headers={"authorization": f"Bearer {token}"}, timeout=60
    ) as client:
        sent = await client.post(
            "/images",
            files={"file": (f"{name}.jpg", jpeg(64, 48, seed=seed))},
            data={"title": f"image {name}", "description": name, "tags": normal_tag(name), "album_id": album.id},
        )
        assert sent.status_code == 201, sent.text
        link = await client.post(
            f"/albums/{album.id}/links", json={"expires_at": (now + timedelta(days=30)).isoformat(), "note": name}
        )
        assert link.status_code == 201, link.text
        warmed = await client.post(f"/images/{sent.json()['id']}/warm", json={"transforms": ["w=20.webp"]})
        assert warmed.status_code == 202, warmed.text
        if role is not Role.USER:
            preset = await client.put(f"/admin/presets/{preset_of(name)}", json={"options": "w=32"})
            assert preset.status_code == 200, preset.text
            recipe = await client.put(f"/admin/recipes/{preset_of(name)}", json={"quality": {"webp": 70}})
            assert recipe.status_code == 200, recipe.text
            again = await client.post("/redevelopments", json={"dry_run": True})
            assert again.status_code == 202, again.text
    things = {
        "images": sent.json()["id"],
        "albums": album.id,
        "links": link.json()["id"],
        "warm": warmed.json()["id"],
        "uploads": upload.id,
        "imports": asked.id,
        "users": user.id,
        "api-keys": key.id,
        "signing-keys": signing.kid,
        "issuers": issuer.id,
        "webhooks": endpoint.id,
        "deliveries": delivery.id,
        "purges": purge.id,
        "sessions": session.id,
        "passkeys": passkey.id,
        "tenants": tenant,
    }
    if role is not Role.USER:
        things["presets"] = things["recipes"] = preset_of(name)
        things["redevelopments"] = again.json()["id"]
    return Person(name, tenant, user.id, token, things)


def preset_of(name: str) -> str:
    """A name that presets may have."""
    return f"p_{name.replace('-', '_')}"
