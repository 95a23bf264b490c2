"""The Vault contract on a folder and in buckets with and without versions, and what somebody may do to the files."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from tests.servers.seaweedfs import ACCESS_KEY, SECRET_KEY

from safelight.adapters.storage.s3 import S3Options, S3Vault
from safelight.adapters.storage.s3.vault import STALE_S
from safelight.adapters.storage.vault import DirectoryVault
from safelight.errors import BackendUnavailable, DamagedObject, DataDirInUse, WrongState
from safelight.testing.contracts.vault import VaultContract, bytes_of


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "backup.key"
    path.write_text("5a" * 32 + "\n")
    path.chmod(0o600)
    return path


@pytest.fixture
async def vault(tmp_path: Path, key_file: Path):
    vault = DirectoryVault(tmp_path / "backups", key_file=key_file)
    await vault.open()
    yield vault
    await vault.close()


class TestDirectoryVault(VaultContract):
    pass


async def test_nothing_of_what_was_put_can_be_read_from_the_files(vault, tmp_path):
    await vault.put("rows/a", b"a secret that nobody else should read " * 100)

    assert b"secret" not in (tmp_path / "backups" / "rows" / "a").read_bytes()


async def test_a_changed_a_cut_a_grown_and_an_exchanged_file_are_told(vault, tmp_path):
    root = tmp_path / "backups"
    await vault.put("rows/other", b"y" * 200_000)
    await vault.put("rows/a", b"x" * 200_000)
    sound = (root / "rows" / "a").read_bytes()
    flipped = bytearray(sound)
    flipped[100_000] ^= 1
    exchanged = (root / "rows" / "other").read_bytes()
    for damaged in (bytes(flipped), sound[:-1], sound[: 72 + 65_552], sound + b"x", b"", sound[:80], exchanged):
        (root / "rows" / "a").write_bytes(damaged)
        with pytest.raises(DamagedObject):
            await bytes_of(vault, "rows/a")


async def test_another_key_or_passphrase_is_told_before_anything_is_written(vault, tmp_path, key_file):
    await vault.put("rows/a", b"x")
    await vault.close()
    other = tmp_path / "other.key"
    other.write_text("11" * 32)
    for wrong in (
        DirectoryVault(tmp_path / "backups", key_file=other),
        DirectoryVault(tmp_path / "backups", key_file=tmp_path / "nothing.key"),
        DirectoryVault(tmp_path / "backups", passphrase=b"a long passphrase"),
    ):
        with pytest.raises(WrongState):
            await wrong.open()
    other.write_text("11" * 32 + "\n" + "5a" * 32)  # rotated: the old key still opens
    rotated = DirectoryVault(tmp_path / "backups", key_file=other)
    await rotated.open()
    assert await bytes_of(rotated, "rows/a") == b"x"
    await rotated.close()


async def test_a_passphrase_opens_its_own_vault_and_no_other_one_does(tmp_path):
    right = DirectoryVault(tmp_path / "backups", passphrase=b"a long passphrase")
    await right.open()
    await right.put("rows/a", b"x")
    await right.close()

    with pytest.raises(WrongState):
        await DirectoryVault(tmp_path / "backups", passphrase=b"another passphrase").open()
    again = DirectoryVault(tmp_path / "backups", passphrase=b"a long passphrase")
    await again.open()
    assert await bytes_of(again, "rows/a") == b"x"
    await again.close()


async def test_one_command_uses_a_vault_at_a_time(vault, tmp_path, key_file):
    with pytest.raises(DataDirInUse):
        await DirectoryVault(tmp_path / "backups", key_file=key_file).open()


async def test_a_vault_carried_elsewhere_is_the_same(vault, tmp_path, key_file):
    await vault.put("rows/a", b"x")
    await vault.close()
    shutil.copytree(tmp_path / "backups", tmp_path / "elsewhere")
    carried = DirectoryVault(tmp_path / "elsewhere", key_file=key_file)
    await carried.open()

    assert await bytes_of(carried, "rows/a") == b"x"
    await carried.close()


# In a bucket


@pytest.fixture(scope="module", params=["versions", "no-versions"])
def bucket(request, seaweedfs):
    return seaweedfs.make_bucket(f"backups-{request.param}", is_versioned=request.param == "versions")


@pytest.fixture
def options(seaweedfs, bucket, tmp_path):
    return S3Options(
        originals_bucket=bucket,
        renditions_bucket=bucket,
        prefix=f"{tmp_path.name}-{time.time_ns()}/",
        endpoint_url=seaweedfs.url,
        access_key_id=ACCESS_KEY,
        secret_access_key=SECRET_KEY,
        is_encrypted=False,
        needs_versions=False,
    )


@pytest.fixture
async def s3_vault(options, key_file):
    vault = S3Vault(options, key_file=key_file)
    await vault.open()
    yield vault
    await vault.close()


class TestS3Vault(VaultContract):
    @pytest.fixture
    async def vault(self, s3_vault):
        return s3_vault


def keys_of(seaweedfs, options):
    found = seaweedfs.client().list_objects_v2(Bucket=options.originals_bucket, Prefix=options.prefix)
    return [each["Key"].removeprefix(options.prefix) for each in found.get("Contents", ())]


async def test_nothing_of_what_was_put_can_be_read_from_the_bucket(s3_vault, seaweedfs, options):
    await s3_vault.put("rows/a", b"a secret that nobody else should read " * 100)

    stored = seaweedfs.client().get_object(Bucket=options.originals_bucket, Key=f"{options.prefix}rows/a")["Body"].read()
    assert b"secret" not in stored


async def test_a_changed_a_cut_and_an_exchanged_object_are_told(s3_vault, seaweedfs, options):
    client, place = seaweedfs.client(), {"Bucket": options.originals_bucket, "Key": f"{options.prefix}rows/a"}
    await s3_vault.put("rows/other", b"y" * 200_000)
    await s3_vault.put("rows/a", b"x" * 200_000)
    sound = client.get_object(**place)["Body"].read()
    flipped = bytearray(sound)
    flipped[100_000] ^= 1
    exchanged = client.get_object(**place | {"Key": f"{options.prefix}rows/other"})["Body"].read()
    for damaged in (bytes(flipped), sound[:-1], sound[: 72 + 65_552], b"x", sound[:80], exchanged):
        client.put_object(**place, Body=damaged)
        with pytest.raises(DamagedObject):
            await bytes_of(s3_vault, "rows/a")


async def test_another_key_or_passphrase_opens_no_bucket(s3_vault, options, tmp_path):
    await s3_vault.put("rows/a", b"x")
    await s3_vault.close()
    other = tmp_path / "other.key"
    other.write_text("11" * 32)
    for wrong in (
        S3Vault(options, key_file=other),
        S3Vault(options, key_file=tmp_path / "nothing.key"),
        S3Vault(options, passphrase=b"a long passphrase"),
    ):
        with pytest.raises(WrongState):
            await wrong.open()


async def test_a_passphrase_opens_its_own_bucket(options):
    for _ in range(2):
        vault = S3Vault(options, passphrase=b"a long passphrase")
        await vault.open()
        await vault.put("rows/a", b"x")
        await vault.close()
    with pytest.raises(WrongState):
        await S3Vault(options, passphrase=b"another passphrase").open()


async def test_one_command_uses_a_bucket_at_a_time_and_leaves_no_lock(s3_vault, options, key_file, seaweedfs):
    second = S3Vault(options, key_file=key_file)
    with pytest.raises(DataDirInUse):
        await second.open()
    assert [key for key in keys_of(seaweedfs, options) if key.startswith("locks/")] == [s3_vault._lock]
    await s3_vault.close()
    await second.open()
    await second.close()

    assert [key for key in keys_of(seaweedfs, options) if key.startswith("locks/")] == []


async def test_the_lock_of_a_command_that_was_killed_goes_when_it_is_old(s3_vault, options, key_file, monkeypatch):
    class Later(S3Vault):
        async def _locks(self):
            return {name: at + (STALE_S + 1 if name == self._lock else 0) for name, at in (await super()._locks()).items()}

    later = Later(options, key_file=key_file)
    await later.open()
    await later.put("rows/a", b"x")
    await later.close()


async def test_who_could_not_keep_its_lock_writes_no_more(s3_vault):
    s3_vault._renewed_at -= STALE_S

    with pytest.raises(BackendUnavailable):
        await s3_vault.put("rows/a", b"x")


async def test_a_bucket_that_is_not_there_is_told(options, key_file):
    from dataclasses import replace

    missing = replace(options, originals_bucket="nowhere", renditions_bucket="nowhere")
    with pytest.raises(WrongState):
        await S3Vault(missing, key_file=key_file).open()
