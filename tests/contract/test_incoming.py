"""The Incoming contract: over memory and the embedded store, where Safelight answers, and on a real S3 server by form and PUT."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from tests.servers.seaweedfs import ACCESS_KEY, SECRET_KEY

from safelight.adapters.storage.incoming import EmbeddedIncoming
from safelight.adapters.storage.local import LocalStore
from safelight.adapters.storage.memory import MemoryStorage
from safelight.adapters.storage.s3 import S3Incoming, S3Options, S3Store
from safelight.domain.uploads import Method
from safelight.errors import BadSignature, SafelightError
from safelight.testing.contracts.incoming import PICTURE, IncomingContract, announced, content


class Embedded(IncomingContract):
    @pytest.fixture
    def send(self, incoming):
        """What the door does with a request; tests/api asks the door itself."""

        async def sent(offer, data, *, media_type="image/jpeg", key=None, after=None):
            query = {name: values[0] for name, values in parse_qs(urlsplit(offer.url).query).items()}

            async def body():
                for at in range(0, len(data), 1000):
                    yield data[at : at + 1000]

            try:
                ticket = incoming.admit(query["policy"], query["signature"], now=after or datetime.now(UTC))
                if offer.method == "POST" and key not in (None, offer.fields["key"]):
                    raise BadSignature
                await incoming.keep(ticket, body(), media_type=media_type)
            except SafelightError:
                return False
            return True

        return sent

    async def test_an_older_secret_is_still_believed_but_no_other(self, incoming, send):
        upload = announced(Method.PUT)
        older, other = (EmbeddedIncoming(MemoryStorage(), secrets=[key]) for key in (b"2" * 32, b"3" * 32))

        assert await send(await older.offer(upload, max_bytes=10**6), PICTURE)
        assert not await send(await other.offer(upload, max_bytes=10**6), PICTURE)


class TestMemory(Embedded):
    @pytest.fixture
    def originals(self):
        return MemoryStorage()

    @pytest.fixture
    def incoming(self, originals):
        return EmbeddedIncoming(MemoryStorage(), secrets=[b"1" * 32, b"2" * 32])


class TestLocal(Embedded):
    @pytest.fixture
    async def store(self, tmp_path):
        async with LocalStore(tmp_path / "objects", key_file=tmp_path / "key") as store:
            yield store

    @pytest.fixture
    def originals(self, store):
        return store.bucket("originals")

    @pytest.fixture
    def incoming(self, store, originals):
        return EmbeddedIncoming(store.bucket("incoming"), secrets=[b"1" * 32, b"2" * 32])


@pytest.fixture(scope="module")
def options(seaweedfs):
    buckets = [seaweedfs.make_bucket(f"incoming-{name}", is_versioned=True) for name in ("originals", "renditions")]
    return S3Options(
        originals_bucket=buckets[0],
        renditions_bucket=buckets[1],
        prefix=f"{secrets.token_hex(4)}/",
        endpoint_url=seaweedfs.url,
        access_key_id=ACCESS_KEY,
        secret_access_key=SECRET_KEY,
        kms_key_id=seaweedfs.make_key(),
    )


class TestS3(IncomingContract):
    @pytest.fixture
    async def store(self, options):
        async with S3Store(options) as store:
            yield store

    @pytest.fixture
    def originals(self, store):
        return store.bucket("originals")

    @pytest.fixture
    def incoming(self, store):
        return S3Incoming(store)

    @pytest.fixture
    def send(self):
        async def sent(offer, data, *, media_type="image/jpeg", key=None, after=None):
            if after is not None:
                await asyncio.sleep((after - datetime.now(UTC)).total_seconds())
            async with httpx.AsyncClient(timeout=30) as client:
                if offer.method == "POST":
                    fields = {**offer.fields, "Content-Type": media_type} | ({"key": key} if key else {})
                    answer = await client.post(offer.url, data=fields, files={"file": ("a.jpg", data, "image/jpeg")})
                else:
                    answer = await client.put(offer.url, content=data, headers={**offer.headers, "Content-Type": media_type})
            assert answer.status_code < 500, answer.text
            return answer.is_success

        return sent

    async def test_what_is_sent_is_sealed_with_the_customers_key(self, incoming, send, options, seaweedfs):
        for method in (Method.POST, Method.PUT):
            upload = announced(method)
            await send(await incoming.offer(upload, max_bytes=10**6), PICTURE)

            head = seaweedfs.client().head_object(Bucket=options.originals_bucket, Key=options.prefix + upload.key)
            assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", options.kms_key_id)

    @pytest.mark.parametrize("name", ["x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id"])
    async def test_a_form_cannot_leave_its_encryption_out(self, incoming, send, name):
        upload = announced(Method.POST)
        offer = await incoming.offer(upload, max_bytes=10**6)
        del offer.fields[name]

        assert not await send(offer, PICTURE)

    async def test_a_form_cannot_add_anything(self, incoming, send):
        upload = announced(Method.POST)
        offer = await incoming.offer(upload, max_bytes=10**6)
        offer.fields["x-amz-meta-safelight-sha256"] = "5a" * 32

        assert not await send(offer, PICTURE)

    async def test_a_put_of_other_bytes_than_announced_is_not_taken(self, incoming, send):
        upload = announced(Method.PUT, sha256=hashlib.sha256(PICTURE).hexdigest())
        offer = await incoming.offer(upload, max_bytes=10**6)

        assert not await send(offer, PICTURE[::-1])
        assert await send(offer, PICTURE)
        assert await content(incoming, upload) == PICTURE

    async def test_keys_of_our_bucket_and_prefix_are_ours(self, incoming, options):
        assert incoming.key_of(options.originals_bucket, f"{options.prefix}incoming/a/b") == "incoming/a/b"
        assert incoming.key_of(options.originals_bucket, "other/incoming/a/b") is None
        assert incoming.key_of(options.renditions_bucket, f"{options.prefix}incoming/a/b") is None
        assert incoming.key_of(options.originals_bucket, f"{options.prefix}drop/Grüße + 1~[2].jpg") == "drop/Grüße + 1~[2].jpg"
        for name in ("/../b", "a/../b", "a//b", "a/.hidden", "a\\b", "a\nb", "", "a" * 1000, "\ud800"):
            assert incoming.key_of(options.originals_bucket, options.prefix + name) is None, name

    async def test_urls_name_the_address_that_clients_use(self, options):
        async with S3Store(replace(options, public_endpoint_url="https://photos.example")) as store:
            for method in (Method.POST, Method.PUT):
                offer = await S3Incoming(store).offer(announced(method), max_bytes=10**6)

                assert offer.url.startswith(f"https://photos.example/{options.originals_bucket}")
