"""Access tokens: what is published, what is believed, and every forgery that the field knows."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from tests.api.test_auth import ADA, GOOD, bearer, open_house, post, refusal, signed_in, signed_up, start

from safelight import jose
from safelight.domain.ids import new_id

__all__ = ["start"]


@pytest.fixture
async def house(start):
    """Ada, signed in, and what a forger may know: her claims and the published keys."""
    async with start({**open_house(), "server": {"public_url": "https://images.example.org"}}) as app:
        await signed_up(app)
        app.grant = await signed_in(app)
        app.header = jwt.get_unverified_header(app.grant["access_token"])
        app.claims = jwt.decode(app.grant["access_token"], options={"verify_signature": False})
        yield app


async def asked(app, token):
    raw = token if isinstance(token, bytes) else token.encode()
    answer = await app.client.get("/images", headers={"authorization": b"Bearer " + raw})
    return answer.status_code


def b64(value):
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


async def ours(app):
    async with app.safelight.catalog.directory() as directory:
        return (await directory.people.trust.token_keys())[0]


async def signed(app, claims=None, headers=None):
    """What only we can make: any claims and headers under the real key."""
    key = await ours(app)
    private = serialization.load_der_private_key(key.private, None)
    return jwt.encode({**app.claims, **(claims or {})}, private, algorithm="EdDSA", headers={**app.header, **(headers or {})})


class TestPublished:
    async def test_a_library_that_knows_the_issuer_alone_verifies_our_tokens(self, house):
        found = (await house.client.get("/.well-known/openid-configuration", headers={"authorization": ""})).json()
        assert found["jwks_uri"].removeprefix(found["issuer"]) == "/.well-known/jwks.json"
        keys = (await house.client.get("/.well-known/jwks.json", headers={"authorization": ""})).json()
        token = house.grant["access_token"]
        key = jwt.PyJWKSet.from_dict(keys)[house.header["kid"]]
        claims = jwt.decode(token, key, algorithms=["EdDSA"], audience="safelight", issuer=found["issuer"])

        assert house.header["typ"] == "at+jwt"
        assert set(claims) >= {"iss", "sub", "aud", "exp", "iat", "jti", "scope", "tenant", "sid"}
        assert claims["scope"] == "read write" and claims["exp"] - claims["iat"] == 600

    async def test_no_private_half_is_published(self, house):
        text = (await house.client.get("/.well-known/jwks.json")).text

        assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & set(json.loads(text)["keys"][0])

    @pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "RS256"])
    async def test_each_algorithm_opens_the_door(self, start, algorithm):
        async with start(open_house(algorithm=algorithm)) as app:
            await signed_up(app)
            grant = await signed_in(app)

            assert jwt.get_unverified_header(grant["access_token"])["alg"] == algorithm
            assert await asked(app, grant["access_token"]) == 200


class TestRotation:
    async def test_a_new_key_is_published_first_and_the_old_one_is_believed_until_its_tokens_have_expired(self, house):
        old = house.header["kid"]
        made = (await house.client.post("/admin/token-keys", json={"algorithm": "ES256"})).json()
        published = (await house.client.get("/.well-known/jwks.json")).json()["keys"]
        assert [key["kid"] for key in published] == [made["kid"], old]
        assert jwt.get_unverified_header((await signed_in(house))["access_token"])["kid"] == old

        retired = (await house.client.post(f"/admin/token-keys/{old}/retire")).json()
        assert datetime.fromisoformat(retired["retired_at"]) > datetime.now(UTC) + timedelta(seconds=590)
        assert jwt.get_unverified_header((await signed_in(house))["access_token"])["kid"] == made["kid"]
        assert await asked(house, house.grant["access_token"]) == 200

    async def test_a_leaked_key_is_retired_at_once(self, house):
        await house.client.post("/admin/token-keys", json={})
        await house.client.post(f"/admin/token-keys/{house.header['kid']}/retire", json={"after_s": 0})

        assert await asked(house, await signed(house, {"jti": "fresh"}, {"kid": house.header["kid"]})) == 401
        keys = (await house.client.get("/.well-known/jwks.json")).json()["keys"]
        assert house.header["kid"] not in {key["kid"] for key in keys}

    async def test_a_token_seen_before_its_key_leaked_is_believed_no_more_either(self, house):
        token = house.grant["access_token"]
        assert await asked(house, token) == 200
        await house.client.post("/admin/token-keys", json={})
        await house.client.post(f"/admin/token-keys/{house.header['kid']}/retire", json={"after_s": 0})

        assert await asked(house, token) == 401

    async def test_an_old_key_gets_a_successor_on_one_of_several_servers_and_goes_when_that_one_signs(self, start):
        """The clock is the application's own, so that nobody waits for ninety days."""
        now = [datetime.now(UTC)]

        async def rotated(*apps):
            for app in apps:
                app.safelight.tokens.rings.clear()
            await asyncio.gather(*(app.safelight.tokens.rotate(after=timedelta(days=90)) for app in apps))
            return [key["kid"] for key in (await apps[0].client.get("/.well-known/jwks.json")).json()["keys"]]

        async with start(clock=lambda: now[0]) as one, start(clock=lambda: now[0]) as two:
            await signed_up(one)
            first = jwt.get_unverified_header((await signed_in(one))["access_token"])["kid"]
            assert await rotated(one, two) == [first]

            now[0] += timedelta(days=90)
            successor, still = await rotated(one, two)
            assert still == first and await rotated(one, two) == [successor, first]
            grant = await signed_in(two)
            assert jwt.get_unverified_header(grant["access_token"])["kid"] == first

            now[0] += timedelta(seconds=300)
            assert await rotated(one, two) == [successor, first]
            fresh = await signed_in(one)
            assert jwt.get_unverified_header(fresh["access_token"])["kid"] == successor
            assert await asked(one, grant["access_token"]) == 200

            now[0] += timedelta(seconds=610)
            assert await rotated(one, two) == [successor]

    async def test_the_last_key_stays(self, house):
        refused = await house.client.post(f"/admin/token-keys/{house.header['kid']}/retire")

        assert refusal(refused) == (409, "wrong_state")
        assert refusal(await house.client.post("/admin/token-keys/nobody/retire")) == (404, "not_found")

    async def test_only_operators_see_the_ring(self, house):
        assert refusal(await house.client.get("/admin/token-keys", headers=bearer(house.grant))) == (403, "forbidden")
        assert "private" not in (await house.client.get("/admin/token-keys")).text


WRONG_CLAIMS = [
    {"iss": "https://evil.example"},
    {"iss": "https://images.example.org/"},
    {"iss": ["https://images.example.org"]},
    {"iss": None},
    {"aud": "somebody-else"},
    {"aud": []},
    {"aud": None},
    {"exp": 1},
    {"exp": -1},
    {"exp": "never"},
    {"exp": 1e300},
    {"exp": True},
    {"exp": None},
    {"nbf": 32_503_680_000},
    {"nbf": "x"},
    {"iat": 32_503_680_000},
    {"sub": new_id()},
    {"sub": None},
    {"sub": 7},
    {"tenant": new_id()},
    {"tenant": None},
    {"sid": new_id()},
    {"sid": "../../etc/passwd"},
    {"sid": {}},
    {"scope": None},
    {"scope": ["read"]},
    {"jti": None},
]
WRONG_HEADERS = [
    {"kid": "../../../../dev/null"},
    {"kid": "' OR 1=1 --"},
    {"kid": "x" * 5000},
    {"kid": "\x00"},
    {"kid": "nobody"},
    {"kid": ""},
    {"kid": 1},
    {"kid": None},
    {"kid": ["a"]},
    {"typ": "JWT"},
    {"typ": "id+jwt"},
    {"typ": None},
    {"crit": ["exp"]},
    {"crit": []},
    {"b64": False},
    {"alg": 5},
]
NONSENSE = [
    "",
    ".",
    "..",
    "...",
    "a.b.c",
    "e30.e30.e30",
    "x" * 9000,
    "x." * 4000,
    f"{b64({'alg': 'EdDSA'})}.{b64(b'[' * 3000)}.{b64(b'x' * 64)}",
    f"{b64(b'[' * 2000 + b']' * 2000)}.e30.AA",
    f"{b64([])}.{b64([])}.AA",
    f"{b64({'alg': 'EdDSA', 'kid': 'x'})}.{b64([1])}.AA",
    b"\xff\xfe.\xff.\xff",
]


class TestForgeries:
    async def test_alg_none(self, house):
        for algorithm in ("none", "None", "NONE", "nOnE", ""):
            header = {**house.header, "alg": algorithm}
            for signature in ("", "x", house.grant["access_token"].split(".")[2]):
                assert await asked(house, f"{b64(header)}.{b64(house.claims)}.{signature}") == 401

    async def test_a_public_key_used_as_a_shared_secret(self, house):
        public = jose.public_of((await ours(house)).private, algorithm="EdDSA", kid="x").key
        spelled = (
            public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
            public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
            public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw),
            (await house.client.get("/.well-known/jwks.json")).content,
        )
        for secret in spelled:
            for algorithm, digest in (("HS256", hashlib.sha256), ("HS512", hashlib.sha512)):
                message = f"{b64({**house.header, 'alg': algorithm})}.{b64(house.claims)}"
                assert await asked(house, f"{message}.{b64(hmac.digest(secret, message.encode(), digest))}") == 401

    async def test_another_algorithm_than_the_keys_own(self, house):
        foreign = jose.new_private("RS256")
        token = jose.signed(foreign, algorithm="RS256", kid=house.header["kid"], claims=house.claims)

        assert await asked(house, token) == 401

    async def test_somebody_elses_key_under_our_kid(self, house):
        token = jose.signed(jose.new_private("EdDSA"), algorithm="EdDSA", kid=house.header["kid"], claims=house.claims)

        assert await asked(house, token) == 401

    async def test_a_changed_claim_or_signature(self, house):
        header, _, signature = house.grant["access_token"].split(".")
        assert await asked(house, f"{header}.{b64({**house.claims, 'scope': 'read write admin'})}.{signature}") == 401
        for bad in (signature[:-2], signature[::-1], signature + "A" * 4, "A" * 86):
            assert await asked(house, ".".join([*house.grant["access_token"].split(".")[:2], bad])) == 401

    async def test_wrong_claims_are_refused_even_under_our_own_signature(self, house):
        for claims in WRONG_CLAIMS:
            changed = {name: value for name, value in {**house.claims, **claims}.items() if value is not None}
            key = await ours(house)
            private = serialization.load_der_private_key(key.private, None)
            message = f"{b64(house.header)}.{b64(changed)}"  # by hand: the library would not make some of these

            assert await asked(house, f"{message}.{b64(private.sign(message.encode()))}") == 401, claims

    async def test_an_expired_token_is_refused_though_it_was_believed_a_moment_ago(self, house):
        """The clock is the application's own, so that nobody has to wait."""
        token = house.grant["access_token"]
        assert await asked(house, token) == 200
        bearers = house.safelight.accounts.bearers
        late = type(bearers)(bearers.issuers, lambda: datetime.now(UTC) + timedelta(seconds=601), bearers.believed)

        from safelight.errors import Unauthenticated

        with pytest.raises(Unauthenticated):
            await late.authenticate(token)

    async def test_headers_that_are_not_ours_are_refused_under_our_own_signature(self, house):
        for header in WRONG_HEADERS:
            changed = {name: value for name, value in {**house.header, **header}.items() if value is not None}
            private = serialization.load_der_private_key((await ours(house)).private, None)
            message = f"{b64(changed)}.{b64(house.claims)}"

            assert await asked(house, f"{message}.{b64(private.sign(message.encode()))}") == 401, header

    async def test_a_key_that_the_token_brings_along_is_not_looked_at(self, house):
        foreign = jose.new_private("EdDSA")
        jwk = jose.jwk_of(jose.public_of(foreign, algorithm="EdDSA", kid=house.header["kid"]))
        private = serialization.load_der_private_key(foreign, None)
        for name in ("jku", "x5u", "jwk", "x5c"):
            value = {"jwk": jwk, "x5c": ["MIIB"]}.get(name, "http://127.0.0.1:9/keys.json")
            message = f"{b64({**house.header, name: value})}.{b64(house.claims)}"
            assert await asked(house, f"{message}.{b64(private.sign(message.encode()))}") == 401, name

    async def test_nonsense_of_any_size_is_refused_and_never_a_crash(self, house):
        for token in NONSENSE:
            assert await asked(house, token) == 401, token

    async def test_a_refresh_token_is_no_access_token(self, house):
        assert await asked(house, house.grant["refresh_token"]) == 401

    async def test_a_scope_that_the_role_does_not_have_gives_nothing(self, house):
        token = await signed(house, {"scope": "read write admin"})

        assert await asked(house, token) == 200
        assert refusal(await house.client.get("/admin/users", headers={"authorization": f"Bearer {token}"})) == (403, "forbidden")


async def test_a_token_of_another_installation_opens_nothing_here(run, start):
    async with start() as here:
        await signed_up(here)
        grant = await signed_in(here)
        elsewhere = jwt.decode(grant["access_token"], options={"verify_signature": False})["iss"]
        assert elsewhere == "http://127.0.0.1:8000"
    async with start({**open_house(), "auth": {**open_house()["auth"], "issuer": "https://other.example.org"}}) as there:
        assert await asked(there, grant["access_token"]) == 401
        assert (await post(there, "/signin", email=ADA, password=GOOD)).status_code == 200
