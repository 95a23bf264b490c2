"""An authenticator in software, written from WebAuthn Level 3 and CTAP 2.1: keys, counters and flags as a test wants them."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import struct
from dataclasses import dataclass, field

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

UP, UV, BE, BS, AT = 1, 4, 8, 16, 64


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Authenticator:
    """One ES256 credential. What a method is told by name goes in the place of what an honest one would say."""

    origin: str = "https://images.example.org"
    counts: bool = True
    credential: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    count: int = 0
    handle: bytes = b""

    def create(self, options: dict, **other) -> dict:
        self.handle = raw(options["user"]["id"])
        numbers = self.key.public_key().public_numbers()
        cose = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        attested = bytes(16) + struct.pack(">H", len(self.credential)) + self.credential + cbor2.dumps(cose)
        data = self._data(options["rp"]["id"], AT, other) + attested
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        client_data = self._client_data("webauthn.create", options, other)
        response = {"clientDataJSON": b64(client_data), "attestationObject": b64(attestation), "transports": ["internal", "x"]}
        return self._answer(response)

    def get(self, options: dict, **other) -> dict:
        self.count += self.counts
        data = self._data(options["rpId"], 0, other)
        client_data = self._client_data("webauthn.get", options, other)
        signed = self.key.sign(data + hashlib.sha256(client_data).digest(), ec.ECDSA(hashes.SHA256()))
        return self._answer(
            {
                "clientDataJSON": b64(client_data),
                "authenticatorData": b64(data),
                "signature": b64(signed),
                "userHandle": b64(other.get("handle", self.handle)),
            }
        )

    def _answer(self, response: dict) -> dict:
        id = b64(self.credential)
        return {"id": id, "rawId": id, "type": "public-key", "response": response, "clientExtensionResults": {}}

    def _data(self, domain: str, flags: int, other: dict) -> bytes:
        hashed = hashlib.sha256(other.get("domain", domain).encode()).digest()
        return hashed + struct.pack(">BI", flags | other.get("flags", UP | UV | BE | BS), other.get("count", self.count))

    def _client_data(self, type: str, options: dict, other: dict) -> bytes:
        told = {
            "type": other.get("type", type),
            "challenge": other.get("challenge", options["challenge"]),
            "origin": other.get("origin", self.origin),
            "crossOrigin": other.get("crossOrigin", False),
        }
        return json.dumps(told).encode()
