"""JSON Web Tokens (RFC 7519) on asymmetric keys only, and the keys themselves as JWK (RFC 7517). Over PyJWT; its errors stay here.

Reading is in two steps, since the key depends on what the token claims: `peek` says which key it wants, `verified` believes it.
A token's header chooses nothing but among keys that we already hold: `jku`, `x5u`, `jwk` and `x5c` are not looked at
(RFC 8725 section 3.10), and a key is good for its own algorithm alone (section 3.1).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, cast

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

LONGEST: Final = 8192
"""Characters of a token; nothing longer is parsed at all."""
Algorithm = Literal["EdDSA", "ES256", "RS256"]
"""What our own keys sign with."""
_FITTING: Final[Mapping[tuple[object, object], tuple[str, ...]]] = {
    ("OKP", "Ed25519"): ("EdDSA",),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("RSA", None): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
}
ACCEPTED: Final = tuple(algorithm for fitting in _FITTING.values() for algorithm in fitting)
"""What somebody else's keys may verify: never `none`, and nothing with a shared secret."""
_RSA_BITS: Final = range(2048, 8193)
"""RFC 7518 section 3.3 says at least 2048; a key of a hundred thousand bits would be work for a thousand tokens."""
_KID: Final = re.compile(r"[A-Za-z0-9._~+/=-]{1,200}")
_SEGMENTS: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
AT_JWT: Final = frozenset({"at+jwt", "application/at+jwt"})
"""The type of access tokens, RFC 9068 section 2.1."""


class BadToken(Exception):
    """It is not to be believed. Why is for the log only."""


@dataclass(frozen=True, slots=True)
class Peek:
    """What an unverified token says of itself, enough to look for its key and no more."""

    kid: str
    algorithm: str
    type: str
    issuer: str
    audiences: tuple[str, ...]
    """Which of several that trust this issuer it is for."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key to verify with, and the one algorithm that it verifies."""

    kid: str
    algorithm: str
    key: Any
    """What PyJWT takes: a public key of `cryptography`."""


def new_private(algorithm: Algorithm) -> bytes:
    """A fresh private key, PKCS #8 in DER."""
    key: Any
    match algorithm:
        case "EdDSA":
            key = ed25519.Ed25519PrivateKey.generate()
        case "ES256":
            key = ec.generate_private_key(ec.SECP256R1())
        case "RS256":
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    made: bytes = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made


def signed(private: bytes, *, algorithm: Algorithm, kid: str, claims: Mapping[str, Any], kind: str = "at+jwt") -> str:
    """The compact token, typed so."""
    key = cast("Any", serialization.load_der_private_key(private, None))
    return jwt.encode(dict(claims), key, algorithm=algorithm, headers={"kid": kid, "typ": kind})


def public_of(private: bytes, *, algorithm: Algorithm, kid: str) -> PublicKey:
    """The half that verifies."""
    return PublicKey(kid, algorithm, serialization.load_der_private_key(private, None).public_key())


def jwk_of(key: PublicKey) -> dict[str, Any]:
    """As it is published in a key set."""
    shown: dict[str, Any] = jwt.get_algorithm_by_name(key.algorithm).to_jwk(key.key, as_dict=True)
    shown.pop("key_ops", None)
    return {**shown, "kid": key.kid, "use": "sig", "alg": key.algorithm}


def keys_of(jwk: Mapping[str, Any]) -> list[PublicKey]:
    """A public key from somebody's key set, once for each algorithm that it may verify: its `alg`, else all that fit its kind.

    Raises BadToken for what is no asymmetric signing key of a kind that we verify.
    """
    kind = jwk.get("kty"), None if jwk.get("kty") == "RSA" else jwk.get("crv")
    fitting = next((algorithms for known, algorithms in _FITTING.items() if known == kind), ())
    named, kid = jwk.get("alg"), jwk.get("kid")
    algorithms = [algorithm for algorithm in fitting if named in (None, algorithm)]
    if not algorithms or jwk.get("use", "sig") != "sig" or not isinstance(kid, str):
        raise BadToken("no key of ours")
    try:
        public = {name: value for name, value in jwk.items() if name in ("kty", "crv", "x", "y", "n", "e")}
        key = jwt.get_algorithm_by_name(algorithms[0]).from_jwk(public)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError, OverflowError, UnsupportedAlgorithm) as error:
        raise BadToken("a damaged key") from error
    if isinstance(key, rsa.RSAPublicKey) and (key.key_size not in _RSA_BITS or key.public_numbers().e >= 2**32):
        raise BadToken("a key of an odd size")
    return [PublicKey(kid, algorithm, key) for algorithm in algorithms]


def peek(token: str) -> Peek:
    """What the token claims before anything is believed. Raises BadToken."""
    if len(token) > LONGEST or _SEGMENTS.fullmatch(token) is None:
        raise BadToken("not a token")
    header, claims = map(_object, token.split(".")[:2])
    issuer = claims.get("iss")
    kid, algorithm, kind = header.get("kid"), header.get("alg"), header.get("typ", "JWT")
    if not (isinstance(kid, str) and isinstance(algorithm, str) and isinstance(kind, str) and isinstance(issuer, str)):
        raise BadToken("a claim is missing")
    if _KID.fullmatch(kid) is None or "crit" in header or "b64" in header:  # RFC 7515 section 4.1.11: not understood
        raise BadToken("a header that we do not take")
    return Peek(kid, algorithm, kind.casefold(), issuer, audiences_of(claims))


def audiences_of(claims: Mapping[str, Any]) -> tuple[str, ...]:
    """For whom it is. Amazon Cognito's access tokens have no `aud` and say it in `client_id`; nobody else's word for it counts."""
    named = claims.get("aud")
    if named is None and claims.get("token_use") == "access":
        named = claims.get("client_id")
    if isinstance(named, str):
        return (named,)
    return tuple(one for one in named if isinstance(one, str)) if isinstance(named, list) else ()


def _object(segment: str) -> dict[str, Any]:
    """A segment's members. Twice the same name has two meanings for two readers, so it is refused (RFC 7519 section 4)."""
    try:
        value = json.loads(
            base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)), object_pairs_hook=_once, parse_constant=_no_number
        )
    except (ValueError, binascii.Error, RecursionError) as error:
        raise BadToken("not a token") from error
    if not isinstance(value, dict):
        raise BadToken("not a token")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise BadToken("a member twice")
    return members


def _no_number(text: str) -> None:
    raise BadToken(f"{text} is no JSON")


def verified(
    token: str, key: PublicKey, *, issuer: str, audience: str | None, now: datetime, skew_s: float = 0.0
) -> dict[str, Any]:
    """The claims. `audience` None: the caller looks at it, since the issuer names it otherwise. Raises BadToken."""
    try:
        claims = jwt.decode(
            token,
            key.key,
            algorithms=[key.algorithm],
            issuer=issuer,
            audience=audience,
            # Times are held against our own clock below: the library has only the machine's.
            options={
                "require": ["iss", "sub", "exp", "iat"],
                "verify_aud": audience is not None,
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
        raise BadToken(type(error).__name__) from error
    at = now.timestamp()
    for name in ("exp", "iat", "nbf"):
        value = claims.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 2**53:  # NaN is not smaller
            raise BadToken(f"{name} is no time")
    if at >= claims["exp"] + skew_s or at < claims["iat"] - max(skew_s, 1.0) or at < claims.get("nbf", 0) - skew_s:
        raise BadToken("not now")
    return claims
