"""FilesMailer: mails as `.eml` files in a folder, for development; `safelight mail` shows them. Nothing leaves the machine."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from safelight.adapters.mailer.mime import message_of, sender_of
from safelight.errors import BackendUnavailable
from safelight.ports.mailer import Mail

KEPT: Final = 1_000
"""Mails that stay; the oldest make room."""


class FilesMailer:
    """Keeps Mailer. The same id is the same file."""

    def __init__(self, folder: Path, *, sender: str, clock: Callable[[], datetime]) -> None:
        self._folder: Final = folder
        self._sender: Final = sender_of(sender)
        self._clock: Final = clock

    async def send(self, mail: Mail) -> None:
        """Write the file whole, or not at all."""
        content = message_of(mail, sender=self._sender, at=self._clock()).as_bytes()
        try:
            await asyncio.to_thread(self._write, f"{mail.id}.eml", content)
        except OSError as error:
            raise BackendUnavailable("The mail folder cannot be written.") from error

    async def ping(self) -> None:
        """Make the folder if need be."""
        try:
            await asyncio.to_thread(self._folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise BackendUnavailable("The mail folder cannot be made.") from error

    def _write(self, name: str, content: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = self._folder / f".{name}.part"
        part.unlink(missing_ok=True)
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
        part.replace(self._folder / name)
        for old in sorted(self._folder.glob("*.eml"))[:-KEPT]:  # ids sort by time
            with suppress(OSError):
                old.unlink()
