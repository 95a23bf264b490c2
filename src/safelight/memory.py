"""How much memory this process may use: what its cgroup allows, version 2 or 1, and never more than the machine has. Read once, by settings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def memory_limit(root: Path = Path("/")) -> int:
    """Bytes: the least limit from the process's own cgroup upwards (cgroup v2: memory.max; v1: memory.limit_in_bytes)."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in _limit_files(root):
        try:
            limits.append(int(file.read_text()))
        except (OSError, ValueError):
            continue  # not there, or "max"
    return min(limits)


def _limit_files(root: Path) -> Iterator[Path]:
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)  # cgroups(7): hierarchy-ID:controller-list:cgroup-path
        if controllers == "":
            mount, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            mount, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        # In a container the path may be the host's while the mount shows our own group as its root: look along all of it.
        group = mount / path.lstrip("/")
        yield from (folder / name for folder in (group, *group.parents) if folder.is_relative_to(mount))
