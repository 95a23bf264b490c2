"""What the doctor says of backends, real ones: well, wrong in every way, away, and silent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from tests.contract.test_inbox import queues, sqs  # noqa: F401
from tests.servers.cloudfront import CREDENTIALS, CloudFront
from tests.servers.moto import MotoServer, moto  # noqa: F401
from tests.servers.postgres import postgres, postgres_cluster, postgres_url  # noqa: F401
from tests.servers.seaweedfs import ACCESS_KEY, SECRET_KEY, Moto
from tests.servers.smtp import Sink
from tests.servers.temporal import temporal  # noqa: F401
from tests.servers.valkey import Valkey, new_valkey  # noqa: F401

from safelight import wiring
from safelight.cli.doctor import Check, elsewhere, examined
from safelight.settings import Settings
from safelight.wiring import build

SECRET = "5a" * 32
LOGIN = ("letters", "a secret of tests")

Look = Callable[..., dict[str, Check]]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch, data_dir: Path) -> Look:
    """The findings of one part under these settings, by name. Nothing may have been made, and no secret told."""
    for name in [name for name in os.environ if name.startswith("SAFELIGHT_")]:
        monkeypatch.delenv(name)

    def look(environment: dict[str, str], *, only: str = "backends") -> dict[str, Check]:
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(f"SAFELIGHT_{name}", value)
            checks = list(examined(data_dir, only=only))
        assert not data_dir.exists()
        assert [check for check in checks if "hush" in f"{check.found}{check.mend}"] == []
        assert len({check.name for check in checks}) == len(checks)
        return {check.name: check for check in checks}

    return look


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """For servers that answer, on a machine that is busy with other tests."""
    monkeypatch.setattr(elsewhere, "DEADLINE_S", 60.0)
    monkeypatch.setattr(wiring.elsewhere, "ANSWER_S", 60.0)


@pytest.fixture(scope="session")
def on_s3(seaweedfs) -> dict[str, str]:
    return {
        "STORAGE__URL": f"s3://{seaweedfs.make_bucket('doctor', is_versioned=True)}",
        "STORAGE__RENDITIONS_BUCKET": seaweedfs.make_bucket("doctor-renditions", is_versioned=True),
        "STORAGE__ENDPOINT_URL": seaweedfs.url,
        "STORAGE__ACCESS_KEY_ID": ACCESS_KEY,
        "STORAGE__SECRET_ACCESS_KEY": SECRET_KEY,
    }


def migrate(environment: dict[str, str], folder: Path) -> None:
    settings = {"data_dir": folder, "catalog": {"url": environment["CATALOG__URL"], "secret_key": SECRET}}
    asyncio.run(build(Settings(**settings)).catalog.migrate())


def tables(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [
            name
            for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname !~ '^pg_|information_schema'")
        ]


# PostgreSQL


def test_a_postgresql_with_this_releases_schema_is_well(look: Look, patient: None, postgres_url: str, tmp_path: Path) -> None:
    migrate({"CATALOG__URL": postgres_url}, tmp_path / "other")
    found = look({"CATALOG__URL": postgres_url, "CATALOG__SECRET_KEY": SECRET})
    where = f"127.0.0.1:{urlsplit(postgres_url).port}"

    assert {name: check.state for name, check in found.items()} == {"catalog": "ok", "search": "ok", "workflows": "ok"}
    assert found["catalog"].found.startswith("PostgreSQL ")
    assert f"{where}, its schema is current" in found["catalog"].found
    assert "no index yet" in found["search"].found
    assert "no processes take part" in found["workflows"].found


def test_an_empty_database_is_a_warning_and_stays_empty(look: Look, patient: None, postgres_url: str) -> None:
    found = look({"CATALOG__URL": postgres_url})["catalog"]

    assert (found.state, "has no schema yet" in found.found, "safelight migrate" in found.mend) == ("warning", True, True)
    assert tables(postgres_url) == []


def test_the_schema_of_another_release_has_failed(look: Look, patient: None, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num varchar(32))")
        connection.execute("INSERT INTO alembic_version VALUES ('0000_before')")
    found = look({"CATALOG__URL": postgres_url})["catalog"]

    assert (found.state, "safelight migrate" in f"{found.found} {found.mend}") == ("failed", True)


@pytest.mark.parametrize(
    ("user", "database", "said", "mend"),
    (
        ("nobody:hush", None, "does not let nobody in", "Correct user or password in SAFELIGHT_CATALOG__URL."),
        ("postgres:hush", "nothing", "has no database nothing", "Create it, or correct SAFELIGHT_CATALOG__URL."),
    ),
    ids=("a stranger", "a missing database"),
)
def test_a_postgresql_that_does_not_let_us_in_has_failed(
    look: Look, patient: None, postgres_url: str, user: str, database: str | None, said: str, mend: str
) -> None:
    parts = urlsplit(postgres_url)
    found = look({"CATALOG__URL": f"postgresql://{user}@127.0.0.1:{parts.port}/{database or parts.path[1:]}"})

    assert {check.state for check in found.values()} == {"failed"}
    assert said in found["catalog"].found
    assert {check.mend for check in found.values()} == {mend}


def test_the_key_that_machines_share_is_asked_for_where_the_catalog_is_elsewhere(look: Look) -> None:
    url = "postgresql://postgres:hush@127.0.0.1/safelight"
    found = look({"CATALOG__URL": url, "STORAGE__URL": "s3://photos"}, only="keys")
    given = look({"CATALOG__URL": url, "STORAGE__URL": "s3://photos", "CATALOG__SECRET_KEY": SECRET}, only="keys")
    broken = look({"CATALOG__URL": url, "STORAGE__URL": "s3://photos", "CATALOG__SECRET_KEY": "hush"}, only="keys")

    assert (list(found), found["catalog key"].state) == (["catalog key"], "warning")
    assert "SAFELIGHT_CATALOG__SECRET_KEY" in found["catalog key"].mend
    assert (list(given), given["catalog key"].state) == (["catalog key"], "ok")
    assert broken["catalog key"].state == "failed"


# DynamoDB


def test_a_table_that_migrate_has_made_is_well(look: Look, patient: None, moto: MotoServer, tmp_path: Path) -> None:
    url = moto.catalog_url()
    missing = look({"CATALOG__URL": url})["catalog"]
    migrate({"CATALOG__URL": url}, tmp_path / "other")
    found = look({"CATALOG__URL": url})

    assert (missing.state, "has no schema yet" in missing.found, "safelight migrate" in missing.mend) == ("warning", True, True)
    assert {name: check.state for name, check in found.items()} == {"catalog": "ok"}
    assert moto.url in found["catalog"].found


def test_credentials_that_dynamodb_does_not_know_have_failed(look: Look, patient: None, moto: MotoServer) -> None:
    strict = MotoServer(has_permissions=True).start()
    try:
        found = look({"CATALOG__URL": strict.catalog_url("photos")})["catalog"]
    finally:
        strict.remove()

    assert (found.state, "does not let these credentials use the table photos" in found.found) == ("failed", True)
    assert "AWS_ACCESS_KEY_ID" in found.mend


# S3


def test_buckets_that_keep_versions_are_well_and_stay_empty(look: Look, patient: None, on_s3: dict[str, str], seaweedfs) -> None:
    found = look(on_s3)["objects"]

    assert (found.state, "safelight bucket check" in found.found, found.mend) == ("ok", True, "")
    listed = seaweedfs.client().list_object_versions(Bucket="doctor")
    assert (listed.get("Versions", []), listed.get("DeleteMarkers", [])) == ([], [])


@pytest.mark.parametrize(
    ("wrong", "said", "mend"),
    (
        ({"STORAGE__SECRET_ACCESS_KEY": "hush"}, "does not let these credentials", "SAFELIGHT_STORAGE__SECRET_ACCESS_KEY"),
        ({"STORAGE__URL": "s3://no-such-bucket"}, "no bucket no-such-bucket", "Create it, or correct SAFELIGHT_STORAGE__URL."),
        ({"STORAGE__RENDITIONS_BUCKET": "readiness"}, "does not keep versions", "safelight bucket apply"),
    ),
    ids=("a wrong secret", "a missing bucket", "a bucket without versions"),
)
def test_buckets_that_will_not_do_have_failed(
    look: Look, patient: None, on_s3: dict[str, str], wrong: dict[str, str], said: str, mend: str
) -> None:
    found = look(on_s3 | wrong)["objects"]

    assert found.state == "failed"
    assert said in found.found
    assert mend in found.mend


# Temporal, the cache, the queue, mail, CloudFront


def test_a_temporal_server_is_looked_at(look: Look, patient: None, temporal) -> None:
    found = look({"WORKFLOWS__URL": temporal.url()})["workflows"]
    missing = look({"WORKFLOWS__URL": temporal.url("nothing")})["workflows"]

    assert temporal.address in found.found
    assert found.state in ("ok", "warning")
    assert (found.state == "warning") == ("retention" in found.mend)
    assert (missing.state, "no namespace" in missing.found) == ("failed", True)


def test_a_cache_is_told_with_its_version_and_one_that_refuses_us_has_failed(
    look: Look, patient: None, new_valkey: Valkey
) -> None:
    found = look({"CACHE__URL": new_valkey.url})["cache"]
    new_valkey.client().config_set("requirepass", "another")
    refused = look({"CACHE__URL": new_valkey.url.replace("://", "://:hush@")})["cache"]

    assert (found.state, found.found.startswith("Valkey "), f"127.0.0.1:{new_valkey.port}" in found.found) == ("ok", True, True)
    assert (refused.state, "the cache refuses us" in refused.found) == ("failed", True)


def test_a_queue_wants_dead_letters(look: Look, patient: None, sqs, queues) -> None:
    keys = {"STORAGE__ACCESS_KEY_ID": "x", "STORAGE__SECRET_ACCESS_KEY": "hush"}
    queue, dead = queues
    well, bare, missing = (look(keys | {"EVENTS__SQS_URL": url})["inbox"] for url in (queue, dead, f"{queue}-none"))

    assert (well.state, queue.rpartition("/")[2] in well.found) == ("ok", True)
    assert (bare.state, "redrive policy" in bare.mend) == ("warning", True)
    assert (missing.state, "SAFELIGHT_EVENTS__SQS_URL" in missing.mend) == ("failed", True)


def mailing(sink: Sink, **more: str) -> dict[str, str]:
    fields = {"HOST": "127.0.0.1", "PORT": str(sink.port), "SECURITY": sink.security} | more
    return {f"MAIL__{name}": value for name, value in fields.items()}


def test_a_mail_server_is_greeted_and_gets_no_mail(look: Look, patient: None, tmp_path: Path) -> None:
    with Sink(tmp_path) as sink:
        found = look(mailing(sink))["mail"]
        without = look(mailing(sink, SECURITY="starttls"))["mail"]
        other = look(mailing(sink, SECURITY="tls"))["mail"]

        assert sink.envelopes == []
    assert (found.state, found.found) == ("ok", f"127.0.0.1:{sink.port} greets us")
    assert (without.state, "STARTTLS" in without.found, "SAFELIGHT_MAIL__PORT" in without.mend) == ("failed", True, True)
    assert (other.state, "does not speak TLS so" in other.found) == ("failed", True)


def test_a_mail_server_is_signed_in_to(look: Look, patient: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    login = {"USERNAME": LOGIN[0], "PASSWORD": LOGIN[1]}
    with Sink(tmp_path, security="starttls", login=LOGIN) as sink:
        unknown = look(mailing(sink, **login))["mail"]
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        found = look(mailing(sink, **login))["mail"]
        wrong = look(mailing(sink, **login | {"PASSWORD": "hush"}))["mail"]

    assert (unknown.state, "not trusted" in unknown.found) == ("failed", True)
    assert (found.state, found.found) == ("ok", f"127.0.0.1:{sink.port} greets us, over STARTTLS, as {LOGIN[0]}")
    assert (wrong.state, f"does not let '{LOGIN[0]}' in (535)" in wrong.found) == ("failed", True)
    assert "SAFELIGHT_MAIL__PASSWORD" in wrong.mend


def test_a_distribution_is_asked_for(look: Look, patient: None, tmp_path: Path) -> None:
    keys = {f"CLOUDFRONT__{name.upper()}": value for name, value in CREDENTIALS.items()}
    with Moto(tmp_path) as server:
        there = {"CLOUDFRONT__ENDPOINT_URL": server.url} | keys
        id = CloudFront(server).distribution()
        found = look(there | {"CLOUDFRONT__FRONT_DISTRIBUTIONS": id})["cdn"]
        missing = look(there | {"CLOUDFRONT__BUCKET_DISTRIBUTIONS": "E2EXAMPLE1234"})["cdn"]

    assert (found.state, id in found.found) == ("ok", True)
    assert (missing.state, "SAFELIGHT_CLOUDFRONT__BUCKET_DISTRIBUTIONS" in missing.mend) == ("failed", True)


# Everything away


def everything_at(port: int) -> Iterator[dict[str, str]]:
    """Two installations that have all kinds of backends between them, each on this port."""
    here = f"127.0.0.1:{port}"
    yield {
        "CATALOG__URL": f"postgresql://someone:hush@{here}/safelight",
        "STORAGE__URL": "s3://photos",
        "STORAGE__ENDPOINT_URL": f"http://someone:hush@{here}",
        "STORAGE__ACCESS_KEY_ID": "someone",
        "STORAGE__SECRET_ACCESS_KEY": "hush",
        "CACHE__URL": f"valkey://someone:hush@{here}/0",
        "EVENTS__SQS_URL": f"http://someone:hush@{here}/123456789012/photos",
        "MAIL__HOST": "127.0.0.1",
        "MAIL__PORT": str(port),
        "MAIL__USERNAME": "someone",
        "MAIL__PASSWORD": "hush",
    }
    yield {
        "CATALOG__URL": f"dynamodb://photos?region=eu-central-1&endpoint_url=http://{here}",
        "WORKFLOWS__URL": f"temporal://{here}/photos",
        "CLOUDFRONT__FRONT_DISTRIBUTIONS": "E2EXAMPLE1234",
        "CLOUDFRONT__ENDPOINT_URL": f"http://{here}",
        "CLOUDFRONT__ACCESS_KEY_ID": "someone",
        "CLOUDFRONT__SECRET_ACCESS_KEY": "hush",
    }


@pytest.mark.parametrize("is_silent", (False, True), ids=("nobody listens", "nobody answers"))
def test_each_backend_that_is_away_is_told_and_keeps_nobody_waiting(
    look: Look, moto: MotoServer, monkeypatch: pytest.MonkeyPatch, is_silent: bool
) -> None:
    monkeypatch.setattr(elsewhere, "DEADLINE_S", 2.0)
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        if is_silent:
            taken.listen(64)
        one, other = (look(environment) for environment in everything_at(taken.getsockname()[1]))

    states = {name: check.state for name, check in one.items()}
    assert states == dict.fromkeys(("objects", "catalog", "search", "workflows", "mail"), "failed") | dict.fromkeys(
        ("cache", "inbox"), "warning"
    )
    assert {name: check.state for name, check in other.items()} == {"catalog": "failed", "workflows": "failed", "cdn": "warning"}
    assert all("SAFELIGHT_" in check.mend and "answer" in check.found for check in (*one.values(), *other.values()))
