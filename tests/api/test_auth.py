"""Signing up, in and out, as strangers and users meet it: over HTTP, with the letters read from the data directory."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path

import pytest
from tests.servers.smtp import Sink

from safelight.adapters.catalog.memory import MemoryCatalog
from safelight.adapters.search.memory import MemorySearch
from safelight.adapters.storage.memory import MemoryStorage
from safelight.adapters.workflows.memory import MemoryWorkflows
from safelight.domain.events import MailDue
from safelight.domain.people import CODE_LIFE, Letter
from safelight.errors import WrongState
from safelight.flows import Retry
from safelight.ports.workflows import RunState
from safelight.services.signin import Grant

GOOD, BETTER = "umbrella-seventeen-kites", "quiet harbour / 41 lanterns"
ADA = "ada@example.org"
# The cheapest Argon2 that the settings allow: these tests are about who gets in, not about how long guessing takes.
CHEAP = {"hash_memory_kib": 8192, "hash_passes": 1}


def open_house(**auth):
    return {"auth": {"signup_tenants": "default", **CHEAP, **auth}, "rate": {"auth_per_minute": 0}}


@pytest.fixture
def start(run):
    """With everything in memory, for the sake of a quick start; the acceptance tests do the same over files and servers."""
    catalog = MemoryCatalog()

    def start(settings=None, **overrides):
        parts = {
            "originals": MemoryStorage(),
            "renditions": MemoryStorage(),
            "catalog": catalog,
            "search": MemorySearch(),
            "workflows": MemoryWorkflows,
            **overrides,
        }
        return run(open_house() if settings is None else settings, **parts)

    return start


def letters(app):
    folder: Path = app.safelight.settings.mail_path
    return [message_from_bytes(path.read_bytes(), policy=policy.default) for path in sorted(folder.glob("*.eml"))]


async def letter(app, count=1, *, within_s=60.0):
    """The newest letter, once there are so many."""
    deadline = time.monotonic() + within_s
    while len(found := letters(app)) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} letters"
        await asyncio.sleep(0.05)
    return found[-1]


def text_of(message):
    return message.get_body(("plain",)).get_content()


def token_of(message):
    return re.search(r"#(?:verify|password)=(\S+)", text_of(message)).group(1)


def code_of(message):
    return re.search(r": (\d{8})\s", text_of(message)).group(1)


def bearer(grant):
    return {"authorization": f"Bearer {grant['access_token']}"}


async def post(app, path, **body):
    return await app.client.post(f"/auth{path}", json=body, headers={"authorization": ""})


async def signed_up(app, email=ADA, password=GOOD):
    already = len(letters(app))
    assert (await post(app, "/signup", email=email, password=password)).status_code == 202
    token = token_of(await letter(app, already + 1))
    assert (await post(app, "/verify", token=token)).status_code == 204


async def signed_in(app, email=ADA, password=GOOD):
    answer = await post(app, "/signin", email=email, password=password)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refusal(answer):
    return answer.status_code, answer.json()["code"]


class TestSigningUp:
    async def test_from_sign_up_to_a_list_of_images(self, start):
        async with start() as app:
            await signed_up(app)
            grant = await signed_in(app)

            assert (await app.client.get("/images", headers=bearer(grant))).status_code == 200
            assert grant["token_type"] == "Bearer" and grant["expires_in"] == 600

    async def test_nobody_signs_in_before_the_address_is_verified(self, start):
        async with start() as app:
            await post(app, "/signup", email=ADA, password=GOOD)
            await letter(app)

            assert refusal(await post(app, "/signin", email=ADA, password=GOOD)) == (401, "unauthenticated")

    async def test_digits_verify_as_well_and_five_wrong_ones_kill_the_code(self, start):
        async with start() as app:
            await post(app, "/signup", email=ADA, password=GOOD)
            digits = code_of(await letter(app))
            wrong = f"{(int(digits) + 1) % 10**8:08}"
            for _ in range(4):
                assert refusal(await post(app, "/verify", email=ADA, code=wrong)) == (400, "bad_code")
            spaced = f"{digits[:4]} {digits[4:]}"
            assert (await post(app, "/verify", email=ADA, code=spaced)).status_code == 204

            await post(app, "/signup", email="bob@example.org", password=GOOD)
            digits = code_of(await letter(app, 2))
            wrong = f"{(int(digits) + 1) % 10**8:08}"
            for _ in range(5):
                await post(app, "/verify", email="bob@example.org", code=wrong)
            assert refusal(await post(app, "/verify", email="bob@example.org", code=digits)) == (400, "bad_code")

    async def test_a_code_is_used_once_however_many_use_it_at_once(self, start):
        async with start() as app:
            await post(app, "/signup", email=ADA, password=GOOD)
            token = token_of(await letter(app))
            answers = await asyncio.gather(*(post(app, "/verify", token=token) for _ in range(6)))

            assert sorted(answer.status_code for answer in answers) == [204, 400, 400, 400, 400, 400]

    async def test_sign_up_is_closed_unless_the_settings_open_it(self, start):
        async with start({"auth": CHEAP, "rate": {"auth_per_minute": 0}}) as app:
            assert refusal(await post(app, "/signup", email=ADA, password=GOOD)) == (403, "forbidden")
        async with start() as app:
            unknown = await post(app, "/signup", email=ADA, password=GOOD, tenant="elsewhere")
            assert refusal(unknown) == (403, "forbidden")

    async def test_a_second_sign_up_answers_alike_and_changes_nothing(self, start):
        async with start() as app:
            first = await post(app, "/signup", email=ADA, password=GOOD)
            assert (await post(app, "/verify", token=token_of(await letter(app)))).status_code == 204
            second = await post(app, "/signup", email=ADA.upper(), password=BETTER)
            told = await letter(app, 2)

            assert (first.status_code, first.json()) == (second.status_code, second.json())
            assert "already have" in told["subject"]
            assert "#" not in text_of(told)
            await signed_in(app, password=GOOD)
            assert (await post(app, "/signin", email=ADA, password=BETTER)).status_code == 401

    async def test_an_unverified_sign_up_gives_way_to_a_newer_one(self, start):
        async with start() as app:
            await post(app, "/signup", email=ADA, password=GOOD)
            old = token_of(await letter(app))
            await post(app, "/signup", email=ADA, password=BETTER)
            new = token_of(await letter(app, 2))

            assert refusal(await post(app, "/verify", token=old)) == (400, "bad_code")
            assert (await post(app, "/verify", token=new)).status_code == 204
            await signed_in(app, password=BETTER)

    async def test_a_password_that_is_easily_guessed_or_of_no_fit_length_is_refused(self, start):
        async with start() as app:
            for password in ("password1", "Safelight1", "ada@example.org", "adaadaada"):
                assert refusal(await post(app, "/signup", email=ADA, password=password)) == (422, "weak_password"), password
            for password in ("", "short", "x" * 257, "x" * 5000):
                assert refusal(await post(app, "/signup", email=ADA, password=password)) == (400, "bad_field"), password

    async def test_a_leaked_password_is_refused(self, start, tmp_path):
        import hashlib

        hashes = sorted(hashlib.sha1(word.encode()).hexdigest().upper() for word in (GOOD, "one", "two"))
        (tmp_path / "leaked.txt").write_text("".join(f"{line}:3\n" for line in hashes))
        async with start(open_house(breached_path=tmp_path / "leaked.txt")) as app:
            assert refusal(await post(app, "/signup", email=ADA, password=GOOD)) == (422, "weak_password")
            assert (await post(app, "/signup", email=ADA, password=BETTER)).status_code == 202

    async def test_what_is_no_address_is_a_bad_field(self, start):
        async with start() as app:
            for email in [
                "",
                "ada",
                "a@b@c",
                "ada@example.org\r\nBcc: eve@example.org",
                "ädä@example.org",
                "ada@exämple.org",
                " ",
                "a@-b",
                "x" * 300,
            ]:
                for path, body in (("/signup", {"password": GOOD}), ("/signin", {"password": GOOD}), ("/password/forgot", {})):
                    assert refusal(await post(app, path, email=email, **body)) == (400, "bad_field"), email

    async def test_a_field_that_nobody_asked_for_is_refused(self, start):
        async with start() as app:
            assert refusal(await post(app, "/signup", email=ADA, password=GOOD, role="admin")) == (400, "bad_field")

    async def test_letters_speak_the_language_that_was_asked_for(self, start):
        async with start() as app:
            german = {"accept-language": "de-AT,de;q=0.9,en;q=0.5", "authorization": ""}
            await app.client.post("/auth/signup", json={"email": ADA, "password": GOOD}, headers=german)

            assert "bestätigen" in (await letter(app))["subject"]

    async def test_a_links_host_is_the_settings_whatever_the_host_header_says(self, start):
        async with start({**open_house(), "server": {"public_url": "https://images.example.org"}}) as app:
            headers = {"host": "evil.example", "x-forwarded-host": "evil.example", "authorization": ""}
            await app.client.post("/auth/signup", json={"email": ADA, "password": GOOD}, headers=headers)
            told = await letter(app)

            assert "https://images.example.org/account#verify=" in text_of(told)
            assert "evil.example" not in told.as_string()


class TestInvitations:
    async def test_an_invited_user_chooses_a_password_and_signs_in(self, start):
        async with start({"auth": CHEAP, "rate": {"auth_per_minute": 0}}) as app:
            made = await app.client.post("/admin/users", json={"name": "Ada", "role": "admin", "email": ADA})
            token = token_of(await letter(app))
            assert (await post(app, "/signin", email=ADA, password="")).status_code == 401
            assert (await post(app, "/verify", token=token)).status_code == 400
            assert (await post(app, "/password/reset", token=token, password=GOOD)).status_code == 204
            grant = await signed_in(app)

            assert made.status_code == 201
            users = await app.client.get("/admin/users", headers=bearer(grant))
            assert [user["name"] for user in users.json()] == ["Ada", "operator"]

    async def test_an_address_that_is_taken_makes_no_user(self, start):
        async with start() as app:
            await signed_up(app)
            refused = await app.client.post("/admin/users", json={"name": "Bob", "email": ADA})

            assert refusal(refused) == (409, "already_exists")
            assert "Bob" not in (await app.client.get("/admin/users")).text

    async def test_a_user_who_has_no_address_is_invited_later_and_again(self, start):
        async with start({"auth": CHEAP, "rate": {"auth_per_minute": 0}}) as app:
            user = (await app.client.post("/admin/users", json={"name": "Ada"})).json()["id"]
            for count in (1, 2):
                invited = await app.client.post(f"/admin/users/{user}/invite", json={"email": ADA})
                assert invited.status_code == 202
                token = token_of(await letter(app, count))
            assert (await post(app, "/password/reset", token=token, password=GOOD)).status_code == 204

            assert refusal(await app.client.post(f"/admin/users/{user}/invite", json={"email": ADA})) == (409, "already_exists")


class TestNobodyLearnsWhoExists:
    async def test_a_wrong_password_and_an_unknown_user_are_one_answer(self, start):
        async with start() as app:
            await signed_up(app)
            known = await post(app, "/signin", email=ADA, password=BETTER)
            unknown = await post(app, "/signin", email="nobody@example.org", password=BETTER)
            elsewhere = await post(app, "/signin", email=ADA, password=GOOD, tenant="elsewhere")

            assert known.status_code == 401
            assert known.json() == unknown.json() == elsewhere.json()

    async def test_an_unknown_user_costs_a_hash_as_well(self, start, monkeypatch):
        """By counting the work: a clock would be a coin toss on a busy machine."""
        from argon2 import PasswordHasher

        worked = []
        verify = PasswordHasher.verify
        monkeypatch.setattr(PasswordHasher, "verify", lambda *a: (worked.append(a[1][:40]), verify(*a))[1])
        async with start() as app:
            await signed_up(app)
            worked.clear()
            await post(app, "/signin", email=ADA, password=BETTER)
            await post(app, "/signin", email="nobody@example.org", password=BETTER)

            assert len(worked) == 2 and re.sub(r"\$[^$]*$", "", worked[0]) == re.sub(r"\$[^$]*$", "", worked[1])

    async def test_a_forgotten_password_is_one_answer_and_one_letter(self, start):
        async with start() as app:
            await signed_up(app)
            known = await post(app, "/password/forgot", email=ADA)
            unknown = await post(app, "/password/forgot", email="nobody@example.org")
            elsewhere = await post(app, "/password/forgot", email=ADA, tenant="elsewhere")
            told = await letter(app, 2)

            assert (known.status_code, known.json()) == (unknown.status_code, unknown.json()) == (202, elsewhere.json())
            assert told["to"] == ADA and "new password" in told["subject"]

    async def test_wrong_digits_for_somebody_and_for_nobody_are_one_answer(self, start):
        async with start() as app:
            await post(app, "/signup", email=ADA, password=GOOD)
            await letter(app)
            known = await post(app, "/verify", email=ADA, code="00000000")
            unknown = await post(app, "/verify", email="nobody@example.org", code="00000000")

            assert (known.status_code, known.json()) == (unknown.status_code, unknown.json())

    @pytest.mark.parametrize("email", [ADA, "nobody@example.org"])
    async def test_too_many_failures_lock_somebody_and_nobody_alike(self, start, email):
        async with start(open_house(account_failures=3)) as app:
            await signed_up(app)
            answers = [await post(app, "/signin", email=email, password=BETTER) for _ in range(4)]

            assert [refusal(answer)[1] for answer in answers] == ["unauthenticated"] * 3 + ["locked_out"]
            assert int(answers[-1].headers["retry-after"]) >= 1

    async def test_nobodys_letter_box_is_filled(self, start):
        async with start() as app:
            await signed_up(app)
            for count in range(8):
                assert (await post(app, "/password/forgot", email=ADA)).status_code == 202
                await letter(app, min(count + 2, 5))  # one to verify, and four more within the hour's five
            await app.client.post("/admin/users", json={"name": "Bob", "email": "bob@example.org"})
            await letter(app, 6)  # asked for last: whatever was to come before it has come

            assert [one["to"] for one in letters(app)].count(ADA) == 5


class TestLockout:
    async def test_the_right_password_does_not_open_a_locked_account_until_the_wait_is_over(self, start):
        async with start(open_house(account_failures=2, longest_wait_s=2)) as app:
            await signed_up(app)
            for _ in range(2):
                await post(app, "/signin", email=ADA, password=BETTER)
            locked = await post(app, "/signin", email=ADA, password=GOOD)
            assert refusal(locked) == (429, "locked_out")
            deadline = time.monotonic() + 60
            while (answer := await post(app, "/signin", email=ADA, password=GOOD)).status_code == 429:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.2)

            assert answer.status_code == 200

    async def test_guessing_at_many_accounts_locks_the_address(self, start):
        async with start(open_house(address_failures=5)) as app:
            for number in range(5):
                await post(app, "/signin", email=f"user{number}@example.org", password=BETTER)

            assert refusal(await post(app, "/signin", email="fresh@example.org", password=BETTER)) == (429, "locked_out")

    async def test_parallel_guesses_get_no_further_than_serial_ones(self, start):
        async with start(open_house(account_failures=4, hashes_at_once=2)) as app:
            await signed_up(app)
            answers = await asyncio.gather(*(post(app, "/signin", email=ADA, password=BETTER) for _ in range(30)))

            # What is inside the gate when the limit is reached may still be tried.
            assert 4 <= sum(answer.status_code == 401 for answer in answers) <= 4 + 2

    async def test_sixteen_at_once_all_get_in(self, start):
        async with start(open_house(hashes_at_once=2)) as app:
            await signed_up(app)
            grants = await asyncio.gather(*(signed_in(app) for _ in range(16)))

            assert len({grant["session"] for grant in grants}) == 16

    async def test_a_full_house_tells_the_rest_to_come_back(self, start):
        async with start(open_house(hashes_at_once=1, hashes_waiting=0)) as app:
            answers = await asyncio.gather(*(post(app, "/signin", email=f"u{n}@example.org", password=GOOD) for n in range(8)))

            assert {answer.status_code for answer in answers} <= {401, 503}
            assert all(answer.headers["retry-after"] for answer in answers if answer.status_code == 503)
            assert any(answer.status_code == 401 for answer in answers)


class TestSessions:
    async def test_a_refresh_token_is_good_once_and_a_replay_ends_the_family(self, start):
        async with start() as app:
            await signed_up(app)
            first = await signed_in(app)
            second = (await post(app, "/refresh", refresh_token=first["refresh_token"])).json()
            assert second["session"] == first["session"]
            assert (await app.client.get("/images", headers=bearer(second))).status_code == 200

            assert refusal(await post(app, "/refresh", refresh_token=first["refresh_token"])) == (401, "unauthenticated")
            assert (await post(app, "/refresh", refresh_token=second["refresh_token"])).status_code == 401
            for grant in (first, second):
                assert (await app.client.get("/images", headers=bearer(grant))).status_code == 401

    async def test_of_many_refreshes_at_once_one_wins_and_the_session_lives(self, start):
        async with start() as app:
            await signed_up(app)
            grant = await signed_in(app)
            tenant = (await app.safelight.accounts.authenticate(app.token)).tenant
            # Nobody can rotate before all have begun: whoever came afterwards would be a replay.
            async with app.safelight.catalog.tenant(tenant, writes=True):
                at_once = [asyncio.create_task(app.safelight.signin.refresh(grant["refresh_token"])) for _ in range(5)]
                await asyncio.sleep(0.1)
            outcomes = await asyncio.gather(*at_once, return_exceptions=True)
            won = [one for one in outcomes if isinstance(one, Grant)]

            assert len(won) == 1
            assert [type(one) for one in outcomes if one is not won[0]] == [WrongState] * 4
            assert (await post(app, "/refresh", refresh_token=won[0].refresh_token)).status_code == 200

    async def test_a_forged_refresh_token_ends_nobodys_session(self, start):
        async with start() as app:
            await signed_up(app)
            grant = await signed_in(app)
            prefix, session, family, turn = grant["refresh_token"].split("_")
            for forged in (
                "",
                "sr",
                "sr___",
                f"{prefix}_{session}_{'0' * 48}_{turn}",
                f"{prefix}_{'0' * 26}_{family}_{turn}",
                f"{prefix}_{session}_{family}_{turn}_x",
                "x" * 512,
                "sr_\x00_ß_\ud7ff",
            ):
                assert (await post(app, "/refresh", refresh_token=forged)).status_code == 401
                assert (await post(app, "/signout", refresh_token=forged)).status_code == 401
            assert refusal(await post(app, "/refresh", refresh_token="x" * 600)) == (400, "bad_field")

            assert (await post(app, "/refresh", refresh_token=grant["refresh_token"])).status_code == 200

    async def test_signing_out_ends_this_session_alone(self, start):
        async with start() as app:
            await signed_up(app)
            here, there = await signed_in(app), await signed_in(app)
            assert (await app.client.get("/images", headers=bearer(here))).status_code == 200
            assert (await post(app, "/signout", refresh_token=here["refresh_token"])).status_code == 204

            assert (await app.client.get("/images", headers=bearer(here))).status_code == 401
            assert (await post(app, "/refresh", refresh_token=here["refresh_token"])).status_code == 401
            assert (await app.client.get("/images", headers=bearer(there))).status_code == 200

    async def test_sessions_are_listed_and_ended_by_their_user_alone(self, start):
        async with start() as app:
            await signed_up(app)
            await signed_up(app, "eve@example.org")
            ada, eve = await signed_in(app), await signed_in(app, "eve@example.org")
            listed = (await app.client.get("/auth/sessions", headers=bearer(ada))).json()
            assert [(one["id"], one["is_current"]) for one in listed] == [(ada["session"], True)]
            reaching = await app.client.delete(f"/auth/sessions/{ada['session']}", headers=bearer(eve))
            assert refusal(reaching) == (404, "not_found")

            assert (await app.client.delete(f"/auth/sessions/{ada['session']}", headers=bearer(ada))).status_code == 204
            assert (await app.client.get("/images", headers=bearer(ada))).status_code == 401
            assert (await app.client.get("/images", headers=bearer(eve))).status_code == 200

    async def test_signing_out_everywhere_ends_them_all(self, start):
        async with start() as app:
            await signed_up(app)
            grants = [await signed_in(app) for _ in range(3)]
            assert (await app.client.delete("/auth/sessions", headers=bearer(grants[0]))).status_code == 204

            for grant in grants:
                assert (await app.client.get("/images", headers=bearer(grant))).status_code == 401
                assert (await post(app, "/refresh", refresh_token=grant["refresh_token"])).status_code == 401

    async def test_an_api_key_is_no_session(self, start):
        async with start() as app:
            assert refusal(await app.client.get("/auth/sessions")) == (403, "forbidden")
            assert refusal(await app.client.delete("/auth/sessions")) == (403, "forbidden")
            changing = await app.client.post("/auth/password/change", json={"current": GOOD, "password": BETTER})
            assert refusal(changing) == (403, "forbidden")

    async def test_a_suspended_user_comes_in_no_more(self, start):
        from datetime import UTC, datetime

        async with start() as app:
            await signed_up(app)
            grant = await signed_in(app)
            tenant = (await app.safelight.accounts.authenticate(app.token)).tenant
            async with app.safelight.catalog.tenant(tenant, writes=True) as records:
                user = next(one for one in await records.accounts.users() if one.name == ADA)
                await records.accounts.save_user(replace(user, disabled_at=datetime.now(UTC)))

            assert (await post(app, "/signin", email=ADA, password=GOOD)).status_code == 401
            assert (await post(app, "/refresh", refresh_token=grant["refresh_token"])).status_code == 401
            assert (await app.client.get("/images", headers=bearer(grant))).status_code == 401


class TestPasswords:
    async def test_a_new_password_by_mail_ends_every_session_and_is_told(self, start):
        async with start() as app:
            await signed_up(app)
            grant = await signed_in(app)
            await post(app, "/password/forgot", email=ADA)
            token = token_of(await letter(app, 2))
            assert refusal(await post(app, "/password/reset", token=token, password="password1"))[1] == "weak_password"
            answers = await asyncio.gather(*(post(app, "/password/reset", token=token, password=BETTER) for _ in range(3)))
            assert sorted(answer.status_code for answer in answers) == [204, 400, 400]

            assert (await app.client.get("/images", headers=bearer(grant))).status_code == 401
            assert (await post(app, "/signin", email=ADA, password=GOOD)).status_code == 401
            await signed_in(app, password=BETTER)
            assert "was changed" in (await letter(app, 3))["subject"]

    async def test_digits_choose_a_password_as_well(self, start):
        async with start() as app:
            await signed_up(app)
            await post(app, "/password/forgot", email=ADA)
            digits = code_of(await letter(app, 2))

            assert (await post(app, "/password/reset", email=ADA, code=digits, password=BETTER)).status_code == 204
            await signed_in(app, password=BETTER)

    async def test_a_code_for_one_thing_does_nothing_else(self, start):
        async with start() as app:
            await post(app, "/signup", email=ADA, password=GOOD)
            verify = token_of(await letter(app))

            assert refusal(await post(app, "/password/reset", token=verify, password=BETTER)) == (400, "bad_code")

    async def test_a_made_up_token_is_a_bad_code(self, start):
        async with start() as app:
            for token in ("", "x", "a.b.c.d.e", "." * 900, "ß.\x00.verify.x.y"):
                assert refusal(await post(app, "/verify", token=token)) == (400, "bad_code")
                assert refusal(await post(app, "/password/reset", token=token, password=GOOD)) == (400, "bad_code")

    async def test_a_changed_password_keeps_this_session_and_ends_the_others(self, start):
        async with start() as app:
            await signed_up(app)
            here, there = await signed_in(app), await signed_in(app)
            wrong = await app.client.post(
                "/auth/password/change", json={"current": "x", "password": BETTER}, headers=bearer(here)
            )
            assert refusal(wrong) == (401, "unauthenticated")
            body = {"current": GOOD, "password": BETTER}
            assert (await app.client.post("/auth/password/change", json=body, headers=bearer(here))).status_code == 204

            assert (await app.client.get("/images", headers=bearer(here))).status_code == 200
            assert (await app.client.get("/images", headers=bearer(there))).status_code == 401
            await signed_in(app, password=BETTER)

    async def test_a_password_is_hashed_anew_when_hashing_became_dearer(self, start):
        async with start() as app:
            await signed_up(app)
        async with start(open_house(hash_passes=2)) as app:
            await signed_in(app)
            async with app.safelight.catalog.directory() as directory:
                credential, _ = await directory.people.by_email("default", ADA)
            assert ",t=2," in credential.password_hash
            await signed_in(app)


def impatient(bound):
    """The same flows without rests."""
    quick = {
        name: replace(flow, steps=tuple(replace(step, retry=Retry(attempts=1)) for step in flow.steps))
        for name, flow in bound.flows.items()
    }
    return MemoryWorkflows(replace(bound, flows=quick))


class TestTheMailServer:
    @pytest.fixture
    def port(self):
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            return held.getsockname()[1]

    async def test_what_was_given_up_while_it_was_away_is_sent_by_the_clock_when_it_answers(self, start, tmp_path, port):
        settings = {**open_house(), "mail": {"host": "127.0.0.1", "port": port, "security": "none"}}
        async with start(settings, workflows=impatient) as app:
            await post(app, "/signup", email=ADA, password=GOOD)
            async with asyncio.timeout(60):
                while not (dead := (await app.client.get("/admin/failures")).json()["failures"]):
                    await asyncio.sleep(0.02)
            assert GOOD not in str(dead) and ADA not in str(dead)
            resend = next(chore for name, _, chore in app.safelight.chores if name == "resend_mail")
            assert await resend() == 0

            with Sink(tmp_path, port=port) as sink:
                assert await resend() == 1
                async with asyncio.timeout(60):
                    while not sink.messages:
                        await asyncio.sleep(0.02)
                assert (await post(app, "/verify", token=token_of(sink.messages[0]))).status_code == 204
            assert (await app.client.get("/admin/failures")).json()["failures"] == []

    async def test_a_recipient_who_is_refused_for_good_is_no_dead_letter_and_no_answer(self, start, tmp_path, port):
        settings = {**open_house(), "mail": {"host": "127.0.0.1", "port": port, "security": "none"}}
        with Sink(tmp_path, port=port) as sink:
            sink.refuses = {ADA: "550 5.1.1 No such mailbox"}
            async with start(settings) as app:
                assert (await post(app, "/signup", email=ADA, password=GOOD)).status_code == 202
                await post(app, "/signup", email="bob@example.org", password=GOOD)
                async with asyncio.timeout(60):
                    while not sink.messages or "refused" not in str(app.safelight.instruments.mails._metrics):
                        await asyncio.sleep(0.02)

                assert [message["to"] for message in sink.messages] == ["bob@example.org"]
                assert (await app.client.get("/admin/failures")).json()["failures"] == []


class TestALetterWhoseRunIsRepeated:
    """As after a crash between the mail server's answer and the engine's note of it, or by hand, days later."""

    @pytest.fixture
    async def forgetful(self, start):
        late = timedelta()
        async with start(clock=lambda: datetime.now(UTC) + late) as app:

            def wait(for_):
                nonlocal late
                late += for_

            await signed_up(app)
            async with app.safelight.catalog.directory() as directory:
                credential, _ = await directory.people.by_email("default", ADA)
            assert (await post(app, "/password/forgot", email=ADA)).status_code == 202
            await letter(app, 2)
            yield app, credential, wait

    async def again(self, app, credential, code):
        """The letters that were sent by another run of the first one's flow."""
        for path in app.safelight.settings.mail_path.glob("*.eml"):
            path.unlink()
        event = MailDue(credential.tenant, credential.user, Letter.RESET.value, code.id)
        await app.safelight.workflows.start("mail", "mail:once more", event.to_json(), party=credential.tenant)
        async with asyncio.timeout(60):
            while (await app.safelight.workflows.get("mail:once more")).state is not RunState.DONE:
                await asyncio.sleep(0.02)
        return letters(app)

    async def code(self, app, credential):
        async with app.safelight.catalog.tenant(credential.tenant) as records:
            return await records.people.code(credential.user, Letter.RESET)

    async def test_it_says_the_same_under_the_same_id_as_long_as_its_code_is_good(self, forgetful):
        app, credential, _ = forgetful
        first = letters(app)[-1]

        (second,) = await self.again(app, credential, await self.code(app, credential))

        assert (second["message-id"], text_of(second)) == (first["message-id"], text_of(first))
        assert (await post(app, "/password/reset", token=token_of(second), password=BETTER)).status_code == 204

    async def test_it_is_not_sent_again_once_its_code_was_used(self, forgetful):
        app, credential, _ = forgetful
        code = await self.code(app, credential)
        used = {"token": token_of(letters(app)[-1]), "password": BETTER}
        assert (await post(app, "/password/reset", **used)).status_code == 204
        await letter(app, 3)  # that the password was changed

        assert await self.again(app, credential, code) == []

    async def test_it_is_not_sent_again_once_a_newer_one_has_taken_its_place(self, forgetful):
        app, credential, _ = forgetful
        code = await self.code(app, credential)
        assert (await post(app, "/password/forgot", email=ADA)).status_code == 202
        newer = await letter(app, 3)

        assert await self.again(app, credential, code) == []
        assert (await post(app, "/password/reset", token=token_of(newer), password=BETTER)).status_code == 204

    async def test_it_is_not_sent_again_after_its_time(self, forgetful):
        app, credential, wait = forgetful
        code = await self.code(app, credential)
        wait(CODE_LIFE[Letter.RESET])

        assert await self.again(app, credential, code) == []

    async def test_it_is_not_sent_to_somebody_who_is_gone(self, forgetful):
        app, credential, _ = forgetful
        code = await self.code(app, credential)
        async with app.safelight.catalog.tenant(credential.tenant, writes=True) as records:
            await records.accounts.remove_user(credential.user)

        assert await self.again(app, credential, code) == []
        assert app.safelight.instruments.registry.get_sample_value("safelight_mails_total", {"outcome": "dropped"}) == 1


async def test_nobody_of_a_suspended_tenant_signs_in_or_goes_on(start):
    async with start() as app:
        await signed_up(app)
        grant = await signed_in(app)
        catalog = app.safelight.catalog
        async with catalog.directory(writes=True) as directory:
            (tenant,) = await directory.tenants()
            await directory.save_tenant(replace(tenant, suspended_at=tenant.created_at, revision=tenant.revision + 1))

        assert refusal(await post(app, "/signin", email=ADA, password=GOOD)) == (403, "tenant_suspended")
        assert refusal(await post(app, "/refresh", refresh_token=grant["refresh_token"])) == (403, "tenant_suspended")
        assert refusal(await post(app, "/signup", email="b@example.org", password=GOOD)) == (403, "tenant_suspended")
        assert (await post(app, "/signin", email=ADA, password="a wrong one, at length")).status_code == 401
