"""The pure parts of signing in: passwords, leaked lists, one-time secrets, foreign keys, letters and the rules of their values."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from safelight import jose, onetime
from safelight.domain.people import CODE_TRIES, Failures, Patience, Presented, email_of, signs
from safelight.errors import BadField, WrongState
from safelight.letters import Letters
from safelight.passwords import Breached, Hasher
from safelight.testing.factories import NOON, make_code, make_session, make_tenant, make_token_key, make_user

CHEAP = {"memory_kib": 8192, "passes": 1}
KEY, OLDER = b"k" * 32, b"o" * 32
USER = make_user(make_tenant().id)


class TestHashes:
    def test_a_password_matches_its_hash_and_no_other(self):
        hasher = Hasher((KEY,), **CHEAP)
        kept = hasher.hash("pass word")

        assert "$argon2id$" in kept and hasher.hash("pass word") != kept
        assert hasher.matches(kept, "pass word")
        assert not any(hasher.matches(kept, other) for other in ("pass", "Pass word", "pass word ", "", "\ud800"))

    def test_the_same_keys_on_another_keyboard_are_the_same_password(self):
        hasher = Hasher((KEY,), **CHEAP)

        assert hasher.matches(hasher.hash("Stra\u00dfe \u00e4"), "Stra\u00dfe a\u0308")

    def test_nobody_has_a_password(self):
        hasher = Hasher((KEY,), **CHEAP)

        assert not hasher.matches("", "")
        assert not hasher.matches("damaged", "x")

    def test_a_hash_is_worth_nothing_without_the_pepper(self):
        assert not Hasher((OLDER,), **CHEAP).matches(Hasher((KEY,), **CHEAP).hash("pass word"), "pass word")

    def test_an_older_pepper_is_believed_and_outdated(self):
        old, both = Hasher((OLDER,), **CHEAP), Hasher((KEY, OLDER), **CHEAP)
        kept = old.hash("pass word")

        assert both.matches(kept, "pass word") and both.is_outdated(kept)
        assert not both.is_outdated(both.hash("pass word"))
        assert Hasher((OLDER,), memory_kib=8192, passes=2).is_outdated(kept)


class TestLeakedLists:
    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "list.txt"

    @given(
        words=st.lists(st.text(max_size=8), max_size=30), others=st.lists(st.text(max_size=8), max_size=5), short=st.booleans()
    )
    @settings(max_examples=60, deadline=None)
    def test_exactly_what_is_listed_is_found(self, tmp_path_factory, words, others, short):
        path = tmp_path_factory.mktemp("leaked") / "list.txt"

        def line(word):
            return hashlib.sha1(word.encode("utf-8", "surrogatepass")).hexdigest().upper()[: 12 if short else 40]

        path.write_text("".join(f"{one}:7\r\n" for one in sorted({line(word) for word in words})))
        for word in [*words, *others]:
            assert Breached(path).contains(word) == (word in words)

    def test_an_empty_list_holds_nothing(self, path):
        path.write_text("")

        assert not Breached(path).contains("password")

    def test_a_last_line_without_an_end_counts(self, path):
        path.write_text(hashlib.sha1(b"password").hexdigest())

        assert Breached(path).contains("password")


class TestOneTimeSecrets:
    PARTS = ("tenant", "user", "verify", "id")

    def test_a_token_opens_to_its_parts_under_any_key_of_the_ring(self):
        token = onetime.token(OLDER, self.PARTS)

        assert onetime.opened((KEY, OLDER), token, 4) == list(self.PARTS)
        assert onetime.opened((KEY,), token, 4) is None

    @pytest.mark.parametrize(
        "change",
        [
            lambda t: t[:-1],
            lambda t: t + "A",
            lambda t: "x" + t,
            lambda t: t.replace("user", "eve"),
            lambda t: "",
            lambda t: t + ".x",
        ],
    )
    def test_a_changed_token_opens_nothing(self, change):
        assert onetime.opened((KEY,), change(onetime.token(KEY, self.PARTS)), 4) is None

    def test_digits_are_eight_and_another_ids_are_others(self):
        digits = onetime.digits(KEY, self.PARTS)

        assert len(digits) == 8 and digits.isdigit()
        assert onetime.are_digits((OLDER, KEY), self.PARTS, f" {digits[:4]}-{digits[4:]} ")
        assert not onetime.are_digits((KEY,), (*self.PARTS[:3], "other"), digits)
        assert not onetime.are_digits((KEY,), self.PARTS, "")


class TestForeignKeys:
    @pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "RS256"])
    def test_a_published_key_comes_back(self, algorithm):
        private = jose.new_private(algorithm)
        jwk = json.loads(json.dumps(jose.jwk_of(jose.public_of(private, algorithm=algorithm, kid="k"))))
        at = int(NOON.timestamp())
        token = jose.signed(
            private, algorithm=algorithm, kid="k", claims={"iss": "i", "sub": "s", "aud": "a", "iat": at, "exp": at + 9}
        )

        assert jose.verified(token, jose.keys_of(jwk)[0], issuer="i", audience="a", now=NOON)["sub"] == "s"

    def test_what_is_no_key_of_ours_is_refused(self):
        good = jose.jwk_of(jose.public_of(jose.new_private("ES256"), algorithm="ES256", kid="k"))
        weak = jose.PublicKey("k", "RS256", rsa.generate_private_key(65537, 1024).public_key())
        strong = jose.PublicKey("k", "RS256", rsa.generate_private_key(65537, 2048).public_key())
        other = jose.PublicKey("k", "ES256", ec.generate_private_key(ec.SECP256R1()).public_key())
        for bad in (
            {"kty": "oct", "k": "AAAA", "kid": "k", "alg": "HS256"},
            {**good, "alg": "HS256"},
            {**good, "alg": "none"},
            {**good, "use": "enc"},
            {**good, "crv": "P-384"},
            {**good, "x": "AAAA"},
            {**good, "y": jose.jwk_of(other)["y"]},
            {**good, "x": 7},
            {**good, "kid": 7},
            {"kid": "k"},
            {**good, "kty": []},
            {**good, "kty": None, "crv": {}},
            {**good, "alg": ["ES256"]},
            {"kty": "RSA", "kid": "k", "e": "AQAB", "n": "_" * 20_000},
            {"kty": "RSA", "kid": "k", "e": "_" * 300, "n": jose.jwk_of(strong)["n"]},
            jose.jwk_of(weak),
            {},
        ):
            with pytest.raises(jose.BadToken):
                jose.keys_of(bad)

    def test_a_key_is_good_for_the_algorithm_that_it_names_else_for_all_of_its_kind(self):
        jwk = jose.jwk_of(jose.PublicKey("k", "RS256", rsa.generate_private_key(65537, 2048).public_key()))

        assert [key.algorithm for key in jose.keys_of(jwk)] == ["RS256"]
        del jwk["alg"]
        assert [key.algorithm for key in jose.keys_of(jwk)] == ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]

    @pytest.mark.parametrize(
        "text",
        [
            '{"alg":"RS256","alg":"none"}',
            '{"kid":"a","kid":"b"}',
            '{"a":{"b":1,"b":2}}',
            '{"exp":NaN}',
            '{"exp":1e999,"a":Infinity}',
        ],
    )
    def test_a_member_twice_and_what_is_no_json_are_refused_before_anything_is_believed(self, text):
        def segment(value):
            return base64.urlsafe_b64encode(value.encode()).rstrip(b"=").decode()

        header, claims = json.dumps({"alg": "EdDSA", "kid": "k"}), json.dumps({"iss": "i"})
        assert jose.peek(f"{segment(header)}.{segment(claims)}.AA").issuer == "i"
        for token in (f"{segment(text)}.{segment(claims)}.AA", f"{segment(header)}.{segment(text)}.AA"):
            with pytest.raises(jose.BadToken):
                jose.peek(token)

    @pytest.mark.parametrize(
        ("claims", "audiences"),
        [
            ({"aud": "a"}, ("a",)),
            ({"aud": ["a", 7, "b"]}, ("a", "b")),
            ({"client_id": "c", "token_use": "access"}, ("c",)),
            ({"client_id": "c"}, ()),
            ({"client_id": "c", "token_use": "id"}, ()),
            ({"aud": [], "client_id": "c", "token_use": "access"}, ()),
            ({"aud": {"a": 1}}, ()),
        ],
    )
    def test_for_whom_a_token_is(self, claims, audiences):
        assert jose.audiences_of(claims) == audiences


class TestRules:
    @pytest.mark.parametrize("text", ["a@b", "Ada.Lovelace+x@Example.ORG", " ada@example.org ", "a@xn--bcher-kva.example"])
    def test_an_address_is_folded(self, text):
        assert email_of(text) == text.strip().lower()

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "a",
            "@b",
            "a@",
            "a@b.",
            "a@.b",
            ".a@b",
            "a..b@c",
            "a b@c",
            "a@b\n",
            "a@b\x00",
            "\u0131@b",
            "a@b,c@d",
            "<a@b>",
            '"a"@b',
            "a@[127.0.0.1]",
        ],
    )
    def test_what_is_none_is_refused(self, text):
        if text.endswith("\n"):
            assert email_of(text) == "a@b"
        else:
            with pytest.raises(BadField):
                email_of(text)

    def test_waits_double_up_to_the_longest_and_are_forgotten(self):
        patience = Patience(free=3, longest=timedelta(seconds=60))

        def wait(count, later=timedelta(0)):
            return patience.wait(Failures(subject="x", count=count, last_at=NOON), NOON + later).total_seconds()

        assert [wait(count) for count in (1, 2, 3, 4, 5, 9, 10_000)] == [0, 0, 1, 2, 4, 60, 60]
        assert wait(5, timedelta(seconds=3)) == 1
        assert wait(10_000, timedelta(hours=24)) == 0
        assert patience.wait(None, NOON) == timedelta(0)

    def test_a_code_dies_by_use_by_age_and_by_guessing(self):
        code = make_code(USER)

        assert code.is_live(NOON)
        assert not code.is_live(code.expires_at)
        assert not replace(code, used_at=NOON).is_live(NOON)
        assert not replace(code, tries=CODE_TRIES).is_live(NOON)

    def test_only_what_came_before_the_rotation_is_overtaken(self):
        first, second = b"1" * 32, b"2" * 32
        session = replace(make_session(USER), current_hash=first).rotated(second, at=NOON, life=timedelta(days=1))
        later = timedelta(microseconds=1)

        assert session.presented(second, begun_at=NOON + later) is Presented.CURRENT
        assert session.presented(first, begun_at=NOON - later) is Presented.OVERTAKEN
        assert session.presented(first, begun_at=NOON + later) is Presented.REPLAYED
        assert session.presented(b"x" * 32, begun_at=NOON - later) is Presented.REPLAYED
        assert (
            session.rotated(b"3" * 32, at=NOON, life=timedelta(days=1)).presented(first, begun_at=NOON - later)
            is Presented.REPLAYED
        )

    def test_a_new_key_signs_when_it_is_known(self):
        known_after = timedelta(minutes=5)
        old, new = make_token_key(), make_token_key(created_at=NOON + timedelta(hours=1))

        assert signs([], NOON, known_after=known_after) is None
        assert signs([old], NOON, known_after=known_after) == old
        assert signs([new, old], new.created_at, known_after=known_after) == old
        assert signs([new, old], new.created_at + known_after, known_after=known_after) == new
        assert signs([new, replace(old, retired_at=NOON)], new.created_at, known_after=known_after) == new


class TestLetters:
    VALUES = {
        "product": "Darkroom & Sons",
        "email": "ada@example.org",
        "hours": 24,
        "link": "https://x.example/#verify=a&b",
        "digits": "12345678",
    }

    def test_every_language_says_every_letter(self):
        letters = Letters()
        keys = set(letters.words["en"])
        for language in ("en", "de"):
            own = json.loads(
                (__import__("importlib.resources").resources.files("safelight.letters") / "words" / f"{language}.json").read_text(
                    "utf-8"
                )
            )
            assert set(own) == keys
            for name in ("verify", "reset", "invite", "exists", "changed"):
                letter = letters.render(name, language, **self.VALUES)
                assert "Darkroom & Sons" in letter.subject and "{" not in letter.text + letter.html

    def test_html_is_escaped_and_text_is_not(self):
        letter = Letters().render("verify", "en", **self.VALUES)

        assert "#verify=a&b" in letter.text and "#verify=a&amp;b" in letter.html
        assert "Darkroom &amp; Sons" in letter.html and "12345678" in letter.text
        hostile = Letters().render("verify", "en", **{**self.VALUES, "email": "<script>@x", "product": "{email.__class__}"})
        assert "<script>" not in hostile.html and "{email.__class__}" in hostile.subject

    @pytest.mark.parametrize(
        ("wanted", "got"), [("de", "de"), ("de-AT", "de"), ("DE", "de"), ("fr", "en"), ("", "en"), ("../../x", "en"), ("-", "en")]
    )
    def test_the_nearest_language_is_taken(self, wanted, got):
        assert Letters().language(wanted) == got

    def test_a_folder_of_ones_own_replaces_layouts_and_words(self, tmp_path):
        (tmp_path / "words").mkdir()
        (tmp_path / "words" / "fr.json").write_text(json.dumps({"verify.subject": "{product} : confirmez"}))
        (tmp_path / "letter.txt").write_text("Our own: {{ link }}")
        letter = Letters(tmp_path).render("verify", "fr-CA", **self.VALUES)

        assert letter.subject == "Darkroom & Sons : confirmez"
        assert letter.text == "Our own: https://x.example/#verify=a&b"
        assert "Confirm the address" in letter.html

    def test_words_that_are_none_stop_with_their_name(self, tmp_path):
        (tmp_path / "words").mkdir()
        (tmp_path / "words" / "fr.json").write_text('{"a": 1}')

        with pytest.raises(WrongState, match="fr.json"):
            Letters(tmp_path).words
