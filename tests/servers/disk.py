"""Disk: a small file system of its own that can be filled but for some bytes, as a disk is that nobody has looked after.

It lies in memory. Mounting one asks for a namespace of mounts where that is allowed: `unshare --mount`.
"""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path


class NoDisk(Exception):
    """None can be mounted here; says why."""


class Disk:
    """Mounted at a folder that is there."""

    def __init__(self, at: Path, size_bytes: int) -> None:
        """Raises NoDisk."""
        self.at = at
        self._ballast = at / "ballast"
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "small", str(at)]
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
        if mounted.returncode:
            raise NoDisk(mounted.stderr.strip())

    def fill(self, leaves: int) -> None:
        """No more room but for so many bytes."""
        with self._ballast.open("wb") as file:
            while True:
                free = os.statvfs(self.at)
                try:
                    os.posix_fallocate(file.fileno(), 0, max(4096, free.f_bavail * free.f_frsize - leaves))
                except OSError as error:  # somebody else has written in between
                    if error.errno != errno.ENOSPC:
                        raise
                    leaves += 65_536
                else:
                    return

    def empty(self) -> None:
        """Room again."""
        self._ballast.unlink(missing_ok=True)

    def unmount(self) -> None:
        """At once, whoever still has a file open."""
        subprocess.run(["umount", "-l", str(self.at)], check=False)
