"""The cache on a real Valkey: the whole contract from one client and across two, what lies in the server, and what it does
without one."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace

import pytest
from tests.servers.valkey import Gate, Valkey, ValkeyCluster, new_valkey, valkey, valkey_cluster  # noqa: F401

from safelight.adapters.cache import valkey as adapter
from safelight.adapters.cache.servers import Tls
from safelight.adapters.cache.valkey import ValkeyCache
from safelight.domain.rates import Rate
from safelight.errors import BackendUnavailable, WrongState
from safelight.testing.contracts.cache import PATIENCE_S, SLOW, CacheContract, fresh, keep, value_of

KEY = b"k" * 32
PATIENT_S = 20.0
"""A deadline that a loaded machine keeps."""


@contextlib.asynccontextmanager
async def connected(server: Valkey | ValkeyCluster, *, deadline_s: float = PATIENT_S, url: str = "", key: bytes = KEY, **options):
    if isinstance(server, ValkeyCluster):
        options = {"is_cluster": True, "tls": trusting(server.tls)} | options
    cache = ValkeyCache(url or server.url, key=key, deadline_s=deadline_s, **options)
    await cache.open()
    try:
        yield cache
    finally:
        await cache.close()


def trusting(tls: Gate) -> Tls:
    return Tls(ca=tls.ca, certificate=tls.certificate, key=tls.key)


async def give_questions_up(cache, *, keys: int) -> None:
    """Callers who go away at every point of a question; whoever asks next gets an answer of their own, or none."""
    mine = [fresh() for _ in range(keys)]
    for key in mine:
        await keep(cache, key, key.encode(), "tag")
    for n, key in enumerate(mine * 4):
        task = asyncio.create_task(value_of(cache, key, "tag"))
        for _ in range(n % 9):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert await value_of(cache, key, "tag") in {key.encode(), None}


class TestValkeyCache(CacheContract):
    @pytest.fixture
    async def cache(self, valkey):
        async with connected(valkey) as cache:
            yield cache


class TestCluster(CacheContract):
    """Three machines, TLS and a password."""

    @pytest.fixture
    async def cache(self, valkey_cluster):
        async with connected(valkey_cluster) as cache:
            yield cache

    async def test_keys_lie_on_every_machine(self, cache, valkey_cluster):
        marker = fresh()
        for n in range(30):
            await keep(cache, f"{marker}{n}", b"v", f"{marker}{n}", marker)
        for n in range(30):
            assert await value_of(cache, f"{marker}{n}", f"{marker}{n}", marker) == b"v"

        assert all(list(client.scan_iter(f"safelight:k:{marker}*")) for client in valkey_cluster.clients())

    async def test_tags_of_different_machines_are_forgotten_together(self, cache):
        marker = fresh()
        tags = [f"{marker}{n}" for n in range(20)]
        for tag in tags:
            await keep(cache, tag, b"v", tag)
        await cache.forget(tags)

        assert [await value_of(cache, tag, tag) for tag in tags] == [None] * 20

    async def test_a_key_that_moves_to_another_machine_is_followed(self, cache, valkey_cluster):
        key, tag = fresh(), fresh("tag")
        await keep(cache, key, b"v", tag)
        clients = valkey_cluster.clients()
        slot = clients[0].execute_command("CLUSTER", "KEYSLOT", f"safelight:k:{key}")
        source = next(n for n, client in enumerate(clients) if client.execute_command("CLUSTER", "COUNTKEYSINSLOT", slot))
        target = (source + 1) % 3
        ids = [client.execute_command("CLUSTER", "MYID").decode() for client in clients]
        clients[target].execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
        clients[source].execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
        for name in clients[source].execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
            clients[source].execute_command(
                "MIGRATE", "127.0.0.1", valkey_cluster.nodes[target].port, name, 0, 20_000, "AUTH", valkey_cluster.PASSWORD
            )
        for number in (target, source, 3 - source - target):
            clients[number].execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[target])

        assert await value_of(cache, key, tag) == b"v"
        await cache.forget([tag])
        assert await value_of(cache, key, tag) is None

    async def test_a_question_that_is_given_up_leaves_no_answer_and_no_connection_behind(self, cache):
        await give_questions_up(cache, keys=20)
        await cache.ping()
        assert max(len(node._connections) for node in cache._servers._client.get_nodes()) <= 32


class TestTwoProcesses:
    """Two clients, as two processes have them."""

    @pytest.fixture(params=["valkey", "valkey_cluster"])
    async def pair(self, request):
        server = request.getfixturevalue(request.param)
        async with connected(server) as one, connected(server) as other:
            yield one, other

    async def test_what_one_put_the_other_finds_until_either_forgets_it(self, pair):
        one, other = pair
        key, tag = fresh(), fresh("tag")
        await keep(one, key, b"v", tag)
        assert await value_of(other, key, tag) == b"v"
        await other.forget([tag])

        assert await value_of(one, key, tag) is None

    async def test_what_one_read_before_the_others_forget_is_not_believed_by_either(self, pair):
        one, other = pair
        key, tag = fresh(), fresh("tag")
        stale = await one.get(key, tags=[tag])
        await other.forget([tag])
        await one.put(key, b"stale", tags=[tag], stamp=stale.stamp, ttl_s=60)

        assert await value_of(one, key, tag) is await value_of(other, key, tag) is None

    async def test_they_share_buckets_and_leases(self, pair):
        one, other = pair
        name = fresh()
        grants = await asyncio.gather(*(cache.take(name, SLOW) for _ in range(10) for cache in pair))

        assert sum(grant.is_granted for grant in grants) == SLOW.burst
        assert await one.lease(name, "a", ttl_s=60)
        assert not await other.lease(name, "b", ttl_s=60)

    async def test_lost_generations_are_lost_values(self, valkey):
        async with connected(valkey) as one, connected(valkey) as other:
            await self._lose(one, other, valkey)

    async def _lose(self, one, other, valkey):
        key, tag = fresh(), fresh("tag")
        await keep(one, key, b"v", tag)
        valkey.client().delete(f"safelight:g:{tag}")  # pushed out by a server that is full

        assert await value_of(other, key, tag) is None


class TestWhatLiesInTheServer:
    async def test_no_value_can_be_read_there(self, valkey):
        key, tag = fresh(), fresh("tag")
        async with connected(valkey) as cache:
            await keep(cache, key, b"51.4779 N, 0.0015 W", tag)
        kept = valkey.client().get(f"safelight:k:{key}")

        assert kept is not None
        assert b"51.4779" not in kept

    @pytest.mark.parametrize("attack", ["changed", "moved", "cut", "of another installation"])
    async def test_a_value_that_somebody_else_put_there_is_none(self, valkey, attack):
        key, tag, other = fresh(), fresh("tag"), fresh()
        raw = valkey.client()
        async with connected(valkey) as cache, connected(valkey, key=b"x" * 32) as stranger:
            await keep(stranger if attack == "of another installation" else cache, key, b"v" * 50, tag)
            kept = raw.get(f"safelight:k:{key}")
            match attack:
                case "changed":
                    raw.set(f"safelight:k:{key}", kept[:-1] + bytes([kept[-1] ^ 1]))
                case "moved":
                    raw.set(f"safelight:k:{other}", kept)
                    key = other
                case "cut":
                    raw.set(f"safelight:k:{key}", kept[:20])

            assert await value_of(cache, key, tag) is None

    async def test_everything_ends_by_itself(self, valkey):
        marker = fresh()
        async with connected(valkey) as cache:
            await keep(cache, marker, b"v", marker)
            await cache.take(marker, SLOW)
            await cache.lease(marker, "a", ttl_s=60)
        raw = valkey.client()
        lives = {key: raw.ttl(key) for key in raw.scan_iter(f"*{marker}*")}

        assert len(lives) == 4
        assert all(0 < seconds <= adapter.GENERATION_TTL_S for seconds in lives.values()), lives


CALLS = (
    lambda cache: value_of(cache, "k", "tag"),
    lambda cache: cache.put("k", b"v", tags=["tag"], stamp=b"x" * 16, ttl_s=60),
    lambda cache: cache.forget(["tag"]),
    lambda cache: cache.take("bucket", SLOW),
    lambda cache: cache.lease("lease", "a", ttl_s=60),
    lambda cache: cache.release("lease", "a"),
)


async def away(cache):
    """Until it has met the outage."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await cache.ping()
            except BackendUnavailable:
                return
            await asyncio.sleep(0.02)


async def back(cache, key="back"):
    """Until values are kept again."""
    async with asyncio.timeout(PATIENCE_S):
        while await value_of(cache, key, "tag") is None:
            await keep(cache, key, b"v", "tag")
            await asyncio.sleep(0.02)


class TestAway:
    @pytest.mark.parametrize("how", ["kill", "pause"])
    async def test_no_call_raises_or_hangs(self, new_valkey, how):
        async with connected(new_valkey, deadline_s=0.25) as cache:
            await asyncio.gather(*(call(cache) for call in CALLS))
            getattr(new_valkey, how)()
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.gather(*(call(cache) for call in CALLS))
                await away(cache)
                await asyncio.gather(*(call(cache) for call in CALLS))

    async def test_buckets_and_leases_are_then_the_processs_own(self, new_valkey):
        async with connected(new_valkey, deadline_s=0.25) as cache:
            new_valkey.kill()
            await away(cache)
            grants = [await cache.take("bucket", SLOW) for _ in range(6)]

            assert [grant.is_granted for grant in grants] == [True] * 5 + [False]
            assert await cache.lease("lease", "a", ttl_s=60)
            assert not await cache.lease("lease", "b", ttl_s=60)

    async def test_a_server_that_is_away_is_not_asked_again_by_every_call(self, new_valkey):
        async with connected(new_valkey, deadline_s=0.25) as cache:
            new_valkey.pause()
            await away(cache)
            began = time.monotonic()
            for _ in range(1_000):
                await value_of(cache, "k", "tag")
                await cache.take("bucket", Rate(1_000, 1_000))

            assert time.monotonic() - began < 0.25 * 1_000, "not a deadline each"

    @pytest.mark.parametrize(("go", "come"), [("kill", "start"), ("pause", "resume")])
    async def test_it_is_found_again_without_help(self, new_valkey, go, come):
        async with connected(new_valkey, deadline_s=0.25) as cache:
            await keep(cache, "k", b"v", "tag")
            getattr(new_valkey, go)()
            await away(cache)
            getattr(new_valkey, come)()
            await back(cache)
            await cache.ping()

    async def test_a_server_that_comes_later_is_waited_for(self, new_valkey):
        new_valkey.kill()
        async with connected(new_valkey, deadline_s=0.25) as cache:
            with pytest.raises(BackendUnavailable):
                await cache.ping()
            new_valkey.start()
            await back(cache)

    async def test_what_was_changed_during_an_outage_is_not_believed_after_it_by_anybody(self, new_valkey):
        """A frozen server keeps its memory: what it holds was true before, and nobody could tell it."""
        async with connected(new_valkey, deadline_s=0.25) as writer, connected(new_valkey, deadline_s=0.25) as reader:
            await keep(reader, "k", b"before", "tag")
            new_valkey.pause()
            await asyncio.gather(away(writer), away(reader))
            await writer.forget(["tag"])
            new_valkey.resume()
            seen = set()
            async with asyncio.timeout(PATIENCE_S):
                while b"probe" not in seen:
                    seen.add(await value_of(reader, "k", "tag"))
                    await keep(reader, "other", b"probe", "other")
                    seen.add(await value_of(reader, "other", "other"))
                    await asyncio.sleep(0.01)

            assert b"before" not in seen

    async def test_the_first_who_cannot_tell_waits_until_everybody_knows(self, new_valkey):
        async with connected(new_valkey, deadline_s=0.25) as writer, connected(new_valkey, deadline_s=0.25) as reader:
            await keep(reader, "k", b"before", "tag")
            new_valkey.pause()
            await writer.forget(["tag"])  # returns when the reader must have met the outage too, whoever has asked it or not

            assert await value_of(reader, "k", "tag") is None

    async def test_a_caller_who_goes_away_leaves_no_answer_for_the_next(self, valkey):
        async with connected(valkey) as cache:
            await give_questions_up(cache, keys=50)


class TestAwayInACluster:
    @pytest.fixture
    def new_cluster(self, tmp_path):
        cluster = ValkeyCluster(tmp_path / "cluster")
        yield cluster
        cluster.kill()

    async def test_one_machine_away_is_a_cache_away_that_forgets_and_is_found_again(self, new_cluster):
        async with connected(new_cluster, deadline_s=1.0) as writer, connected(new_cluster, deadline_s=1.0) as reader:
            keys = [fresh() for _ in range(12)]
            async with asyncio.timeout(PATIENCE_S):
                while await value_of(reader, keys[0], keys[0]) is None:
                    for key in keys:
                        await keep(reader, key, b"before", key)
            new_cluster.nodes[1].pause()
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.gather(*(call(writer) for call in CALLS))
                await asyncio.gather(away(writer), away(reader))
            await writer.forget(keys)
            assert (await writer.take("bucket", SLOW)).is_granted
            new_cluster.nodes[1].resume()
            await asyncio.gather(back(writer, "one"), back(reader, "other"))

            assert [await value_of(reader, key, key) for key in keys] == [None] * 12


class TestTls:
    @pytest.fixture
    def secured(self, tmp_path):
        server = Valkey(tmp_path / "valkey", tls=Gate(tmp_path / "tls"))
        yield server
        server.end()

    async def test_a_signer_of_ones_own_and_a_certificate_of_the_client_are_used(self, secured):
        async with connected(secured, tls=trusting(secured.tls)) as cache:
            await keep(cache, "k", b"v", "tag")
            assert await value_of(cache, "k", "tag") == b"v"
            await cache.ping()

    @pytest.mark.parametrize(
        "wrong", ["nobody vouches for the server", "another name", "no certificate", "a stranger's certificate"]
    )
    async def test_what_cannot_be_trusted_or_does_not_trust_us_stops_the_start_and_the_setting_is_named(self, secured, wrong):
        tls, url = trusting(secured.tls), secured.url
        match wrong:
            case "nobody vouches for the server":
                tls, named = replace(tls, ca=None), "SAFELIGHT_CACHE__CA_FILE"
            case "another name":
                url, named = url.replace("127.0.0.1", "localhost"), "not trusted"
            case "no certificate":
                tls, named = replace(tls, certificate=None, key=None), "SAFELIGHT_CACHE__CERTIFICATE_FILE"
            case "a stranger's certificate":
                tls = replace(tls, certificate=secured.tls.strange_certificate, key=secured.tls.strange_key)
                named = "SAFELIGHT_CACHE__CERTIFICATE_FILE"

        with pytest.raises(WrongState, match=named):
            await ValkeyCache(url, key=KEY, tls=tls, deadline_s=PATIENT_S).open()


class TestStarting:
    async def test_a_cluster_that_is_not_said_to_be_one_and_the_reverse_are_told(self, valkey, valkey_cluster):
        with pytest.raises(WrongState, match="SAFELIGHT_CACHE__IS_CLUSTER"):
            await ValkeyCache(valkey_cluster.url, key=KEY, tls=trusting(valkey_cluster.tls), deadline_s=PATIENT_S).open()
        with pytest.raises(WrongState, match="SAFELIGHT_CACHE__IS_CLUSTER"):
            await ValkeyCache(valkey.url, key=KEY, is_cluster=True, deadline_s=PATIENT_S).open()
        with pytest.raises(WrongState, match="SAFELIGHT_CACHE__URL"):
            wrong = valkey_cluster.url.replace(valkey_cluster.PASSWORD, "wrong")
            await ValkeyCache(wrong, key=KEY, is_cluster=True, tls=trusting(valkey_cluster.tls), deadline_s=PATIENT_S).open()

    async def test_a_look_tells_which_server_it_is(self, valkey, valkey_cluster):
        alone = ValkeyCache(valkey.url, key=KEY, deadline_s=PATIENT_S)
        many = ValkeyCache(valkey_cluster.url, key=KEY, is_cluster=True, tls=trusting(valkey_cluster.tls), deadline_s=PATIENT_S)

        assert [(await cache.look()).split()[0] for cache in (alone, many)] == ["Valkey", "Valkey"]

    async def test_a_wrong_password_stops_the_start_and_names_the_setting(self, new_valkey):
        new_valkey.client().config_set("requirepass", "secret")
        for url in (new_valkey.url, new_valkey.url.replace("://", "://:wrong@")):
            with pytest.raises(WrongState, match="SAFELIGHT_CACHE__URL"):
                await ValkeyCache(url, key=KEY, deadline_s=PATIENT_S).open()
        async with connected(new_valkey, url=new_valkey.url.replace("://", "://:secret@")) as cache:
            await cache.ping()

    async def test_a_full_server_is_no_outage(self, new_valkey):
        new_valkey.client().config_set("maxmemory", "3mb")
        new_valkey.client().config_set("maxmemory-policy", "noeviction")
        async with connected(new_valkey) as cache:
            for n in range(20):
                await keep(cache, f"k{n}", b"x" * 500_000, "tag")
            assert (await cache.take("bucket", SLOW)).is_granted
            assert await value_of(cache, "k19", "tag") is None
            await cache.forget(["tag"])
            await cache.ping()
