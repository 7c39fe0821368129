"""Certificates as deployers have them: of a small authority, and unusable ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.now(UTC)
WEEK = timedelta(days=7)


def key_usage(**flags: bool) -> x509.KeyUsage:
    names = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**(dict.fromkeys(names, False) | flags))


def certify(
    key: Any,
    name: str,
    issuer: x509.Certificate | None,
    issuer_key: Any,
    *extensions: Any,
    critical_purpose: Any = None,
    **dates: datetime,
) -> x509.Certificate:
    """A certificate of a key; each extension is critical if it is not the purpose of the key."""
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, name),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{name} signing"),
        ]
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(dates.get("start", NOW - WEEK))
        .not_valid_after(dates.get("end", NOW + WEEK))
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    )
    if critical_purpose is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([critical_purpose]), True)
    for extension in extensions:
        builder = builder.add_extension(extension, not isinstance(extension, x509.ExtendedKeyUsage))
    return builder.sign(issuer_key, SHA256())


class Authority:
    """An authority that issues certificates, and its own certificate."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = certify(
            self.key,
            "Small Authority",
            None,
            self.key,
            x509.BasicConstraints(ca=True, path_length=1),
            key_usage(key_cert_sign=True),
        )
        self.pem = pem_of(self.certificate)

    def issue(
        self, key: Any, *, purpose: Any = ExtendedKeyUsageOID.EMAIL_PROTECTION, **dates: datetime
    ) -> str:
        """A chain for a key, as PEM: the signer's certificate, and the authority's."""
        leaf = certify(
            key,
            "Some Studio",
            self.certificate,
            self.key,
            x509.BasicConstraints(ca=False, path_length=None),
            key_usage(digital_signature=True),
            x509.ExtendedKeyUsage([purpose]),
            **dates,
        )
        return pem_of(leaf) + self.pem


def pem_of(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def key_pem(key: Any, form: PrivateFormat = PrivateFormat.PKCS8, password: bytes | None = None) -> str:
    encryption = NoEncryption() if password is None else BestAvailableEncryption(password)
    return key.private_bytes(Encoding.PEM, form, encryption).decode()
