"""The certificate and the private key that sign a video: the deployer's, or a self-signed one."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInput, MultiTalkError
from .settings import CERTIFICATE, FOLDER, KEY, MarkSettings

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

FILE = "signing.pem"  # key and certificate in one file, so that they always belong together
YEARS = 10
NAME = "MultiTalk"
SELF_SIGNED = "this installation (self-signed)"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Identity:
    """What signs a video.

    Attributes:
        certificate: The chain as PEM, the signer's certificate first.
        key: Its private key as PEM (PKCS #8).
        algorithm: C2PA's name of the signature algorithm, such as "es256".
        name: The signer's name for people.
    """

    certificate: bytes
    key: bytes = field(repr=False)
    algorithm: str
    name: str


def identity_of(settings: MarkSettings) -> Identity:
    """Return the deployer's identity, or this installation's, which is created the first time.

    Raises:
        InvalidInput: The certificate or the key cannot be used.
        MultiTalkError: The file of this installation's identity is damaged.
    """
    if settings.certificate:
        return _given_identity(settings.certificate, settings.key)
    return _own_identity(settings.folder)


@lru_cache(maxsize=4)
def _given_identity(certificate: str, key: str) -> Identity:
    from cryptography import x509

    try:
        leaf = x509.load_pem_x509_certificates(certificate.encode())[0]
    except ValueError as error:
        raise InvalidInput(f"{CERTIFICATE} contains no certificate in PEM form ({error}).") from None
    try:
        algorithm, plain = _read_key(key.encode())
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{KEY} cannot be used: {_reason(error)}.") from None
    now = datetime.now(UTC)
    if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        raise InvalidInput(
            f"{CERTIFICATE} is valid from {leaf.not_valid_before_utc:%Y-%m-%d} to "
            f"{leaf.not_valid_after_utc:%Y-%m-%d}, and not today. Renew it."
        )
    if _public_bytes(leaf.public_key()) != _public_bytes(_load_key(key.encode()).public_key()):
        raise InvalidInput(f"{KEY} is not the private key of the first certificate in {CERTIFICATE}.")
    return Identity(certificate.encode(), plain, algorithm, _name(leaf))


def _reason(error: Exception) -> str:
    """Describe why a key cannot be read, without the library's advice for programmers."""
    if isinstance(error, TypeError):  # of cryptography: a password is missing
        return "it is encrypted. Provide it without a password"
    return " ".join(str(error).split())[:200].rstrip(".") or "it is not a private key in PEM form"


def _load_key(pem: bytes) -> Any:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    return load_pem_private_key(pem, None)


def _read_key(pem: bytes) -> tuple[str, bytes]:
    """Return a private key's algorithm, and the key in the only form that the library accepts.

    Raises:
        ValueError: It is no private key, or of a kind that C2PA does not allow.
        TypeError: It is encrypted.
    """
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = _load_key(pem)
    curves = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
    algorithm = None
    if isinstance(key, EllipticCurvePrivateKey):
        algorithm = curves.get(key.curve.name)
    elif isinstance(key, RSAPrivateKey):
        algorithm = "ps256"
    elif isinstance(key, Ed25519PrivateKey):
        algorithm = "ed25519"
    if algorithm is None:
        raise ValueError("C2PA allows P-256, P-384, P-521, Ed25519 and RSA keys only")
    return algorithm, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _public_bytes(key: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return bytes(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _name(certificate: Certificate) -> str:
    from cryptography.x509.oid import NameOID

    for part in (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME):
        if values := certificate.subject.get_attributes_for_oid(part):
            return str(values[0].value)
    return "unnamed certificate"


@lru_cache(maxsize=4)
def _own_identity(folder: Path) -> Identity:
    """Read this installation's identity, or create it."""
    path = folder / FILE
    identity = None
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        identity = _read_own(path)
    if identity is not None:
        return identity
    content = create_certificate()
    try:
        _store(content, path)
        return _read_own(path) or _parse_own(content)  # another process may have been faster
    except OSError as error:
        logger.warning(
            "the certificate for Content Credentials cannot be kept in %s (%s); every start creates another. "
            "Set %s to a writable folder.",
            folder,
            error.strerror,
            FOLDER,
        )
        return _parse_own(content)


def check_own(folder: Path) -> None:
    """Check at startup that the file of this installation's identity is readable, if it exists.

    Raises:
        MultiTalkError: The file is damaged or cannot be read.
    """
    try:
        content = (folder / FILE).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise _damaged(folder / FILE, error) from None
    if b"-----END PRIVATE KEY" not in content or b"-----END CERTIFICATE" not in content:
        raise _damaged(folder / FILE)


def own_certificate(folder: Path) -> str:
    """Return this installation's certificate as PEM, without its key; empty if it has none."""
    identity = None
    with contextlib.suppress(OSError, MultiTalkError):
        identity = _read_own(folder / FILE)
    return "" if identity is None else identity.certificate.decode()


def _damaged(path: Path, error: Exception | None = None) -> MultiTalkError:
    reason = getattr(error, "strerror", None) or "it is damaged"
    return MultiTalkError(
        f"The certificate for Content Credentials cannot be read from {path}: {reason}. Delete the file, and "
        "another one is created."
    )


def _read_own(path: Path) -> Identity | None:
    """Read the identity in a file; None if it has expired.

    Raises:
        MultiTalkError: The file is damaged or cannot be read.
    """
    from cryptography import x509

    try:
        content = path.read_bytes()
        expires = x509.load_pem_x509_certificate(content).not_valid_after_utc
        return _parse_own(content) if datetime.now(UTC) < expires else None
    except (FileNotFoundError, NotADirectoryError):
        raise
    except (OSError, TypeError, ValueError) as error:
        raise _damaged(path, error) from None


def _parse_own(content: bytes) -> Identity:
    algorithm, key = _read_key(content)
    certificate = content[content.index(b"-----BEGIN CERTIFICATE") :]
    return Identity(certificate, key, algorithm, SELF_SIGNED)


def _store(content: bytes, path: Path) -> None:
    """Write the file unless another process has just written it; nobody ever reads a part of it.

    Raises:
        OSError: The folder cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if path.exists() and _read_own(path) is None:  # it has expired
            os.replace(part, path)
            return
        try:
            os.link(part, path)
        except FileExistsError:
            pass  # another process was faster
        except OSError:  # a file system without hard links: the last of several processes wins
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def create_certificate() -> bytes:
    """Create a P-256 key and a self-signed certificate with the extensions that C2PA requires, as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = generate_private_key(SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, NAME),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{NAME}, self-signed"),
        ]
    )
    now = datetime.now(UTC)
    signing_only = dict.fromkeys(
        (
            *("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
            *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
        ),
        False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # clocks of readers differ
        .not_valid_after(now + timedelta(days=365 * YEARS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, **signing_only), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, SHA256())
    )
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return plain + certificate.public_bytes(Encoding.PEM)
