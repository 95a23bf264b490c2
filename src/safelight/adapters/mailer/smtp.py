"""SmtpMailer: mails to an SMTP server (RFC 5321), one connection each. Wiring makes it when a host is set.

A mail server that is down is somebody else's sentence in the log and nobody's lost mail: the flow tries again.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

import aiosmtplib

from safelight.adapters.mailer.mime import message_of, sender_of
from safelight.errors import BackendUnavailable, MailRefused, WrongState
from safelight.ports.mailer import Mail

Security = Literal["starttls", "tls", "none"]
_FOR_GOOD: Final = frozenset({550, 551, 553, 556})
"""Answers to RCPT TO that speak of the mailbox (RFC 5321 section 4.2.3, RFC 7504); 552 and 554 also stand for policy."""
_MANNER: Final = "SAFELIGHT_MAIL__PORT and SAFELIGHT_MAIL__SECURITY, or SAFELIGHT_MAIL__USERNAME"


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
        async with _connected(self._options) as client:
            try:
                await client.send_message(message, sender=self._sender.addr_spec, recipients=[mail.to])
            except aiosmtplib.SMTPRecipientsRefused as error:
                if all(refused.code in _FOR_GOOD for refused in error.recipients):
                    raise MailRefused from error
                raise

    async def ping(self) -> None:
        """Connect, greet, sign in."""
        async with _connected(self._options):
            pass


async def look_at(options: SmtpOptions) -> None:
    """Connect, greet, sign in, and leave again; no mail is sent. Raises WrongState that names the setting, BackendUnavailable."""
    where = f"The mail server at {options.host}:{options.port}"
    try:
        async with _connected(options) as client:
            await client.ehlo()
    except BackendUnavailable as error:
        for cause in _causes(error):
            match cause:
                case aiosmtplib.SMTPAuthenticationError(code=code):
                    raise WrongState(
                        f"{where} does not let {options.username!r} in ({code})."
                        " Correct SAFELIGHT_MAIL__USERNAME and SAFELIGHT_MAIL__PASSWORD."
                    ) from error
                case ssl.SSLCertVerificationError(verify_message=why):
                    raise WrongState(
                        f"{where} has a certificate that is not trusted: {why}."
                        " Correct SAFELIGHT_MAIL__HOST, or have this system trust its signer."
                    ) from error
                case ssl.SSLError():
                    raise WrongState(f"{where} does not speak TLS so. Correct {_MANNER}.") from error
                case aiosmtplib.SMTPTimeoutError() | aiosmtplib.SMTPConnectError() | aiosmtplib.SMTPServerDisconnected():
                    continue  # a connection that fails may do so by what is wrong with its TLS
                case aiosmtplib.SMTPException(message=said):
                    raise WrongState(f"{where} will not do: {said.rstrip('.')}. Correct {_MANNER}.") from error
        raise BackendUnavailable(f"{where} does not answer (SAFELIGHT_MAIL__HOST).") from error


@asynccontextmanager
async def _connected(options: SmtpOptions) -> AsyncIterator[aiosmtplib.SMTP]:
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


def _causes(error: BaseException) -> Iterator[BaseException]:
    while (cause := error.__cause__ or error.__context__) is not None:
        yield cause
        error = cause
