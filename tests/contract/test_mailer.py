import asyncio
import gc
import stat
from asyncio.selector_events import _SelectorTransport
from email import message_from_bytes, policy

import pytest
from tests.servers.smtp import Sink

from safelight.adapters.mailer.files import FilesMailer
from safelight.adapters.mailer.mime import sender_of
from safelight.adapters.mailer.smtp import SmtpMailer, SmtpOptions
from safelight.errors import BackendUnavailable, BadField, MailRefused
from safelight.testing.contracts.mailer import MailerContract, make_mail
from safelight.testing.factories import NOON

LOGIN = ("safelight", "s3cret words")


@pytest.fixture(autouse=True)
async def connections_end_with_their_test():
    """The library begins to close a connection and goes; a loop that ends meanwhile would leak the socket into another test."""
    yield
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(30):
        while any(
            isinstance(one, _SelectorTransport) and one._loop is loop and one._sock is not None for one in gc.get_objects()
        ):
            await asyncio.sleep(0.01)


def clock():
    return NOON


def smtp(sink, **options):
    fields = {"host": "127.0.0.1", "port": sink.port, "security": sink.security, "timeout_s": 20.0, "tls": sink.trust}
    return SmtpMailer(SmtpOptions(**(fields | options)), clock=clock)


class TestFiles(MailerContract):
    @pytest.fixture
    def mailer(self, tmp_path):
        return FilesMailer(tmp_path / "mail", sender="Safelight <no-reply@example.org>", clock=clock)

    @pytest.fixture
    def delivered(self, tmp_path):
        return lambda: [
            message_from_bytes(path.read_bytes(), policy=policy.default) for path in sorted((tmp_path / "mail").glob("*.eml"))
        ]

    async def test_the_same_id_is_the_same_file(self, mailer, delivered):
        mail = make_mail()
        await mailer.send(mail)
        await mailer.send(mail)

        assert len(delivered()) == 1

    async def test_letters_are_the_owners_alone(self, mailer, tmp_path):
        await mailer.send(make_mail())

        (path,) = (tmp_path / "mail").iterdir()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    async def test_a_folder_that_cannot_be_made_is_unavailable(self, tmp_path):
        (tmp_path / "file").write_text("")
        mailer = FilesMailer(tmp_path / "file" / "mail", sender="a@example.org", clock=clock)

        with pytest.raises(BackendUnavailable):
            await mailer.send(make_mail())
        with pytest.raises(BackendUnavailable):
            await mailer.ping()


@pytest.fixture(params=["none", "starttls", "tls"])
def sink(request, tmp_path):
    with Sink(tmp_path, security=request.param) as sink:
        yield sink


class TestSmtp(MailerContract):
    @pytest.fixture
    def mailer(self, sink):
        return smtp(sink)

    @pytest.fixture
    def delivered(self, sink):
        return lambda: sink.messages

    async def test_the_envelope_names_one_recipient(self, mailer, sink):
        await mailer.send(make_mail())

        assert [(one.mail_from, one.rcpt_tos) for one in sink.envelopes] == [("safelight@localhost", ["ada@example.org"])]


async def test_a_recipient_who_is_refused_for_good_is_told_apart_from_one_who_may_pass(tmp_path):
    with Sink(tmp_path) as sink:
        sink.refuses = {"gone@example.org": "550 5.1.1 No such mailbox", "full@example.org": "451 4.2.2 Try later"}

        with pytest.raises(MailRefused):
            await smtp(sink).send(make_mail(to="gone@example.org"))
        with pytest.raises(BackendUnavailable):
            await smtp(sink).send(make_mail(to="full@example.org"))


async def test_a_server_that_is_down_is_unavailable(tmp_path):
    with Sink(tmp_path) as sink:
        mailer = smtp(sink)

    with pytest.raises(BackendUnavailable):
        await mailer.send(make_mail())
    with pytest.raises(BackendUnavailable):
        await mailer.ping()


async def test_a_server_that_lacks_starttls_gets_no_mail(tmp_path):
    with Sink(tmp_path) as sink:
        with pytest.raises(BackendUnavailable):
            await smtp(sink, security="starttls").send(make_mail())

        assert sink.messages == []


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_a_certificate_that_nobody_vouches_for_is_not_believed(tmp_path, security):
    with Sink(tmp_path, security=security) as sink:
        with pytest.raises(BackendUnavailable):
            await smtp(sink, tls=None).send(make_mail())

        assert sink.messages == []


async def test_a_password_opens_a_server_that_asks_for_one(tmp_path):
    with Sink(tmp_path, security="starttls", login=LOGIN) as sink:
        await smtp(sink, username=LOGIN[0], password=LOGIN[1]).send(make_mail())
        with pytest.raises(BackendUnavailable):
            await smtp(sink, username=LOGIN[0], password="wrong").send(make_mail())

        assert len(sink.messages) == 1


@pytest.mark.parametrize("bad", ["", "nobody", "A <a@example.org>\r\nBcc: e@example.org", "a@b@c", "<>"])
def test_a_sender_that_is_none_is_refused(bad):
    with pytest.raises(BadField):
        sender_of(bad)
