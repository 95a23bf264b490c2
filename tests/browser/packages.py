"""What npm ships for browsers, and a site of another origin that shows pages with it.

IIIF viewers come as one file, by version and hash; the upload clients of `clients/package-lock.json` are bundled with a page's own script.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

CLIENTS = Path(__file__).parent / "clients"
BACKEND = "/my-backend/uploads"
"""What the how-tos call the address of the page's own backend."""


def bundled(script: str, target: Path) -> None:
    """Write the script to the target as a page can load it, with all that it imports."""
    bundler = CLIENTS / "node_modules" / ".bin" / "esbuild"
    assert bundler.exists(), "make test-browser installs the upload clients"
    words = ["--bundle", "--format=esm", "--log-level=error", f"--outfile={target}"]
    subprocess.run([bundler, *words], input=script, cwd=CLIENTS, text=True, check=True, timeout=120)


@dataclass(frozen=True)
class Viewer:
    """One file of one package; `sha256` is that of the archive which the registry serves."""

    package: str
    version: str
    sha256: str
    script: str

    def fetch(self, folder: Path) -> Path:
        """The script, in the folder."""
        npm = shutil.which("npm")
        assert npm is not None, "The viewers come by npm: as root, run `apt-get install -y npm`."
        pin = f"{self.package}@{self.version}"
        subprocess.run(
            [npm, "pack", pin, "--silent", "--ignore-scripts", "--pack-destination", str(folder)],
            check=True,
            timeout=300,
            capture_output=True,
        )
        archive = folder / f"{self.package}-{self.version}.tgz"
        assert hashlib.sha256(archive.read_bytes()).hexdigest() == self.sha256, pin
        target = folder / f"{self.package}.js"
        with tarfile.open(archive) as tar:
            target.write_bytes(tar.extractfile(f"package/{self.script}").read())
        archive.unlink()
        return target


OPENSEADRAGON = Viewer(
    "openseadragon",
    "6.1.1",
    "b4ab2942f33b90e0448e4d20fc5ed14cee049f1f3ae49d70afd4b05e9a2f92d0",
    "build/openseadragon/openseadragon.min.js",
)
MIRADOR = Viewer("mirador", "4.0.0", "ac2423944bd52ffb5a0fc02ff280c117fe39433fac56e50c0b79f0d1ca7c57e6", "dist/mirador.min.js")


class _Site(SimpleHTTPRequestHandler):
    def __init__(self, *arguments: Any, backend: Callable[[Any], Any], **options: Any) -> None:
        self._backend = backend
        super().__init__(*arguments, **options)

    def do_POST(self) -> None:
        assert self.path == BACKEND
        said = self.rfile.read(int(self.headers["content-length"]))
        body = json.dumps(self._backend(json.loads(said))).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        pass


@contextmanager
def site(folder: Path, backend: Callable[[Any], Any] = lambda said: said) -> Iterator[str]:
    """A plain web server over the folder, which has the backend answer what is posted to BACKEND; its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Site, directory=str(folder), backend=backend))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
