"""SeaweedFS: a real S3 server for tests, with moto's KMS beside it. Each start takes about two seconds and 150 MB.

    with SeaweedFS(folder) as server:
        server.make_bucket("b", is_versioned=True)

Everything listens on 127.0.0.1 and is stopped by process id. Data outlive `kill` and `start`; keys of the KMS outlive both, since
it is a process of its own.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import botocore.session
from botocore.config import Config

BINARIES = Path(sys.executable).parent
ACCESS_KEY, SECRET_KEY = "safelight", "a secret of tests"
POWERLESS = ("powerless", "another secret of tests")
REGION = "us-east-1"


class SeaweedFS:
    """One server on ports of its own, below one folder."""

    def __init__(self, folder: Path, *, webhook: tuple[str, str] | None = None) -> None:
        """`webhook`: an address that hears of every object, and the bearer token to say."""
        self.folder = folder
        self.webhook = webhook
        self.port = _free_port(5)
        self.kms_port = _free_port(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self.kms_url = f"http://127.0.0.1:{self.kms_port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._kms: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> SeaweedFS:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start what does not run, and wait until it takes a bucket."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._kms is None:
            self._kms = self._run("moto_server", "-H", "127.0.0.1", "-p", str(self.kms_port))
            _wait_for(f"{self.kms_url}/moto-api/", self._kms)
        self._write_config()
        (self.folder / "data").mkdir(exist_ok=True)
        master, volume, filer, admin = (self.port + number for number in range(1, 5))
        self._process = self._run(
            "weed",
            f"-logdir={self.folder}",
            "mini",
            f"-dir={self.folder / 'data'}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-master.telemetry=false",
            "-webdav=false",
            "-admin.ui=false",
            f"-master.port={master}",
            f"-volume.port={volume}",
            f"-filer.port={filer}",
            f"-s3.port={self.port}",
            f"-admin.port={admin}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            f"-s3.config={self.folder / 's3.json'}",
            "-s3.autoCreateBucket=false",
            "-volume.max=100",
            "-master.volumeSizeLimitMB=64",
        )
        _wait_for(f"{self.url}/healthz", self._process)
        deadline = time.monotonic() + 30
        while True:
            try:
                self.make_bucket("readiness")
                self.client().put_object(Bucket="readiness", Key="ready", Body=b"x")
                return
            except Exception:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def kill(self) -> None:
        """kill -9 the server, not the KMS."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Freeze it: connections are accepted by the kernel, nobody answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Stop both for good."""
        self.kill()
        if self._kms is not None:
            self._kms.kill()
            self._kms.wait()
            self._kms = None

    def client(self, service: str = "s3", *, url: str = "", access_key: str = ACCESS_KEY, secret_key: str = SECRET_KEY) -> Any:
        """A plain botocore client, to look behind the adapter's back; of another server when its URL is given."""
        return botocore.session.Session().create_client(
            service,
            endpoint_url=url or (self.kms_url if service == "kms" else self.url),
            region_name=REGION,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=10),
        )

    def make_bucket(self, name: str, *, is_versioned: bool = False) -> str:
        """The bucket, made if it was not there. The first write to a new one takes 0.2 s."""
        client = self.client()
        try:
            client.create_bucket(Bucket=name)
        except client.exceptions.BucketAlreadyExists:
            pass
        except client.exceptions.BucketAlreadyOwnedByYou:
            pass
        if is_versioned:
            client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name

    def make_key(self) -> str:
        """The ARN of a new KMS key."""
        return str(self.client("kms").create_key()["KeyMetadata"]["Arn"])

    def stored_bytes(self) -> bytes:
        """Everything that the volumes hold, as it lies on disk."""
        return b"".join(path.read_bytes() for path in sorted((self.folder / "data").rglob("*.dat")))

    @property
    def has_ended(self) -> bool:
        """By itself."""
        return self._process is not None and self._process.poll() is not None

    def needle(self, bucket: str, key: str, version: str) -> Needle:
        """Where the bytes of a version lie; of one that was cut into several chunks, those of the last."""
        path = quote(f"/buckets/{bucket}/{key}.versions/v_{version}")
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port + 3}{path}?metadata=true", timeout=10) as answer:
            fid = max(json.load(answer)["chunks"], key=lambda chunk: chunk.get("offset", 0))["fid"]
        head = fid["cookie"].to_bytes(4, "big") + fid["file_key"].to_bytes(8, "big")
        return Needle.found(self.folder / "data" / f"{bucket}_{fid['volume_id']}.dat", head)

    def _run(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{program}.log").open("ab") as output:
            return subprocess.Popen(
                [BINARIES / program, *arguments],
                cwd=self.folder,  # where it looks for further configuration
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={"PATH": os.environ.get("PATH", ""), "HOME": str(self.folder)},
                start_new_session=True,
            )

    def _write_config(self) -> None:
        everything = ["Admin", "Read", "Write", "List", "Tagging"]
        config = {
            "identities": [
                {"name": "all", "credentials": [_credentials(ACCESS_KEY, SECRET_KEY)], "actions": everything},
                {"name": "none", "credentials": [_credentials(*POWERLESS)], "actions": []},
            ],
            "kms": {
                "default_provider": "moto",
                "providers": {
                    "moto": {"type": "aws", "endpoint": self.kms_url, "region": REGION, "access_key": "x", "secret_key": "y"}
                },
            },
        }
        (self.folder / "s3.json").write_text(json.dumps(config))
        if self.webhook is not None:
            endpoint, token = map(json.dumps, self.webhook)
            told = f"[notification.webhook]\nenabled = true\nendpoint = {endpoint}\nbearer_token = {token}\n"
            (self.folder / "notification.toml").write_text(told + 'path_prefixes = ["/buckets/originals/incoming"]\n')


@dataclass(frozen=True)
class Needle:
    """An object's bytes, encrypted ones where they are, in the file of their volume, beside the checksum that is looked at with them.

    Cookie 4, id 8, size of what follows 4, size of the data 4, data, flags and more, CRC-32C of the data 4; numbers are big-endian
    (SeaweedFS, weed/storage/needle, version 3).
    """

    path: Path
    head: bytes
    at: int
    size_bytes: int
    sum_at: int

    @classmethod
    def found(cls, path: Path, head: bytes) -> Needle:
        """By its cookie and id."""
        volume = path.read_bytes()
        at = volume.rindex(head)
        follows, size = (int.from_bytes(volume[at + start : at + start + 4], "big") for start in (12, 16))
        needle = cls(path, head, at + 20, size, at + 16 + follows)
        assert volume[needle.sum_at : needle.sum_at + 4] == crc32c(needle.read()), "the needle is not where it is looked for"
        return needle

    def read(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.at)
            return file.read(self.size_bytes)

    def write(self, data: bytes) -> None:
        """In place, with its sum, so that SeaweedFS takes them for sound."""
        assert len(data) == self.size_bytes
        with self.path.open("r+b") as file:
            file.seek(self.at - 20)
            assert file.read(12) == self.head, "the volume has been compacted meanwhile"
            file.seek(self.at)
            file.write(data)
            file.seek(self.sum_at)
            file.write(crc32c(data))


def _crc32c_of(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F6_3B78 if byte & 1 else 0)  # Castagnoli's polynomial, RFC 3720 section 12.1
    return byte


_CRC32C = [_crc32c_of(byte) for byte in range(256)]


def crc32c(data: bytes) -> bytes:
    """Four bytes, big-endian."""
    sum = 0xFFFF_FFFF
    for byte in data:
        sum = _CRC32C[(sum ^ byte) & 0xFF] ^ sum >> 8
    return (sum ^ 0xFFFF_FFFF).to_bytes(4, "big")


class Moto:
    """moto's server: what SeaweedFS lacks of the configuration of buckets. Checks no credentials."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port(1)
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Moto:
        with (self.folder / "moto.log").open("ab") as output:
            self._process = subprocess.Popen(
                [BINARIES / "moto_server", "-H", "127.0.0.1", "-p", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        _wait_for(f"{self.url}/moto-api/", self._process)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def _credentials(access_key: str, secret_key: str) -> dict[str, str]:
    return {"accessKey": access_key, "secretKey": secret_key}


def _free_port(count: int) -> int:
    """The first of `count` ports that nobody listens on, nor 10,000 above, where SeaweedFS puts gRPC."""
    while True:
        first = random.SystemRandom().randrange(20_000, 32_000)
        if all(_is_free(first + number + above) for number in range(count) for above in (0, 10_000)):
            return first


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                answer.read()
            return
        except OSError:
            if process.poll() is not None:
                raise RuntimeError(f"{url} never came up: the server ended with {process.returncode}") from None
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
