"""What every mailer must do, sentence by sentence of ports.mailer. Inherit and give `mailer` and `delivered`: what has arrived."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from email.message import EmailMessage

import pytest

from safelight.domain.ids import new_id
from safelight.errors import BadField
from safelight.ports.mailer import Mail, Mailer

Delivered = Callable[[], list[EmailMessage]]


def make_mail(**fields: str) -> Mail:
    mail = Mail(id=new_id(), to="ada@example.org", subject="Hello", text="Plain words.\n", html="<p>Rich words.</p>\n")
    return replace(mail, **fields)


class MailerContract:
    """`delivered` gives the messages in the order of their arrival, parsed with the default policy."""

    async def test_a_mail_arrives_as_text_with_an_html_twin(self, mailer: Mailer, delivered: Delivered) -> None:
        mail = make_mail(subject="Grüße aus 東京", text="Öl & Wasser\n", html="<p>Öl &amp; Wasser</p>\n")

        await mailer.send(mail)

        (message,) = delivered()
        assert (message["to"], message["subject"]) == ("ada@example.org", mail.subject)
        assert message["from"] and message["date"] and message["auto-submitted"] == "auto-generated"
        assert message.get_content_type() == "multipart/alternative"
        assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
        plain, rich = (part.get_content().replace("\r\n", "\n") for part in message.iter_parts())
        assert (plain, rich) == (mail.text, mail.html)

    async def test_the_id_is_in_the_message_id(self, mailer: Mailer, delivered: Delivered) -> None:
        mail = make_mail()

        await mailer.send(mail)

        assert delivered()[0]["message-id"].startswith(f"<{mail.id}@")

    async def test_a_long_line_comes_out_whole(self, mailer: Mailer, delivered: Delivered) -> None:
        link = "https://example.org/account#verify=" + "x" * 2_000

        await mailer.send(make_mail(text=f"{link}\n.\nafter a dot\n"))

        body = delivered()[0].get_body(("plain",))
        assert body is not None
        text = body.get_content()
        assert text.replace("\r\n", "\n") == f"{link}\n.\nafter a dot\n"

    @pytest.mark.parametrize(
        "fields",
        [
            {"subject": "Hello\r\nBcc: eve@example.org"},
            {"subject": "Hello\nX: y"},
            {"to": "ada@example.org\r\nBcc: eve@example.org"},
            {"to": "ada@example.org, eve@example.org"},
            {"to": "ada@example.org\x00"},
            {"to": "ada"},
            {"to": ""},
            {"to": "Ada <ada@example.org>"},
            {"id": "a>\r\nBcc: eve@example.org"},
            {"id": ""},
        ],
        ids=repr,
    )
    async def test_a_header_injection_is_refused_and_nothing_leaves(
        self, mailer: Mailer, delivered: Delivered, fields: dict[str, str]
    ) -> None:
        with pytest.raises(BadField):
            await mailer.send(make_mail(**fields))

        assert delivered() == []

    async def test_a_mailer_that_works_answers_a_ping(self, mailer: Mailer, delivered: Delivered) -> None:
        await mailer.ping()

        assert delivered() == []
