"""The journal of an import: what became of everything that was taken up, so that the next run does nothing twice.

Used by `import`. JSON lines, one written whole at a time; the last one of a thing counts. Without it everything works, only slower.
"""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Protocol

import orjson

from safelight.cli.connection import Server


class Marked(Protocol):
    """Something that may be imported. `stamp` is another one as soon as its bytes may be others."""

    @property
    def name(self) -> str:
        """What it is called where it comes from."""
        ...

    @property
    def stamp(self) -> str:
        """Tells its bytes of now from those of before."""
        ...


@dataclass(frozen=True, slots=True)
class Known:
    """What a run has left of a thing: the image that it became and its hash, or the upload that was begun for it.

    `tries` counts how often it was refused.
    """

    sha256: str = ""
    image: str = ""
    upload: str = ""
    tries: int = 0


UNKNOWN = Known()
_TYPES = {one.name: type(getattr(UNKNOWN, one.name)) for one in fields(Known)}


class Journal:
    """One belongs to one server, one API key and one place that is imported from."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[tuple[str, str], Known] = {}
        self._lock = threading.Lock()
        try:
            lines = path.read_bytes().splitlines()
        except FileNotFoundError:
            lines = []
        for line in lines:
            try:
                entry = orjson.loads(line)
                said = {name: kind(entry.get(name, kind())) for name, kind in _TYPES.items()}
                self._known[entry["name"], entry["stamp"]] = Known(**said)
            except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError):
                continue  # the line that a dying process did not finish

    @classmethod
    def of(cls, server: Server, *place: str) -> Journal:
        """The journal of this place for this server and key, below $XDG_STATE_HOME or ~/.local/state."""
        key_id = "_".join(server.key.split("_")[:2]) if server.key.count("_") >= 2 else server.key
        names = (server.url.rstrip("/"), key_id, *place)
        digest = hashlib.sha256("\0".join(names).encode(errors="surrogateescape")).hexdigest()
        home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        return cls(home / "safelight" / f"import-{digest[:16]}.jsonl")

    def find(self, thing: Marked) -> Known:
        """What became of it, if it has not changed since."""
        return self._known.get((thing.name, thing.stamp), UNKNOWN)

    def keep(self, thing: Marked, known: Known) -> None:
        """Remember it."""
        key = (thing.name, thing.stamp)
        with self._lock:
            if self._known.get(key) == known:
                return
            self._known[key] = known
            try:
                line = orjson.dumps({"name": thing.name, "stamp": thing.stamp, **asdict(known)}) + b"\n"
            except orjson.JSONEncodeError:
                return  # a name that is not text; it is looked at again next time
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                # One write, begun by a line end: what a torn line before it has lost stays its own loss.
                os.write(fd, b"\n" + line)
            finally:
                os.close(fd)
