"""A mail as it travels: text with an HTML twin (multipart/alternative, RFC 2046 section 5.1.4). Used by every mailer."""

from __future__ import annotations

import re
from datetime import datetime
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from typing import Final

from safelight.errors import BadField
from safelight.ports.mailer import Mail

_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")


def sender_of(text: str) -> Address:
    """`Name <mailbox@domain>` or `mailbox@domain`. Raises BadField."""
    name, spec = parseaddr(text)
    try:
        if not spec or any(ord(c) < 32 for c in text):
            raise ValueError
        return Address(display_name=name, addr_spec=spec)
    except (ValueError, IndexError, HeaderParseError) as error:
        raise BadField(f"{text!r} is not a sender; write `Name <mailbox@example.org>`.", field="sender") from error


def message_of(mail: Mail, *, sender: Address, at: datetime) -> EmailMessage:
    """The message. Headers are set through the email package's policy, which refuses line breaks. Raises BadField."""
    if not _ID.fullmatch(mail.id):
        raise BadField("The mail's id cannot stand in a Message-ID.", field="id")
    message = EmailMessage(policy=SMTP)
    try:
        message["From"] = sender
        # By parts and never as text: a comma or a line break in the address must not make a second recipient or header.
        message["To"] = Address(addr_spec=mail.to)
        message["Subject"] = mail.subject
        message["Message-ID"] = f"<{mail.id}@{sender.domain}>"
    except (ValueError, IndexError, HeaderParseError) as error:
        raise BadField("The mail's recipient or subject cannot stand in a header.", field="to") from error
    message["Date"] = format_datetime(at)
    # RFC 3834 section 5: vacation notices do not answer.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.text, cte="quoted-printable")
    message.add_alternative(mail.html, subtype="html", cte="quoted-printable")
    return message
