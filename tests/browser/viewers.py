"""IIIF viewers as their npm packages ship them, by version and hash, and a site of another origin that shows a page with them."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


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
        subprocess.run([npm, "pack", pin, "--silent", "--ignore-scripts", "--pack-destination", str(folder)], check=True, timeout=300, capture_output=True)
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


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        pass


@contextmanager
def site(folder: Path) -> Iterator[str]:
    """A plain web server over the folder; its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
