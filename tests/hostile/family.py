"""Which processes the sandbox has under this test process."""

from __future__ import annotations

import psutil


def zygotes() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if _is(child, "safelight.imaging.sandbox.zygote")]


def grandchildren() -> list[psutil.Process]:
    """The children of all zygotes that still run."""
    running = []
    for zygote in zygotes():
        try:
            running += [child for child in zygote.children() if child.status() != psutil.STATUS_ZOMBIE]
        except psutil.NoSuchProcess:  # ended while we looked
            continue
    return running


def _is(process: psutil.Process, module: str) -> bool:
    try:
        return module in process.cmdline()
    except psutil.NoSuchProcess:
        return False
