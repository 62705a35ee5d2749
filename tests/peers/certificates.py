"""Certificates for one run of the tests."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def write(folder: Path) -> None:
    """An authority (`ca.pem`), and a server and a client that it has signed, for 127.0.0.1."""
    authority = ec.generate_private_key(ec.SECP256R1())
    name = _name("tests")
    _save(folder / "ca", _signed(name, authority.public_key(), name, authority, is_ca=True), None)
    for who in ("server", "client"):
        key = ec.generate_private_key(ec.SECP256R1())
        _save(folder / who, _signed(_name(who), key.public_key(), name, authority), key)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])


def _signed(
    subject: x509.Name,
    public: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    *,
    is_ca: bool = False,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    here = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([here]), critical=False)
    )
    return builder.sign(key, hashes.SHA256())


def _save(
    path: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey | None
) -> None:
    pem = serialization.Encoding.PEM
    path.with_suffix(".pem").write_bytes(certificate.public_bytes(pem))
    if key is not None:
        form, secret = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        path.with_suffix(".key").write_bytes(key.private_bytes(pem, form, secret))
