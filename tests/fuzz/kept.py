"""The inputs that are kept: a file for each target, an input a line, everything but printable ASCII escaped, so that people can read them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

CORPUS: Final = Path(__file__).parent / "corpus"


def load(name: str) -> list[bytes]:
    """Those of a target; none where there are none yet."""
    path = CORPUS / f"{name}.txt"
    return [unescaped(line) for line in path.read_text("ascii").splitlines()] if path.exists() else []


def save(name: str, inputs: list[bytes]) -> None:
    """Sorted, each once, the shortest first."""
    lines = sorted({escaped(one) for one in inputs}, key=lambda line: (len(line), line))
    (CORPUS / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines), "ascii")


def escaped(data: bytes) -> str:
    """One line of ASCII, whatever the bytes."""
    return data.decode("latin-1").encode("unicode_escape").decode("ascii")


def unescaped(line: str) -> bytes:
    """The bytes again."""
    return line.encode("ascii").decode("unicode_escape").encode("latin-1")
