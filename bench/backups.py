"""Backups and scrubbing: how long they take, for a library of small images on files. `python bench/backups.py [--images 2000]`

Each figure is of the command as an operator runs it, start and all, beside the server that goes on running: a first backup, one
after twenty more images, verifying, restoring into an empty place, and reading every byte. With --bucket the backups are below a
prefix of SeaweedFS on the same machine. Bytes and rows are the command's own words.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from processes import Server, load, scratch
from tests.pictures import jpeg
from tests.servers.seaweedfs import ACCESS_KEY, SECRET_KEY, SeaweedFS

MORE = 20


def filled(server: Server, first: int, count: int) -> None:
    """So many images of 320 x 240 pixels more, each another one."""
    with server.client() as client, ThreadPoolExecutor(4) as pool:

        def upload(seed: int) -> None:
            client.post("/images", files={"file": jpeg(320, 240, seed=seed)}).raise_for_status()

        list(pool.map(upload, range(first, first + count)))
    server.settle()


def command(environment: dict[str, str], *arguments: str) -> dict[str, Any]:
    """What it says, and `took_s`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SAFELIGHT_")} | environment
    began = time.perf_counter()
    ran = subprocess.run([sys.executable, "-m", "safelight", *arguments, "--json"], env=clean, capture_output=True, text=True)
    took_s = round(time.perf_counter() - began, 1)
    if ran.returncode:
        raise RuntimeError(ran.stderr[-2000:])
    return json.loads(ran.stdout) | {"took_s": took_s}


def measure(images: int, *, is_bucket: bool) -> dict[str, Any]:
    with scratch() as folder, ExitStack() as opened:
        key = folder / "backup.key"
        key.write_text("5a" * 32)
        key.chmod(0o600)
        place, environment = str(folder / "backups"), {}
        if is_bucket:
            s3 = opened.enter_context(SeaweedFS(folder / "seaweedfs"))
            place = f"s3://{s3.make_bucket('backups')}/bench"
            environment = {
                "SAFELIGHT_BACKUP__ENDPOINT_URL": s3.url,
                "SAFELIGHT_BACKUP__ACCESS_KEY_ID": ACCESS_KEY,
                "SAFELIGHT_BACKUP__SECRET_ACCESS_KEY": SECRET_KEY,
            }
        where = ("--in", place, "--key-file", str(key))
        data = folder / "data"
        at = ("--data-dir", str(data))
        server = opened.enter_context(Server(data))
        filled(server, 0, images)
        found: dict[str, Any] = {"images": images, "is_in_bucket": is_bucket, "cores": os.cpu_count(), "load": load()}
        found["full"] = command(environment, "backup", "create", *where, *at)
        filled(server, images, MORE)
        found["incremental"] = command(environment, "backup", "create", *where, *at)
        found["verify"] = command(environment, "backup", "verify", *where)
        found["restore"] = command(environment, "backup", "restore", *where, "--to", str(folder / "back"))
        found["scrub"] = command(environment, "scrub", *at)
        found["load_after"] = load()
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure backups, restoring and scrubbing.")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--bucket", action="store_true", help="keep the backups in a bucket")
    chosen = parser.parse_args()
    found = measure(chosen.images, is_bucket=chosen.bucket)
    print(json.dumps(found, indent=1))
    for name in ("full", "incremental", "verify", "restore", "scrub"):
        one = found[name]
        print(
            f"{name:12} {one['took_s']:7.1f} s  {one['objects']:>7,} objects  {one.get('copied_bytes', one['bytes']) / 1e6:9.1f} MB"
        )


if __name__ == "__main__":
    main()
