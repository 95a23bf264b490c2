"""Second factors as users and thieves meet them: codes are made by pyotp, which knows nothing of us; clocks are moved, not waited for."""

from __future__ import annotations

import asyncio
import base64
import re
from datetime import UTC, datetime, timedelta

import pyotp
import pytest
from tests.api.test_auth import (
    ADA,
    BETTER,
    GOOD,
    bearer,
    letter,
    letters,
    open_house,
    post,
    refusal,
    signed_in,
    signed_up,
    start,
    text_of,
    token_of,
)

__all__ = ["start"]
BOB = "bob@example.org"


class Clock:
    """Begins with a time step of the apps, and goes a millisecond at each look, so that ids sort, until a test moves it on."""

    def __init__(self):
        self.now = datetime.fromtimestamp(datetime.now(UTC).timestamp() // 30 * 30, UTC)

    def __call__(self):
        self.now += timedelta(milliseconds=1)
        return self.now

    def on(self, **time):
        self.now += timedelta(**time)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def house(start, clock):
    def begin(**auth):
        return start(open_house(**auth), clock=clock)

    return begin


async def ask(app, grant, method, path, **body):
    return await app.client.request(method, f"/auth{path}", json=body or None, headers=bearer(grant))


async def enrolled(app, clock, grant):
    """An authenticator app in use; its pyotp, and the recovery codes."""
    told = (await ask(app, grant, "POST", "/mfa/totp")).json()
    totp = pyotp.parse_uri(told["uri"])
    answer = await ask(app, grant, "POST", "/mfa/totp/confirm", code=totp.at(clock.now))
    assert answer.status_code == 200, answer.text
    clock.on(seconds=30)
    return totp, answer.json()["recovery_codes"]


async def ticket(app, email=ADA, password=GOOD):
    answer = await post(app, "/signin", email=email, password=password)
    assert refusal(answer) == (401, "mfa_required"), answer.text
    return answer.json()["ticket"]


class TestEnrolling:
    async def test_an_app_is_told_its_secret_in_four_ways_that_agree(self, house, clock):
        async with house() as app:
            await signed_up(app)
            grant = await signed_in(app)
            answer = await ask(app, grant, "POST", "/mfa/totp")
            told = answer.json()
            totp = pyotp.parse_uri(told["uri"])

            assert answer.headers["cache-control"] == "no-store"
            assert (totp.secret, totp.issuer, totp.name) == (told["secret"], "Safelight", ADA)
            assert (totp.digits, totp.interval) == (6, 30) and len(base64.b32decode(told["secret"])) == 20
            assert told["qr_svg"].startswith("data:image/svg+xml") and told["qr_png"].startswith("data:image/png;base64,")

    async def test_the_qr_code_says_the_uri(self, house, clock):
        """Made again from the URI by the library's own matrix: every module of the picture is where it should be."""
        import io

        import segno
        from PIL import Image

        async with house() as app:
            await signed_up(app)
            told = (await ask(app, await signed_in(app), "POST", "/mfa/totp")).json()
            picture = Image.open(io.BytesIO(base64.b64decode(told["qr_png"].partition(",")[2]))).convert("1")
            matrix = segno.make(told["uri"], error="m", micro=False).matrix
            read = [[picture.getpixel((x * 5 + 22, y * 5 + 22)) == 0 for x in range(len(matrix))] for y in range(len(matrix))]

            assert read == [[bool(module) for module in row] for row in matrix]

    async def test_nothing_asks_for_an_app_before_it_has_shown_a_code(self, house, clock):
        async with house() as app:
            await signed_up(app)
            grant = await signed_in(app)
            told = (await ask(app, grant, "POST", "/mfa/totp")).json()
            wrong = await ask(app, grant, "POST", "/mfa/totp/confirm", code="000000")

            assert refusal(wrong) == (400, "bad_code")
            await signed_in(app)
            clock.on(minutes=5)
            late = await ask(app, grant, "POST", "/mfa/totp/confirm", code=pyotp.TOTP(told["secret"]).at(clock.now))
            assert late.status_code == 200

    async def test_a_secret_that_was_shown_long_ago_is_confirmed_no_more(self, house, clock):
        async with house(access_s=86_400, step_up_s=86_400) as app:
            await signed_up(app)
            grant = await signed_in(app)
            told = (await ask(app, grant, "POST", "/mfa/totp")).json()
            clock.on(minutes=15)
            late = await ask(app, grant, "POST", "/mfa/totp/confirm", code=pyotp.TOTP(told["secret"]).at(clock.now))

            assert refusal(late) == (409, "wrong_state")

    async def test_with_an_app_other_sessions_end_this_one_knows_and_a_letter_tells(self, house, clock):
        async with house() as app:
            await signed_up(app)
            here, there = await signed_in(app), await signed_in(app)
            _, codes = await enrolled(app, clock, here)

            assert refusal(await ask(app, there, "GET", "/mfa")) == (401, "unauthenticated")
            held = (await ask(app, here, "GET", "/mfa")).json()
            assert held["recovery_codes"] == 10 and held["totp_since"] and held["passkeys"] == 0
            assert len(set(codes)) == 10 and all(re.fullmatch(r"[a-z0-9]{5}-[a-z0-9]{5}", code) for code in codes)
            assert "authenticator app was added" in (await letter(app, 2))["subject"]
            assert refusal(await ask(app, here, "POST", "/mfa/totp")) == (409, "wrong_state")

    async def test_no_secret_and_no_recovery_code_is_in_a_row_or_a_letter_in_the_clear(self, house, clock):
        async with house() as app:
            await signed_up(app)
            totp, codes = await enrolled(app, clock, await signed_in(app))
            told = text_of(await letter(app, 2))
            async with app.safelight.catalog.directory() as directory:
                credential, _ = await directory.people.by_email("default", ADA)
            async with app.safelight.catalog.tenant(credential.tenant) as records:
                kept = await records.factors.totp(credential.user)

            assert not any(code in told or code.replace("-", "").encode() in b"".join(kept.recovery) for code in codes)
            assert totp.secret not in told and totp.secret not in repr(kept)


class TestTheSecondLeg:
    async def test_a_password_alone_gives_a_ticket_and_a_code_the_session(self, house, clock):
        async with house() as app:
            await signed_up(app)
            totp, _ = await enrolled(app, clock, await signed_in(app))
            answer = await post(app, "/signin", email=ADA, password=GOOD)
            asked = answer.json()
            grant = await post(app, "/mfa/verify", ticket=asked["ticket"], code=totp.at(clock.now))

            assert refusal(answer) == (401, "mfa_required") and "access_token" not in asked
            assert asked["methods"] == ["totp", "recovery_code"] and asked["expires_in"] == 300
            assert grant.status_code == 200 and grant.headers["cache-control"] == "no-store"
            claims = pyjwt_claims(grant.json()["access_token"])
            assert claims["amr"] == ["pwd", "otp", "mfa"] and 0 <= clock.now.timestamp() - claims["auth_time"] < 10
            assert (await app.client.get("/images", headers=bearer(grant.json()))).status_code == 200

    async def test_a_wrong_password_says_nothing_of_a_second_leg(self, house, clock):
        async with house() as app:
            await signed_up(app)
            await signed_up(app, BOB)
            await enrolled(app, clock, await signed_in(app))
            with_app = await post(app, "/signin", email=ADA, password=BETTER)
            without = await post(app, "/signin", email=BOB, password=BETTER)
            nobody = await post(app, "/signin", email="nobody@example.org", password=BETTER)

            assert with_app.json() == without.json() == nobody.json() and with_app.status_code == 401

    async def test_a_code_is_taken_once_and_no_older_one_after_it(self, house, clock):
        async with house() as app:
            await signed_up(app)
            totp, _ = await enrolled(app, clock, await signed_in(app))
            code, before = totp.at(clock.now), totp.at(clock.now - timedelta(seconds=30))
            assert (await post(app, "/mfa/verify", ticket=await ticket(app), code=code)).status_code == 200

            assert refusal(await post(app, "/mfa/verify", ticket=await ticket(app), code=code)) == (400, "bad_code")
            assert refusal(await post(app, "/mfa/verify", ticket=await ticket(app), code=before)) == (400, "bad_code")

    async def test_the_code_that_confirmed_the_app_signs_nobody_in(self, house, clock):
        async with house() as app:
            await signed_up(app)
            grant = await signed_in(app)
            totp = pyotp.parse_uri((await ask(app, grant, "POST", "/mfa/totp")).json()["uri"])
            code = totp.at(clock.now)
            await ask(app, grant, "POST", "/mfa/totp/confirm", code=code)

            assert refusal(await post(app, "/mfa/verify", ticket=await ticket(app), code=code)) == (400, "bad_code")

    @pytest.mark.parametrize(("steps", "is_taken"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
    async def test_a_clock_may_be_one_step_off_and_no_more(self, house, clock, steps, is_taken):
        async with house() as app:
            await signed_up(app)
            totp, _ = await enrolled(app, clock, await signed_in(app))
            clock.on(minutes=5)
            code = totp.at(clock.now + timedelta(seconds=30 * steps))
            answer = await post(app, "/mfa/verify", ticket=await ticket(app), code=code)

            assert answer.status_code == (200 if is_taken else 400)

    async def test_of_parallel_uses_of_one_code_one_signs_in(self, house, clock):
        async with house() as app:
            await signed_up(app)
            totp, _ = await enrolled(app, clock, await signed_in(app))
            tickets = [await ticket(app) for _ in range(5)]
            code = totp.at(clock.now)
            answers = await asyncio.gather(*(post(app, "/mfa/verify", ticket=each, code=code) for each in tickets))

            assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400, 400]

    async def test_of_parallel_uses_of_one_recovery_code_one_signs_in_and_a_letter_tells(self, house, clock):
        async with house() as app:
            await signed_up(app)
            _, codes = await enrolled(app, clock, await signed_in(app))
            tickets = [await ticket(app) for _ in range(5)]
            typed = codes[3].upper().replace("-", " ")
            answers = await asyncio.gather(*(post(app, "/mfa/verify", ticket=each, code=typed) for each in tickets))
            grant = next(answer.json() for answer in answers if answer.status_code == 200)

            assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400, 400]
            assert (await ask(app, grant, "GET", "/mfa")).json()["recovery_codes"] == 9
            assert "recovery code was used" in (await letter(app, 3))["subject"]
            assert (await post(app, "/mfa/verify", ticket=await ticket(app), code=codes[4])).status_code == 200

    async def test_a_ticket_begins_one_session(self, house, clock):
        async with house() as app:
            await signed_up(app)
            _, codes = await enrolled(app, clock, await signed_in(app))
            one = await ticket(app)
            answers = await asyncio.gather(*(post(app, "/mfa/verify", ticket=one, code=code) for code in codes[:4]))
            grant = next(answer.json() for answer in answers if answer.status_code == 200)

            assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401]
            # Who was refused for the ticket has not lost the code.
            assert (await ask(app, grant, "GET", "/mfa")).json()["recovery_codes"] == 9

    async def test_a_ticket_is_short_lived_and_dies_with_the_password(self, house, clock):
        async with house() as app:
            await signed_up(app)
            totp, _ = await enrolled(app, clock, await signed_in(app))
            old = await ticket(app)
            clock.on(seconds=300)
            assert refusal(await post(app, "/mfa/verify", ticket=old, code=totp.at(clock.now))) == (401, "unauthenticated")

            current = await ticket(app)
            await post(app, "/password/forgot", email=ADA)
            token = token_of(await letter(app, 3))
            assert (await post(app, "/password/reset", token=token, password=BETTER)).status_code == 204
            assert refusal(await post(app, "/mfa/verify", ticket=current, code=totp.at(clock.now)))[1] == "unauthenticated"
            await ticket(app, password=BETTER)  # a mailed code is no second factor: the app is still asked for

    async def test_a_ticket_is_good_for_nothing_else_and_nothing_else_is_a_ticket(self, house, clock):
        async with house() as app:
            await signed_up(app)
            grant = await signed_in(app)
            totp, _ = await enrolled(app, clock, grant)
            one, code = await ticket(app), totp.at(clock.now)
            assert (await app.client.get("/images", headers={"authorization": f"Bearer {one}"})).status_code == 401
            assert (await post(app, "/refresh", refresh_token=one)).status_code == 401
            assert refusal(await post(app, "/verify", token=one)) == (400, "bad_code")
            assert refusal(await post(app, "/password/reset", token=one, password=BETTER)) == (400, "bad_code")

            await post(app, "/password/forgot", email=ADA)
            mailed = token_of(await letter(app, 3))
            forged = [one[:-2] + "xx", ".".join(["mfa", *"abcdef"]), "", "." * 1000, "ß\x00", mailed, grant["refresh_token"]]
            for each in forged:
                assert refusal(await post(app, "/mfa/verify", ticket=each, code=code)) == (401, "unauthenticated"), each

    async def test_the_ticket_of_one_and_the_code_of_another_open_nothing(self, house, clock):
        async with house() as app:
            await signed_up(app)
            await signed_up(app, BOB)
            await enrolled(app, clock, await signed_in(app))
            bobs, recovery = await enrolled(app, clock, await signed_in(app, BOB))
            hers = await ticket(app)

            for code in (bobs.at(clock.now), recovery[0]):
                assert refusal(await post(app, "/mfa/verify", ticket=hers, code=code)) == (400, "bad_code")

    async def test_a_session_that_was_there_before_is_not_the_one_that_comes_of_it(self, house, clock):
        """Fixation: a session that somebody planted is neither proven nor handed on by its user's sign-in."""
        async with house() as app:
            await signed_up(app)
            planted = await signed_in(app)
            totp, _ = await enrolled(app, clock, await signed_in(app))
            grant = (await post(app, "/mfa/verify", ticket=await ticket(app), code=totp.at(clock.now))).json()

            assert grant["session"] != planted["session"] and grant["refresh_token"] != planted["refresh_token"]
            assert (await app.client.get("/images", headers=bearer(planted))).status_code == 401
            assert (await post(app, "/refresh", refresh_token=planted["refresh_token"])).status_code == 401

    async def test_wrong_codes_lock_the_account_and_the_password_alone_forgives_nothing(self, house, clock):
        async with house(account_failures=3) as app:
            await signed_up(app)
            totp, _ = await enrolled(app, clock, await signed_in(app))
            wrong = f"{(int(totp.at(clock.now)) + 1) % 10**6:06}"
            one = None
            for _ in range(3):
                one = await ticket(app)  # the password is right each time
                assert refusal(await post(app, "/mfa/verify", ticket=one, code=wrong)) == (400, "bad_code")

            assert refusal(await post(app, "/mfa/verify", ticket=one, code=totp.at(clock.now))) == (429, "locked_out")
            assert refusal(await post(app, "/signin", email=ADA, password=GOOD)) == (429, "locked_out")
            clock.on(seconds=30)
            assert (await post(app, "/mfa/verify", ticket=await ticket(app), code=totp.at(clock.now))).status_code == 200

    async def test_guesses_in_parallel_are_bounded_by_the_places(self, house, clock):
        async with house(account_failures=3, hashes_at_once=1) as app:
            await signed_up(app)
            totp, _ = await enrolled(app, clock, await signed_in(app))
            one, wrong = await ticket(app), f"{(int(totp.at(clock.now)) + 1) % 10**6:06}"
            answers = await asyncio.gather(*(post(app, "/mfa/verify", ticket=one, code=wrong) for _ in range(20)))

            assert sorted(refusal(answer)[1] for answer in answers) == ["bad_code"] * 3 + ["locked_out"] * 17

    async def test_what_is_no_code_is_a_bad_code(self, house, clock):
        async with house(account_failures=1000) as app:
            await signed_up(app)
            totp, codes = await enrolled(app, clock, await signed_in(app))
            one = await ticket(app)
            for code in ("", " ", "12345", "1234567", "١٢٣٤٥٦", "-" * 64, "\x00" * 6, codes[0][:-1], codes[0] + "0"):
                assert refusal(await post(app, "/mfa/verify", ticket=one, code=code)) == (400, "bad_code"), code
            assert refusal(await post(app, "/mfa/verify", ticket=one, code="1" * 65)) == (400, "bad_field")
            spaced = f"{totp.at(clock.now)[:3]} {totp.at(clock.now)[3:]}"
            assert (await post(app, "/mfa/verify", ticket=one, code=spaced)).status_code == 200

    async def test_a_suspended_users_ticket_is_over(self, house, clock):
        async with house() as app:
            await signed_up(app)
            totp, _ = await enrolled(app, clock, await signed_in(app))
            one = await ticket(app)
            catalog = app.safelight.catalog
            async with catalog.directory() as directory:
                _, user = await directory.people.by_email("default", ADA)
            async with catalog.tenant(user.tenant, writes=True) as records:
                from dataclasses import replace

                await records.accounts.save_user(replace(user, disabled_at=clock.now))

            assert refusal(await post(app, "/mfa/verify", ticket=one, code=totp.at(clock.now))) == (401, "unauthenticated")


class TestSteppingUp:
    async def dangerous(self, app, grant):
        return {
            "change": await ask(app, grant, "POST", "/password/change", current=GOOD, password=BETTER),
            "disable": await ask(app, grant, "DELETE", "/mfa/totp"),
            "regenerate": await ask(app, grant, "POST", "/mfa/recovery-codes"),
            "enrol": await ask(app, grant, "POST", "/mfa/totp"),
        }

    async def test_what_is_dangerous_asks_for_a_recent_proof_and_says_of_what_kind(self, house, clock):
        async with house(access_s=3600) as app:
            await signed_up(app)
            grant = await signed_in(app)
            clock.on(seconds=601)
            for name, answer in (await self.dangerous(app, grant)).items():
                assert refusal(answer) == (401, "step_up_required"), name
                assert (answer.json()["max_age_s"], answer.json()["methods"]) == (600, ["password"])
                assert 'error="insufficient_user_authentication", max_age="600"' in answer.headers["www-authenticate"]
            assert refusal(await ask(app, grant, "POST", "/step-up", password=BETTER)) == (401, "unauthenticated")
            fresh = await ask(app, grant, "POST", "/step-up", password=GOOD)

            assert fresh.status_code == 200 and fresh.headers["cache-control"] == "no-store"
            assert (await ask(app, fresh.json(), "POST", "/mfa/totp")).status_code == 201
            # An older token of the same session, that a thief may have, gains nothing by it.
            assert refusal(await ask(app, grant, "POST", "/mfa/totp")) == (401, "step_up_required")

    async def test_refreshing_makes_no_proof_recent_and_carries_one_on(self, house, clock):
        async with house(access_s=3600) as app:
            await signed_up(app)
            grant = await signed_in(app)
            clock.on(seconds=601)
            grant = (await post(app, "/refresh", refresh_token=grant["refresh_token"])).json()
            assert refusal(await ask(app, grant, "POST", "/mfa/totp")) == (401, "step_up_required")
            await ask(app, grant, "POST", "/step-up", password=GOOD)
            grant = (await post(app, "/refresh", refresh_token=grant["refresh_token"])).json()

            assert (await ask(app, grant, "POST", "/mfa/totp")).status_code == 201

    async def test_who_has_an_app_steps_up_by_it_and_not_by_the_password(self, house, clock):
        async with house(access_s=3600) as app:
            await signed_up(app)
            grant = await signed_in(app)
            totp, codes = await enrolled(app, clock, grant)
            grant = (await post(app, "/mfa/verify", ticket=await ticket(app), code=codes[0])).json()
            clock.on(seconds=601)
            refused = await ask(app, grant, "DELETE", "/mfa/totp")
            assert refused.json()["methods"] == ["totp", "recovery_code"]
            assert refusal(await ask(app, grant, "POST", "/step-up", password=GOOD)) == (400, "bad_code")
            code = totp.at(clock.now)
            answers = await asyncio.gather(*(ask(app, grant, "POST", "/step-up", code=code) for _ in range(3)))
            assert sorted(answer.status_code for answer in answers) == [200, 400, 400]
            fresh = next(answer.json() for answer in answers if answer.status_code == 200)

            assert (await ask(app, fresh, "DELETE", "/mfa/totp")).status_code == 204
            assert refusal(await ask(app, fresh, "DELETE", "/mfa/totp")) == (404, "not_found")
            assert "was removed" in (await letter(app, 4))["subject"]
            await signed_in(app)
            assert refusal(await ask(app, fresh, "POST", "/mfa/recovery-codes")) == (404, "not_found")

    async def test_wrong_proofs_lock_the_account_too(self, house, clock):
        async with house(account_failures=3) as app:
            await signed_up(app)
            grant = await signed_in(app)
            answers = [await ask(app, grant, "POST", "/step-up", password=BETTER) for _ in range(4)]

            assert [refusal(answer)[1] for answer in answers] == ["unauthenticated"] * 3 + ["locked_out"]
            assert refusal(await post(app, "/signin", email=ADA, password=GOOD)) == (429, "locked_out")

    async def test_an_admins_key_for_everything_asks_for_it_and_a_plain_one_does_not(self, house, clock):
        async with house(access_s=3600) as app:
            await app.client.post("/admin/users", json={"name": "Ada", "role": "admin", "email": ADA})
            assert (await post(app, "/password/reset", token=token_of(await letter(app)), password=GOOD)).status_code == 204
            grant = await signed_in(app)
            me = (await app.client.get("/admin/users", headers=bearer(grant))).json()[0]["id"]
            clock.on(seconds=601)

            async def make(grant, *scopes):
                body = {"user": me, "name": "key", "scopes": scopes}
                return await app.client.post("/admin/api-keys", json=body, headers=bearer(grant))

            assert refusal(await make(grant, "read", "admin")) == (401, "step_up_required")
            assert (await make(grant, "read", "write")).status_code == 201
            elsewhere = {"url": "https://hooks.example/"}
            hook = await app.client.patch(f"/admin/webhooks/{'0' * 26}", json=elsewhere, headers=bearer(grant))
            assert refusal(hook) == (401, "step_up_required"), "whoever moves it hears of everybody's images"
            fresh = (await ask(app, grant, "POST", "/step-up", password=GOOD)).json()
            assert (await make(fresh, "read", "admin")).status_code == 201

    async def test_an_api_key_is_no_session_and_has_no_factors(self, house):
        async with house() as app:
            for method, path, body in (
                ("GET", "/mfa", None),
                ("POST", "/mfa/totp", None),
                ("POST", "/mfa/totp/confirm", {"code": "000000"}),
                ("DELETE", "/mfa/totp", None),
                ("POST", "/mfa/recovery-codes", None),
                ("POST", "/step-up", {"password": GOOD}),
            ):
                assert refusal(await app.client.request(method, f"/auth{path}", json=body)) == (403, "forbidden"), path

    async def test_new_recovery_codes_end_the_old_ones(self, house, clock):
        async with house() as app:
            await signed_up(app)
            grant = await signed_in(app)
            _, old = await enrolled(app, clock, grant)
            new = (await ask(app, grant, "POST", "/mfa/recovery-codes")).json()["recovery_codes"]

            assert len(new) == 10 and not set(new) & set(old)
            assert "new recovery codes" in (await letter(app, 3))["subject"]
            assert refusal(await post(app, "/mfa/verify", ticket=await ticket(app), code=old[0])) == (400, "bad_code")
            assert (await post(app, "/mfa/verify", ticket=await ticket(app), code=new[0])).status_code == 200


class TestResetting:
    async def test_an_admin_takes_a_lost_app_away_and_its_user_is_told(self, house, clock):
        async with house() as app:
            await signed_up(app)
            grant = await signed_in(app)
            await enrolled(app, clock, grant)
            user = next(one["id"] for one in (await app.client.get("/admin/users")).json() if one["name"] == ADA)
            assert (await app.client.delete(f"/admin/users/{user}/mfa")).status_code == 204

            assert "were reset" in (await letter(app, 3))["subject"]
            assert (await app.client.get("/images", headers=bearer(grant))).status_code == 401
            await signed_in(app)

    async def test_nobody_else_does_and_strangers_learn_nothing(self, house, clock):
        async with house() as app:
            await signed_up(app)
            await signed_up(app, BOB)
            grant = await signed_in(app, BOB)
            everybody = (await app.client.get("/admin/users")).json()
            ada = next(one["id"] for one in everybody if one["name"] == ADA)
            nobody = "0" * 26

            for user in (ada, nobody):
                answer = await app.client.delete(f"/admin/users/{user}/mfa", headers=bearer(grant))
                assert refusal(answer) == (403, "forbidden")
            for user in (nobody, "x"):
                assert refusal(await app.client.delete(f"/admin/users/{user}/mfa")) == (404, "not_found")
            assert len(letters(app)) == 2

    async def test_an_admin_does_not_reset_an_operator(self, house, clock):
        async with house() as app:
            await app.client.post("/admin/users", json={"name": "Ada", "role": "admin", "email": ADA})
            await post(app, "/password/reset", token=token_of(await letter(app)), password=GOOD)
            grant = await signed_in(app)
            users = (await app.client.get("/admin/users", headers=bearer(grant))).json()
            operator = next(one["id"] for one in users if one["role"] == "operator")

            answer = await app.client.delete(f"/admin/users/{operator}/mfa", headers=bearer(grant))
            assert refusal(answer) == (403, "forbidden")


def pyjwt_claims(token):
    import jwt

    return jwt.decode(token, options={"verify_signature": False})
