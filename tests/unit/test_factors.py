"""The pure parts of second factors: TOTP by the RFC's own numbers and by pyotp, recovery codes, tickets and challenges."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pyotp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight import totp as app
from safelight.domain import access
from safelight.domain.accounts import Actor, Role
from safelight.domain.ids import KeyId, SessionId, new_id
from safelight.services.tickets import CHALLENGE_S, TICKET_S, Challenges, Tickets
from safelight.testing.factories import NOON, make_credential, make_session, make_tenant, make_totp, make_user

USER = make_user(make_tenant().id)
KEY, OLDER = b"k" * 32, b"o" * 32


class TestTotp:
    @pytest.mark.parametrize(
        ("at", "code"),
        # RFC 6238 appendix B, SHA-1; the last six of its eight digits
        [
            (59, "287082"),
            (1111111109, "081804"),
            (1111111111, "050471"),
            (1234567890, "005924"),
            (2000000000, "279037"),
            (20000000000, "353130"),
        ],
    )
    def test_the_numbers_of_the_rfc(self, at, code):
        assert app.code_at(b"12345678901234567890", at // 30) == code

    @given(st.binary(min_size=20, max_size=20), st.integers(0, 2**37))
    def test_pyotp_says_the_same(self, secret, at):
        assert app.code_at(secret, at // 30) == pyotp.TOTP(app.base32(secret)).at(at)

    def test_a_step_is_found_within_the_drift_and_after_the_last(self):
        secret, now = app.new_secret(), 1_800_000_000.5
        step = int(now) // 30
        assert [app.step_of(secret, app.code_at(secret, step + by), now_s=now, after=0) for by in (-2, -1, 0, 1, 2)] == [
            None,
            step - 1,
            step,
            step + 1,
            None,
        ]
        assert app.step_of(secret, app.code_at(secret, step), now_s=now, after=step) is None
        assert app.step_of(secret, app.code_at(secret, 0), now_s=0, after=-1) == 0

    def test_names_with_colons_and_blanks_survive_the_uri(self):
        secret = app.new_secret()
        read = pyotp.parse_uri(app.uri(secret, issuer="Dark: room & co", account="a+b@example.org"))

        assert (read.secret, read.issuer, read.name) == (app.base32(secret), "Dark: room & co", "a+b@example.org")


class TestRecovery:
    def test_each_code_is_good_once_however_it_is_typed(self):
        totp, codes = make_totp(USER).with_recovery(KEY)
        after = totp.recovering(f" {codes[0].upper().replace('-', '')} ", (KEY,))

        assert len(after.recovery) == 9 and after.recovering(codes[0], (KEY,)) is None
        assert after.recovering(codes[1], (KEY,)) is not None

    def test_codes_of_an_older_key_are_good_and_those_of_others_are_not(self):
        totp, codes = make_totp(USER).with_recovery(OLDER)

        assert totp.recovering(codes[0], (KEY, OLDER)) is not None
        assert totp.recovering(codes[0], (KEY,)) is None
        assert replace(totp, user=make_user(USER.tenant).id).recovering(codes[0], (KEY, OLDER)) is None
        for text in ("", "-", codes[0][:-1], "\ud800", "x" * 64):
            assert totp.recovering(text, (KEY, OLDER)) is None


class TestTickets:
    def test_a_ticket_comes_back_until_its_time_is_over_or_the_password_another(self):
        credential = make_credential(USER, password_hash="hash")
        text = Tickets((OLDER,)).made(credential, NOON)
        tickets = Tickets((KEY, OLDER))
        opened = tickets.opened(text, NOON + timedelta(seconds=TICKET_S - 1))

        assert (opened.tenant, opened.user) == (USER.tenant, USER.id) and tickets.is_of(opened, credential)
        assert not tickets.is_of(opened, replace(credential, changed_at=NOON + timedelta(seconds=1)))
        assert tickets.opened(text, NOON + timedelta(seconds=TICKET_S)) is None
        assert Tickets((KEY,)).opened(text, NOON) is None

    def test_a_challenge_is_for_one_purpose_and_a_short_time(self):
        challenges, others = Challenges((KEY,)), Challenges((OLDER,))
        made = challenges.made("signin", NOON)
        mark, until = challenges.opened(made, "signin", NOON)

        assert len(mark) == 32 and until == NOON + timedelta(seconds=CHALLENGE_S)
        assert challenges.opened(made, "register", NOON) is None and others.opened(made, "signin", NOON) is None
        assert challenges.opened(made, "signin", until) is None
        assert challenges.made("signin", NOON) != made
        for forged in (b"", made[:-1], made + b"\0", b"\0" * len(made), made[:16] + b"\xff" * 8 + made[24:]):
            assert challenges.opened(forged, "signin", NOON) is None


class TestRecent:
    @pytest.mark.parametrize(("age_s", "is_recent"), [(0, True), (600, True), (601, False)])
    def test_a_proof_is_recent_for_so_long(self, age_s, is_recent):
        actor = Actor(
            tenant=USER.tenant, user=USER.id, role=Role.USER, scopes=frozenset(), session=SessionId(new_id()), proven_at=NOON
        )
        now, within = NOON + timedelta(seconds=age_s), timedelta(minutes=10)

        assert access.is_recent(actor, now=now, within=within) is is_recent
        assert not access.is_recent(replace(actor, proven_at=None), now=now, within=within)
        assert access.is_recent(replace(actor, proven_at=None, key=KeyId(new_id())), now=now, within=within)

    def test_what_was_proven_is_added_to_what_was(self):
        session = make_session(USER).proven(("otp", "mfa"), at=NOON + timedelta(hours=1)).proven(("otp",), at=NOON)

        assert (session.methods, session.proven_at) == (("pwd", "otp", "mfa"), NOON)
