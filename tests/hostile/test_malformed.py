"""Files that no honest encoder has written, through the real door: each a refusal or a correct picture, soon, with nothing left behind.

A thousand for every change; `make hostile` tries twenty thousand (HOSTILE=..., HOSTILE_SEED=...). A finding names its number.
"""

from __future__ import annotations

import io
import json
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
from PIL import Image
from tests.acceptance.conftest import Server
from tests.hostile.malformed import Malformed, malformed

COUNT = int(os.environ.get("HOSTILE", "1000"))
SEED = int(os.environ.get("HOSTILE_SEED", "0"))
DEADLINE_S = float(os.environ.get("HOSTILE_DEADLINE_S", "60"))
"""Five seconds is the promise, which the nightly run asks for; a machine that runs other tests meanwhile is not held to it."""
CLIENTS = max(2, len(os.sched_getaffinity(0)))
"""More would wait for each other, and it is the server that is measured."""
GROWN_BYTES = 256 << 20
"""What the processes that stay may have more at the end than after a twentieth of the files: caches that fill, never a leak per file."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path / "data", {"SAFELIGHT_RATE__ADDRESS_PER_S": "0"}).start()
    yield running
    running.stop()


def judged(client: httpx.Client, file: Malformed) -> tuple[str, str | None]:
    """(what came of it, what is wrong with that)."""
    began = time.monotonic()
    answer = settled(client, client.post("/images", files={"file": ("picture", file.data)}))
    took_s = time.monotonic() - began
    end, finding = outcome(client, answer)
    if finding is None and took_s > DEADLINE_S:
        return "late", f"took {took_s:.1f} s"
    return end, finding


def outcome(client: httpx.Client, answer: httpx.Response) -> tuple[str, str | None]:
    """The same, however long it took; what was accepted is looked at and goes again."""
    if 400 <= answer.status_code < 500:
        if answer.headers.get("content-type") != "application/problem+json" or "code" not in answer.json():
            return "odd", f"{answer.status_code} without a problem document: {answer.text[:200]}"
        return answer.json()["code"], None
    if answer.status_code not in (200, 201):
        return "odd", f"{answer.status_code}: {answer.text[:300]}"
    if answer.status_code == 200:
        return "duplicate", None
    record = answer.json()
    finding = wrong_with(client, record)
    dropped(client, record["id"])
    return "accepted", finding


def settled(client: httpx.Client, answer: httpx.Response) -> httpx.Response:
    """On a machine so busy that the server does not wait for it, an upload ends as this record, or as one that is gone."""
    if answer.status_code != 202:
        return answer
    deadline = time.monotonic() + DEADLINE_S
    record = client.get(f"/images/{answer.json()['id']}")
    while record.status_code == 200 and record.json()["status"] == "developing" and time.monotonic() < deadline:
        time.sleep(0.2)
        record = client.get(f"/images/{answer.json()['id']}")
    if record.status_code != 200:
        return record
    said = record.json()
    if said["status"] != "rejected":
        return httpx.Response(201, json=said)
    dropped(client, said["id"])  # it is kept until its owner has seen why
    return httpx.Response(422, json=said["problem"], headers={"content-type": "application/problem+json"})


def dropped(client: httpx.Client, image_id: str) -> None:
    client.delete(f"/images/{image_id}")
    client.delete(f"/images/{image_id}", params={"purge": "true"})


def wrong_with(client: httpx.Client, record: dict) -> str | None:
    """Whether what was accepted is a picture, of the sizes that it says."""
    if record["status"] != "ready" or not (0 < record["width"] <= 65_535 and 0 < record["height"] <= 65_535):
        return f"accepted as {record['status']}, {record['width']} x {record['height']}"
    for rendition in (each for each in record["renditions"] if each["preset"] in ("thumb_150", "large")):
        delivered = client.get(rendition["url"])
        if delivered.status_code != 200:
            return f"{rendition['preset']} is a {delivered.status_code}"
        with Image.open(io.BytesIO(delivered.content)) as picture:
            picture.load()
            if picture.size != (rendition["width"], rendition["height"]):
                return f"{rendition['preset']} has {picture.size}"
    return None


def kept(server: Server) -> dict[str, int]:
    """What lies where a file could have left something."""
    with sqlite3.connect(f"file:{server.data_dir / 'catalog.db'}?mode=ro", uri=True) as catalog:
        rows = catalog.execute("SELECT count(*) FROM images").fetchone()[0]
    objects = [
        path for path in (server.data_dir / "objects").rglob("*") if path.is_file() and not path.name.startswith("objects.db")
    ]
    return {"rows": rows, "objects": len(objects), "spooled": len(list((server.data_dir / "spool").rglob("*")))}


def resident_bytes(pids: set[int]) -> int:
    return sum(psutil.Process(pid).memory_info().rss for pid in pids)


def test_no_malformed_file_costs_more_than_its_refusal(server):
    family = psutil.Process(server.process.pid)
    at_first = {process.pid for process in (family, *family.children(recursive=True))}

    def one(number: int) -> tuple[Malformed, str, str | None]:
        file = malformed(number)
        return (file, *judged(client, file))

    ends: Counter[str] = Counter()
    findings: list[str] = []
    late: list[Malformed] = []
    early_bytes = 0
    with server.client() as client, ThreadPoolExecutor(CLIENTS) as pool:
        for tried, (file, end, finding) in enumerate(pool.map(one, range(SEED, SEED + COUNT)), 1):
            ends[end] += 1
            if finding:
                print(f"{file}: {finding}", flush=True)
                late.append(file) if end == "late" else findings.append(f"{file}: {finding}")
            if tried == COUNT // 20:
                early_bytes = resident_bytes(at_first)
            if tried % 1000 == 0:
                print(
                    f"{tried} of {COUNT}, {len(findings)} findings, {len(late)} late, {resident_bytes(at_first) >> 20} MB",
                    flush=True,
                )
        # What takes a file's own time takes it again; what another process has taken, it does not.
        for file in late:
            _, finding = judged(client, file)
            findings += [f"{file}: {finding}, alone"] if finding else []
    print(f"{COUNT} files: " + ", ".join(f"{count} {end}" for end, count in ends.most_common()))

    assert ends["accepted"] and ends["corrupt_image"] and ends["unsupported_format"], "every kind of end is met"
    with server.client() as client:
        if client.get("/health/ready").status_code != 200:
            findings.append("the server is not ready")
        # A file at fault is refused, never a dead letter of ours.
        findings += [f"a dead letter: {failure}" for failure in client.get("/admin/failures").json()["failures"]]
    deadline = time.monotonic() + 60
    while any(kept(server).values()) and time.monotonic() < deadline:
        time.sleep(0.2)  # purges are done a moment later
    findings += [f"{count} {what} left behind" for what, count in kept(server).items() if count]
    for line in server.log.splitlines():
        if "Traceback" in line or (line.startswith("{") and json.loads(line).get("level") in ("error", "critical")):
            findings.append(f"in the log: {line}")
    if lost := at_first - {process.pid for process in (family, *family.children(recursive=True))}:
        findings.append(f"processes that had to be started again: {lost}")
    elif (late_bytes := resident_bytes(at_first)) > early_bytes + GROWN_BYTES:
        findings.append(f"memory grew from {early_bytes >> 20} to {late_bytes >> 20} MB")
    assert not findings, "\n".join(findings)
