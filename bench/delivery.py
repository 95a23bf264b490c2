"""Delivery: a ready rendition of about 30 KB by signed URL, from memory, beside nginx serving the same file from disk.

Server on one core, generator on another, the same for both. The service checks a signature at every request and nginx
checks nothing: the ratio is what the service's whole way costs against the least that any server can cost.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from processes import HERE, Server, answers, cpu_of, free_port, load, scratch, spread, upload
from wire import at_rate, full_speed, has

from photographs import photographs

CONNECTIONS = 32
SIZE_BYTES = 30_000

CONFIGURATION = """
{user}
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 100000000;
  types {{ image/webp webp; image/jpeg jpg; }}
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  open_file_cache max=16;
  server {{ listen 127.0.0.1:{port}; root {folder}/www; }}
}}
"""


@contextmanager
def nginx(folder: Path, content: bytes, name: str, cores: str) -> Iterator[tuple[int, str]]:
    """Its process and the file's address."""
    (folder / "www").mkdir(parents=True)
    (folder / "www" / name).write_bytes(content)
    port = free_port()
    me = pwd.getpwuid(os.getuid()).pw_name
    user = f"user {me};" if os.getuid() == 0 else ""
    (folder / "nginx.conf").write_text(CONFIGURATION.format(user=user, folder=folder, port=port))
    command = ["taskset", "-c", cores, nginx_path() or "nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while not answers(port, f"/{name}"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"nginx does not serve:\n{(folder / 'error.log').read_text()[-500:]}")
            time.sleep(0.02)
        yield process.pid, f"http://127.0.0.1:{port}/{name}"
    finally:
        process.terminate()
        process.wait(10)


def nginx_path() -> str | None:
    """Debian keeps it where an ordinary user's PATH does not look."""
    return shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def one(pid: int, url: str, *, seconds: float, generator: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
    parts = urlsplit(url)
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    busy, before = load(), cpu_of(pid)
    base = f"http://{parts.netloc}"
    cell = full_speed(base, [path], connections=CONNECTIONS, seconds=seconds, headers=headers, cores=generator)
    return cell | {"cpu_us": (cpu_of(pid) - before) / cell["requests"] * 1e6} | busy


def measure(*, quick: bool) -> dict[str, Any]:
    """The section's result."""
    if not has("wrk"):
        print("  wrk is not on the path (on Debian: apt-get install wrk nginx-light nghttp2-client): left out", file=sys.stderr)
        return {"left_out": "wrk is not installed"}
    subprocess.run(
        [sys.executable, str(HERE.parent / "tests" / "photographs.py"), "fetch", "camera"], check=True, stdout=subprocess.DEVNULL
    )
    cores = sorted(os.sched_getaffinity(0))
    ours, generator = str(cores[0]), str(cores[-1])
    rounds, seconds = (2, 3) if quick else (6, 5)
    cells: dict[str, list[dict[str, Any]]] = {}
    half: dict[str, list[dict[str, Any]]] = {}
    with scratch() as folder, Server(folder / "data", cores=ours, environment={"SAFELIGHT_LOG__LEVEL": "warning"}) as server:
        url, content, kind = rendition(server)
        urls: dict[str, tuple[int, str]] = {"service": (server.pid, url)}
        if nginx_path() is None:
            print("  nginx is not installed: left out", file=sys.stderr)
            return measured(urls, cells, half, rounds, seconds, generator, content, "")
        with nginx(folder / "nginx", content, f"file.{kind}", ours) as (pid, static):
            urls["nginx"] = pid, static
            version = subprocess.run([nginx_path() or "", "-v"], capture_output=True, text=True, check=True).stderr
            return measured(urls, cells, half, rounds, seconds, generator, content, version.rpartition("/")[2].strip())


def measured(
    urls: dict[str, tuple[int, str]],
    cells: dict[str, list[dict[str, Any]]],
    half: dict[str, list[dict[str, Any]]],
    rounds: int,
    seconds: float,
    generator: str,
    content: bytes,
    peer: str,
) -> dict[str, Any]:
    for number in range(rounds):
        for name, (pid, url) in urls.items():
            cell = one(pid, url, seconds=seconds, generator=generator)
            cells.setdefault(name, []).append(cell)
            line = f"  {name} {number + 1}/{rounds}: {cell['requests_per_s']:.0f}/s, {cell['cpu_us']:.1f} us CPU, p99 {cell['p99_ms']:.2f} ms"
            if has("h2load"):
                slow = at_rate(
                    url, connections=CONNECTIONS, per_s=cell["requests_per_s"] / 2, seconds=max(2, seconds / 2), cores=generator
                )
                half.setdefault(name, []).append(slow)
                line += f"; at {slow['requests_per_s']:.0f}/s p99 {slow['p99_ms']:.2f} ms"
            print(line, flush=True)
    figures = ("requests_per_s", "cpu_us", "p50_ms", "p99_ms")
    return {
        "connections": CONNECTIONS,
        "size_bytes": len(content),
        "nginx": peer,
        "cells": {name: {figure: spread([row[figure] for row in rows]) for figure in figures} for name, rows in cells.items()},
        "half": {
            name: {figure: spread([row[figure] for row in rows]) for figure in ("requests_per_s", "p50_ms", "p99_ms")}
            for name, rows in half.items()
        },
        "cpu_ratio": spread([a["cpu_us"] / b["cpu_us"] for a, b in zip(cells["service"], cells["nginx"])]) if peer else None,
        "rounds": {"full": cells, "half": half},
    }


def rendition(server: Server) -> tuple[str, bytes, str]:
    """The signed URL of the rendition whose size is nearest to 30 KB, its bytes, its extension."""
    photos = photographs("camera")
    ids = upload(server, photos, len(photos))["ids"]
    with server.client() as client:
        every = [one for id in ids.values() for one in client.get(f"/images/{id}").raise_for_status().json()["renditions"]]
        best = min(every, key=lambda one: abs(one["bytes"] - SIZE_BYTES))
        content = client.get(best["url"], headers={"authorization": ""}).raise_for_status().content
    if "sig=" not in best["url"]:
        raise RuntimeError("the rendition's URL is not signed")
    return best["url"], content, {"jpeg": "jpg"}.get(best["format"], best["format"])


if __name__ == "__main__":
    import json

    print(json.dumps(measure(quick=True), indent=1))
