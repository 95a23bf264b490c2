"""Settings of backends that will not do: `safelight serve` says in one line which, makes nothing, and leaves."""

from __future__ import annotations

import os
import subprocess
import sys
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from tests.acceptance.conftest import free_port
from tests.servers.valkey import new_valkey  # noqa: F401

UNKNOWN_KEY = "arn:aws:kms:us-east-1:123456789012:key/no-such-key"


def run(command: str, profile: dict[str, str], data_dir) -> tuple[int, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SAFELIGHT_")} | profile
    more = ["--port", str(free_port())] if command == "serve" else []
    ran = subprocess.run(
        [sys.executable, "-m", "safelight", command, "--data-dir", str(data_dir), *more],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.stdout == "", "it greets nobody"
    assert "Traceback" not in ran.stderr
    assert profile["SAFELIGHT_STORAGE__SECRET_ACCESS_KEY"] not in ran.stderr
    return ran.returncode, ran.stderr.splitlines()[-1]


@pytest.fixture
def fresh(servers_profile):
    """The profile with an empty database, and how to count its tables."""
    url = servers_profile["SAFELIGHT_CATALOG__URL"]
    name = f"b{uuid4().hex[:12]}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return servers_profile | {"SAFELIGHT_CATALOG__URL": f"{url.rpartition('/')[0]}/{name}"}


def tables(profile) -> list[str]:
    with psycopg.connect(profile["SAFELIGHT_CATALOG__URL"]) as connection:
        return [name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]


@pytest.mark.parametrize(
    ("wrong", "named"),
    (
        ({"SAFELIGHT_STORAGE__SECRET_ACCESS_KEY": "hush"}, "SAFELIGHT_STORAGE__SECRET_ACCESS_KEY"),
        ({"SAFELIGHT_STORAGE__URL": "s3://no-such-bucket"}, "SAFELIGHT_STORAGE__URL"),
        ({"SAFELIGHT_STORAGE__RENDITIONS_BUCKET": "readiness"}, "safelight bucket apply"),
        ({"SAFELIGHT_STORAGE__KMS_KEY_ID": UNKNOWN_KEY}, "SAFELIGHT_STORAGE__KMS_KEY_ID"),
    ),
    ids=("a wrong secret", "a missing bucket", "a bucket without versions", "an unknown key"),
)
def test_a_store_that_will_not_do_is_named_before_anything_is_made(fresh, tmp_path, wrong, named):
    code, said = run("serve", fresh | wrong, tmp_path / "data")

    assert (code, said.startswith("safelight: ")) == (1, True)
    assert named in said
    assert not (tmp_path / "data" / "admin.key").exists()
    assert tables(fresh) == []


def test_a_database_that_will_not_do_is_named(fresh, tmp_path):
    parts = urlsplit(fresh["SAFELIGHT_CATALOG__URL"])
    for url, said in (
        (f"postgresql://nobody:hush@127.0.0.1:{parts.port}{parts.path}", "user or password"),
        (f"postgresql://postgres:hush@127.0.0.1:{parts.port}/nothing", "no database nothing"),
    ):
        code, line = run("serve", fresh | {"SAFELIGHT_CATALOG__URL": url}, tmp_path / "data")
        assert (code, "SAFELIGHT_CATALOG__URL" in line, said in line, "hush" in line) == (1, True, True, False), line
    gone = f"postgresql://postgres:hush@127.0.0.1:{free_port()}/d"
    code, line = run("serve", fresh | {"SAFELIGHT_CATALOG__URL": gone}, tmp_path / "data")
    assert (code, "SAFELIGHT_CATALOG__URL" in line, "hush" in line) == (3, True, False), line


def test_a_cache_that_refuses_us_is_named(fresh, tmp_path, new_valkey):
    new_valkey.client().config_set("requirepass", "another")
    url = new_valkey.url.replace("://", "://:hush@")
    code, said = run("serve", fresh | {"SAFELIGHT_CACHE__URL": url}, tmp_path / "data")

    assert (code, "SAFELIGHT_CACHE__URL" in said, "hush" in said) == (1, True, False), said


def test_another_schema_is_refused_with_what_to_run(fresh, tmp_path):
    code, said = run("worker", fresh, tmp_path / "data")
    assert (code, "safelight migrate" in said) == (1, True), said
    with psycopg.connect(fresh["SAFELIGHT_CATALOG__URL"], autocommit=True) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num varchar(32))")
        connection.execute("INSERT INTO alembic_version VALUES ('9999_of_tomorrow')")
    code, said = run("serve", fresh, tmp_path / "data")
    assert (code, "newer" in said) == (1, True), said
