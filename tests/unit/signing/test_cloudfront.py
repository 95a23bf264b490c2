"""CloudFront's signatures: byte for byte those of botocore and of `@aws-sdk/cloudfront-signer`, under keys that open nothing."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from botocore.signers import CloudFrontSigner
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from safelight.domain.ids import TenantId
from safelight.services.cloudfront import CloudFront
from safelight.signing import cloudfront

FOLDER = Path(__file__).parent
RSA_PEM, EC_PEM = ((FOLDER / name).read_bytes() for name in ("throwaway-rsa.pem", "throwaway-ec.pem"))
VECTORS = json.loads((FOLDER / "cloudfront.json").read_text())
"""What the SDK for JavaScript makes under the same key; `bench/clients/check.mjs` writes them."""
URL = "https://d111111abcdef8.cloudfront.net/tenant/image/1/thumb_300.webp"
EXP = 1_900_000_000


def key(hash="sha1", pem=RSA_PEM):
    return cloudfront.load_key(pem, "K2JCJMDEHXQW5F", hash=hash)


def theirs():
    private = serialization.load_pem_private_key(RSA_PEM, None)
    return CloudFrontSigner("K2JCJMDEHXQW5F", lambda message: private.sign(message, padding.PKCS1v15(), hashes.SHA1()))


def query(url):
    return dict(parse_qsl(urlsplit(url).query, strict_parsing=True))


def decoded(text):
    return base64.b64decode(text.replace("-", "+").replace("_", "=").replace("~", "/"))


@pytest.mark.parametrize("url", (URL, f"{URL}?a=1&b=2", "https://images.example/a%20b/%C3%A9.jpg", "https://images.example/"))
def test_a_canned_url_is_botocore_s(url):
    expected = theirs().generate_presigned_url(url, date_less_than=datetime.fromtimestamp(EXP, UTC))

    assert cloudfront.signed_url(key(), url, EXP) == expected


@pytest.mark.parametrize(
    ("since", "network"), ((0, ""), (1_800_000_000, ""), (0, "192.0.2.0/24"), (1_800_000_000, "192.0.2.7/32"))
)
def test_a_custom_url_is_botocore_s(since, network):
    signer = theirs()
    start = datetime.fromtimestamp(since, UTC) if since else None
    policy = signer.build_policy(URL, datetime.fromtimestamp(EXP, UTC), start, network or None)

    assert cloudfront.custom_policy(URL, EXP, since=since, network=network) == policy
    assert cloudfront.signed_url_by(key(), URL, policy) == signer.generate_presigned_url(URL, policy=policy)


@pytest.mark.parametrize("hash", ("sha1", "sha256"))
@pytest.mark.parametrize("kind", ("canned", "custom"))
def test_urls_and_cookies_are_those_of_the_javascript_sdk(kind, hash):
    said = VECTORS[f"{kind}-{hash}"]
    if kind == "canned":
        url, cookies = cloudfront.signed_url(key(hash), URL, EXP), cloudfront.canned_cookies(key(hash), URL, EXP)
    else:
        policy = cloudfront.custom_policy(URL.rpartition("/")[0] + "/*", EXP, since=1_800_000_000)
        url, cookies = cloudfront.signed_url_by(key(hash), URL, policy), cloudfront.signed_cookies(key(hash), policy)

    assert query(url) == query(said["url"])  # their parameters stand in another order
    assert url.partition("?")[0] == said["url"].partition("?")[0]
    assert cookies == {name: str(value) for name, value in said["cookies"].items()}


@pytest.mark.parametrize(("hash", "algorithm"), (("sha1", hashes.SHA1()), ("sha256", hashes.SHA256())))
def test_an_ecdsa_signature_is_shorter_and_verifies(hash, algorithm):
    public = serialization.load_pem_private_key(EC_PEM, None).public_key()
    said = query(cloudfront.signed_url(key(hash, EC_PEM), URL, EXP))

    public.verify(decoded(said["Signature"]), cloudfront.canned_policy(URL, EXP).encode(), ec.ECDSA(algorithm))
    with pytest.raises(InvalidSignature):
        public.verify(decoded(said["Signature"]), cloudfront.canned_policy(URL + "x", EXP).encode(), ec.ECDSA(algorithm))
    assert len(said["Signature"]) < 100


def pem_of(private, password=None):
    how = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)


@pytest.mark.parametrize(
    "pem",
    (
        b"",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        pem_of(rsa.generate_private_key(65537, 1024)),
        pem_of(ec.generate_private_key(ec.SECP384R1())),
        pem_of(ec.generate_private_key(ec.SECP256R1()), b"password"),
    ),
    ids=("nothing", "damaged", "short", "another curve", "locked"),
)
def test_a_key_that_cloudfront_would_not_take_is_refused(pem):
    with pytest.raises(ValueError, match=r"\."):
        cloudfront.load_key(pem, "K2JCJMDEHXQW5F")


def test_an_id_that_would_break_the_url_is_refused():
    with pytest.raises(ValueError, match="letters"):
        cloudfront.load_key(RSA_PEM, "K&a=b")


@pytest.mark.parametrize("network", ("nonsense", "192.0.2.1/24", "2001:db8::/32", "192.0.2.0/33"))
def test_a_network_that_is_none_is_refused(network):
    with pytest.raises(ValueError, match=r"."):
        cloudfront.custom_policy(URL, EXP, network=network)


def test_a_key_does_not_show_itself():
    assert "private" not in repr(key()).lower()


def test_cookies_of_a_tenant_open_what_is_theirs_and_nothing_else():
    front = CloudFront(key(), "https://d1.cloudfront.net/prefix/")
    resource, cookies = front.cookies(TenantId("t" * 26), EXP)
    statement = json.loads(decoded(cookies["CloudFront-Policy"]))["Statement"][0]

    assert statement["Resource"] == resource == f"https://d1.cloudfront.net/prefix/{'t' * 26}/*"
    assert statement["Condition"] == {"DateLessThan": {"AWS:EpochTime": EXP}}
