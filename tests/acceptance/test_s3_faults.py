"""A real S3 server that dies, freezes, lies down and cuts: nothing acknowledged is lost, nothing hangs, everything resumes.

What is wrong at the start is refused, and the setting named; what goes wrong later is BackendUnavailable, never a driver's error.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import secrets
import time
from dataclasses import replace

import pytest
from tests.servers.faulty import Answer, CutAnswer, CutRequest, Faulty, Hang, Late
from tests.servers.seaweedfs import ACCESS_KEY, POWERLESS, SECRET_KEY, SeaweedFS

from safelight.adapters.storage.s3 import S3Options, S3Store
from safelight.errors import AlreadyExists, BackendUnavailable, Missing, WrongState

NUMBERS = itertools.count()
ATTEMPT_S, DEADLINE_S = 1.0, 4.0
LATE_S = 10.0
"""What a busy machine may add to a deadline."""
LARGE = 20 * 1024 * 1024 + 3


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with SeaweedFS(tmp_path_factory.mktemp("seaweedfs")) as server:
        server.make_bucket("originals", is_versioned=True)
        server.make_bucket("renditions", is_versioned=True)
        yield server


@pytest.fixture(scope="module")
def key_id(server):
    return server.make_key()


@pytest.fixture
def options(server, key_id):
    return S3Options(
        originals_bucket="originals",
        renditions_bucket="renditions",
        prefix=f"{next(NUMBERS)}/",
        endpoint_url=server.url,
        access_key_id=ACCESS_KEY,
        secret_access_key=SECRET_KEY,
        kms_key_id=key_id,
        connect_timeout_s=0.5,
        attempt_timeout_s=ATTEMPT_S,
        deadline_s=DEADLINE_S,
    )


@pytest.fixture
async def storage(options):
    async with S3Store(options) as store:
        yield store.bucket("originals")


@pytest.fixture
async def proxy(server):
    async with Faulty(server.port) as proxy:
        yield proxy


@pytest.fixture
async def behind(options, proxy):
    """The storage, with the proxy between it and the server; patient, for calls that are to succeed on a busy machine too."""
    async with S3Store(replace(options, endpoint_url=proxy.url, attempt_timeout_s=2.5, deadline_s=40.0)) as store:
        proxy.requests.clear()
        yield store.bucket("originals")


@pytest.fixture
async def hurried(options, proxy):
    """The same, for calls that are to fail by their deadline."""
    async with S3Store(replace(options, endpoint_url=proxy.url)) as store:
        proxy.requests.clear()
        yield store.bucket("originals")


def uploads(server, options):
    listed = server.client().list_multipart_uploads(Bucket="originals").get("Uploads", [])
    return [each for each in listed if each["Key"].startswith(options.prefix)]


async def pieces(data):
    for start in range(0, len(data), 500_000):
        yield data[start : start + 500_000]


# The server dies, and comes back


async def test_nothing_acknowledged_is_lost_when_the_server_is_killed_amid_puts(storage, server):
    acknowledged: dict[str, tuple[str, str]] = {}
    refused: list[BaseException] = []
    is_over = False

    async def write(number):
        for count in itertools.count():
            if is_over:
                return
            key, data = f"{number}/{count}", secrets.token_bytes(200_000)
            try:
                stored = await storage.put(key, pieces(data) if count % 2 else data)
                acknowledged[key] = (stored.version, hashlib.sha256(data).hexdigest())
            except BackendUnavailable as error:
                refused.append(error)

    writers = [asyncio.create_task(write(number)) for number in range(4)]
    await asyncio.sleep(0.5)
    await asyncio.to_thread(server.kill)
    before = len(acknowledged)
    await asyncio.sleep(DEADLINE_S + 0.5)
    await asyncio.to_thread(server.start)
    deadline = time.monotonic() + 30
    while len(acknowledged) < before + 20:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    is_over = True
    await asyncio.gather(*writers)

    assert before > 0
    assert refused
    for key, (version, etag) in acknowledged.items():
        data = await storage.get(key, version=version)
        assert hashlib.sha256(data).hexdigest() == etag
        assert (await storage.stat(key)).etag == etag


async def test_a_read_goes_on_when_the_server_comes_back_before_the_deadline(options, server):
    data = secrets.token_bytes(LARGE)
    async with S3Store(replace(options, deadline_s=30)) as store:
        storage = store.bucket("originals")
        await storage.put("t/a", data)
        opened = await storage.open("t/a")
        first = await anext(opened.chunks)
        await asyncio.to_thread(server.kill)
        restart = asyncio.create_task(asyncio.to_thread(server.start))

        rest = b"".join([chunk async for chunk in opened.chunks])

        await restart
        assert first + rest == data


async def test_a_read_that_the_server_ends_for_good_is_backend_unavailable(storage, server):
    await storage.put("t/a", bytes(LARGE))
    opened = await storage.open("t/a")
    await asyncio.to_thread(server.kill)
    try:
        began = time.monotonic()
        with pytest.raises(BackendUnavailable):
            async for _ in opened.chunks:
                pass
        assert time.monotonic() - began < DEADLINE_S + LATE_S
    finally:
        await asyncio.to_thread(server.start)

    assert len(await storage.get("t/a")) == LARGE


# The server freezes


CALLS = {
    "put": lambda storage: storage.put("t/new", b"x"),
    "large put": lambda storage: storage.put("t/large", pieces(bytes(LARGE))),
    "get": lambda storage: storage.get("t/a"),
    "open": lambda storage: storage.open("t/a"),
    "stat": lambda storage: storage.stat("t/a"),
    "delete": lambda storage: storage.delete("t/a"),
    "restore": lambda storage: storage.restore("t/a"),
    "versions": lambda storage: storage.versions("t/a"),
    "scan": lambda storage: storage.scan(""),
    "purge": lambda storage: storage.purge("t/"),
}


async def test_no_call_hangs_on_a_frozen_server_and_all_work_when_it_goes_on(storage, server):
    await storage.put("t/a", b"hello")
    server.pause()
    try:
        began = time.monotonic()
        results = await asyncio.gather(*(call(storage) for call in CALLS.values()), return_exceptions=True)
        took_s = time.monotonic() - began
    finally:
        server.resume()

    assert {name: type(result) for name, result in zip(CALLS, results, strict=True)} == dict.fromkeys(CALLS, BackendUnavailable)
    assert all(result.is_transient for result in results)
    assert took_s < 2 * DEADLINE_S + LATE_S  # a large put that cannot begin, and one delete's look before it
    await asyncio.sleep(0.5)
    assert await storage.put("t/b", b"again")
    assert await storage.get("t/b") == b"again"


async def test_a_ping_of_a_frozen_server_ends_with_its_deadline(options, server):
    async with S3Store(options) as store:
        await store.ping()
        server.pause()
        try:
            with pytest.raises(BackendUnavailable):
                await store.ping()
        finally:
            server.resume()
        await store.ping()


async def test_a_put_cancelled_at_a_frozen_server_ends_with_its_deadline(storage, server):
    server.pause()
    try:
        task = asyncio.create_task(storage.put("t/a", b"x"))
        await asyncio.sleep(0.2)
        began = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - began < DEADLINE_S + LATE_S
    finally:
        server.resume()


# The server, or what is between, spoils single requests


FAULTS = (Answer(500), Answer(503, after_s=0.3), CutAnswer(0), CutAnswer(60), CutRequest(0), CutRequest(3), Hang())


@pytest.mark.parametrize("fault", FAULTS, ids=str)
async def test_one_spoilt_request_is_made_good(behind, proxy, fault):
    proxy.spoil(fault)
    stored = await behind.put("t/a", b"hello" * 1000, if_absent=True)
    proxy.spoil(fault)
    assert await behind.get("t/a") == b"hello" * 1000
    proxy.spoil(fault)
    assert await behind.stat("t/a") == stored
    proxy.spoil(fault)
    assert await behind.scan("") == [stored]
    proxy.spoil(fault)
    assert await behind.versions("t/a") == [stored]
    proxy.spoil(fault)
    await behind.delete("t/a")
    proxy.spoil(fault)
    assert await behind.restore("t/a") == stored
    proxy.spoil(fault)
    assert await behind.purge("t/") == 1


@pytest.mark.parametrize("method", ("POST", "PUT"))
@pytest.mark.parametrize("fault", (Answer(500), CutAnswer(0), CutRequest(1_000_000)), ids=str)
async def test_one_spoilt_request_of_many_parts_is_made_good(behind, proxy, server, fault, method):
    data = secrets.token_bytes(LARGE)
    proxy.spoil(fault, method=method)

    await behind.put("t/a", data, if_absent=True)

    assert await behind.get("t/a") == data
    assert len(await behind.versions("t/a")) == 1


@pytest.mark.parametrize("is_new", (True, False))
async def test_a_put_whose_answer_was_lost_is_one_version(behind, proxy, is_new):
    proxy.spoil(CutAnswer(0), method="PUT")

    stored = await behind.put("t/a", b"hello", if_absent=is_new)

    assert await behind.versions("t/a") == [stored]


async def test_an_object_of_somebody_else_is_still_in_the_way_after_a_lost_answer(behind, proxy):
    await behind.put("t/a", b"theirs")
    proxy.spoil(CutAnswer(0), method="PUT")

    with pytest.raises(AlreadyExists):
        await behind.put("t/a", b"ours", if_absent=True)


async def test_a_transfer_that_is_cut_goes_on_where_it_was(behind, proxy):
    data = secrets.token_bytes(LARGE)
    await behind.put("t/a", data)
    proxy.spoil(CutAnswer(1_000_000), method="GET")

    assert b"".join([chunk async for chunk in (await behind.open("t/a")).chunks]) == data


@pytest.mark.parametrize("fault", (Answer(503, after_s=0.4), Answer(500), CutAnswer(0), CutRequest(2), Hang()), ids=str)
async def test_a_server_that_stays_bad_is_backend_unavailable_in_time(hurried, proxy, fault):
    await hurried.put("t/a", b"hello")
    proxy.spoil(fault, times=1000)
    began = time.monotonic()

    results = await asyncio.gather(*(call(hurried) for call in CALLS.values()), return_exceptions=True)

    assert {name: type(result) for name, result in zip(CALLS, results, strict=True)} == dict.fromkeys(CALLS, BackendUnavailable)
    assert time.monotonic() - began < DEADLINE_S + LATE_S
    proxy.heal()
    await hurried.put("t/b", b"again")
    assert await hurried.get("t/b") == b"again"


# Uploads that end early


async def test_a_part_that_cannot_be_sent_aborts_the_upload(hurried, proxy, server, options):
    proxy.spoil(Answer(500), times=1000, method="PUT")

    with pytest.raises(BackendUnavailable):
        await hurried.put("t/a", pieces(bytes(LARGE)))

    assert uploads(server, options) == []
    assert await hurried.versions("t/a") == []


async def test_a_put_cancelled_amid_its_parts_aborts_the_upload(hurried, proxy, server, options):
    proxy.spoil(Hang(), times=1000, method="PUT")
    task = asyncio.create_task(hurried.put("t/a", pieces(bytes(LARGE))))
    while not uploads(server, options):
        await asyncio.sleep(0.02)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert uploads(server, options) == []
    assert await hurried.versions("t/a") == []


async def test_parts_that_arrive_late_do_not_bring_a_cancelled_upload_back(behind, proxy, server, options):
    proxy.spoil(Late(0.6), times=1000, method="PUT")
    task = asyncio.create_task(behind.put("t/a", pieces(bytes(LARGE))))
    while not any(line.startswith("PUT") for line in proxy.requests):
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)  # so that the parts are with the proxy as a whole

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await asyncio.sleep(1.5)
    assert uploads(server, options) == []
    assert await behind.versions("t/a") == []


async def test_a_spool_that_cannot_be_written_is_backend_unavailable(options, tmp_path):
    async with S3Store(replace(options, spool_path=tmp_path / "spool")) as store:
        (tmp_path / "spool").rmdir()
        with pytest.raises(BackendUnavailable):
            await store.bucket("originals").put("t/a", pieces(bytes(LARGE)))
        assert await store.bucket("originals").versions("t/a") == []


# At rest


async def test_nothing_plain_lies_in_the_volumes(options, server):
    whole, parts, rendition, plain = (secrets.token_bytes(4096) for _ in range(4))  # random, since the server compresses
    async with S3Store(options) as store:
        await store.bucket("originals").put("t/a", whole)
        await store.bucket("originals").put("t/b", pieces(parts * (LARGE // 4096)))
        await store.bucket("renditions").put("t/a", rendition)
        server.client().put_object(Bucket="readiness", Key="plain", Body=plain)

        held = await asyncio.to_thread(server.stored_bytes)

        assert plain in held
        assert not any(secret[:32] in held for secret in (whole, parts, rendition))
        assert await store.bucket("originals").get("t/a") == whole


# Settings that are wrong


@contextlib.asynccontextmanager
async def refused(options):
    began = time.monotonic()
    with pytest.raises(WrongState) as raised:
        await S3Store(options).open()
    assert time.monotonic() - began < 60
    assert SECRET_KEY not in raised.value.detail
    yield raised.value.detail


async def test_a_wrong_secret_is_refused_and_named(options):
    async with refused(replace(options, secret_access_key="nonsense")) as detail:
        assert "SAFELIGHT_STORAGE__SECRET_ACCESS_KEY" in detail
        assert "nonsense" not in detail


async def test_an_unknown_access_key_is_refused_and_named(options):
    async with refused(replace(options, access_key_id="nobody")) as detail:
        assert "SAFELIGHT_STORAGE__ACCESS_KEY_ID" in detail


async def test_credentials_that_may_nothing_are_refused(options):
    async with refused(replace(options, access_key_id=POWERLESS[0], secret_access_key=POWERLESS[1])) as detail:
        assert "SAFELIGHT_STORAGE__ACCESS_KEY_ID" in detail


async def test_no_credentials_at_all_are_refused(options, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    async with refused(replace(options, access_key_id=None, secret_access_key=None)) as detail:
        assert "SAFELIGHT_STORAGE__ACCESS_KEY_ID" in detail


async def test_credentials_of_the_chain_will_do(options, monkeypatch, tmp_path):
    (tmp_path / "credentials").write_text(f"[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    async with S3Store(replace(options, access_key_id=None, secret_access_key=None)) as store:
        await store.bucket("originals").put("t/a", b"x")

        assert await store.bucket("originals").get("t/a") == b"x"


@pytest.mark.parametrize(("field", "setting"), (("originals_bucket", "URL"), ("renditions_bucket", "RENDITIONS_BUCKET")))
async def test_a_missing_bucket_is_refused_and_named(options, field, setting):
    async with refused(replace(options, **{field: "no-such-bucket"})) as detail:
        assert f"SAFELIGHT_STORAGE__{setting}" in detail
        assert "no-such-bucket" in detail


async def test_a_bucket_without_versions_is_refused_with_the_command_that_mends_it(options, server):
    server.make_bucket("forgetful")
    async with refused(replace(options, renditions_bucket="forgetful")) as detail:
        assert "SAFELIGHT_STORAGE__RENDITIONS_BUCKET" in detail
        assert "safelight bucket apply" in detail


async def test_an_unknown_kms_key_is_refused_and_named(options):
    async with refused(replace(options, kms_key_id="arn:aws:kms:us-east-1:123456789012:key/no-such-key")) as detail:
        assert "SAFELIGHT_STORAGE__KMS_KEY_ID" in detail


async def test_a_server_that_is_not_there_is_backend_unavailable(options):
    with pytest.raises(BackendUnavailable, match="SAFELIGHT_STORAGE__ENDPOINT_URL"):
        await S3Store(replace(options, endpoint_url="http://127.0.0.1:9")).open()


async def test_a_closed_store_is_backend_unavailable_and_opens_again(options):
    store = S3Store(options)
    await store.open()
    await store.open()
    await store.close()
    await store.close()
    with pytest.raises(BackendUnavailable):
        await store.bucket("originals").get("t/a")
    await store.open()
    with pytest.raises(Missing):
        await store.bucket("originals").get("t/a")
    await store.close()


async def test_a_bucket_that_is_gone_is_not_taken_for_missing_objects(options, server):
    server.make_bucket("passing", is_versioned=True)
    async with S3Store(replace(options, renditions_bucket="passing")) as store:
        server.client().delete_bucket(Bucket="passing")
        storage = store.bucket("renditions")
        for call in (storage.get("t/a"), storage.stat("t/a"), storage.delete("t/a"), storage.put("t/a", b"x"), storage.scan("")):
            with pytest.raises(BackendUnavailable):
                await call
        with pytest.raises(BackendUnavailable):
            await store.ping()
