"""The restore drill on real servers: from S3 and PostgreSQL into a bucket of backups, and back into fresh buckets and a fresh database."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import botocore.session
import psycopg
from botocore.config import Config
from tests.acceptance.conftest import Server
from tests.holdings import rows_of, state
from tests.pictures import jpeg, png

from safelight.settings import only
from safelight.wiring import Place

SECRET = "5a" * 32


def fresh(profile: Mapping[str, str], name: str) -> dict[str, str]:
    """Settings of an installation in buckets and a database that were made just now."""
    client = botocore.session.Session().create_client(
        "s3",
        endpoint_url=profile["SAFELIGHT_STORAGE__ENDPOINT_URL"],
        region_name="us-east-1",
        aws_access_key_id=profile["SAFELIGHT_STORAGE__ACCESS_KEY_ID"],
        aws_secret_access_key=profile["SAFELIGHT_STORAGE__SECRET_ACCESS_KEY"],
        config=Config(s3={"addressing_style": "path"}),
    )
    for bucket in (name, f"{name}-renditions"):
        client.create_bucket(Bucket=bucket)
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    client.create_bucket(Bucket=f"{name}-backups")
    base, _, _ = profile["SAFELIGHT_CATALOG__URL"].rpartition("/")
    database = name.replace("-", "_")
    with psycopg.connect(profile["SAFELIGHT_CATALOG__URL"], autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {database}")
    return dict(profile) | {
        "SAFELIGHT_CATALOG__URL": f"{base}/{database}",
        "SAFELIGHT_CATALOG__SECRET_KEY": SECRET,
        "SAFELIGHT_STORAGE__URL": f"s3://{name}",
        "SAFELIGHT_STORAGE__RENDITIONS_BUCKET": f"{name}-renditions",
    }


async def _held(environment: Mapping[str, str], data_dir: Path) -> Any:
    place = Place.at(only(dict(environment) | {"SAFELIGHT_DATA_DIR": str(data_dir)}), is_source=True)
    for part in place.parts:
        await part.open()
    try:
        before = None
        async with asyncio.timeout(60):  # nothing is being done any more: two looks see the same
            while (now := await rows_of(place)) != before or now["events"]:
                before = now
                await asyncio.sleep(0.5)
        return await state(place)
    finally:
        for part in place.parts:
            await part.close()


def held(environment: Mapping[str, str], data_dir: Path) -> Any:
    return asyncio.run(_held(environment, data_dir))


def backup(environment: Mapping[str, str], *arguments: str, expected: int = 0) -> dict[str, Any]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SAFELIGHT_")} | environment
    command = [sys.executable, "-m", "safelight", "backup", *arguments, "--json"]
    ran = subprocess.run(command, env=clean, capture_output=True, text=True, timeout=300)
    assert ran.returncode == expected, ran.stderr[-4000:]
    assert "Traceback" not in ran.stderr, ran.stderr[-4000:]
    answer: dict[str, Any] = json.loads(ran.stdout) if expected == 0 else {"problem": ran.stderr}
    return answer


def test_a_restore_into_fresh_buckets_and_a_fresh_database_equals_the_moment_of_the_backup(
    servers_profile: dict[str, str], tmp_path: Path
) -> None:
    name = f"drill-{uuid4().hex[:8]}"
    source_environment, target_environment = fresh(servers_profile, name), fresh(servers_profile, f"{name}-target")
    key = tmp_path / "backup.key"
    key.write_text("5a" * 32)
    key.chmod(0o600)
    where = ("--in", f"s3://{name}-backups/nightly", "--key-file", str(key))
    # Other credentials than the installation's: here the same, told as a backup's own.
    apart = {
        f"SAFELIGHT_BACKUP__{one}": servers_profile[f"SAFELIGHT_STORAGE__{one}"]
        for one in ("ENDPOINT_URL", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY")
    }
    source = Server(tmp_path / "source", source_environment).start()
    try:
        with source.client() as client:
            records = [
                client.post("/images", files={"file": jpeg(seed=seed)}, data={"title": f"Harbour {seed}"}).json()
                for seed in range(4)
            ]
            assert client.put(f"/images/{records[0]['id']}/original", files={"file": png(300, 200, seed=9)}).status_code == 200
            assert client.delete(f"/images/{records[1]['id']}").status_code == 204
            held(source_environment, source.data_dir)  # what was begun is done
        # A server that idles still seals its trail and counts: what it is compared with has to stand still.
        source.stop()
        truth = held(source_environment, source.data_dir)
        made = backup(source_environment | apart, "create", *where, "--data-dir", str(source.data_dir))
        source.start()
        with source.client() as client:
            client.patch(f"/images/{records[2]['id']}", json={"title": "after the backup"})
            client.delete(f"/images/{records[3]['id']}")
            assert client.delete(f"/images/{records[3]['id']}", params={"purge": True}).status_code == 204
            client.post("/images", files={"file": jpeg(seed=20)})
            second = backup(source_environment | apart, "create", *where, "--data-dir", str(source.data_dir))
    finally:
        source.stop()
    assert made["lost"] == second["lost"] == []
    assert second["copied"] < made["copied"], "what is there is not copied again"
    assert [one["id"] for one in backup(apart, "list", "--sizes", *where)["backups"]] == [made["id"], second["id"]]
    assert backup(apart, "verify", made["id"], *where)["is_sound"]

    place = tmp_path / "target.env"
    place.write_text(
        "".join(f"{name}={value}\n" for name, value in target_environment.items()) + f"SAFELIGHT_DATA_DIR={tmp_path / 'target'}\n"
    )
    restored = backup(apart, "restore", made["id"], *where, "--to", str(place))
    assert restored["id"] == made["id"]
    assert held(target_environment, tmp_path / "target") == truth

    target = Server(tmp_path / "target", target_environment).start()
    try:
        with target.client() as client:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and client.get("/health/ready").status_code != 200:
                time.sleep(0.2)
            found = client.get("/images/search", params={"q": "harbour"}).json()["results"]
            assert {one["image"]["id"] for one in found} == {records[number]["id"] for number in (0, 2, 3)}
            assert client.get(f"/images/{records[3]['id']}/original").status_code == 200
            assert client.post(f"/images/{records[1]['id']}/restore").status_code == 200
    finally:
        target.stop()
    assert "not empty" in backup(apart, "restore", second["id"], *where, "--to", str(place), expected=1)["problem"]
    pruned = backup(apart, "prune", "--keep-daily", "1", "--keep-weekly", "0", "--keep-monthly", "0", *where)
    assert (pruned["kept"], pruned["removed"]) == ([second["id"]], [made["id"]])
    assert pruned["objects"] > 0
    assert backup(apart, "verify", *where)["is_sound"]
