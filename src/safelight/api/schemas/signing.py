"""Keys that sign addresses, on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict

from pydantic import Field

from safelight.api.schemas.common import In, Out
from safelight.domain.accounts import Grammar, SigningKey
from safelight.errors import BadField


class SigningKeyIn(In):
    """A new key of the ring: made here, or brought along from imgproxy or thumbor."""

    grammar: Grammar = Grammar.NATIVE
    secret: str = Field(
        "", max_length=1024, description="imgproxy: `IMGPROXY_KEY`, hex. thumbor: `SECURITY_KEY`, as it is. Empty: made."
    )
    salt: str = Field("", max_length=1024, description="imgproxy: `IMGPROXY_SALT`, hex.")
    size_bytes: int = Field(32, description="imgproxy: `IMGPROXY_SIGNATURE_SIZE`, 8 to 32.")


class SigningKeyFields(TypedDict):
    """As the service takes them."""

    grammar: Grammar
    secret: bytes
    salt: bytes
    size_bytes: int


def signing_key_fields(asked: SigningKeyIn) -> SigningKeyFields:
    """The secrets as bytes. Raises BadField."""

    def unhexed(field: str, text: str) -> bytes:
        try:
            return bytes.fromhex(text)
        except ValueError:
            raise BadField(f"{field} is hexadecimal.", field=field) from None

    secret = asked.secret.encode() if asked.grammar is Grammar.THUMBOR else unhexed("secret", asked.secret)
    return {
        "grammar": asked.grammar,
        "secret": secret,
        "salt": unhexed("salt", asked.salt),
        "size_bytes": asked.size_bytes,
    }


class SigningKeyOut(Out):
    """A key of the ring; its secret is shown only when it is made."""

    kid: str
    grammar: Grammar
    created_at: datetime
    retired_at: datetime | None
    secret: str | None = Field(None, description="Hex, thumbor's as it is; only in the answer that makes the key.")
    salt: str | None = Field(None, description="imgproxy's, likewise.")


def signing_key_out(key: SigningKey, *, with_secret: bool = False) -> SigningKeyOut:
    """The key as an admin gets it."""
    secret = key.secret.decode(errors="replace") if key.grammar is Grammar.THUMBOR else key.secret.hex()
    return SigningKeyOut(
        kid=key.kid,
        grammar=key.grammar,
        created_at=key.created_at,
        retired_at=key.retired_at,
        secret=secret if with_secret else None,
        salt=key.salt.hex() if with_secret and key.salt else None,
    )


class RetireIn(In):
    """When a signing key stops being believed."""

    after_s: int = Field(0, ge=0, le=366 * 86400)
