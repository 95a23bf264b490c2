"""Waiting: for what the server does image by image, behind a bar. Whoever stops waiting stops nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from safelight.cli import output

if TYPE_CHECKING:
    from safelight.client import Purge, Warming

Work = TypeVar("Work", "Purge", "Warming")
_LOOK_S: Final = 0.5


def ended(work: Work, look: Callable[[str], Work]) -> Work:
    """How it stands once it is done or has failed; `look` asks the server by its id."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with output.progress(*columns, console=output.err()) as bar:
        task = bar.add_task(work["state"], total=work["images"])
        while work["state"] not in ("done", "failed"):
            time.sleep(_LOOK_S)
            work = look(work["id"])
            bar.update(task, description=work["state"], completed=work["images_done"], total=work["images"])
    return work
