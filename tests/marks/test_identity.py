"""The certificate that signs: created once, or the deployer's; what is refused at the start."""

from __future__ import annotations

import logging
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from multitalk.errors import InvalidInput, MultiTalkError
from multitalk.marks import identity
from multitalk.marks.identity import SELF_SIGNED, check_own, create_certificate, identity_of
from multitalk.marks.job import JobMarks
from multitalk.marks.settings import MarkSettings, check_marks
from tests.fresh_process import ROOT, run_script
from tests.marks.certificates import NOW, WEEK, Authority, key_pem
from tests.marks.video_files import signed_video

P256 = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def own_folder(tmp_path, monkeypatch) -> Path:
    """The folder of an installation that has not signed anything."""
    folder = tmp_path / "data" / "credentials"
    monkeypatch.setenv("C2PA_FOLDER", str(folder))
    return folder


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def signing_time() -> MarkSettings:
    return MarkSettings.from_environment()


def test_the_certificate_is_created_once_and_kept(own_folder):
    first = identity_of(signing_time())
    assert first.name == SELF_SIGNED
    assert first.algorithm == "es256"
    file = own_folder / "signing.pem"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(own_folder.stat().st_mode) == 0o700
    assert list(own_folder.iterdir()) == [file]
    script = "from tests.marks.video_files import own_identity; print(own_identity().certificate.decode())"
    assert run_script(script).strip() == first.certificate.decode().strip()
    assert b"PRIVATE" in first.key
    assert "PRIVATE" not in repr(first) + repr(signing_time())


def test_it_has_what_c2pa_requires():
    certificate = x509.load_pem_x509_certificate(create_certificate())
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign
    purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.EMAIL_PROTECTION]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    assert certificate.not_valid_before_utc < datetime.now(UTC)


def test_processes_that_start_at_once_use_one_certificate(own_folder):
    script = "from tests.marks.video_files import own_identity; print(own_identity().certificate.decode())"
    command = [sys.executable, "-c", script]
    processes = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    printed = {process.communicate(timeout=120)[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    assert len(printed) == 1
    assert "BEGIN CERTIFICATE" in printed.pop()
    assert [path.name for path in own_folder.iterdir()] == ["signing.pem"]


def test_a_damaged_file_is_an_error_at_start(own_folder):
    identity_of(signing_time())
    file = own_folder / "signing.pem"
    for content in (b"", file.read_bytes()[:300], b"\xff\xfe"):
        file.write_bytes(content)
        identity._own_identity.cache_clear()
        with pytest.raises(MultiTalkError, match=r"signing\.pem: it is damaged\. Delete the file"):
            check_marks()
        with pytest.raises(MultiTalkError, match="damaged"):
            identity_of(signing_time())


def test_an_expired_certificate_is_replaced(own_folder, monkeypatch):
    monkeypatch.setattr(identity, "YEARS", 0)
    first = identity_of(signing_time())
    monkeypatch.undo()
    monkeypatch.setenv("C2PA_FOLDER", str(own_folder))
    identity._own_identity.cache_clear()
    second = identity_of(signing_time())
    assert second.certificate != first.certificate
    assert x509.load_pem_x509_certificate(second.certificate).not_valid_after_utc > NOW + 100 * WEEK
    assert second.certificate in (own_folder / "signing.pem").read_bytes()


def test_a_folder_that_cannot_be_written_gives_a_certificate_until_the_end_of_the_process(
    tmp_path, monkeypatch, caplog
):
    """Root may write everywhere, so the folder's parent is a file; a read-only file system fails alike."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("C2PA_FOLDER", str(tmp_path / "file" / "credentials"))
    check_marks()
    with caplog.at_level(logging.WARNING):
        first = identity_of(signing_time())
    assert "Set C2PA_FOLDER to a writable folder." in caplog.text
    assert identity_of(signing_time()) is first
    signed_video(tmp_path / "a.mp4")


@pytest.mark.parametrize(
    ("key", "algorithm", "form"),
    [
        (P256, "es256", PrivateFormat.PKCS8),
        (P256, "es256", PrivateFormat.TraditionalOpenSSL),
        (ec.generate_private_key(ec.SECP384R1()), "es384", PrivateFormat.PKCS8),
        (rsa.generate_private_key(65537, 2048), "ps256", PrivateFormat.TraditionalOpenSSL),
        (ed25519.Ed25519PrivateKey.generate(), "ed25519", PrivateFormat.PKCS8),
    ],
)
@pytest.mark.parametrize("as_file", [False, True])
def test_certificates_of_deployers(tmp_path, monkeypatch, authority, key, algorithm, form, as_file):
    certificate, pem = authority.issue(key), key_pem(key, form)
    if as_file:
        for name, text in (("C2PA_CERT", certificate), ("C2PA_KEY", pem)):
            (tmp_path / name).write_text(text)
            monkeypatch.setenv(name, str(tmp_path / name))
    else:  # a secret of a host that allows one line
        monkeypatch.setenv("C2PA_CERT", certificate)
        monkeypatch.setenv("C2PA_KEY", pem.replace("\n", "\\n"))
    check_marks()
    signer = identity_of(signing_time())
    assert (signer.algorithm, signer.name) == (algorithm, "Some Studio")
    signed_video(tmp_path / "a.mp4", signer)


OTHER = ec.generate_private_key(ec.SECP256R1())
CASES = {
    "another key": (
        lambda a: (a.issue(P256), key_pem(OTHER)),
        r"^C2PA_KEY is not the private key of the first",
    ),
    "only a certificate": (lambda a: (a.issue(P256), ""), r"^C2PA_CERT is set without C2PA_KEY\. Set both"),
    "only a key": (lambda a: ("", key_pem(P256)), r"^C2PA_KEY is set without C2PA_CERT\. Set both"),
    "an encrypted key": (
        lambda a: (a.issue(P256), key_pem(P256, password=b"secret")),
        r"^C2PA_KEY cannot be used: it is encrypted\. Provide it without a password\.$",
    ),
    "no key": (
        lambda a: (a.issue(P256), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"),
        r"^C2PA_KEY cannot be used: ",
    ),
    "a weak curve": (
        lambda a: (
            a.issue(ec.generate_private_key(ec.SECP256K1())),
            key_pem(ec.generate_private_key(ec.SECP256K1())),
        ),
        r"^C2PA_KEY cannot be used: C2PA allows P-256",
    ),
    "no certificate": (
        lambda a: ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", key_pem(P256)),
        r"^C2PA_CERT contains no certificate in PEM form",
    ),
    "a missing file": (
        lambda a: ("/nowhere/cert.pem", key_pem(P256)),
        r"^C2PA_CERT must be a PEM file or its text, .*: '/nowhere/cert\.pem' cannot be read \(No such",
    ),
    "a key without its first line": (
        lambda a: (a.issue(P256), key_pem(P256).split("-----")[2]),
        r"^C2PA_KEY must be a PEM file or its text, .*: its value cannot be read \([A-Z][a-z ]+\)\.$",
    ),
    "a key in quotes": (
        lambda a: (a.issue(P256), f'"{key_pem(P256)}"'),
        r"^C2PA_KEY must be a PEM file or its text, .*: its value cannot be read \([A-Z][a-z ]+\)\.$",
    ),
    "another file": (
        lambda a: (str(ROOT / "LICENSE"), key_pem(P256)),
        r"^C2PA_CERT must be a PEM file or its text, and '.*LICENSE' is no PEM file\.$",
    ),
    "an expired one": (
        lambda a: (a.issue(P256, end=NOW - timedelta(days=1)), key_pem(P256)),
        r"^C2PA_CERT is valid from .* and not today\. Renew it\.$",
    ),
    "a wrong purpose": (
        lambda a: (a.issue(P256, purpose=ExtendedKeyUsageOID.SERVER_AUTH), key_pem(P256)),
        r"^C2PA_CERT cannot sign Content Credentials \(.*\)\. It must be an end-entity certificate",
    ),
    "the authority's": (
        lambda a: (a.pem, key_pem(a.key)),
        r"^C2PA_CERT cannot sign Content Credentials",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_unusable_certificates_are_refused_at_start(monkeypatch, authority, case):
    make, sentence = CASES[case]
    certificate, key = make(authority)
    monkeypatch.setenv("C2PA_CERT", certificate)
    monkeypatch.setenv("C2PA_KEY", key)
    with pytest.raises(InvalidInput, match=sentence) as error:
        check_marks()
    assert "\n" not in str(error.value)
    assert "PRIVATE KEY" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("MARK", "sometimes", r"^MARK must be required, default or off, not 'sometimes'\.$"),
        ("C2PA_TSA_URL", "timestamp.example", r"^C2PA_TSA_URL must be a URL such as http"),
        ("C2PA_TSA_URL", "file:///etc/passwd", r"^C2PA_TSA_URL must be a URL such as http"),
    ],
)
def test_invalid_settings_are_refused_at_start(monkeypatch, name, value, sentence):
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidInput, match=sentence):
        check_marks()


def test_a_missing_library_is_an_error_at_start(own_folder):
    script = """
import sys
from multitalk.errors import MultiTalkError
from multitalk.marks import settings
settings.find_spec = lambda name: None
try:
    settings.check_marks()
except MultiTalkError as error:
    print(error)
"""
    assert run_script(script).startswith(
        "Videos cannot be marked as made by AI: the package c2pa-python is not"
    )


def test_the_check_at_start_imports_neither_library(own_folder):
    script = """
import sys
from multitalk.marks.settings import check_marks
check_marks()
from multitalk.request.generation_request import GenerationRequest
print([name for name in ("c2pa", "cryptography", "av", "torch") if name in sys.modules])
"""
    assert run_script(script).strip() in ("[]",)
    assert not own_folder.exists()


def test_a_certificate_that_vanishes_is_not_the_requests_fault(monkeypatch, authority, tmp_path):
    path = tmp_path / "cert.pem"
    monkeypatch.setenv("C2PA_CERT", str(path))
    monkeypatch.setenv("C2PA_KEY", key_pem(P256))
    path.write_text(authority.issue(P256))
    assert JobMarks(True, False).signed_by
    path.unlink()
    with pytest.raises(MultiTalkError, match="cannot be read") as error:
        JobMarks(True, False)
    assert not isinstance(error.value, InvalidInput)


def test_a_folder_in_place_of_the_certificate_is_reported(tmp_path):
    (tmp_path / "signing.pem").mkdir()
    with pytest.raises(MultiTalkError, match=r"cannot be read from .*: Is a directory\. Delete"):
        check_own(tmp_path)
