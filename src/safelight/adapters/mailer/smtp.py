"""SmtpMailer: mails to an SMTP server (RFC 5321), one connection each. Wiring makes it when a host is set.

A mail server that is down is somebody else's sentence in the log and nobody's lost mail: the flow tries again.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

import aiosmtplib

from safelight.adapters.mailer.mime import message_of, sender_of
from safelight.errors import BackendUnavailable, MailRefused
from safelight.ports.mailer import Mail

Security = Literal["starttls", "tls", "none"]
_FOR_GOOD: Final = frozenset({550, 551, 553, 556})
"""Answers to RCPT TO that speak of the mailbox (RFC 5321 section 4.2.3, RFC 7504); 552 and 554 also stand for policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpOptions:
    """Where the server is and how to speak to it. `tls`: from the first byte (RFC 8314); `starttls`: required, not hoped for."""

    host: str
    port: int = 587
    security: Security = "starttls"
    username: str = ""
    password: str = field(default="", repr=False)
    sender: str = "Safelight <safelight@localhost>"
    timeout_s: float = 20.0
    tls: ssl.SSLContext | None = None
    """Whom to trust; None: the system's authorities."""


class SmtpMailer:
    """Keeps Mailer."""

    def __init__(self, options: SmtpOptions, *, clock: Callable[[], datetime]) -> None:
        self._options: Final = options
        self._sender: Final = sender_of(options.sender)
        self._clock: Final = clock

    async def send(self, mail: Mail) -> None:
        """One connection, one mail: a few a minute do not repay a pool."""
        message = message_of(mail, sender=self._sender, at=self._clock())
        async with self._connected() as client:
            try:
                await client.send_message(message, sender=self._sender.addr_spec, recipients=[mail.to])
            except aiosmtplib.SMTPRecipientsRefused as error:
                if all(refused.code in _FOR_GOOD for refused in error.recipients):
                    raise MailRefused from error
                raise

    async def ping(self) -> None:
        """Connect, greet, sign in."""
        async with self._connected():
            pass

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[aiosmtplib.SMTP]:
        options = self._options
        client = aiosmtplib.SMTP(
            hostname=options.host,
            port=options.port,
            use_tls=options.security == "tls",
            start_tls=options.security == "starttls",
            tls_context=options.tls,
            username=options.username or None,
            password=options.password or None,
            timeout=options.timeout_s,
        )
        try:
            async with client:
                yield client
        except (aiosmtplib.SMTPException, OSError) as error:  # TimeoutError and ssl.SSLError are OSErrors
            raise BackendUnavailable("The mail server does not take mails at the moment.") from error
