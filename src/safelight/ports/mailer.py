"""Mailer: one mail to one person. Kept by adapters.mailer; checked by testing.contracts.mailer.

Not the queue: a mail is due by an event and sent by the flow `mail`, which tries again and may send twice under the same id.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """What to send. `id` becomes the Message-ID's left side (RFC 5322 section 3.6.4), so that a repeated mail is known as such."""

    id: str
    to: str
    subject: str
    text: str = field(repr=False)
    html: str = field(repr=False)


class Mailer(Protocol):
    """Hands mails over."""

    async def send(self, mail: Mail) -> None:
        """Return when somebody else has taken responsibility for it.

        Raises BadField for a recipient or subject that cannot stand in a header (line breaks among it), MailRefused when the
        recipient is refused for good, BackendUnavailable for everything that may pass.
        """
        ...

    async def ping(self) -> None:
        """Whether mails would be taken now. Raises BackendUnavailable."""
        ...
