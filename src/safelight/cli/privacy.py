"""Export and erasure, of a user or of a tenant: a ZIP in its place, and the wait for a certificate."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from safelight.cli import output

if TYPE_CHECKING:
    from safelight.client import Client, Erasure


def exported(pieces: Iterator[bytes], file: Path, whose: dict[str, str], *, as_json: bool) -> None:
    """Write the ZIP, and say so."""
    with output.whole_file(file) as out:
        size = sum(out.write(piece) for piece in pieces)
    output.say({**whose, "file": str(file), "bytes": size}, f"{file}: {output.size(size)}.", as_json=as_json)


def awaited(client: Client, erasure: Erasure, wait: int) -> Erasure:
    """How it stands once it is done, or after so many seconds."""
    deadline = time.monotonic() + wait
    while erasure["certificate"] is None and time.monotonic() < deadline:
        time.sleep(0.2)
        erasure = client.erasure(erasure["certificate_url"])
    return erasure


def say_erasure(erasure: Erasure, *, as_json: bool) -> None:
    """Where the certificate is, or will be."""
    if erasure["certificate"] is None:
        sentence = f"Under way. The certificate will be at {erasure['certificate_url']}."
    else:
        images = output.many(erasure["certificate"]["removed"]["images"], "image")
        sentence = f"Erased, with {images}. The certificate is at {erasure['certificate_url']}."
    output.say(erasure, sentence, as_json=as_json)
