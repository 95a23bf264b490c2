"""KeySets before a real server that is away, slow, hostile or changes its keys; only the clock is the test's."""

from __future__ import annotations

import asyncio
import json
from ipaddress import ip_network

import pytest
from tests.servers.provider import CONFIGURATION, JWKS, Provider, answer

from safelight.adapters.outbound.httpx import HttpxOutbound
from safelight.domain.addresses import Reach
from safelight.errors import SafelightError, SourceRefused, SourceUnreachable, TooManyBytes, Unavailable
from safelight.jose import BadToken
from safelight.ports.outbound import FetchLimits
from safelight.services.key_sets import KeySetRules, KeySets

FRESH, STALE, FLOOR = 900.0, 86_400.0, 30.0


@pytest.fixture
async def provider():
    async with Provider() as provider:
        provider.add_key("k-1")
        yield provider


class Clock:
    def __init__(self) -> None:
        self.at = 1_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock():
    return Clock()


def sets_of(provider, clock, *, total_s=60.0, is_http_allowed=True, networks=("127.0.0.1/32",)):
    rules = KeySetRules(
        reach=Reach(networks=tuple(map(ip_network, networks)), ports=frozenset({provider.port})),
        limits=FetchLimits(max_bytes=65_536, connect_s=total_s, idle_s=total_s, total_s=total_s),
        fresh_s=FRESH,
        stale_s=STALE,
        floor_s=FLOOR,
        is_http_allowed=is_http_allowed,
    )
    return KeySets(HttpxOutbound(), rules, now=clock)


@pytest.fixture
def sets(provider, clock):
    return sets_of(provider, clock)


async def settled(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


class TestKeeping:
    async def test_keys_are_found_by_discovery_once(self, sets, provider):
        for _ in range(3):
            assert (await sets.key((provider.issuer, ""), "k-1", "RS256")).kid == "k-1"

        assert provider.asked == {CONFIGURATION: 1, JWKS: 1}

    async def test_an_address_that_was_given_is_asked_instead_of_the_issuer(self, sets, provider):
        assert await sets.key(("https://elsewhere.example", f"{provider.issuer}{JWKS}"), "k-1", "RS256")

        assert provider.asked == {JWKS: 1}

    async def test_two_addresses_for_one_issuer_are_two_sets(self, sets, provider):
        """Or whoever may name an address could put keys under everybody's issuer."""
        source = (provider.issuer, "")
        await sets.key(source, "k-1", "RS256")
        provider.replies["/other"] = said({"keys": []})
        with pytest.raises(Unavailable):
            await sets.key((provider.issuer, f"{provider.issuer}/other"), "k-1", "RS256")

        assert await sets.key(source, "k-1", "RS256")

    async def test_a_new_key_is_fetched_when_a_token_names_it_and_the_floor_has_passed(self, sets, provider, clock):
        source = (provider.issuer, "")
        await sets.key(source, "k-1", "RS256")
        provider.add_key("k-2", "ES256")
        with pytest.raises(BadToken):
            await sets.key(source, "k-2", "ES256")
        clock.at += FLOOR

        assert await sets.key(source, "k-2", "ES256")
        assert provider.fetches == 2

    async def test_a_key_is_good_for_its_own_algorithm_alone(self, sets, provider, clock):
        for algorithm in ("HS256", "none", "RS512", "ES256"):
            clock.at += FLOOR
            with pytest.raises(BadToken):
                await sets.key((provider.issuer, ""), "k-1", algorithm)

    async def test_however_many_ask_one_fetch_is_under_way(self, sets, provider):
        found = await asyncio.gather(*(sets.key((provider.issuer, ""), "k-1", "RS256") for _ in range(100)))

        assert {key.kid for key in found} == {"k-1"} and provider.fetches == 1

    async def test_a_flood_of_unknown_keys_costs_one_fetch_in_each_floor(self, sets, provider, clock):
        source = (provider.issuer, "")
        await sets.key(source, "k-1", "RS256")
        for _ in range(4):
            found = await asyncio.gather(*(sets.key(source, f"x{n}", "RS256") for n in range(100)), return_exceptions=True)
            assert {type(each) for each in found} == {BadToken}
            clock.at += FLOOR / 2

        assert provider.fetches <= 3

    async def test_an_old_set_is_fetched_behind_the_request_and_a_withdrawn_key_ends(self, sets, provider, clock):
        source = (provider.issuer, "")
        await sets.key(source, "k-1", "RS256")
        provider.add_key("k-2")
        del provider.keys["k-1"]
        clock.at += FRESH + 1
        assert await sets.key(source, "k-1", "RS256")
        await settled(lambda: provider.fetches == 2)
        await asyncio.gather(*sets._behind.values())

        with pytest.raises(BadToken):
            await sets.key(source, "k-1", "RS256")
        assert await sets.key(source, "k-2", "RS256")

    async def test_an_issuer_that_is_away_is_believed_by_what_it_said_up_to_a_limit(self, sets, provider, clock):
        source = (provider.issuer, "")
        await sets.key(source, "k-1", "RS256")
        await provider.hang_up()
        clock.at += STALE - 1
        assert await sets.key(source, "k-1", "RS256")
        await asyncio.gather(*sets._behind.values())
        with pytest.raises(BadToken):
            await sets.key(source, "unknown", "RS256")
        clock.at += 2
        with pytest.raises(Unavailable) as refused:
            await sets.key(source, "k-1", "RS256")
        assert refused.value.extra["retry_after_s"] == FLOOR

        await provider.listen()
        clock.at += FLOOR
        assert await sets.key(source, "k-1", "RS256")

    async def test_one_that_never_answered_is_asked_once_in_each_floor(self, sets, provider, clock):
        provider.replies[CONFIGURATION] = lambda writer: answer(writer, {}, status="500 Oh")
        for _ in range(20):
            with pytest.raises(Unavailable):
                await sets.key((provider.issuer, ""), "k-1", "RS256")

        assert provider.asked[CONFIGURATION] == 1


async def flood(writer):
    writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"[" * 65_536)
        await writer.drain()


async def trickle(writer):
    writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{")
    while not writer.is_closing():
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


def said(document):
    return lambda writer: answer(writer, document)


class TestHostile:
    @pytest.mark.parametrize(
        ("reply", "refusal"),
        [
            (flood, TooManyBytes),
            (said(b"x" * 70_000), TooManyBytes),
            (said(b"<html>"), SourceRefused),
            (said(b"[" * 60_000), SourceRefused),
            (said(b"{" + b'"a":{' * 10_000), SourceRefused),
            (said(b""), SourceRefused),
            (said(b"null"), SourceRefused),
            (said([]), SourceRefused),
            (said({}), SourceRefused),
            (said({"keys": {}}), SourceRefused),
            (said({"keys": [{}] * 10_000}), SourceRefused),
            (lambda writer: answer(writer, {"keys": []}, headers="content-encoding: gzip\r\n"), SourceRefused),
            (lambda writer: answer(writer, {}, status="404 No"), SourceRefused),
            (lambda writer: answer(writer, {}, status="302 Go", headers="location: http://127.0.0.2/\r\n"), SafelightError),
            (lambda writer: answer(writer, {}, status="302 Go", headers="location: http://169.254.169.254/\r\n"), SafelightError),
            (lambda writer: answer(writer, {}, status="302 Go", headers="location: file:///etc/passwd\r\n"), SafelightError),
        ],
    )
    @pytest.mark.parametrize("path", [JWKS, CONFIGURATION])
    async def test_what_is_no_key_set_is_refused_and_a_good_one_stays(self, sets, provider, clock, path, reply, refusal):
        source = (provider.issuer, "")
        await sets.key(source, "k-1", "RS256")
        provider.replies[path] = reply
        with pytest.raises(refusal):
            await sets.fetch(source)
        clock.at += FLOOR
        with pytest.raises(BadToken):
            await sets.key(source, "k-2", "RS256")

        assert await sets.key(source, "k-1", "RS256")

    async def test_one_that_trickles_is_given_up(self, provider, clock):
        provider.replies[JWKS] = trickle
        with pytest.raises(Unavailable):
            await sets_of(provider, clock, total_s=0.5).key((provider.issuer, ""), "k-1", "RS256")

    async def test_a_redirect_to_a_private_address_is_not_followed(self, sets, provider):
        async with Provider("127.0.0.2") as inside:
            inside.port = provider.port
            await inside.hang_up()
            await inside.listen()
            where = f"location: http://127.0.0.2:{provider.port}{JWKS}\r\n"
            provider.replies[JWKS] = lambda writer: answer(writer, {}, status="302 Found", headers=where)
            with pytest.raises(SourceUnreachable):
                await sets.fetch((provider.issuer, ""))

            assert inside.asked == {}

    async def test_a_private_issuer_is_out_of_reach_unless_the_settings_open_it(self, provider, clock):
        closed = sets_of(provider, clock, networks=())
        for url in ("", f"{provider.issuer}{JWKS}", f"http://localhost:{provider.port}/pool{JWKS}"):
            with pytest.raises(SourceUnreachable):
                await closed.fetch((provider.issuer, url))

        assert provider.asked == {}

    async def test_an_issuer_cannot_lead_to_keys_without_tls(self, provider, clock):
        with pytest.raises(SafelightError):
            await sets_of(provider, clock, is_http_allowed=False).fetch((provider.issuer, ""))

        assert provider.asked == {}

    @pytest.mark.parametrize(
        "changed",
        [{"issuer": "https://other.example"}, {"issuer": None}, {"jwks_uri": None}, {"jwks_uri": ["x"]}, {"jwks_uri": "x"}],
    )
    async def test_a_configuration_that_is_not_its_own_or_leads_nowhere_is_refused(self, sets, provider, changed):
        document = {"issuer": provider.issuer, "jwks_uri": f"{provider.issuer}{JWKS}", **changed}
        provider.replies[CONFIGURATION] = said(document)
        with pytest.raises(SafelightError):
            await sets.fetch((provider.issuer, ""))

        assert provider.fetches == 0

    async def test_keys_that_verify_nothing_are_passed_over(self, sets, provider):
        good = provider.key_set()["keys"]
        strange = [
            7,
            None,
            {},
            {"kty": "oct", "k": "AAAA", "kid": "hs", "alg": "HS256"},
            {"kty": "RSA", "kid": "bad", "n": "x", "e": 1},
        ]
        provider.replies[JWKS] = said(json.dumps({"keys": [*strange, *good, {**good[0], "kid": "enc", "use": "enc"}]}).encode())

        assert set((await sets.fetch((provider.issuer, ""))).keys) == {("k-1", "RS256")}
