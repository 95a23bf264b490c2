"""Outside issuers over HTTP: who comes in with somebody else's token, as whom, and every forgery that the field knows.

The issuer is a server on the loopback, asked through the real outbound adapter.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from dataclasses import replace

import jwt
import pytest
from tests.api.test_auth import open_house, refusal, start
from tests.servers.provider import CONFIGURATION, JWKS, Provider, b64

from safelight.domain.accounts import Role, Scope
from safelight.domain.ids import new_id
from safelight.services.api_keys import new_key
from safelight.testing.factories import make_user

__all__ = ["start"]


@pytest.fixture
async def provider():
    async with Provider() as provider:
        provider.add_key("k-1")
        yield provider


def settings(provider, **issuers):
    return {
        **open_house(),
        "issuers": {"networks": "127.0.0.1", "ports": str(provider.port), "is_http_allowed": True, "total_s": 60.0, **issuers},
    }


@pytest.fixture
async def house(start, provider):
    async with start(settings(provider)) as app:
        yield app


async def trust(app, provider, **terms):
    answer = await app.client.post("/admin/issuers", json={"issuer": provider.issuer, "audiences": ["app"], **terms})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def ask(app, token, path="/images", method="GET", **body):
    raw = token if isinstance(token, bytes) else token.encode()
    return await app.client.request(method, path, headers={"authorization": b"Bearer " + raw}, **body)


async def status(app, token):
    return (await ask(app, token)).status_code


async def people(app):
    return {user["name"]: user for user in (await app.client.get("/admin/users")).json()}


class TestComingIn:
    async def test_nobody_comes_in_before_the_issuer_is_trusted(self, house, provider):
        token = provider.token()
        assert await status(house, token) == 401
        assert provider.asked == {}

        await trust(house, provider)
        assert await status(house, token) == 200

    async def test_a_user_is_made_when_first_seen_and_is_the_same_ever_after(self, house, provider):
        await trust(house, provider)
        assert await status(house, provider.token()) == 200
        ada = (await people(house))["Ada"]
        assert await status(house, provider.token(name="Somebody", jti="another")) == 200

        assert ada["role"] == "user"
        assert set(await people(house)) == {"operator", "Ada"}

    async def test_two_who_are_called_alike_are_two(self, house, provider):
        await trust(house, provider)
        for subject in ("u-1", "u-2", "u-3"):
            assert await status(house, provider.token(sub=subject)) == 200

        names = set(await people(house)) - {"operator"}
        assert len(names) == 3 and all(name.startswith("Ada") for name in names)

    async def test_an_address_in_a_token_links_to_nobody(self, house, provider):
        """Or whoever may choose an address at some issuer would be whoever has it here."""
        await house.client.post("/admin/users", json={"name": "ada@example.org", "role": "admin"})
        await trust(house, provider, name_claims=["email"])
        token = provider.token(email="ada@example.org", email_verified=True)

        assert await status(house, token) == 200
        assert refusal(await ask(house, token, "/admin/users")) == (403, "forbidden")

    async def test_twenty_requests_of_somebody_new_make_one_user(self, house, provider):
        await trust(house, provider)
        tokens = [provider.token(jti=str(number)) for number in range(20)]

        assert set(await asyncio.gather(*(status(house, token) for token in tokens))) == {200}
        assert len(await people(house)) == 2

    async def test_who_is_disabled_stays_out(self, house, provider):
        await trust(house, provider)
        assert await status(house, provider.token()) == 200
        user = (await people(house))["Ada"]
        tenant = (await catalog_tenants(house))[0].id
        async with house.safelight.catalog.tenant(tenant, writes=True) as records:
            whole = next(one for one in await records.accounts.users() if one.id == user["id"])
            await records.accounts.save_user(replace(whole, disabled_at=whole.created_at))

        assert await status(house, provider.token(jti="fresh")) == 401

    async def test_a_removed_issuer_opens_nothing_at_once_and_its_users_stay(self, house, provider):
        made = await trust(house, provider)
        token = provider.token()
        assert await status(house, token) == 200
        assert (await house.client.delete(f"/admin/issuers/{made['id']}")).status_code == 204
        assert await status(house, token) == 401
        assert "Ada" in await people(house)

        await trust(house, provider)
        assert await status(house, token) == 200
        assert len(await people(house)) == 2

    @pytest.mark.parametrize("algorithm", ["RS256", "PS256", "RS512", "ES256", "ES384", "EdDSA"])
    async def test_each_algorithm_that_is_pinned_opens_the_door_and_no_other(self, house, provider, algorithm):
        provider.add_key("other", algorithm)
        made = await trust(house, provider, algorithms=[algorithm])
        assert await status(house, provider.token(kid="other")) == 200
        await house.client.delete(f"/admin/issuers/{made['id']}")

        await trust(house, provider, algorithms=["ES512"])
        assert await status(house, provider.token(kid="other", jti="again")) == 401

    async def test_its_users_keep_api_keys_but_have_no_sessions_here(self, house, provider):
        await trust(house, provider)
        token = provider.token()
        key = await ask(house, token, "/me/api-keys", "POST", json={"scopes": ["read"]})

        assert key.status_code == 201 and await status(house, key.json()["token"]) == 200
        assert refusal(await ask(house, token, "/auth/sessions")) == (403, "forbidden")

    async def test_the_clocks_may_differ_by_the_skew(self, house, provider):
        await trust(house, provider, skew_s=60)
        now = int(time.time())

        assert await status(house, provider.token(exp=now - 20)) == 200
        assert await status(house, provider.token(nbf=now + 20, iat=now + 20)) == 200
        assert await status(house, provider.token(exp=now - 90)) == 401
        assert await status(house, provider.token(nbf=now + 90)) == 401


class TestChanging:
    async def test_what_is_named_changes_at_once_and_the_rest_stays(self, house, provider):
        made = await trust(house, provider, role_claim="groups", roles={"boss": "admin"}, skew_s=7)
        token = provider.token(groups=["boss"])
        assert (await ask(house, token, "/admin/users")).status_code == 200

        path = f"/admin/issuers/{made['id']}"
        changed = await house.client.patch(path, json={"audiences": ["other"]}, headers={"if-match": '"1"'})
        assert (changed.status_code, changed.headers["etag"]) == (200, '"2"'), changed.text
        assert changed.json() == made | {"audiences": ["other"], "revision": 2}
        assert await status(house, token) == 401
        assert await status(house, provider.token(aud="other", groups=["boss"])) == 200
        again = (await house.client.patch(path, json={"skew_s": None, "default_role": None})).json()
        assert (again["skew_s"], again["default_role"], again["roles"]) == (30, None, {"boss": "admin"})
        assert (await house.client.get("/admin/issuers")).json() == [again]

    async def test_terms_that_are_not_sound_or_not_the_latest_are_refused_and_change_nothing(self, house, provider):
        made = await trust(house, provider)
        path = f"/admin/issuers/{made['id']}"
        for body, code in (
            ({"audiences": []}, "bad_field"), ({"audiences": None}, "bad_field"), ({"algorithms": ["none"]}, "bad_field"),
            ({"algorithms": ["HS256"]}, "bad_field"), ({"skew_s": 301}, "bad_field"), ({"issuer": "https://evil.example"}, "bad_field"),
            ({"jwks_url": "file:///etc/passwd"}, "bad_field"), ({"id": "x"}, "bad_field"), ({"default_role": "operator"}, "bad_field"),
        ):  # fmt: skip
            answer = await house.client.patch(path, json=body)
            assert (answer.status_code, answer.json()["code"]) == (400, code), (body, answer.text)
        stale = await house.client.patch(path, json={"skew_s": 1}, headers={"if-match": '"7"'})
        assert stale.status_code == 412, stale.text
        assert (await house.client.patch(f"/admin/issuers/{'0' * 26}", json={"skew_s": 1})).status_code == 404
        assert (await house.client.get("/admin/issuers")).json() == [made]


async def catalog_tenants(app):
    async with app.safelight.catalog.directory() as directory:
        return await directory.tenants()


class TestClaims:
    async def test_a_group_gives_a_role_and_a_younger_token_takes_it(self, house, provider):
        await trust(house, provider, role_claim="cognito:groups", roles={"boss": "admin", "staff": "user"})
        now = int(time.time())
        boss = provider.token(**{"cognito:groups": ["staff", "boss"]}, iat=now - 100)
        assert (await ask(house, boss, "/admin/users")).status_code == 200

        staff = provider.token(**{"cognito:groups": ["staff"]}, iat=now - 50)
        assert refusal(await ask(house, staff, "/admin/users")) == (403, "forbidden")
        again = provider.token(**{"cognito:groups": ["boss"]}, iat=now - 99, jti="kept")
        assert refusal(await ask(house, again, "/admin/users")) == (403, "forbidden")
        assert (await people(house))["Ada"]["role"] == "user"

    async def test_without_a_default_role_strangers_to_the_groups_stay_out_and_nobody_is_made(self, house, provider):
        await trust(house, provider, role_claim="realm_access.roles", roles={"photos": "user"}, default_role=None)

        for access in (..., {"roles": []}, {"roles": "x"}, [], {"roles": ["other"]}):
            assert await status(house, provider.token(realm_access=access)) == 401
        assert set(await people(house)) == {"operator"}
        assert await status(house, provider.token(realm_access={"roles": ["photos"]})) == 200

    async def test_a_claim_whose_name_has_dots_is_found_by_its_name(self, house, provider):
        await trust(house, provider, role_claim="https://app.example/roles", roles={"boss": "admin"})
        token = provider.token(**{"https://app.example/roles": ["boss"]})

        assert (await ask(house, token, "/admin/users")).status_code == 200

    async def test_scopes_are_those_of_the_token_and_never_more_than_the_role(self, house, provider):
        await trust(house, provider, scopes={"images/read": "read", "images/write": "write", "images/admin": "admin"})
        reader = provider.token(scope="openid images/read images/admin")
        assert await status(house, reader) == 200
        assert refusal(await ask(house, reader, "/albums", "POST", json={"title": "x"})) == (403, "forbidden")
        assert refusal(await ask(house, reader, "/admin/users")) == (403, "forbidden")
        writer = provider.token(scope=["images/read", "images/write"])
        assert (await ask(house, writer, "/albums", "POST", json={"title": "x"})).status_code == 201

        assert refusal(await ask(house, provider.token(scope=...))) == (403, "forbidden")

    async def test_both_kinds_of_cognitos_tokens_open_the_door(self, house, provider):
        await trust(house, provider, token_use=["access", "id"])

        assert await status(house, provider.token(token_use="id")) == 200
        assert await status(house, provider.token(aud=..., client_id="app", token_use="access", username="ada")) == 200
        assert await status(house, provider.token(aud=..., client_id="app", token_use="refresh")) == 401
        assert await status(house, provider.token(aud=..., client_id="app")) == 401
        assert await status(house, provider.token(aud=..., client_id="other", token_use="access")) == 401
        assert await status(house, provider.token()) == 401

    async def test_only_one_kind_where_one_was_named(self, house, provider):
        await trust(house, provider, token_use=["access"])

        assert await status(house, provider.token(token_use="id")) == 401

    async def test_the_authorized_party_is_one_of_those_named(self, house, provider):
        await trust(house, provider, authorized_parties=["web", "phone"])

        assert await status(house, provider.token(azp="phone")) == 200
        assert await status(house, provider.token(client_id="web")) == 200
        for party in (..., "other", ["web"], None):
            assert await status(house, provider.token(azp=party)) == 401

    async def test_what_is_no_bearer_token_opens_nothing(self, house, provider):
        await trust(house, provider)

        assert await status(house, provider.token(cnf={"jkt": "x"})) == 401
        assert await status(house, provider.token(events={"http://schemas.openid.net/event/backchannel-logout": {}})) == 401
        for kind in ("logout+jwt", "dpop+jwt", "secevent+jwt", "x"):
            assert await status(house, provider.token(header={"typ": kind})) == 401
        assert await status(house, provider.token(header={"typ": "at+jwt"})) == 200


class TestSettings:
    async def test_an_issuer_of_the_settings_brings_users_to_the_tenant_that_a_claim_names(self, start, provider):
        trusted = [{"issuer": provider.issuer, "audiences": ["app"], "tenant_claim": "org"}]
        async with start(settings(provider, trusted=json.dumps(trusted))) as app:
            assert await status(app, provider.token(org="default")) == 200
            for org in (..., "nobody", "", ["default"], 7, "../default"):
                assert await status(app, provider.token(org=org)) == 401

            assert "Ada" in await people(app)
            listed = (await app.client.get("/admin/issuers")).json()
            assert [one["id"] for one in listed] == ["settings-1"]
            assert refusal(await app.client.delete("/admin/issuers/settings-1")) == (404, "not_found")

    async def test_they_come_before_those_of_tenants_and_cannot_be_named_again_for_the_same_audience(self, start, provider):
        trusted = [{"issuer": provider.issuer, "audiences": ["app"]}]
        async with start(settings(provider, trusted=json.dumps(trusted))) as app:
            again = await app.client.post("/admin/issuers", json={"issuer": provider.issuer, "audiences": ["app", "other"]})
            assert refusal(again) == (409, "already_exists")
            await trust(app, provider, audiences=["other"], role_claim="boss", roles={"yes": "admin"})

            assert (await ask(app, provider.token(boss=["yes"]), "/admin/users")).status_code == 403
            assert (await ask(app, provider.token(aud="other", sub="u-2", boss=["yes"]), "/admin/users")).status_code == 200

    @pytest.mark.parametrize(
        "trusted",
        [
            "nonsense",
            "{}",
            '[{"issuer": "https://a.example"}]',
            '[{"issuer": "http://a.example", "audiences": ["x"]}]',
            '[{"issuer": "https://a.example", "audiences": ["x"], "algorithms": ["HS256"]}]',
            '[{"issuer": "https://a.example", "audiences": ["x"], "unknown": 1}]',
        ],
    )
    async def test_bad_ones_stop_the_start(self, start, trusted):
        with pytest.raises(Exception, match="trusted|issuer|algorithms"):
            async with start({"issuers": {"trusted": trusted}}):
                pass


class TestNaming:
    @pytest.mark.parametrize(
        "wish",
        [
            {"audiences": []},
            {"audiences": [""]},
            {"algorithms": ["none"]},
            {"algorithms": ["HS256"]},
            {"algorithms": ["RS256", "HS256"]},
            {"algorithms": []},
            {"issuer": "http://login.example.org\x00"},
            {"issuer": "ftp://login.example.org"},
            {"issuer": "https://user:pass@login.example.org"},
            {"issuer": "https://login.example.org?x"},
            {"issuer": "https://" + "a" * 600},
            {"jwks_url": "file:///etc/passwd"},
            {"jwks_url": "https://0x7f.1/keys"},
            {"skew_s": 301},
            {"skew_s": -1},
            {"roles": {"x": "operator"}, "role_claim": "groups"},
            {"roles": {"x": "admin"}},
            {"roles": {"x": "king"}, "role_claim": "groups"},
            {"default_role": "operator"},
            {"default_role": None},
            {"scopes": {"x": "everything"}},
            {"tenant_claim": "org"},
            {"tenant": "other"},
            {"name_claims": ["x" * 300]},
        ],
    )
    async def test_terms_that_cannot_be_kept_are_refused_and_leave_nothing(self, house, wish):
        body = {"issuer": "https://login.example.org", "audiences": ["app"], **wish}

        assert refusal(await house.client.post("/admin/issuers", json=body)) == (400, "bad_field")
        assert (await house.client.get("/admin/issuers")).json() == []

    async def test_http_is_refused_unless_the_settings_allow_it(self, start):
        async with start() as app:
            body = {"issuer": "http://login.example.org", "audiences": ["app"]}
            assert refusal(await app.client.post("/admin/issuers", json=body)) == (400, "bad_field")

    async def test_our_own_name_is_nobody_elses(self, house):
        body = {"issuer": "http://127.0.0.1:8000", "audiences": ["safelight"]}

        assert refusal(await house.client.post("/admin/issuers", json=body)) == (400, "bad_field")

    async def test_only_admins_see_and_name_them(self, house, provider):
        made = await trust(house, provider)
        token = provider.token()
        for method, path in (
            ("GET", "/admin/issuers"),
            ("POST", "/admin/issuers"),
            ("DELETE", f"/admin/issuers/{made['id']}"),
            ("POST", f"/admin/issuers/{made['id']}/check"),
        ):
            body = (
                {"json": {"issuer": "https://x.example", "audiences": ["a"]}}
                if path.endswith("issuers") and method == "POST"
                else {}
            )
            assert refusal(await ask(house, token, path, method, **body)) == (403, "forbidden")
        assert refusal(await house.client.delete(f"/admin/issuers/{new_id()}")) == (404, "not_found")
        assert refusal(await house.client.post("/admin/issuers/..%2f..%2fx/check")) == (404, "not_found")

    async def test_a_tenant_trusts_twenty_at_most(self, house):
        for number in range(20):
            body = {"issuer": f"https://{number}.example.org", "audiences": ["app"]}
            assert (await house.client.post("/admin/issuers", json=body)).status_code == 201
        body = {"issuer": "https://more.example.org", "audiences": ["app"]}

        assert refusal(await house.client.post("/admin/issuers", json=body)) == (409, "wrong_state")

    async def test_a_check_tells_the_keys_and_why_a_token_opens_nothing(self, house, provider):
        made = await trust(house, provider)

        async def checked(**body):
            return (await house.client.post(f"/admin/issuers/{made['id']}/check", json=body)).json()

        assert (await checked())["keys"] == [{"kid": "k-1", "algorithm": "RS256"}]
        good = (await checked(token=provider.token()))["token"]
        assert good["is_taken"] and (good["name"], good["role"]) == ("Ada", "user")
        assert (await checked(token=provider.token(aud="x")))["token"]["refusal"] == "for another audience"
        assert not (await checked(token="nonsense"))["token"]["is_taken"]
        assert set(await people(house)) == {"operator"}
        await provider.hang_up()
        answer = await house.client.post(f"/admin/issuers/{made['id']}/check")
        assert refusal(answer) == (503, "source_unavailable")


class TestForgeries:
    @pytest.fixture
    async def house(self, start, provider):
        async with start(settings(provider)) as app:
            await trust(app, provider)
            yield app

    async def test_alg_none(self, house, provider):
        for algorithm in ("none", "None", "NONE", ""):
            for signature in ("", "x", provider.token().split(".")[2]):
                token = f"{b64({'alg': algorithm, 'kid': 'k-1'})}.{b64(provider.claims())}.{signature}"
                assert await status(house, token) == 401

    async def test_the_public_key_as_a_shared_secret(self, house, provider):
        secrets = (provider.public_pem("k-1"), provider.public_pem("k-1").strip(), json.dumps(provider.key_set()).encode())
        for secret in secrets:
            for algorithm, digest in (("HS256", hashlib.sha256), ("HS384", hashlib.sha384), ("HS512", hashlib.sha512)):
                message = f"{b64({'alg': algorithm, 'kid': 'k-1'})}.{b64(provider.claims())}"
                assert await status(house, f"{message}.{b64(hmac.digest(secret, message.encode(), digest))}") == 401

    async def test_claims_that_are_wrong_under_the_issuers_own_signature(self, house, provider):
        now = int(time.time())
        for wrong in (
            {"iss": provider.issuer + "/"},
            {"iss": provider.issuer.upper()},
            {"iss": "https://evil.example"},
            {"iss": [provider.issuer]},
            {"aud": "other"},
            {"aud": ["other"]},
            {"aud": []},
            {"aud": {"app": 1}},
            {"aud": ...},
            {"aud": "APP"},
            {"exp": now - 3600},
            {"exp": "never"},
            {"exp": ...},
            {"exp": 2**70},
            {"nbf": now + 3600},
            {"nbf": "x"},
            {"iat": now + 3600},
            {"iat": ...},
            {"iat": True},
            {"sub": ...},
            {"sub": ""},
            {"sub": 7},
            {"sub": "x" * 256},
            {"sub": "a\x00b"},
            {"sub": {"$ne": 1}},
        ):
            message = f"{b64({'alg': 'RS256', 'kid': 'k-1'})}.{b64(provider.claims(**wrong))}"  # some of these no library makes
            algorithm, private = provider.keys["k-1"]
            signature = jwt.get_algorithm_by_name(algorithm).sign(message.encode(), private)
            assert await status(house, f"{message}.{b64(signature)}") == 401, wrong
        assert set(await people(house)) == {"operator"}

    async def test_a_changed_claim_a_foreign_key_and_another_algorithm(self, house, provider):
        header, _, signature = provider.token().split(".")
        assert await status(house, f"{header}.{b64(provider.claims(sub='root'))}.{signature}") == 401
        async with Provider() as evil:
            evil.add_key("k-1")
            assert await status(house, evil.token(iss=provider.issuer)) == 401
            evil.add_key("k-1", "ES256")
            assert await status(house, evil.token(iss=provider.issuer)) == 401

    async def test_a_key_id_is_a_name_and_nothing_else(self, house, provider):
        for kid in (
            "../../../../dev/null", "/etc/passwd", "k-1'--", "' OR 1=1 --", "k-1\x00", "", "x" * 500, "*", "%00", "k-1/../k-1",
            "http://127.0.0.1/keys", "$(id)", "k-2",
        ):  # fmt: skip
            assert await status(house, provider.token(header={"kid": kid})) == 401, kid
        for kid in (1, None, ["k-1"], {"k-1": 1}, True):
            message = f"{b64({'alg': 'RS256', 'kid': kid})}.{b64(provider.claims())}"
            signature = jwt.get_algorithm_by_name("RS256").sign(message.encode(), provider.keys["k-1"][1])
            assert await status(house, f"{message}.{b64(signature)}") == 401, kid
        assert set(provider.asked) == {CONFIGURATION, JWKS}

    async def test_keys_that_a_token_brings_or_names_are_not_looked_at(self, house, provider):
        async with Provider() as evil:
            evil.add_key("evil")
            (jwk,) = evil.key_set()["keys"]
            for name, value in (
                ("jku", f"{evil.issuer}{JWKS}"),
                ("x5u", f"{evil.issuer}/cert"),
                ("jwk", jwk),
                ("x5c", ["MIIB"]),
            ):
                assert await status(house, evil.token(iss=provider.issuer, header={name: value})) == 401, name
                assert await status(house, evil.token(iss=provider.issuer, header={name: value, "kid": "k-1"})) == 401, name
            assert evil.asked == {}

    async def test_members_twice_and_critical_headers(self, house, provider):
        algorithm, private = provider.keys["k-1"]
        now = int(time.time())
        whole = json.dumps(provider.claims())
        for header, claims in (
            (json.dumps({"alg": "RS256", "kid": "k-1"}), whole[:-1] + ', "sub": "root"}'),
            (json.dumps({"alg": "RS256", "kid": "k-1"}), '{"exp": 1, ' + whole[1:]),
            ('{"alg": "RS256", "kid": "other", "kid": "k-1"}', whole),
            ('{"alg": "none", "alg": "RS256", "kid": "k-1"}', whole),
            (json.dumps({"alg": "RS256", "kid": "k-1", "crit": ["exp"], "exp": now + 9}), whole),
            (json.dumps({"alg": "RS256", "kid": "k-1", "crit": []}), whole),
            (json.dumps({"alg": "RS256", "kid": "k-1", "b64": False}), whole),
        ):
            message = f"{b64(header.encode())}.{b64(claims.encode())}"
            signature = jwt.get_algorithm_by_name(algorithm).sign(message.encode(), private)
            assert await status(house, f"{message}.{b64(signature)}") == 401, header

    async def test_huge_tokens_are_not_parsed(self, house, provider):
        for token in (provider.token(padding="x" * 9000), "x." * 50_000, f"{b64(b'[' * 5000)}.{b64(b'[' * 5000)}.AA"):
            assert await status(house, token) == 401

    async def test_a_flood_of_unknown_keys_and_issuers_is_no_flood_of_fetches(self, house, provider):
        assert await status(house, provider.token()) == 200
        floods = [provider.token(header={"kid": f"made-up-{number}"}) for number in range(150)]
        strangers = [provider.token(iss=f"https://{number}.example.org") for number in range(150)]

        for burst in (floods, strangers):  # all of them at once would be refused for their number
            assert set(await asyncio.gather(*(status(house, token) for token in burst))) == {401}
        assert provider.fetches == 1

    async def test_another_tenants_terms_are_not_tried(self, house, provider):
        """Bob's tokens are for `app`. A tenant that trusts his issuer for something else must not get him, nor decide by its keys."""
        other = replace((await catalog_tenants(house))[0], id=new_id(), name="other")
        async with house.safelight.catalog.directory(writes=True) as directory:
            await directory.add_tenant(other)
        token = await operator_of(house, other)
        async with Provider() as evil:
            evil.add_key("k-1")
            wish = {"issuer": provider.issuer, "audiences": ["theirs"], "jwks_url": f"{evil.issuer}{JWKS}"}
            same = await house.client.post("/admin/issuers", json={**wish, "audiences": ["app"]}, headers=token)
            assert refusal(same) == (409, "already_exists")
            assert (await house.client.post("/admin/issuers", json=wish, headers=token)).status_code == 201

            assert await status(house, provider.token()) == 200
            assert await status(house, evil.token(iss=provider.issuer)) == 401
            assert (await house.client.get("/admin/users", headers=token)).json()[0]["name"] == "boss"
            assert len((await house.client.get("/admin/users", headers=token)).json()) == 1
            assert evil.asked == {}


async def operator_of(app, tenant):
    """Headers of an admin of that tenant."""
    boss = make_user(tenant.id, name="boss", role=Role.ADMIN)
    token, key = new_key(boss, "", frozenset(Scope), boss.created_at, expires_at=None)
    async with app.safelight.catalog.tenant(tenant.id, writes=True) as records:
        await records.accounts.add_user(boss)
        await records.accounts.api_keys.add(key)
    return {"authorization": f"Bearer {token}"}
