"""An OpenID provider as far as its keys and tokens go, on a free port of the loopback: as good or as hostile as a test wants it."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

CONFIGURATION, JWKS = "/.well-known/openid-configuration", "/jwks"
MAKERS: dict[str, Callable[[], Any]] = {
    "RS": lambda: rsa.generate_private_key(65537, 2048),
    "PS": lambda: rsa.generate_private_key(65537, 2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "Ed": lambda: ed25519.Ed25519PrivateKey.generate(),
}
Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]


def b64(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Provider:
    """Answers `asked` requests by path; `replies` says what instead."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        self.asked: Counter[str] = Counter()
        self.replies: dict[str, Reply] = {}
        self.keys: dict[str, tuple[str, Any]] = {}
        self.port = 0
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Provider:
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.hang_up()

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def hang_up(self) -> None:
        """Nobody is at the port any more."""
        if self._server is not None:
            self._server.close()
            self._server = None

    @property
    def issuer(self) -> str:
        return f"http://{self.host}:{self.port}/pool"

    @property
    def fetches(self) -> int:
        return self.asked[JWKS]

    def add_key(self, kid: str, algorithm: str = "RS256") -> None:
        maker = next(make for name, make in MAKERS.items() if algorithm.startswith(name))
        self.keys[kid] = algorithm, maker()

    def key_set(self) -> dict[str, Any]:
        shown = []
        for kid, (algorithm, private) in self.keys.items():
            jwk = jwt.get_algorithm_by_name(algorithm).to_jwk(private.public_key(), as_dict=True)
            jwk.pop("key_ops", None)
            shown.append({**jwk, "kid": kid, "use": "sig", "alg": algorithm})
        return {"keys": shown}

    def public_pem(self, kid: str) -> bytes:
        public = self.keys[kid][1].public_key()
        return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    def claims(self, **changed: Any) -> dict[str, Any]:
        now = int(time.time())
        whole = {"iss": self.issuer, "sub": "u-1", "aud": "app", "iat": now, "exp": now + 600, "name": "Ada"} | changed
        return {name: value for name, value in whole.items() if value is not ...}

    def token(self, *, kid: str = "", header: dict[str, Any] | None = None, **claims: Any) -> str:
        """Signed with the key of that id, the first if none is named; `...` leaves a claim out."""
        kid = kid or next(iter(self.keys))
        algorithm, private = self.keys[kid]
        return jwt.encode(self.claims(**claims), private, algorithm=algorithm, headers={"kid": kid, **(header or {})})

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ")[1].decode().removeprefix("/pool")
            self.asked[path] += 1
            if path in self.replies:
                await self.replies[path](writer)
            elif path == CONFIGURATION:
                await answer(writer, {"issuer": self.issuer, "jwks_uri": f"{self.issuer}{JWKS}"})
            elif path == JWKS:
                await answer(writer, self.key_set())
            else:
                await answer(writer, {}, status="404 Not Found")
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def answer(writer: asyncio.StreamWriter, document: Any, *, status: str = "200 OK", headers: str = "") -> None:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    head = f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n{headers}\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
