"""A real SMTP server that keeps what it is given: aiosmtpd, with TLS and authentication if asked, on a port of its own."""

from __future__ import annotations

import asyncio
import ssl
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword
from tests.servers.certificate import certificate


class Sink:
    """`refuses`: recipient -> answer to RCPT TO."""

    def __init__(self, folder: Path, *, port: int = 0, security: str = "none", login: tuple[str, str] | None = None) -> None:
        self.messages: list[EmailMessage] = []
        self.envelopes: list[Envelope] = []
        self.refuses: dict[str, str] = {}
        self.security = security
        options: dict = {}
        self.trust: ssl.SSLContext | None = None
        if security != "none":
            context = _context(folder)
            self.trust = ssl.create_default_context(cafile=str(folder / "cert.pem"))
            options = {"ssl_context": context} if security == "tls" else {"tls_context": context, "require_starttls": True}
        if login is not None:

            def authenticate(server, session, envelope, mechanism, data):
                assert isinstance(data, LoginPassword)
                # Not handled: the server itself is to answer 535, or whoever is not let in waits for a word.
                return AuthResult(success=(data.login.decode(), data.password.decode()) == login, handled=False)

            options |= {"authenticator": authenticate, "auth_required": True, "auth_require_tls": security == "starttls"}
        self._controller = _Controller(self, hostname="127.0.0.1", port=port, **options)

    @property
    def port(self) -> int:
        return self._controller.port

    def __enter__(self) -> Sink:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._controller.hang_up(), self._controller.loop).result(30)
        self._controller.stop()

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        if address in self.refuses:
            return self.refuses[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.messages.append(message)
        self.envelopes.append(envelope)
        return "250 Taken"


class _Controller(Controller):
    """Finds out which port the system gave before it tries whether the server answers there."""

    def factory(self):
        server = super().factory()
        self.__dict__.setdefault("served", []).append(server)
        return server

    async def hang_up(self) -> None:
        """End every connection before the loop does: what is left would be warned of in another test."""
        for server in self.__dict__.get("served", ()):
            if server.transport is not None:
                server.transport.abort()
        for _ in range(10):
            await asyncio.sleep(0)

    def _trigger_server(self) -> None:
        assert self.server is not None
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


def _context(folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate(folder))
    return context
