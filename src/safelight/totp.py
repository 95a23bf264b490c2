"""Codes of authenticator apps: TOTP (RFC 6238) over HOTP (RFC 4226), and how an app is told its secret. Pure, no clock.

SHA-1, six digits and thirty seconds, since that is what every app computes whatever the URI asks for; SHA-1 as an HMAC is sound.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Final
from urllib.parse import quote, urlencode

DIGITS: Final = 6
STEP_S: Final = 30
DRIFT: Final = 1
"""Steps by which the app's clock may be off, and a code may be late (RFC 6238 section 5.2)."""
SECRET_BYTES: Final = 20
"""As long as SHA-1's output (RFC 4226 section 4, R6)."""


def new_secret() -> bytes:
    """160 random bits."""
    return secrets.token_bytes(SECRET_BYTES)


def code_at(secret: bytes, step: int) -> str:
    """The code of a time step: six digits."""
    mac = hmac.digest(secret, step.to_bytes(8, "big"), hashlib.sha1)
    offset = mac[-1] & 15  # dynamic truncation, RFC 4226 section 5.3
    number = int.from_bytes(mac[offset : offset + 4], "big") & 0x7FFF_FFFF
    return f"{number % 10**DIGITS:0{DIGITS}}"


def step_of(secret: bytes, text: str, *, now_s: float, after: int) -> int | None:
    """The time step whose code this is, if it is one of now and newer than the step `after`; else None."""
    given, current = text.encode(errors="replace"), int(now_s) // STEP_S
    found = None
    for step in range(current - DRIFT, current + DRIFT + 1):
        # No short cut: each comparison is made, and takes the same time.
        fits = hmac.compare_digest(code_at(secret, max(step, 0)).encode(), given)
        if fits and step > after and found is None:
            found = step
    return found


def base32(secret: bytes) -> str:
    """The secret for typing, without padding."""
    return base64.b32encode(secret).decode().rstrip("=")


def uri(secret: bytes, *, issuer: str, account: str) -> str:
    """What the QR code says: the otpauth URI that authenticator apps know ("Key Uri Format")."""
    label = f"{quote(issuer, safe='')}:{quote(account, safe='')}"
    facts = {"secret": base32(secret), "issuer": issuer, "algorithm": "SHA1", "digits": DIGITS, "period": STEP_S}
    return f"otpauth://totp/{label}?{urlencode(facts, quote_via=quote)}"


def qr_codes(text: str) -> tuple[str, str]:
    """The text as a QR code (ISO/IEC 18004, level M): an SVG and a PNG, each as a data URI for an `img`."""
    import segno  # a few milliseconds that only who enrols should pay

    code = segno.make(text, error="m", micro=False)
    return code.svg_data_uri(scale=5, border=4), code.png_data_uri(scale=5, border=4)
