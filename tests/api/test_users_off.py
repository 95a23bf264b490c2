"""Users who are switched off: nobody comes in as them, by whatever they hold; what is theirs stays."""

from __future__ import annotations

from tests.api.test_auth import ADA, GOOD, bearer, post, refusal, signed_in, signed_up, start  # noqa: F401 (a fixture)
from tests.faulty import blind_to_sessions


async def user_called(app, name):
    return next(one for one in (await app.client.get("/admin/users")).json() if one["name"] == name)


async def key_of(app, user, *scopes):
    made = await app.client.post("/admin/api-keys", json={"user": user, "scopes": list(scopes) or ["read", "write"]})
    return {"authorization": f"Bearer {made.json()['token']}"}


async def test_whatever_a_disabled_user_holds_opens_nothing_from_now_on(start):
    async with start() as app:
        await signed_up(app)
        grant, ada = await signed_in(app), await user_called(app, ADA)
        key = await key_of(app, ada["id"])
        for held in (key, bearer(grant)):
            assert (await app.client.get("/images", headers=held)).status_code == 200

        off = await app.client.post(f"/admin/users/{ada['id']}/disable")
        assert (off.status_code, off.json()["disabled_at"] is None) == (200, False)
        for held in (key, bearer(grant)):
            assert refusal(await app.client.get("/images", headers=held)) == (401, "unauthenticated")
        assert refusal(await post(app, "/refresh", refresh_token=grant["refresh_token"])) == (401, "unauthenticated")


async def test_signing_in_as_a_disabled_user_is_answered_like_a_wrong_password(start):
    async with start() as app:
        await signed_up(app)
        wrong = await post(app, "/signin", email=ADA, password="not the password")
        nobody = await post(app, "/signin", email="nobody@example.org", password=GOOD)
        known = await post(app, "/password/forgot", email="nobody@example.org")
        await app.client.post(f"/admin/users/{(await user_called(app, ADA))['id']}/disable")

        right = await post(app, "/signin", email=ADA, password=GOOD)
        assert (right.status_code, right.json()) == (wrong.status_code, wrong.json()) == (nobody.status_code, nobody.json())
        forgot = await post(app, "/password/forgot", email=ADA)
        assert (forgot.status_code, forgot.content) == (known.status_code, known.content)


async def test_an_enabled_user_has_the_keys_of_before_and_no_session(start):
    async with start() as app:
        await signed_up(app)
        grant, ada = await signed_in(app), await user_called(app, ADA)
        key = await key_of(app, ada["id"])
        await app.client.post(f"/admin/users/{ada['id']}/disable")
        on = await app.client.post(f"/admin/users/{ada['id']}/enable")

        assert on.json()["disabled_at"] is None
        assert (await app.client.get("/images", headers=key)).status_code == 200
        assert (await app.client.get("/images", headers=bearer(grant))).status_code == 401
        assert (await post(app, "/refresh", refresh_token=grant["refresh_token"])).status_code == 401
        await signed_in(app)


async def test_a_session_that_was_begun_in_the_moment_of_disabling_is_none_after_enabling(start):
    async with start() as app:
        await signed_up(app)
        grant, ada = await signed_in(app), await user_called(app, ADA)
        accounts, catalog = app.safelight.accounts, app.safelight.accounts.catalog
        object.__setattr__(accounts, "catalog", blind_to_sessions(catalog))
        assert (await app.client.post(f"/admin/users/{ada['id']}/disable")).status_code == 200
        object.__setattr__(accounts, "catalog", catalog)
        assert (await post(app, "/refresh", refresh_token=grant["refresh_token"])).status_code == 401
        assert (await app.client.post(f"/admin/users/{ada['id']}/enable")).status_code == 200

        assert (await app.client.get("/images", headers=bearer(grant))).status_code == 401
        assert (await post(app, "/refresh", refresh_token=grant["refresh_token"])).status_code == 401


async def test_enabling_somebody_who_was_not_disabled_ends_no_session(start):
    async with start() as app:
        await signed_up(app)
        grant, ada = await signed_in(app), await user_called(app, ADA)
        assert (await app.client.post(f"/admin/users/{ada['id']}/enable")).status_code == 200

        assert (await app.client.get("/images", headers=bearer(grant))).status_code == 200


async def test_the_time_of_the_first_disabling_stays_and_the_trail_tells_of_it(start):
    async with start() as app:
        ada = (await app.client.post("/admin/users", json={"name": "Ada"})).json()
        first = (await app.client.post(f"/admin/users/{ada['id']}/disable")).json()
        again = (await app.client.post(f"/admin/users/{ada['id']}/disable")).json()
        assert first["disabled_at"] == again["disabled_at"]

        await app.safelight.trail.seal()
        told = (await app.client.get("/admin/audit", params={"action": "user.disabled"})).json()["entries"]
        assert [entry["object"].startswith("user/") for entry in told] == [True, True]


async def test_nobody_disables_themselves_an_operator_or_a_user_of_another_tenant(start):
    async with start() as app:
        operator = await user_called(app, "operator")
        assert refusal(await app.client.post(f"/admin/users/{operator['id']}/disable")) == (409, "wrong_state")

        admin = (await app.client.post("/admin/users", json={"name": "Boss", "role": "admin"})).json()
        bert = (await app.client.post("/admin/users", json={"name": "Bert"})).json()
        boss, plain = await key_of(app, admin["id"], "read", "write", "admin"), await key_of(app, bert["id"])
        other = (await app.client.post("/admin/tenants", json={"name": "other"})).json()
        theirs = {"authorization": f"Bearer {other['token']}"}
        for verb in ("disable", "enable"):
            assert refusal(await app.client.post(f"/admin/users/{operator['id']}/{verb}", headers=boss)) == (403, "forbidden")
            assert refusal(await app.client.post(f"/admin/users/{admin['id']}/{verb}", headers=plain)) == (403, "forbidden")
            assert refusal(await app.client.post(f"/admin/users/{bert['id']}/{verb}", headers=theirs)) == (404, "not_found")
            assert refusal(await app.client.post(f"/admin/users/{'0' * 26}/{verb}")) == (404, "not_found")
        assert (await app.client.get("/images", headers=plain)).status_code == 200
