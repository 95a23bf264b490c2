"""API keys: what admins and users make of them, from where they open the door, and what a key must not be able to do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from tests.api.test_auth import bearer, open_house, post, refusal, signed_in, signed_up, start

from safelight.domain.accounts import allow_list
from safelight.domain.ids import new_id
from safelight.errors import BackendUnavailable, BadField
from safelight.testing.factories import make_key, make_user

__all__ = ["start"]


@pytest.fixture
async def house(start):
    async with start(open_house()) as app:
        await signed_up(app)
        app.me = bearer(await signed_in(app))
        app.users = {user["name"]: user["id"] for user in (await app.client.get("/admin/users")).json()}
        yield app


async def made(app, **body):
    answer = await app.client.post("/me/api-keys", json=body, headers=app.me)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def asked(app, token, address="192.0.2.7", **headers):
    """From a client at this address, as the server sees it."""
    transport = httpx.ASGITransport(app.client._transport.app, client=(address, 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return (await client.get("/images", headers={"authorization": f"Bearer {token}", **headers})).status_code


class TestOwnKeys:
    async def test_a_user_makes_renames_and_revokes_a_key(self, house):
        key = await made(house, name="laptop", scopes=["read"])
        listed = (await house.client.get("/me/api-keys", headers=house.me)).json()
        assert [one["name"] for one in listed] == ["laptop"] and listed[0]["token"] is None
        assert await asked(house, key["token"]) == 200

        renamed = await house.client.patch(f"/me/api-keys/{key['id']}", json={"name": "desk"}, headers=house.me)
        assert renamed.json()["name"] == "desk" and renamed.json()["scopes"] == ["read"]
        assert (await house.client.delete(f"/me/api-keys/{key['id']}", headers=house.me)).status_code == 204
        assert await asked(house, key["token"]) == 401

    async def test_the_secret_is_shown_once_and_kept_as_a_hash(self, house):
        key = await made(house, name="laptop")
        secret = key["token"].rpartition("_")[2]
        async with house.safelight.catalog.directory() as directory:
            kept, _ = await directory.key(key["id"])

        assert secret.encode() not in kept.secret_hash and len(kept.secret_hash) == 32
        for path, headers in (("/me/api-keys", house.me), ("/admin/api-keys", {})):
            assert secret not in (await house.client.get(path, headers=headers)).text

    async def test_a_key_may_do_no_more_than_its_maker(self, house):
        for scopes in (["admin"], ["read", "admin"]):
            answer = await house.client.post("/me/api-keys", json={"scopes": scopes}, headers=house.me)
            assert refusal(answer) == (403, "forbidden")

    async def test_a_key_makes_no_key_not_even_an_admins(self, house):
        key = await made(house, networks=["192.0.2.0/24"])
        for headers in ({"authorization": f"Bearer {key['token']}"}, {}):
            for method, path in (("GET", "/me/api-keys"), ("POST", "/me/api-keys"), ("DELETE", f"/me/api-keys/{key['id']}")):
                answer = await house.client.request(method, path, json={} if method == "POST" else None, headers=headers)
                assert answer.status_code in (401, 403), (method, path)

    async def test_somebody_elses_key_is_not_there(self, house):
        await signed_up(house, email="bob@example.org")
        bob = bearer(await signed_in(house, email="bob@example.org"))
        key = await made(house)

        assert (await house.client.get("/me/api-keys", headers=bob)).json() == []
        for answer in (
            await house.client.patch(f"/me/api-keys/{key['id']}", json={"networks": []}, headers=bob),
            await house.client.delete(f"/me/api-keys/{key['id']}", headers=bob),
            await house.client.delete(f"/me/api-keys/{new_id()}", headers=house.me),
            await house.client.delete("/me/api-keys/..%2f..%2fadmin", headers=house.me),
        ):
            assert refusal(answer) == (404, "not_found")
        assert await asked(house, key["token"]) == 200

    async def test_bad_wishes_are_refused_by_name_and_leave_nothing(self, house):
        past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
        for wish in (
            {"expires_at": past},
            {"expires_at": "2099-01-01T00:00:00"},
            {"expires_at": "tomorrow"},
            {"scopes": []},
            {"scopes": ["everything"]},
            {"name": "a\nb"},
            {"name": "x" * 201},
            {"networks": ["10.0.0.1/8"]},
            {"networks": ["0.0.0.0/0"]},
            {"networks": ["::/0"]},
            {"networks": ["here"]},
            {"networks": ["fe80::1%eth0"]},
            {"networks": [""]},
            {"networks": ["192.0.2.0/33"]},
            {"networks": ["192.0.2.1"] * 51},
            {"user": new_id()},
            {"role": "operator"},
        ):
            answer = await house.client.post("/me/api-keys", json=wish, headers=house.me)
            assert refusal(answer) == (400, "bad_field"), wish
        assert (await house.client.get("/me/api-keys", headers=house.me)).json() == []

    async def test_a_user_has_at_most_fifty_live_keys(self, house):
        for _ in range(50):
            last = await made(house)
        assert refusal(await house.client.post("/me/api-keys", json={}, headers=house.me)) == (409, "wrong_state")
        await house.client.delete(f"/me/api-keys/{last['id']}", headers=house.me)

        await made(house)


class TestNetworks:
    @pytest.mark.parametrize(
        ("networks", "inside", "outside"),
        [
            (["192.0.2.0/24"], ["192.0.2.7", "::ffff:192.0.2.7"], ["192.0.3.7", "2001:db8::1", "127.0.0.1"]),
            (["2001:db8::/32"], ["2001:db8:ffff::1"], ["2001:db9::1", "192.0.2.7"]),
            (["::ffff:192.0.2.0/120"], ["192.0.2.200"], ["192.0.3.1", "::1"]),
            (["198.51.100.3", "2001:db8::9"], ["198.51.100.3", "2001:db8::9"], ["198.51.100.4", "2001:db8::8"]),
        ],
    )
    async def test_a_key_opens_from_its_networks_alone(self, house, networks, inside, outside):
        token = (await made(house, networks=networks))["token"]
        for address in inside:
            assert await asked(house, token, address) == 200, address
        for address in (*outside, ""):
            assert await asked(house, token, address) == 401, address

    async def test_a_header_of_a_stranger_moves_nobody_into_the_network(self, house):
        token = (await made(house, networks=["192.0.2.0/24"]))["token"]
        lies = {"x-forwarded-for": "192.0.2.7", "x-real-ip": "192.0.2.7", "forwarded": "for=192.0.2.7"}

        assert await asked(house, token, "203.0.113.9", **lies) == 401

    async def test_a_trusted_proxy_tells_the_clients_address(self, start):
        async with start({**open_house(), "server": {"trusted_proxies": "10.0.0.0/8"}}) as app:
            user = (await app.client.get("/admin/users")).json()[0]["id"]
            key = (await app.client.post("/admin/api-keys", json={"user": user, "networks": ["192.0.2.0/24"]})).json()

            assert await asked(app, key["token"], "10.1.1.1", **{"x-forwarded-for": "192.0.2.7"}) == 200
            assert await asked(app, key["token"], "10.1.1.1", **{"x-forwarded-for": "192.0.2.7, 203.0.113.1"}) == 401
            assert await asked(app, key["token"], "10.1.1.1") == 401

    async def test_they_hold_at_the_delivery_door_as_well(self, start):
        async with start({**open_house(), "iiif": {"enabled": True}}) as app:
            user = (await app.client.get("/admin/users")).json()[0]["id"]
            key = (await app.client.post("/admin/api-keys", json={"user": user, "networks": ["192.0.2.0/24"]})).json()
            for address, status in (("192.0.2.7", 404), ("203.0.113.1", 401)):
                transport = httpx.ASGITransport(app.client._transport.app, client=(address, 4711))
                async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                    headers = {"authorization": f"Bearer {key['token']}"}
                    answer = await client.get(f"/iiif/3/{new_id()}/info.json", headers=headers)
                assert answer.status_code == status, answer.text

    async def test_other_networks_hold_at_once(self, house):
        key = await made(house)
        assert await asked(house, key["token"]) == 200
        changed = await house.client.patch(f"/admin/api-keys/{key['id']}", json={"networks": ["198.51.100.0/24"]})
        assert changed.json()["networks"] == ["198.51.100.0/24"]
        assert await asked(house, key["token"]) == 401
        await house.client.patch(f"/me/api-keys/{key['id']}", json={"networks": []}, headers=house.me)

        assert await asked(house, key["token"]) == 200

    def test_an_allow_list_holds_each_network_once(self):
        assert [str(one) for one in allow_list([" 192.0.2.1 ", "192.0.2.1/32", "::ffff:10.0.0.0/104"])] == [
            "192.0.2.1/32",
            "10.0.0.0/8",
        ]
        with pytest.raises(BadField):
            allow_list(["192.0.2.1-9"])

    def test_an_address_that_is_none_is_in_no_network(self):
        key = make_key(make_user("t"), networks=allow_list(["192.0.2.0/24"]))
        assert not any(key.admits(address) for address in ("", "unix", "192.0.2.1:80", "192.0.2"))


class TestLastUse:
    async def test_it_is_told_and_not_written_with_each_request(self, house):
        key = await made(house)
        assert await asked(house, key["token"]) == 200
        first = (await house.client.get("/me/api-keys", headers=house.me)).json()[0]["last_used_at"]
        house.safelight.accounts.believed.clear()
        assert await asked(house, key["token"]) == 200

        assert first is not None
        assert (await house.client.get("/me/api-keys", headers=house.me)).json()[0]["last_used_at"] == first

    async def test_a_catalog_that_takes_no_writes_turns_no_reader_away(self, house, monkeypatch):
        key = await made(house)
        catalog = type(house.safelight.accounts.catalog)
        whole = catalog.directory

        def read_only(self, *, writes=False):
            if writes:
                raise BackendUnavailable
            return whole(self)

        monkeypatch.setattr(catalog, "directory", read_only)

        assert await asked(house, key["token"]) == 200


async def test_a_password_typed_again_does_not_touch_keys(house):
    """Signing out is not revoking: programs go on."""
    key = await made(house)
    await house.client.delete("/auth/sessions", headers=house.me)

    assert await asked(house, key["token"]) == 200
    assert (await post(house, "/refresh", refresh_token="nothing")).status_code == 401
