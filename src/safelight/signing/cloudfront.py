"""CloudFront's signed URLs and cookies, with a canned or a custom policy. Pure text and bytes, no clock, no AWS.

A key belongs to a key group that a distribution trusts. RSA signatures are PKCS #1 v1.5 and so always the same bytes; ECDSA ones
(P-256) are shorter and differ each time. SHA-1 is what CloudFront assumes, SHA-256 is named in the URL.
https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/PrivateContent.html
"""

from __future__ import annotations

import base64
import ipaddress
import json
from dataclasses import dataclass, field
from typing import Final, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

Hash = Literal["sha1", "sha256"]
RSA_BITS: Final = 2048
"""The only size that CloudFront takes."""
_ALPHABET: Final = bytes.maketrans(b"+=/", b"-_~")
_SHA256: Final = "SHA256"


@dataclass(frozen=True, slots=True)
class Key:
    """A private key and the id that CloudFront gave its public half."""

    pair_id: str
    private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey = field(repr=False)
    hash: Hash = "sha1"

    def sign(self, policy: str) -> str:
        """In CloudFront's own base 64."""
        algorithm = hashes.SHA256() if self.hash == "sha256" else hashes.SHA1()  # noqa: S303 (CloudFront's, for who has not moved on)
        if isinstance(self.private, rsa.RSAPrivateKey):
            return _base64(self.private.sign(policy.encode(), padding.PKCS1v15(), algorithm))
        return _base64(self.private.sign(policy.encode(), ec.ECDSA(algorithm)))


def load_key(pem: bytes, pair_id: str, *, hash: Hash = "sha1") -> Key:
    """An RSA 2048 or ECDSA P-256 key without a password. Raises ValueError that says what is wrong."""
    if not pair_id.isalnum():
        raise ValueError("The key's id has letters and digits.")
    try:
        private = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("The file is not a PEM private key without a password.") from None
    if isinstance(private, rsa.RSAPrivateKey) and private.key_size == RSA_BITS:
        return Key(pair_id, private, hash)
    if isinstance(private, ec.EllipticCurvePrivateKey) and isinstance(private.curve, ec.SECP256R1):
        return Key(pair_id, private, hash)
    raise ValueError("CloudFront takes RSA keys of 2048 bits and ECDSA keys on P-256.")


def canned_policy(url: str, exp: int) -> str:
    """What CloudFront rebuilds from a URL with `Expires`: not a byte may differ."""
    return _compact({"Statement": [{"Resource": url, "Condition": {"DateLessThan": {"AWS:EpochTime": exp}}}]})


def custom_policy(resource: str, exp: int, *, since: int = 0, network: str = "") -> str:
    """For one URL or, by `*` and `?`, many; times in seconds since 1970, 0 = at once; `network` IPv4, as 192.0.2.0/24.

    Raises ValueError for a network that is none.
    """
    condition: dict[str, object] = {"DateLessThan": {"AWS:EpochTime": exp}}
    if network:
        condition["IpAddress"] = {"AWS:SourceIp": str(ipaddress.IPv4Network(network))}
    if since:
        condition["DateGreaterThan"] = {"AWS:EpochTime": since}
    return _compact({"Statement": [{"Resource": resource, "Condition": condition}]})


def signed_url(key: Key, url: str, exp: int) -> str:
    """With the canned policy: shorter, and for this URL only. The URL is percent-encoded already."""
    return _joined(url, [("Expires", str(exp)), *_proof(key, canned_policy(url, exp))])


def signed_url_by(key: Key, url: str, policy: str) -> str:
    """With a custom policy, which need not be for this URL alone."""
    return _joined(url, [("Policy", _base64(policy.encode())), *_proof(key, policy)])


def signed_cookies(key: Key, policy: str) -> dict[str, str]:
    """Cookies that open whatever the custom policy names, by their names."""
    said = [("Policy", _base64(policy.encode())), *_proof(key, policy)]
    return {f"CloudFront-{name}": value for name, value in said}


def canned_cookies(key: Key, url: str, exp: int) -> dict[str, str]:
    """Cookies for this URL only, with the canned policy."""
    said = [("Expires", str(exp)), *_proof(key, canned_policy(url, exp))]
    return {f"CloudFront-{name}": value for name, value in said}


def _proof(key: Key, policy: str) -> list[tuple[str, str]]:
    proof = [("Signature", key.sign(policy)), ("Key-Pair-Id", key.pair_id)]
    return [*proof, ("Hash-Algorithm", _SHA256)] if key.hash == "sha256" else proof


def _joined(url: str, pairs: list[tuple[str, str]]) -> str:
    return url + ("&" if "?" in url else "?") + "&".join(f"{name}={value}" for name, value in pairs)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).translate(_ALPHABET).decode()


def _compact(policy: dict[str, object]) -> str:
    return json.dumps(policy, separators=(",", ":"), ensure_ascii=False)
