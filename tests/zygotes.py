"""Zygotes that outlive the application that started them: each takes a quarter of a second of processor time to import what it needs,
and the next application in this process asks for one of the very same kind.

What is handed on is only who listens. A zygote that was lost, or that has work left when its application closes, ends with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from safelight.imaging.sandbox import client
from safelight.imaging.sandbox.process import STOP_S, Process
from safelight.imaging.spec import Limits

Kind = tuple[tuple[tuple[str, str], ...], Limits]


@contextmanager
def handed_on() -> Iterator[None]:
    """Sandboxes of this process that are opened within the block begin with the zygote that another has let go of."""
    idle: dict[Kind, Process] = {}

    class Handed(Process):
        kind: Kind | None = None

        @classmethod
        async def start(cls, jobs: Mapping[str, str], limits: Limits) -> Process:
            kind = (tuple(jobs.items()), limits)
            kept = idle.pop(kind, None)
            if kept is not None and kept._child.poll() is not None:
                kept._control.close()
                kept = None
            if kept is None:
                process = await super().start(jobs, limits)
            else:
                process = cls(kept._child, kept._control)
                process.holding, process.missing = kept.holding, kept.missing
                asyncio.get_running_loop().add_reader(process._control.fileno(), process._hear)
            assert isinstance(process, Handed)
            process.kind = kind
            return process

        async def stop(self) -> None:
            if self.kind is None or self.kind in idle or self.is_lost or self._ends or self._pongs:
                await super().stop()
                return
            self.is_lost = True
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            idle[self.kind] = self

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "Process", Handed)
        yield
    for process in idle.values():
        process._control.close()
        process._child.wait(STOP_S)
