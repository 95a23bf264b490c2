"""What whoever goes out must do, sentence by sentence of ports.outbound, against a server that says what no server should.

Inherit and give `make`: from a resolver, and whom TLS trusts, to an Outbound.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Final

import pytest

from safelight.domain.addresses import Address, Reach, network, parse
from safelight.errors import (
    Missing,
    SafelightError,
    SourceNotAllowed,
    SourceRefused,
    SourceTimedOut,
    SourceUnavailable,
    SourceUnreachable,
    TooManyBytes,
)
from safelight.ports.outbound import Answer, FetchLimits, Outbound

Make = Callable[[Callable[[str], Awaitable[Sequence[Address]]], ssl.SSLContext | None], Outbound]
Send = Callable[[asyncio.StreamWriter], Awaitable[None]]

PICTURE: Final = bytes(range(256)) * 400
OK: Final = b"HTTP/1.1 200 OK\r\n"
HERE: Final = ip_address("127.0.0.1")


@dataclass(slots=True)
class Source:
    """A server on loopback that answers each path with the bytes of `says`, and notes the heads that it was sent."""

    port: int = 0
    says: dict[str, bytes | Send] = field(default_factory=dict)
    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Nobody asks any more."""

    def silent(self, head: bytes) -> Send:
        """Sends this, and then no more."""

        async def send(writer: asyncio.StreamWriter) -> None:
            writer.write(head)
            await writer.drain()
            await self.over.wait()

        return send

    def dripping(self, head: bytes) -> Send:
        """Sends this, and then a byte now and then."""

        async def send(writer: asyncio.StreamWriter) -> None:
            writer.write(head)
            while not self.over.is_set():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)

        return send

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.heads.append(head)
            length = re.search(r"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
            self.bodies.append(await reader.readexactly(int(length[1])) if length else b"")
            said = self.says.get(head.split(" ")[1], b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            if isinstance(said, bytes):
                writer.write(said)
            else:
                await said(writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # whom we serve may hang up at any moment
        finally:
            writer.close()


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Source]:
    """A source, for as long as the block lasts."""
    source = Source()
    server = await asyncio.start_server(source.answer, "127.0.0.1", 0, ssl=tls)
    source.port = server.sockets[0].getsockname()[1]
    try:
        yield source
    finally:
        source.over.set()
        server.close()


@dataclass(slots=True)
class Names:
    """A resolver whose answer may be another one each time; it notes what it was asked."""

    answers: dict[str, list[list[str]]]
    asked: list[str] = field(default_factory=list)

    async def __call__(self, host: str) -> Sequence[Address]:
        self.asked.append(host)
        answers = self.answers.get(host)
        if not answers:
            raise SourceUnreachable
        return [ip_address(text) for text in (answers.pop(0) if len(answers) > 1 else answers[0])]


def whole(body: bytes, *headers: str) -> bytes:
    return OK + "".join(f"{line}\r\n" for line in headers).encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


def leading(location: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


class OutboundContract:
    """Loopback is open here as an exception of the settings; everything else that is not public stays closed."""

    limits = FetchLimits(max_bytes=1_000_000, connect_s=30, idle_s=30, total_s=60)
    hasty = FetchLimits(max_bytes=1_000_000, connect_s=30, idle_s=0.2, total_s=60)

    @pytest.fixture
    async def source(self) -> AsyncIterator[Source]:
        async with serving() as source:
            yield source

    @pytest.fixture
    def names(self) -> Names:
        return Names({"pictures.example": [["127.0.0.1"]]})

    @pytest.fixture
    def outbound(self, make: Make, names: Names) -> Outbound:
        return make(names, None)

    def reach(self, source: Source, *hosts: str) -> Reach:
        return Reach(networks=(network("127.0.0.0/8"),), ports=frozenset({80, 443, source.port}), hosts=hosts)

    async def read(self, outbound: Outbound, source: Source, url: str, limits: FetchLimits | None = None) -> bytes:
        target = parse(url.replace("PORT", str(source.port)))
        body = b""
        async with outbound.fetch(target, reach=self.reach(source), limits=limits or self.limits) as chunks:
            async for chunk in chunks:
                body += chunk
        return body

    async def test_the_bytes_come_as_they_were_sent_and_nothing_of_ours_goes_along(
        self, outbound: Outbound, source: Source, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9/")
        monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9/")
        source.says["/a.jpg?x=%2F"] = whole(PICTURE, "Content-Type: text/html", "Set-Cookie: a=b")

        assert await self.read(outbound, source, "http://pictures.example:PORT/a.jpg?x=%2F") == PICTURE

        (head,) = source.heads
        lines = {line.lower() for line in head.split("\r\n")}
        assert f"host: pictures.example:{source.port}" in lines
        assert "accept-encoding: identity" in lines
        assert not any(line.startswith(("cookie", "authorization", "referer", "proxy")) for line in lines)

    async def test_a_name_is_asked_for_once_and_what_it_means_a_moment_later_changes_nothing(
        self, make: Make, source: Source
    ) -> None:
        names = Names({"rebinding.example": [["127.0.0.1"], ["169.254.169.254"]]})
        source.says["/"] = whole(PICTURE)

        assert await self.read(make(names, None), source, "http://rebinding.example:PORT/") == PICTURE
        assert names.asked == ["rebinding.example"]

    async def test_a_redirect_to_the_same_name_is_judged_by_what_it_means_then(self, make: Make, source: Source) -> None:
        names = Names({"rebinding.example": [["127.0.0.1"], ["169.254.169.254"]]})
        source.says["/"] = leading("/again")
        source.says["/again"] = whole(PICTURE)

        with pytest.raises(SourceUnreachable):
            await self.read(make(names, None), source, "http://rebinding.example:PORT/")
        assert len(source.heads) == 1

    @pytest.mark.parametrize(
        "addresses", [["10.0.0.1"], ["127.0.0.1", "10.0.0.1"], ["::ffff:169.254.169.254"], ["fe80::1%1"], ["64:ff9b::a00:1"], []]
    )
    async def test_a_name_with_an_address_out_of_reach_is_like_a_name_that_is_not_there(
        self, make: Make, source: Source, addresses: list[str]
    ) -> None:
        outbound = make(Names({"inside.example": [addresses]}), None)
        refusals = []
        for host in ("inside.example", "nowhere.example", "10.0.0.1"):
            with pytest.raises(SourceUnreachable) as refused:
                await self.read(outbound, source, f"http://{host}:PORT/")
            refusals.append((refused.value.code, refused.value.detail, refused.value.extra))

        assert refusals[0] == refusals[1] == refusals[2]
        assert source.heads == []

    async def test_the_next_address_is_tried_when_one_takes_no_connection(self, make: Make, source: Source) -> None:
        names = Names({"two.example": [["127.0.0.2", "127.0.0.1"]]})
        source.says["/"] = whole(PICTURE)

        assert await self.read(make(names, None), source, "http://two.example:PORT/") == PICTURE

    async def test_nobody_there_may_be_there_another_time(self, outbound: Outbound) -> None:
        async with serving() as gone:
            port = gone.port
        with pytest.raises(SourceUnavailable):
            await self.read(outbound, Source(port), "http://pictures.example:PORT/")

    async def test_redirects_are_followed_and_carry_nothing(self, outbound: Outbound, source: Source) -> None:
        source.says |= {"/1": leading("/2", 301), "/2": leading("3", 307), "/3": leading("/4", 308), "/4": whole(PICTURE)}

        assert await self.read(outbound, source, "http://pictures.example:PORT/1") == PICTURE
        assert not any("cookie" in head.lower() or "referer" in head.lower() for head in source.heads)

    async def test_a_fourth_redirect_is_one_too_many(self, outbound: Outbound, source: Source) -> None:
        source.says |= {f"/{n}": leading(f"/{n + 1}") for n in range(1, 6)}

        with pytest.raises(SourceRefused):
            await self.read(outbound, source, "http://pictures.example:PORT/1")
        assert len(source.heads) == 4

    @pytest.mark.parametrize(
        ("location", "error"),
        [
            ("http://10.0.0.1/", SourceUnreachable),
            ("http://169.254.169.254/latest/meta-data/", SourceUnreachable),
            ("http://[::ffff:10.0.0.1]/", SourceUnreachable),
            ("//192.168.0.1/", SourceUnreachable),
            ("http://nowhere.example/", SourceUnreachable),
            ("http://127.0.0.1:22/", SourceNotAllowed),
            ("http://2130706433/", SourceRefused),
            ("http://user@pictures.example/", SourceRefused),
            ("file:///etc/passwd", SourceRefused),
            ("gopher://127.0.0.1/", SourceRefused),
            ("http://[", SourceRefused),
        ],
    )
    async def test_a_redirect_is_judged_like_the_first_url(
        self, outbound: Outbound, source: Source, location: str, error: type[SafelightError]
    ) -> None:
        source.says |= {"/": leading("/2"), "/2": leading(location)}

        with pytest.raises(error):
            await self.read(outbound, source, "http://pictures.example:PORT/")
        assert len(source.heads) == 2

    @pytest.mark.parametrize(
        ("said", "error"),
        [
            (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", SourceRefused),
            (b"HTTP/1.1 204 No Content\r\n\r\n", SourceRefused),
            (b"HTTP/1.1 206 Partial\r\nContent-Length: 1\r\n\r\nx", SourceRefused),
            (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", SourceRefused),
            (b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n", SourceRefused),
            (b"HTTP/1.1 429 Later\r\nContent-Length: 0\r\n\r\n", SourceUnavailable),
            (b"HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n", SourceUnavailable),
            (b"SSH-2.0-OpenSSH_9.6\r\n", SourceUnavailable),
            (b"", SourceUnavailable),
            (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000, SourceUnavailable),
            (OK + b"Content-Length: -1\r\n\r\n", SourceUnavailable),
            (OK + b"Content-Length: 10\r\nContent-Length: 20\r\n\r\n0123456789", SourceUnavailable),
            (OK + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffffffffff\r\nx", SourceUnavailable),
            (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", SourceUnavailable),
            (OK + b"Content-Length: 100\r\n\r\nonly this", SourceUnavailable),
            (OK + b"Content-Length: 1000001\r\n\r\n", TooManyBytes),
            (OK + b"Content-Length: 99999999999999999999\r\n\r\n", TooManyBytes),
        ],
    )
    async def test_what_is_no_whole_answer_is_refused(
        self, outbound: Outbound, source: Source, said: bytes, error: type[SafelightError]
    ) -> None:
        source.says["/"] = said

        with pytest.raises(error):
            await self.read(outbound, source, "http://pictures.example:PORT/")

    async def test_more_than_was_announced_is_not_read(self, outbound: Outbound, source: Source) -> None:
        source.says["/"] = OK + b"Content-Length: 3\r\n\r\nabcdef"

        assert await self.read(outbound, source, "http://pictures.example:PORT/") == b"abc"

    @pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "identity, gzip"])
    async def test_a_compressed_body_is_refused_before_it_is_read(self, outbound: Outbound, source: Source, coding: str) -> None:
        source.says["/"] = whole(zlib.compress(bytes(10_000_000), 9), f"Content-Encoding: {coding}")

        with pytest.raises(SourceRefused):
            await self.read(outbound, source, "http://pictures.example:PORT/")

    @pytest.mark.parametrize("framing", ["", "Transfer-Encoding: chunked\r\n"])
    async def test_a_body_without_an_end_is_left_at_the_limit(self, outbound: Outbound, source: Source, framing: str) -> None:
        sent = 0

        async def endless(writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            writer.write(OK + framing.encode() + b"\r\n")
            while sent < 200_000_000:
                writer.write(b"10000\r\n" + bytes(65536) + b"\r\n" if framing else bytes(65536))
                sent += 65536
                await writer.drain()

        source.says["/"] = endless

        with pytest.raises(TooManyBytes):
            await self.read(outbound, source, "http://pictures.example:PORT/")
        assert sent < 200_000_000

    @pytest.mark.parametrize(
        "head", [b"", OK, OK + b"Content-Length: 9\r\n\r\nabc"], ids=["nothing", "half a head", "half a body"]
    )
    async def test_silence_is_waited_for_as_long_as_the_limit_says(self, outbound: Outbound, source: Source, head: bytes) -> None:
        source.says["/"] = source.silent(head)

        with pytest.raises(SourceUnavailable):
            await self.read(outbound, source, "http://pictures.example:PORT/", self.hasty)

    @pytest.mark.parametrize("head", [OK + b"Content-Length: 9999\r\n\r\n", OK], ids=["body", "head"])
    async def test_a_byte_now_and_then_does_not_outlast_the_total(self, outbound: Outbound, source: Source, head: bytes) -> None:
        source.says["/"] = source.dripping(head)

        with pytest.raises(SourceUnavailable):
            await self.read(
                outbound, source, "http://pictures.example:PORT/", FetchLimits(max_bytes=1_000_000, idle_s=30, total_s=0.5)
            )

    async def test_a_name_server_that_does_not_answer_is_left(self, make: Make, source: Source) -> None:
        async def never(host: str) -> Sequence[Address]:
            await asyncio.Event().wait()
            return []

        with pytest.raises(SourceUnavailable):
            await self.read(make(never, None), source, "http://slow.example:PORT/", FetchLimits(max_bytes=9, connect_s=0.2))

    async def test_the_certificate_has_to_be_the_names_though_the_address_is_asked(
        self, make: Make, names: Names, authority: tuple[ssl.SSLContext, ssl.SSLContext]
    ) -> None:
        """`authority`: the server's context, with a certificate for pictures.example, and the client's that trusts it."""
        server, client = authority
        names.answers["other.example"] = [["127.0.0.1"]]
        async with serving(server) as source:
            source.says["/"] = whole(PICTURE)
            source.says["/down"] = leading("http://pictures.example/")

            assert await self.read(make(names, client), source, "https://pictures.example:PORT/") == PICTURE
            for url in ("https://other.example:PORT/", "https://127.0.0.1:PORT/"):
                with pytest.raises(SourceUnavailable):
                    await self.read(make(names, client), source, url)
            with pytest.raises(SourceUnavailable):  # an authority that is not among the system's
                await self.read(make(names, None), source, "https://pictures.example:PORT/")
            with pytest.raises(SourceNotAllowed):
                await self.read(make(names, client), source, "https://pictures.example:PORT/down")

    async def copied(
        self, outbound: Outbound, source: Source, conditions: Mapping[str, str], limits: FetchLimits | None = None
    ) -> tuple[bool, Mapping[str, str], bytes]:
        target = parse(f"http://pictures.example:{source.port}/")
        async with outbound.get(target, conditions, reach=self.reach(source), limits=limits or self.limits) as reading:
            return reading.is_unchanged, reading.headers, b"".join([chunk async for chunk in reading.chunks])

    async def test_who_keeps_a_copy_is_told_that_it_is_still_good(self, outbound: Outbound, source: Source) -> None:
        source.says["/"] = b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nCache-Control: max-age=9\r\n\r\n'

        is_unchanged, headers, body = await self.copied(outbound, source, {"If-None-Match": '"a"'})
        assert (is_unchanged, body) == (True, b"")
        assert (headers["etag"], headers["cache-control"]) == ('"a"', "max-age=9")
        assert 'if-none-match: "a"' in source.heads[0].lower()
        with pytest.raises(SourceRefused):  # nobody said that there was a copy
            await self.copied(outbound, source, {})

    async def test_who_keeps_a_copy_gets_another_one_with_its_headers(self, outbound: Outbound, source: Source) -> None:
        source.says["/"] = whole(PICTURE, "ETAG: b", "Set-Cookie: a=b")

        is_unchanged, headers, body = await self.copied(outbound, source, {"If-None-Match": '"a"'})
        assert (is_unchanged, headers["etag"], body) == (False, "b", PICTURE)

    @pytest.mark.parametrize("status", [404, 410])
    async def test_what_is_gone_is_told_from_what_fails(self, outbound: Outbound, source: Source, status: int) -> None:
        source.says["/"] = f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode()

        with pytest.raises(Missing):
            await self.copied(outbound, source, {})

    @pytest.mark.parametrize("head", [b"", OK + b"Content-Length: 9\r\n\r\nabc"], ids=["nothing", "half a body"])
    async def test_a_time_that_is_over_is_told_from_what_fails(self, outbound: Outbound, source: Source, head: bytes) -> None:
        source.says["/"] = source.silent(head)

        with pytest.raises(SourceTimedOut):
            await self.copied(outbound, source, {}, self.hasty)

    async def test_every_url_on_the_way_has_to_be_listed_where_there_is_a_list(self, outbound: Outbound, source: Source) -> None:
        source.says |= {"/a/1": leading("2"), "/a/2": leading("/b"), "/b": whole(PICTURE)}
        reach = replace(self.reach(source), is_listed=lambda target: target.path.startswith("/a/"))

        with pytest.raises(SourceNotAllowed):
            async with outbound.get(parse(f"http://pictures.example:{source.port}/a/1"), {}, reach=reach, limits=self.limits):
                pass
        assert [head.split()[1] for head in source.heads] == ["/a/1", "/a/2"]

    async def send(
        self, outbound: Outbound, source: Source, url: str, limits: FetchLimits | None = None, *, body: bytes = b"{}"
    ) -> Answer:
        target = parse(url.replace("PORT", str(source.port)))
        headers = {"Content-Type": "application/json", "X-Mine": "1"}
        return await outbound.post(target, body, headers, reach=self.reach(source), limits=limits or self.limits)

    async def test_a_post_arrives_whole_with_its_headers_and_nothing_else_of_ours(
        self, outbound: Outbound, source: Source, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9/")
        source.says["/hook?a=b"] = whole(b"thanks", "Retry-After: 7", "Set-Cookie: a=b")

        answer = await self.send(outbound, source, "http://pictures.example:PORT/hook?a=b", body=PICTURE)

        assert answer == Answer(status=200, retry_after="7", beginning=b"thanks")
        assert source.bodies == [PICTURE]
        (head,) = source.heads
        assert head.startswith("POST /hook?a=b HTTP/1.1\r\n")
        lines = {line.lower() for line in head.split("\r\n")}
        assert {f"host: pictures.example:{source.port}", "content-type: application/json", "x-mine: 1"} <= lines
        assert not any(line.startswith(("cookie", "authorization", "referer", "proxy")) for line in lines)

    @pytest.mark.parametrize("status", [204, 301, 302, 307, 308, 400, 410, 429, 500, 503])
    async def test_a_post_takes_any_status_and_follows_nothing(self, outbound: Outbound, source: Source, status: int) -> None:
        source.says["/"] = leading("http://169.254.169.254/latest/meta-data/", status)
        source.says["/2"] = leading("/", status)

        assert (await self.send(outbound, source, "http://pictures.example:PORT/2")).status == status
        assert len(source.heads) == 1

    @pytest.mark.parametrize("framing", ["", "Transfer-Encoding: chunked\r\n", "Content-Length: 999999999\r\n"])
    async def test_of_an_answer_without_an_end_only_the_beginning_is_read(
        self, outbound: Outbound, source: Source, framing: str
    ) -> None:
        sent = 0

        async def endless(writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            writer.write(OK + framing.encode() + b"\r\n")
            while sent < 200_000_000:
                writer.write(b"10000\r\n" + bytes(65536) + b"\r\n" if "chunked" in framing else bytes(65536))
                sent += 65536
                await writer.drain()

        source.says["/"] = endless
        limits = FetchLimits(max_bytes=1000, connect_s=30, idle_s=30, total_s=60)

        answer = await self.send(outbound, source, "http://pictures.example:PORT/", limits)
        assert (answer.status, answer.beginning) == (200, bytes(1000))
        assert sent < 200_000_000

    @pytest.mark.parametrize("after", [b"Content-Length: 9\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzzz\r\n"])
    async def test_an_answer_that_breaks_off_or_stalls_is_one_all_the_same(
        self, outbound: Outbound, source: Source, after: bytes
    ) -> None:
        source.says |= {"/broken": OK + after, "/stalled": source.silent(OK + after)}

        for path in ("broken", "stalled"):
            answer = await self.send(outbound, source, f"http://pictures.example:PORT/{path}", self.hasty)
            assert (answer.status, answer.beginning) == (200, b"abc")

    @pytest.mark.parametrize(
        "said",
        [b"", b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000, OK + b"Content-Length: -1\r\n\r\n"],
        ids=["nothing", "no http", "a huge header", "a mad length"],
    )
    async def test_a_post_without_an_answer_may_go_better_another_time(
        self, outbound: Outbound, source: Source, said: bytes
    ) -> None:
        source.says["/"] = said

        with pytest.raises(SourceUnavailable):
            await self.send(outbound, source, "http://pictures.example:PORT/")

    async def test_a_post_that_is_answered_byte_by_byte_does_not_outlast_the_total(
        self, outbound: Outbound, source: Source
    ) -> None:
        source.says["/"] = source.dripping(OK)

        with pytest.raises(SourceUnavailable):
            limits = FetchLimits(max_bytes=1000, idle_s=30, total_s=0.5)
            await self.send(outbound, source, "http://pictures.example:PORT/", limits)

    @pytest.mark.parametrize(
        "url",
        ["http://10.0.0.1/", "http://[::ffff:169.254.169.254]/", "http://inside.example:PORT/", "http://nowhere.example/"],
    )
    async def test_a_post_goes_nowhere_that_a_fetch_would_not(self, make: Make, source: Source, url: str) -> None:
        outbound = make(Names({"inside.example": [["127.0.0.1", "10.0.0.1"]]}), None)

        with pytest.raises(SourceUnreachable):
            await self.send(outbound, source, url)
        with pytest.raises(SourceNotAllowed):
            await self.send(outbound, source, "http://127.0.0.1:22/")
        assert source.heads == []

    async def test_a_post_goes_to_the_address_that_was_judged(self, make: Make, source: Source) -> None:
        names = Names({"rebinding.example": [["127.0.0.1"], ["169.254.169.254"]]})
        source.says["/"] = whole(b"")
        outbound = make(names, None)

        assert (await self.send(outbound, source, "http://rebinding.example:PORT/")).status == 200
        assert names.asked == ["rebinding.example"]
        with pytest.raises(SourceUnreachable):
            await self.send(outbound, source, "http://rebinding.example:PORT/")
        assert len(source.heads) == 1
