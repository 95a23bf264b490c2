"""Delivery: a ready rendition of about 30 KB by signed URL, from memory, beside nginx and caddy serving the same file from disk.

Server on one core, generator on another, the same for all. The service checks a signature and the peers check nothing: against
nginx, the ratio is what the service's whole way costs against the least that any server can cost. The service's own server with an
application that does nothing but send the bytes (`bare.py`) is what the way from the socket to Python and back takes of it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from processes import HERE, Server, answers, cpu_of, free_port, load, scratch, spread, upload
from wire import at_rate, full_speed, has

from photographs import photographs

CONNECTIONS = 32
SIZE_BYTES = 30_000
TARGETS = {"nginx": 0.25, "caddy": 2.0}
"""Requests per second of the service, at least so many times a peer's."""
TARGET_P99_MS = 15.0
"""At half load."""

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


CADDYFILE = """
{{
  admin off
  auto_https off
}}
http://127.0.0.1:{port} {{
  root * {folder}/www
  file_server
}}
"""


@contextmanager
def nginx(folder: Path, content: bytes, name: str, cores: str) -> Iterator[tuple[int, str]]:
    """Its process and the file's address."""
    me = pwd.getpwuid(os.getuid()).pw_name
    user = f"user {me};" if os.getuid() == 0 else ""
    command = [nginx_path() or "nginx", "-p", str(folder), "-c", str(folder / "configuration")]
    with _serving(command, CONFIGURATION, folder, content, name, cores, user=user) as found:
        yield found


@contextmanager
def caddy(folder: Path, content: bytes, name: str, cores: str) -> Iterator[tuple[int, str]]:
    """The same."""
    command = ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "configuration")]
    with _serving(command, CADDYFILE, folder, content, name, cores) as found:
        yield found


@contextmanager
def bare(folder: Path, content: bytes, name: str, cores: str) -> Iterator[tuple[int, str]]:
    """The same: what serves the service, and nothing behind it."""
    command = [sys.executable, "-m", "granian", "--interface", "asgi", "--loop", "uvloop", "--no-ws", "--log-level", "error"]
    command += ["--working-dir", str(HERE), "--port", "{port}", "bare:app"]
    with _serving(command, "", folder, content, name, cores) as found:
        yield found


@contextmanager
def _serving(
    command: Sequence[str], configuration: str, folder: Path, content: bytes, name: str, cores: str, **words: str
) -> Iterator[tuple[int, str]]:
    (folder / "www").mkdir(parents=True)
    (folder / "www" / name).write_bytes(content)
    port = free_port()
    (folder / "configuration").write_text(configuration.format(folder=folder, port=port, **words))
    log = folder / "error.log"
    environment = os.environ | {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    environment["BARE_FILE"] = str(folder / "www" / name)
    command = [word.format(port=port) for word in command]
    with log.open("ab") as sink:
        process = subprocess.Popen(["taskset", "-c", cores, *command], stdout=sink, stderr=sink, env=environment)
    try:
        deadline = time.monotonic() + 10
        while not answers(port, f"/{name}"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} does not serve:\n{log.read_text()[-500:]}")
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
    with scratch() as folder, ExitStack() as opened:
        environment = {"SAFELIGHT_LOG__LEVEL": "warning"}
        server = opened.enter_context(Server(folder / "data", cores=ours, environment=environment))
        url, content, kind = rendition(server)
        ways = other_ways(server, url)
        urls: dict[str, tuple[int, str]] = {"service": (server.pid, url)}
        peers: dict[str, str] = {}
        if (path := nginx_path()) is not None:
            urls["nginx"] = opened.enter_context(nginx(folder / "nginx", content, f"file.{kind}", ours))
            version = subprocess.run([path, "-v"], capture_output=True, text=True, check=True).stderr
            peers["nginx"] = version.rpartition("/")[2].strip()
        if shutil.which("caddy"):
            urls["caddy"] = opened.enter_context(caddy(folder / "caddy", content, f"file.{kind}", ours))
            version = subprocess.run(["caddy", "version"], capture_output=True, text=True, check=True).stdout
            peers["caddy"] = version.split()[0]
        urls["granian"] = opened.enter_context(bare(folder / "granian", content, f"file.{kind}", ours))
        for name in sorted(TARGETS.keys() - peers):
            print(f"  {name} is not installed: left out", file=sys.stderr)
        return measured(urls, ways, rounds, seconds, generator) | {"size_bytes": len(content), "peers": peers}


def measured(
    urls: dict[str, tuple[int, str]], ways: dict[str, tuple[str, dict[str, str]]], rounds: int, seconds: float, generator: str
) -> dict[str, Any]:
    cells: dict[str, list[dict[str, Any]]] = {}
    others: dict[str, list[dict[str, Any]]] = {}
    half: dict[str, list[dict[str, Any]]] = {}
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
        for name, (url, headers) in ways.items():
            cell = one(urls["service"][0], url, seconds=seconds, generator=generator, headers=headers)
            others.setdefault(name, []).append(cell)
            print(f"  {name} {number + 1}/{rounds}: {cell['requests_per_s']:.0f}/s, {cell['cpu_us']:.1f} us CPU", flush=True)
    figures = ("requests_per_s", "cpu_us", "p50_ms", "p99_ms")
    return {
        "connections": CONNECTIONS,
        "cells": {name: {figure: spread([row[figure] for row in rows]) for figure in figures} for name, rows in cells.items()},
        "ways": {name: {figure: spread([row[figure] for row in rows]) for figure in figures} for name, rows in others.items()},
        "half": {
            name: {figure: spread([row[figure] for row in rows]) for figure in ("requests_per_s", "p50_ms", "p99_ms")}
            for name, rows in half.items()
        },
        "ratios": {
            peer: {
                figure: spread([a[figure] / b[figure] for a, b in zip(cells["service"], rows, strict=True)])
                for figure in ("requests_per_s", "cpu_us")
            }
            for peer, rows in cells.items()
            if peer != "service"
        },
        "targets": TARGETS,
        "target_p99_ms": TARGET_P99_MS,
        "rounds": {"full": cells, "half": half, "ways": others},
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


def other_ways(server: Server, url: str) -> dict[str, tuple[str, dict[str, str]]]:
    """Of the same picture: a signed URL that leaves the format to the browser, the first URL asked again, a tile by IIIF."""
    at = urlsplit(url)
    image = at.path.split("/")[2]
    with server.client() as client:
        etag = client.get(url).raise_for_status().headers["etag"]
        [by_accept] = client.post(f"/images/{image}/urls", json={"transforms": ["w=400.auto"]}).raise_for_status().json()["urls"]
        client.patch(f"/images/{image}", json={"visibility": "unlisted"}).raise_for_status()
    return {
        "format by Accept": (by_accept, {"Accept": "image/webp,*/*"}),
        "revalidated, 304": (url, {"If-None-Match": etag}),
        "a tile by IIIF": (f"{at.scheme}://{at.netloc}/iiif/3/{image}/0,0,512,512/512,512/0/default.jpg", {}),
    }


if __name__ == "__main__":
    import json

    print(json.dumps(measure(quick=True), indent=1))
