"""Checks: what each of the doctor's looks tells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Check:
    """One finding; `mend` says what to do, where there is something to do."""

    name: str
    state: State
    found: str
    mend: str = ""


Checks = Iterator[Check]
