"""Passkeys over HTTP, with an authenticator in software that lies where a thief would; the browser's own is in tests/browser."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import cbor2
import pytest
from tests.api.test_auth import ADA, letter, letters, open_house, post, refusal, signed_in, signed_up, start
from tests.api.test_mfa import BOB, ask, clock, enrolled, pyjwt_claims
from tests.authenticator import BS, UP, UV, Authenticator, b64, raw

__all__ = ["clock", "start"]


@pytest.fixture
def house(start, clock):
    def begin(**auth):
        settings = open_house(access_s=86_400, **auth)
        return start({**settings, "server": {"public_url": "https://images.example.org"}}, clock=clock)

    return begin


async def options_of(app, grant):
    answer = await ask(app, grant, "POST", "/passkeys/options")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def added(app, grant, authenticator=None, name="phone"):
    authenticator = authenticator or Authenticator()
    answer = authenticator.create(await options_of(app, grant))
    made = await ask(app, grant, "POST", "/passkeys", name=name, credential=answer)
    assert made.status_code == 201, made.text
    return authenticator, made.json()


async def sign_in_options(app):
    return (await post(app, "/passkeys/signin/options")).json()


async def enter(app, answer):
    return await post(app, "/passkeys/signin", credential=answer)


class TestRegistering:
    async def test_the_options_ask_for_a_verified_discoverable_credential_of_our_domain(self, house):
        async with house() as app:
            await signed_up(app)
            grant = await signed_in(app)
            options = await options_of(app, grant)
            tenant, user = raw(options["user"]["id"]).decode().split(".")

            assert options["rp"] == {"id": "images.example.org", "name": "Safelight"} and options["attestation"] == "none"
            selection = options["authenticatorSelection"]
            assert (selection["residentKey"], selection["userVerification"]) == ("required", "required")
            assert options["user"]["name"] == ADA and ADA not in (tenant, user)
            assert {one["alg"] for one in options["pubKeyCredParams"]} == {-8, -7, -257}

    async def test_a_passkey_is_added_listed_renamed_and_removed_and_letters_tell(self, house):
        async with house() as app:
            await signed_up(app)
            grant = await signed_in(app)
            authenticator, made = await added(app, grant)
            assert "passkey was added" in (await letter(app, 2))["subject"]
            assert (made["name"], made["used_at"], made["is_synced"]) == ("phone", None, True)
            assert [one["id"] for one in (await options_of(app, grant))["excludeCredentials"]] == [b64(authenticator.credential)]
            renamed = await ask(app, grant, "PATCH", f"/passkeys/{made['id']}", name="  Ada's phone ")
            assert renamed.json()["name"] == "Ada's phone"
            assert (await ask(app, grant, "GET", "/mfa")).json()["passkeys"] == 1
            for name in (" ", "x" * 101, "a\nb"):
                assert refusal(await ask(app, grant, "PATCH", f"/passkeys/{made['id']}", name=name)) == (400, "bad_field")
            assert (await ask(app, grant, "DELETE", f"/passkeys/{made['id']}")).status_code == 204

            assert (await ask(app, grant, "GET", "/passkeys")).json() == []
            assert "passkey was removed" in (await letter(app, 3))["subject"]
            assert refusal(await enter(app, authenticator.get(await sign_in_options(app)))) == (401, "unauthenticated")

    @pytest.mark.parametrize(
        "lie",
        [
            {"origin": "https://images.example.org.evil.example"},
            {"origin": "http://images.example.org"},
            {"origin": "https://evil.images.example.org"},
            {"crossOrigin": True},
            {"domain": "evil.example"},
            {"flags": UP},
            {"flags": UV},
            {"type": "webauthn.get"},
            {"challenge": b64(bytes(56))},
            {"challenge": "x"},
            {"challenge": 7},
        ],
        ids=str,
    )
    async def test_what_does_not_fit_makes_no_passkey(self, house, lie):
        async with house() as app:
            await signed_up(app)
            grant = await signed_in(app)
            answer = Authenticator().create(await options_of(app, grant), **lie)

            assert refusal(await ask(app, grant, "POST", "/passkeys", credential=answer)) == (400, "bad_passkey")
            assert (await ask(app, grant, "GET", "/passkeys")).json() == [] and len(letters(app)) == 1

    async def test_a_challenge_makes_one_passkey_in_its_session_and_its_time(self, house, clock):
        async with house() as app:
            await signed_up(app)
            await signed_up(app, BOB)
            grant, other, bobs = await signed_in(app), await signed_in(app), await signed_in(app, BOB)
            options = await options_of(app, grant)
            for thief in (other, bobs):
                stolen = await ask(app, thief, "POST", "/passkeys", credential=Authenticator().create(options))
                assert refusal(stolen) == (400, "bad_passkey")
            answers = [Authenticator().create(options) for _ in range(4)]
            made = await asyncio.gather(*(ask(app, grant, "POST", "/passkeys", credential=answer) for answer in answers))
            assert sorted(answer.status_code for answer in made) == [201, 400, 400, 400]

            late = Authenticator().create(await options_of(app, grant))
            clock.on(seconds=300)
            assert refusal(await ask(app, grant, "POST", "/passkeys", credential=late)) == (400, "bad_passkey")
            foreign = Authenticator()
            foreign.handle = b""
            mixed = {**await options_of(app, grant), "challenge": (await sign_in_options(app))["challenge"]}
            assert refusal(await ask(app, grant, "POST", "/passkeys", credential=foreign.create(mixed))) == (400, "bad_passkey")

    async def test_somebody_elses_credential_is_refused_like_any_other_that_does_not_fit(self, house):
        async with house() as app:
            await signed_up(app)
            await signed_up(app, BOB)
            hers, _ = await added(app, await signed_in(app))
            grant = await signed_in(app, BOB)
            # The same id with a key of his own: were it taken, her sign-ins would end at his account.
            his = Authenticator(credential=hers.credential)
            taken = await ask(app, grant, "POST", "/passkeys", credential=his.create(await options_of(app, grant)))

            assert refusal(taken) == (400, "bad_passkey")
            assert (await enter(app, hers.get(await sign_in_options(app)))).status_code == 200

    async def test_there_is_an_end_to_passkeys(self, house):
        from safelight.domain.factors import PASSKEYS
        from safelight.testing.factories import make_passkey

        async with house() as app:
            await signed_up(app)
            grant = await signed_in(app)
            catalog = app.safelight.catalog
            async with catalog.directory() as directory:
                _, user = await directory.people.by_email("default", ADA)
            async with catalog.tenant(user.tenant, writes=True) as records:
                for _ in range(PASSKEYS):
                    await records.factors.add_passkey(make_passkey(user))
            answer = Authenticator().create(await options_of(app, grant))

            assert refusal(await ask(app, grant, "POST", "/passkeys", credential=answer)) == (409, "wrong_state")

    async def test_another_users_passkey_is_not_there(self, house):
        async with house() as app:
            await signed_up(app)
            await signed_up(app, BOB)
            _, hers = await added(app, await signed_in(app))
            grant = await signed_in(app, BOB)
            for id in (hers["id"], "0" * 32, "x", "0" * 26):
                assert refusal(await ask(app, grant, "DELETE", f"/passkeys/{id}")) == (404, "not_found")
                assert refusal(await ask(app, grant, "PATCH", f"/passkeys/{id}", name="mine")) == (404, "not_found")

            assert (await ask(app, grant, "GET", "/passkeys")).json() == []

    async def test_adding_and_removing_ask_for_a_recent_proof(self, house, clock):
        async with house() as app:
            await signed_up(app)
            grant = await signed_in(app)
            authenticator, made = await added(app, grant)
            answer = Authenticator().create(await options_of(app, grant))
            clock.on(seconds=601)

            assert refusal(await ask(app, grant, "POST", "/passkeys/options")) == (401, "step_up_required")
            assert refusal(await ask(app, grant, "POST", "/passkeys", credential=answer)) == (401, "step_up_required")
            refused = await ask(app, grant, "DELETE", f"/passkeys/{made['id']}")
            assert refusal(refused) == (401, "step_up_required") and refused.json()["methods"] == ["password", "passkey"]
            options = (await ask(app, grant, "POST", "/step-up/options")).json()
            assert [one["id"] for one in options["allowCredentials"]] == [b64(authenticator.credential)]
            proof = authenticator.get(options)
            fresh = await ask(app, grant, "POST", "/step-up", credential=proof)
            assert fresh.status_code == 200
            assert refusal(await ask(app, grant, "POST", "/step-up", credential=proof)) == (401, "unauthenticated")
            assert (await ask(app, fresh.json(), "DELETE", f"/passkeys/{made['id']}")).status_code == 204


class TestSigningIn:
    async def test_a_passkey_alone_begins_a_session_and_no_code_is_asked_for(self, house, clock):
        async with house() as app:
            await signed_up(app)
            grant = await signed_in(app)
            authenticator, made = await added(app, grant)
            await enrolled(app, clock, grant)
            options = await sign_in_options(app)
            answer = await enter(app, authenticator.get(options))

            assert "allowCredentials" not in options or options["allowCredentials"] == []
            assert options["userVerification"] == "required" and options["rpId"] == "images.example.org"
            assert answer.status_code == 200, answer.text
            claims = pyjwt_claims(answer.json()["access_token"])
            assert claims["amr"] == ["pop", "user", "mfa"]
            [listed] = (await ask(app, answer.json(), "GET", "/passkeys")).json()
            assert listed["id"] == made["id"] and listed["used_at"]

    async def test_an_answer_is_good_once_however_often_it_is_sent_at_once(self, house):
        for counts in (True, False):  # synced passkeys do not count: the challenge alone must stop a replay
            async with house() as app:
                await signed_up(app, f"{counts}@example.org".lower())
                authenticator, _ = await added(app, await signed_in(app, f"{counts}@example.org"), Authenticator(counts=counts))
                answer = authenticator.get(await sign_in_options(app))
                answers = await asyncio.gather(*(enter(app, answer) for _ in range(5)))

                assert sorted(each.status_code for each in answers) == [200, 401, 401, 401, 401]
                assert refusal(await enter(app, answer)) == (401, "unauthenticated")

    @pytest.mark.parametrize(
        "lie",
        [
            {"origin": "https://evil.example"},
            {"origin": "https://images.example.org:8443"},
            {"crossOrigin": True},
            {"domain": "example.org"},
            {"flags": UP},
            {"flags": UV},
            {"flags": BS | UP | UV},
            {"type": "webauthn.create"},
            {"challenge": b64(bytes(56))},
            {"handle": b""},
            {"handle": b"x.y"},
            {"handle": b"\xff" * 64},
            {"handle": b"0" * 26 + b"." + b"0" * 26},
        ],
        ids=str,
    )
    async def test_every_lie_is_one_answer(self, house, lie):
        async with house() as app:
            await signed_up(app)
            authenticator, _ = await added(app, await signed_in(app))
            stranger = Authenticator(handle=authenticator.handle)
            unknown = await enter(app, stranger.get(await sign_in_options(app)))
            told = await enter(app, authenticator.get(await sign_in_options(app), **lie))

            assert refusal(told) == (401, "unauthenticated")
            assert told.json() == unknown.json()
            assert (await enter(app, authenticator.get(await sign_in_options(app)))).status_code == 200

    async def test_a_counter_that_goes_back_is_refused(self, house):
        async with house() as app:
            await signed_up(app)
            authenticator, _ = await added(app, await signed_in(app))
            clone = replace(authenticator)
            for _ in range(3):
                assert (await enter(app, authenticator.get(await sign_in_options(app)))).status_code == 200

            assert refusal(await enter(app, clone.get(await sign_in_options(app)))) == (401, "unauthenticated")
            assert refusal(await enter(app, clone.get(await sign_in_options(app), count=0))) == (401, "unauthenticated")
            assert (await enter(app, authenticator.get(await sign_in_options(app)))).status_code == 200

    async def test_a_handle_of_another_user_opens_neither_account(self, house):
        async with house() as app:
            await signed_up(app)
            await signed_up(app, BOB)
            hers, _ = await added(app, await signed_in(app))
            his, _ = await added(app, await signed_in(app, BOB))

            told = await enter(app, his.get(await sign_in_options(app), handle=hers.handle))
            assert refusal(told) == (401, "unauthenticated")
            posing = replace(his, credential=hers.credential)
            assert refusal(await enter(app, posing.get(await sign_in_options(app), handle=hers.handle)))[0] == 401

    async def test_a_challenge_for_one_thing_answers_no_other_and_not_too_late(self, house, clock):
        async with house() as app:
            await signed_up(app)
            grant = await signed_in(app)
            authenticator, _ = await added(app, grant)
            for challenge in (
                (await options_of(app, grant))["challenge"],
                (await ask(app, grant, "POST", "/step-up/options")).json()["challenge"],
            ):
                answer = authenticator.get({**await sign_in_options(app), "challenge": challenge})
                assert refusal(await enter(app, answer)) == (401, "unauthenticated")
            proof = authenticator.get(await sign_in_options(app))
            assert refusal(await ask(app, grant, "POST", "/step-up", credential=proof)) == (401, "unauthenticated")
            late = authenticator.get(await sign_in_options(app))
            clock.on(seconds=300)
            assert refusal(await enter(app, late)) == (401, "unauthenticated")

    async def test_another_sessions_challenge_steps_nobody_up(self, house, clock):
        async with house() as app:
            await signed_up(app)
            here, there = await signed_in(app), await signed_in(app)
            authenticator, _ = await added(app, here)
            proof = authenticator.get((await ask(app, here, "POST", "/step-up/options")).json())

            assert refusal(await ask(app, there, "POST", "/step-up", credential=proof)) == (401, "unauthenticated")
            assert (await ask(app, here, "POST", "/step-up", credential=proof)).status_code == 200

    async def test_a_locked_account_is_still_its_owners(self, house):
        async with house(account_failures=2) as app:
            await signed_up(app)
            authenticator, _ = await added(app, await signed_in(app))
            for _ in range(3):
                locked = await post(app, "/signin", email=ADA, password="x")

            assert refusal(locked) == (429, "locked_out")
            assert (await enter(app, authenticator.get(await sign_in_options(app)))).status_code == 200

    async def test_a_suspended_user_and_one_who_was_reset_stay_out(self, house, clock):
        async with house() as app:
            await signed_up(app)
            await signed_up(app, BOB)
            hers, _ = await added(app, await signed_in(app))
            his, _ = await added(app, await signed_in(app, BOB))
            catalog = app.safelight.catalog
            async with catalog.directory() as directory:
                _, user = await directory.people.by_email("default", ADA)
                _, bob = await directory.people.by_email("default", BOB)
            async with catalog.tenant(user.tenant, writes=True) as records:
                await records.accounts.save_user(replace(user, disabled_at=clock.now))
            assert (await app.client.delete(f"/admin/users/{bob.id}/mfa")).status_code == 204

            for authenticator in (hers, his):
                assert refusal(await enter(app, authenticator.get(await sign_in_options(app)))) == (401, "unauthenticated")


def mangled(answer, **response):
    return {**answer, "response": {**answer["response"], **response}}


class TestHostileAnswers:
    async def test_no_bytes_of_a_stranger_are_a_fault_of_ours(self, house):
        async with house() as app:
            await signed_up(app)
            grant = await signed_in(app)
            authenticator, _ = await added(app, grant)
            junk = [
                b"",
                b"\x00",
                b"{",
                b"[" * 6000,
                b"\x81" * 6000,
                b"\xbf" * 6000,
                b"\x9f" * 5000,
                b"\xff" * 37,
                bytes(6000),
                b"\xdb" + b"\xff" * 8,
            ]
            assertions, creations = [], []
            for each in junk:
                answer = authenticator.get(await sign_in_options(app))
                assertions += [mangled(answer, **{part: b64(each)}) for part in ("clientDataJSON", "authenticatorData")]
                assertions.append(mangled(answer, signature=b64(each[:3000])))
                fresh = Authenticator().create(await options_of(app, grant))
                creations += [mangled(fresh, **{part: b64(each)}) for part in ("clientDataJSON", "attestationObject")]
            for statement in (
                {"fmt": "tpm", "attStmt": {"ver": "2.0", "x5c": [b"\x30\x80"]}},
                {"fmt": "packed", "attStmt": {"x5c": [], "sig": b"", "alg": -7}},
                {"fmt": "android-safetynet", "attStmt": {"response": b"a.b.c", "ver": "1"}},
                {"fmt": 7, "attStmt": []},
            ):
                fresh = Authenticator().create(await options_of(app, grant))
                data = cbor2.loads(raw(fresh["response"]["attestationObject"]))["authData"]
                creations.append(mangled(fresh, attestationObject=b64(cbor2.dumps({**statement, "authData": data}))))
            for answer in assertions:
                assert (await enter(app, answer)).status_code == 401, answer
            for answer in creations:
                refused = await ask(app, grant, "POST", "/passkeys", credential=answer)
                assert refusal(refused) == (400, "bad_passkey"), answer

    async def test_a_key_that_is_none_is_refused(self, house):
        import struct

        async with house() as app:
            await signed_up(app)
            grant = await signed_in(app)
            for cose in (
                {1: 2, 3: -7, -1: 1, -2: bytes(32), -3: bytes(32)},
                {1: 3, 3: -257, -1: b"\xff" * 4096, -2: b"\x01\x00\x01"},
                {1: 2, 3: -7},
                {1: 4, 3: -7, -1: b"k"},
                [],
                {},
            ):
                authenticator = Authenticator()
                options = await options_of(app, grant)
                answer = authenticator.create(options)
                data = cbor2.loads(raw(answer["response"]["attestationObject"]))["authData"][:37]
                data += bytes(16) + struct.pack(">H", 32) + authenticator.credential + cbor2.dumps(cose)
                told = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
                made = await ask(app, grant, "POST", "/passkeys", credential=mangled(answer, attestationObject=b64(told)))
                if made.status_code == 201:  # a point that is on no curve is found at its first use: it opens nothing
                    authenticator.handle = raw(options["user"]["id"])
                    assert refusal(await enter(app, authenticator.get(await sign_in_options(app)))) == (401, "unauthenticated")
                else:
                    assert refusal(made) == (400, "bad_passkey"), cose

    async def test_shapes_that_are_none_are_bad_fields(self, house):
        async with house() as app:
            answer = Authenticator(handle=b"x").get(await sign_in_options(app))
            shapes = [
                None,
                7,
                [],
                {},
                {**answer, "type": "password"},
                {**answer, "rawId": "x" * 1401},
                {**answer, "response": []},
                mangled(answer, clientDataJSON="x" * 8193),
                mangled(answer, userHandle={"a": 1}),
                mangled(answer, transports=["x"] * 17),
            ]
            for shape in shapes:
                assert refusal(await post(app, "/passkeys/signin", credential=shape)) == (400, "bad_field"), shape
            for text in ("=", "a", "ß", "\x00", "a b", "!!!!"):
                assert refusal(await enter(app, {**answer, "rawId": text})) == (401, "unauthenticated")
                assert refusal(await enter(app, mangled(answer, clientDataJSON=text))) == (401, "unauthenticated")


class TestSettings:
    def test_passkeys_are_for_the_domain_of_the_public_url_and_its_pages(self):
        from safelight.settings import Settings

        def told(public_url="", **auth):
            settings = Settings(server={"public_url": public_url}, auth=auth)
            return settings.passkey_domain, settings.passkey_origins

        assert told() == ("localhost", ("http://localhost:8000",))
        assert told("http://127.0.0.1:9000") == ("localhost", ("http://localhost:9000",))
        assert told("https://images.example.org") == ("images.example.org", ("https://images.example.org",))
        assert told("https://images.example.org/photos") == ("images.example.org", ("https://images.example.org",))
        own = {
            "passkey_domain": "example.org",
            "passkey_origins": "https://app.example.org https://example.org:8443 android:apk-key-hash:x",
        }
        assert told("https://images.example.org", **own)[1] == tuple(own["passkey_origins"].split())

    @pytest.mark.parametrize(
        "origins",
        [
            "https://evil.example",
            "http://example.org",
            "https://notexample.org",
            "https://example.org/",
            "*",
            "example.org",
            "null",
        ],
    )
    def test_an_origin_that_is_not_the_domains_stops_the_start_and_is_named(self, origins):
        from safelight.settings import Settings

        with pytest.raises(ValueError, match="SAFELIGHT_AUTH__PASSKEY_ORIGINS"):
            Settings(auth={"passkey_domain": "example.org", "passkey_origins": origins})
