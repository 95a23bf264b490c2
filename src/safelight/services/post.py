"""The post: a letter that is due is made from its code's record and handed to the mailer. Steps of the flow `mail`.

No secret waits in the outbox or in a run: link and digits are made here, from the code's id and a key that no database holds.
Made twice they are the same, so a mail that is sent again says the same again, under the same Message-ID.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from safelight import onetime
from safelight.domain.events import MailDue
from safelight.domain.ids import CodeId, TenantId, UserId, new_id
from safelight.domain.people import CODE_LIFE, Credential, Letter, OneTimeCode
from safelight.errors import BackendUnavailable, MailRefused, Missing, WrongState
from safelight.letters import Letters
from safelight.observability import Instruments
from safelight.ports.catalog import Catalog, Records
from safelight.ports.mailer import Mail, Mailer
from safelight.ports.workflows import Letters as DeadLetters
from safelight.ports.workflows import Workflows

log = structlog.get_logger()

RESENT_FOR: Final = timedelta(days=3)
"""How long a mail that the mail server did not take is tried again by itself."""


@dataclass(frozen=True, slots=True)
class Codes:
    """From a code to what the letter says, and back. `keys`: the first makes, every one is believed; `page`: what links open."""

    keys: Sequence[bytes]
    page: str

    def link(self, code: OneTimeCode) -> str:
        """To the one configured page. The token is in the fragment, which no server, log or Referer header gets to see."""
        action = "verify" if code.letter is Letter.VERIFY else "password"
        return f"{self.page}#{action}={onetime.token(self.keys[0], self._parts(code))}"

    def digits(self, code: OneTimeCode) -> str:
        """For typing."""
        return onetime.digits(self.keys[0], self._parts(code))

    def are_digits(self, code: OneTimeCode, text: str) -> bool:
        """Whether these are the code's."""
        return onetime.are_digits(self.keys, self._parts(code), text)

    def opened(self, token: str) -> tuple[TenantId, UserId, Letter, CodeId] | None:
        """Which code a link's token is for; None when we have not made it."""
        parts = onetime.opened(self.keys, token, 4)
        if parts is None:
            return None
        tenant, user, letter, code = parts
        return TenantId(tenant), UserId(user), Letter(letter), CodeId(code)

    @staticmethod
    def _parts(code: OneTimeCode) -> tuple[str, ...]:
        return code.tenant, code.user, code.letter.value, code.id


async def due(records: Records, user: UserId, letter: Letter, now: datetime) -> None:
    """Put a letter into the outbox, with a new code if it carries one; it is sent when, and only when, the transaction commits."""
    id = CodeId(new_id(now.timestamp()))
    life = CODE_LIFE.get(letter)
    if life is not None:
        tenant = records.tenant.id
        code = OneTimeCode(tenant=tenant, user=user, letter=letter, id=id, created_at=now, expires_at=now + life)
        await records.people.put_code(code)
    await records.emit(MailDue(records.tenant.id, user, letter.value, id))


@dataclass(frozen=True, slots=True)
class Post:
    """Writes and sends."""

    catalog: Catalog
    mailer: Mailer
    letters: Letters
    codes: Codes
    product: str
    clock: Callable[[], datetime]
    instruments: Instruments

    async def send(self, payload: Mapping[str, Any]) -> None:
        """Send the letter that is due, unless nobody is there any more or a newer one has taken its place."""
        letter, id = Letter(payload["letter"]), CodeId(payload["code"])
        try:
            async with self.catalog.tenant(TenantId(payload["tenant"])) as records:
                credential = await records.people.credential(UserId(payload["user"]))
                code = await records.people.code(credential.user, letter) if letter in CODE_LIFE else None
        except Missing:
            self.instruments.mails.labels("dropped").inc()
            return
        if code is not None and (code.id != id or not code.is_live(self.clock())):
            self.instruments.mails.labels("dropped").inc()
            return
        try:
            await self.mailer.send(self._written(letter, id, credential, code))
        except MailRefused:
            # The mailbox is gone or never was; another try would end the same way, and who asked must not learn of it.
            log.warning("mail.refused", mail_id=id, letter=letter.value)
            self.instruments.mails.labels("refused").inc()
            return
        log.info("mail.sent", mail_id=id, letter=letter.value)
        self.instruments.mails.labels("sent").inc()

    async def resend(self, workflows: Workflows, flow: str) -> int:
        """Try again what was given up while the mail server was away, if it answers now; how many mails."""
        oldest = self.clock() - RESENT_FOR
        left = [run for run in await workflows.dead(DeadLetters(flow=flow), limit=1000) if run.created_at >= oldest]
        if not left:
            return 0
        try:
            await self.mailer.ping()
        except BackendUnavailable:
            return 0
        count = 0
        for run in left:
            with contextlib.suppress(Missing, WrongState):  # another process keeps the same clock
                await workflows.retry(run.id)
                count += 1
        return count

    def _written(self, letter: Letter, id: CodeId, credential: Credential, code: OneTimeCode | None) -> Mail:
        written = self.letters.render(
            letter.value,
            credential.language,
            product=self.product,
            email=credential.email,
            hours=int(CODE_LIFE[letter].total_seconds() // 3600) if code else 0,
            link=self.codes.link(code) if code else "",
            digits=self.codes.digits(code) if code else "",
        )
        return Mail(id=id, to=credential.email, subject=written.subject, text=written.text, html=written.html)
