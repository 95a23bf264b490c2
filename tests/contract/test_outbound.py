"""HttpxOutbound against servers on loopback, with a certificate authority of the tests' own; and the system's resolver."""

from __future__ import annotations

import ssl
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from safelight.adapters.outbound.httpx import HttpxOutbound, SystemResolver
from safelight.domain.addresses import Reach, parse
from safelight.errors import SourceUnavailable, SourceUnreachable
from safelight.testing.contracts.outbound import HERE, OutboundContract
from safelight.wiring import utc_now


class TestHttpx(OutboundContract):
    @pytest.fixture
    def make(self):
        return lambda resolve, tls: HttpxOutbound(resolve=resolve, tls=tls)

    @pytest.fixture
    def authority(self, tmp_path):
        key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(utc_now() - timedelta(days=1))
            .not_valid_after(utc_now() + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("pictures.example")]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        pem = tmp_path / "pictures.pem"
        secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        pem.write_bytes(secret + certificate.public_bytes(serialization.Encoding.PEM))
        server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=str(pem))
        server.load_cert_chain(pem)
        return server, client


async def test_the_systems_resolver_tells_every_address():
    assert HERE in await SystemResolver()("localhost")


async def test_localhost_is_out_of_reach_by_default():
    with pytest.raises(SourceUnreachable):
        async with HttpxOutbound().fetch(parse("http://localhost/"), reach=Reach(), limits=OutboundContract.limits):
            pass


async def test_a_name_that_cannot_be_looked_up_is_no_other_error():
    with pytest.raises((SourceUnreachable, SourceUnavailable)):
        await SystemResolver()("no-such-name.invalid")
