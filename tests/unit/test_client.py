"""The client against a small real HTTP server that answers as it is told."""

from __future__ import annotations

import hashlib
import io
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, get_args, get_type_hints, is_typeddict

import pytest
from pydantic import BaseModel

import safelight.client
from safelight.api.schemas import (
    albums,
    audit,
    common,
    images,
    issuers,
    progress,
    purges,
    recipes,
    redevelopments,
    sharing,
    signin,
    signing,
    tenants,
    uploads,
    users,
    warmings,
    webhooks,
)
from safelight.client import Client, Unreachable, documents
from safelight.errors import (
    BackendUnavailable,
    BadRequest,
    Busy,
    Conflict,
    Duplicate,
    Forbidden,
    Kind,
    Missing,
    SafelightError,
    TooMany,
    Unauthenticated,
)


@dataclass
class Said:
    """One answer; `cut` leaves that many bytes of the body out and breaks the connection."""

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = 0


@dataclass
class Heard:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Scripted:
    url: str
    answers: list[Said] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)

    def client(self) -> Client:
        return Client(self.url, "sl_test", sleep=self.slept.append)

    slept: list[float] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Scripted]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            scripted.heard.append(Heard(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            said = scripted.answers.pop(0)
            data = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
            if said.status == 206:
                data = data[int(self.headers["range"].removeprefix("bytes=").removesuffix("-")) :]
            self.send_response(said.status)
            for name, value in said.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) - said.cut])
            if said.cut:
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True

        do_GET = do_POST = do_DELETE = do_PATCH = answer

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass

    listening = Quiet(("127.0.0.1", 0), Handler)
    scripted = Scripted(f"http://127.0.0.1:{listening.server_port}")
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield scripted
    listening.shutdown()
    thread.join()
    listening.server_close()


def problem(status: int, code: str, **extra: Any) -> Said:
    return Said(status, {"type": "x", "title": "y", "status": status, "code": code, "detail": "because", **extra})


DOCUMENTS: dict[str, type[BaseModel]] = {
    "Album": albums.AlbumOut,
    "Amounts": tenants.QuotasOut,
    "ApiKey": users.ApiKeyOut,
    "AuditEntry": audit.AuditEntryOut,
    "AuditHead": audit.AuditHeadOut,
    "AuditOrigin": audit.OriginOut,
    "CloudFrontCookies": images.CloudFrontCookies,
    "CloudFrontRendition": images.CloudFrontRendition,
    "CloudFrontUrls": images.CloudFrontOut,
    "CostLine": tenants.CostLine,
    "Erasure": audit.ErasureOut,
    "Failure": progress.FailureOut,
    "FocalPoint": common.FocalPoint,
    "FoundImage": images.FoundImage,
    "Grant": albums.AlbumGrantOut,
    "Image": images.ImageOut,
    "Issuer": issuers.IssuerOut,
    "IssuerCheck": issuers.IssuerCheckOut,
    "IssuerKey": issuers.IssuerKeyOut,
    "Lent": albums.Lent,
    "Link": sharing.LinkOut,
    "Mended": progress.MendedOut,
    "Offer": uploads.OfferOut,
    "Problem": images.ImageProblem,
    "Purge": purges.PurgeOut,
    "Reading": issuers.ReadingOut,
    "Ready": progress.ReadyOut,
    "Recipe": recipes.RecipeOut,
    "RecipePlaces": recipes.PlacesOut,
    "Redevelopment": redevelopments.RedevelopmentOut,
    "Rendition": images.RenditionOut,
    "SearchPage": images.SearchPage,
    "SigningKey": signing.SigningKeyOut,
    "Step": progress.StepOut,
    "Tenant": tenants.TenantOut,
    "TenantMade": tenants.TenantMadeOut,
    "TokenKey": signin.TokenKeyOut,
    "Urls": images.UrlsOut,
    "Usage": tenants.BilledUsageOut,
    "User": users.UserOut,
    "Warming": warmings.WarmingOut,
    "Webhook": webhooks.WebhookOut,
    "WebhookAttempt": webhooks.AttemptOut,
    "WebhookDelivery": webhooks.WebhookDeliveryOut,
}
"""What the client calls each, and what the server writes."""


def nullable(document: type) -> dict[str, bool]:
    """The fields of a document, and whether each may be null."""
    return {name: type(None) in get_args(hint) for name, hint in get_type_hints(document).items() if name != "model_config"}


@pytest.mark.parametrize("typed", DOCUMENTS)
def test_every_document_is_typed_as_the_server_writes_it(typed: str) -> None:
    assert nullable(getattr(documents, typed)) == nullable(DOCUMENTS[typed])


def test_no_document_of_the_client_is_held_to_nothing() -> None:
    assert {name for name, value in vars(documents).items() if is_typeddict(value)} == set(DOCUMENTS)


def every_error(cls: type[SafelightError] = SafelightError) -> Iterator[type[SafelightError]]:
    for sub in cls.__subclasses__():
        yield sub
        yield from every_error(sub)


@pytest.mark.parametrize(
    "kind", sorted({cls for cls in every_error() if cls.__module__ == "safelight.errors"}, key=lambda c: c.code)
)
def test_a_refusal_is_raised_as_the_error_that_its_code_names(kind: type[SafelightError], server: Scripted) -> None:
    server.answers = [problem(400, kind.code, field="q")]
    with server.client() as client, pytest.raises(kind) as raised:
        client.restore("01")

    assert type(raised.value) is kind
    assert (raised.value.detail, raised.value.extra["field"]) == ("because", "q")


@pytest.mark.parametrize(
    ("status", "kind"),
    (
        (400, Kind.BAD_REQUEST),
        (401, Kind.UNAUTHENTICATED),
        (403, Kind.FORBIDDEN),
        (404, Kind.MISSING),
        (409, Kind.CONFLICT),
        (418, Kind.BAD_REQUEST),
        (429, Kind.TOO_MANY),
        (502, Kind.UNAVAILABLE),
    ),
)
def test_a_code_of_a_newer_server_is_understood_by_its_status(status: int, kind: Kind, server: Scripted) -> None:
    server.answers = [problem(status, "invented_later")]
    with server.client() as client, pytest.raises(SafelightError) as raised:
        client.restore("01")

    assert raised.value.kind is kind


@pytest.mark.parametrize("body", (b"<html>Bad Gateway</html>", b"", b"[]"))
def test_an_answer_of_something_else_in_between_is_no_answer(body: bytes, server: Scripted) -> None:
    server.answers = [Said(502, body)]
    with server.client() as client, pytest.raises(BackendUnavailable, match="502"):
        client.restore("01")


def test_a_page_that_is_not_json_is_no_answer_either(server: Scripted) -> None:
    server.answers = [Said(200, b"<html>Welcome</html>")]
    with server.client() as client, pytest.raises(BackendUnavailable, match="not as a Safelight server"):
        client.restore("01")


def test_a_read_is_repeated_while_the_server_says_503(server: Scripted) -> None:
    busy = problem(503, "busy")
    busy.headers["retry-after"] = "3"
    server.answers = [busy, problem(503, "unavailable"), Said(body={"id": "01"})]
    with server.client() as client:
        image = client.get("01")

    assert image["id"] == "01"
    assert server.slept == [3.0, 1.0]


def test_a_read_is_given_up_after_a_few_tries(server: Scripted) -> None:
    server.answers = [problem(503, "busy") for _ in range(9)]
    with server.client() as client, pytest.raises(Busy):
        client.get("01")

    assert len(server.heard) == safelight.client.TRIES


def test_nobody_waits_longer_than_is_reasonable(server: Scripted) -> None:
    busy = problem(429, "rate_limited")
    busy.headers["retry-after"] = "86400"
    server.answers = [busy, Said(body={"id": "01"})]
    with server.client() as client:
        client.get("01")

    assert server.slept == [safelight.client.LONGEST_WAIT_S]


@pytest.mark.parametrize(
    "change",
    (lambda c: c.restore("01"), lambda c: c.add_user("x"), lambda c: c.patch("01", {}), lambda c: c.upload(Path(__file__))),
)
def test_a_change_that_could_happen_twice_is_never_repeated(change: Callable[[Client], object], server: Scripted) -> None:
    server.answers = [problem(503, "busy"), Said(body={})]
    with server.client() as client, pytest.raises(Busy):
        change(client)

    assert len(server.heard) == 1


def test_damaged_bytes_are_not_asked_for_again(server: Scripted) -> None:
    server.answers = [problem(503, "damaged_object")]
    with server.client() as client, pytest.raises(safelight.errors.DamagedObject):
        client.get("01")

    assert len(server.heard) == 1


def test_no_server_at_all_is_told_with_the_advice() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}", "sl_x", advice="Start one.") as client, pytest.raises(Unreachable, match="Start one"):
        client.get("01")


@pytest.mark.parametrize(
    ("url", "key"),
    (
        ("photos.example", "sl_x"),
        ("ftp://photos.example", "sl_x"),
        ("http://127.0.0.1:1", "sl_ü"),
        ("http://127.0.0.1:1", "sl\nx"),
    ),
)
def test_an_address_or_key_that_cannot_be_one_is_a_bad_request(url: str, key: str) -> None:
    with pytest.raises((BadRequest, Unreachable)), Client(url, key) as client:
        client.get("01")


def test_an_upload_is_a_form_with_the_file_and_its_words(server: Scripted, tmp_path: Path) -> None:
    picture = tmp_path / 'a "rose" ö.jpg'
    picture.write_bytes(b"\xff\xd8" + bytes(range(256)) * 4000)
    server.answers = [Said(201, {"id": "01"})]
    told: list[int] = []
    with server.client() as client:
        client.upload(picture, title="Rose", tags=["a", "b"], custom={"n": 1}, told=told.append)

    heard = server.heard[0]
    assert int(heard.headers["content-length"]) == len(heard.body)
    assert heard.body.count(picture.read_bytes()) == 1
    assert heard.body.count(b'name="tags"') == 2
    assert b'{"n":1}' in heard.body
    assert 'filename="a %22rose%22 ö.jpg"'.encode() in heard.body
    assert sum(told) == picture.stat().st_size
    assert heard.headers["authorization"] == "Bearer sl_test"


def test_an_upload_is_not_read_into_memory(server: Scripted, tmp_path: Path) -> None:
    picture = tmp_path / "large.jpg"
    picture.write_bytes(bytes(8_000_000))
    server.answers = [Said(201, {"id": "01"})]
    told: list[int] = []
    with server.client() as client:
        client.upload(picture, told=told.append)

    assert max(told) <= safelight.client.CHUNK
    assert len(told) > 20


def test_a_list_goes_through_all_pages(server: Scripted) -> None:
    server.answers = [
        Said(body={"images": [{"id": "1"}, {"id": "2"}], "next": "c/1"}),
        Said(body={"images": [{"id": "3"}], "next": None}),
    ]
    with server.client() as client:
        ids = [image["id"] for image in client.list(tag=["a", "b"])]

    assert ids == ["1", "2", "3"]
    assert [heard.path for heard in server.heard] == [
        "/images?tag=a&tag=b&limit=200",
        "/images?tag=a&tag=b&limit=200&cursor=c%2F1",
    ]


BODY = bytes(range(256)) * 3000


def test_an_original_is_written_and_hashed(server: Scripted) -> None:
    server.answers = [Said(body=BODY)]
    file, told = io.BytesIO(), []
    with server.client() as client:
        digest = client.original("01", file, told=told.append)

    assert digest == hashlib.sha256(BODY).hexdigest()
    assert file.getvalue() == BODY
    assert sum(told) == len(BODY)


def test_an_original_that_breaks_off_is_taken_up_where_it_broke(server: Scripted) -> None:
    server.answers = [Said(body=BODY, headers={"etag": '"x"'}, cut=100_000), Said(206, BODY, {"etag": '"x"'})]
    file = io.BytesIO()
    with server.client() as client:
        digest = client.original("01", file)

    assert digest == hashlib.sha256(BODY).hexdigest()
    assert file.getvalue() == BODY
    assert server.heard[1].headers["range"] != "bytes=0-"
    assert server.heard[1].headers["if-match"] == '"x"'


@pytest.mark.parametrize("hostile", ("../admin", "a/b", "..", "?x", "%2e%2e", ""))
def test_an_id_is_one_segment_of_a_path_whatever_it_holds(hostile: str, server: Scripted) -> None:
    server.answers = [problem(404, "not_found")]
    with server.client() as client, pytest.raises(Missing):
        client.failure(hostile)

    assert server.heard[0].path.startswith("/admin/failures/")
    assert server.heard[0].path.count("/") == 3


def test_readiness_is_told_and_not_raised(server: Scripted) -> None:
    server.answers = [Said(503, {"status": "failed", "parts": {"catalog": "failed"}})]
    with server.client() as client:
        assert client.ready()["parts"] == {"catalog": "failed"}


@pytest.mark.parametrize("kind", (Duplicate, Conflict, Forbidden, Unauthenticated, TooMany))
def test_the_key_is_in_no_error(kind: type[SafelightError], server: Scripted) -> None:
    server.answers = [problem(400, kind.code)] * 9
    with server.client() as client, pytest.raises(kind) as raised:
        client.get("01")

    assert "sl_test" not in repr(raised.value) + str(raised.value.extra)
