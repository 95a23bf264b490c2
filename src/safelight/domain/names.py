"""Names that people give to presets, to recipes and to their sizes, and how one version is named for ever."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")
REFERENCE: Final = re.compile(rf"({NAME.pattern})(?:@([1-9][0-9]{{0,2}}))?")
"""`card`, or `card@2`, which never changes."""


def version_of(reference: str, versions: Mapping[str, Sequence[object]]) -> tuple[str, int] | None:
    """The name, and the number of the version that is meant: the newest where none is said. None where there is no such one."""
    found = REFERENCE.fullmatch(reference)
    if found is None:
        return None
    newest = len(versions.get(found[1], ()))
    number = int(found[2] or newest)
    return (found[1], number) if 1 <= number <= newest else None
