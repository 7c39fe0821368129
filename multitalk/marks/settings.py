"""Which marks the deployer requires, and with what certificate they are signed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import InvalidInput, MultiTalkError
from ..runtime.environment import parse_value, read_text

POLICY, CERTIFICATE, KEY, TIME_STAMPS = "MARK", "C2PA_CERT", "C2PA_KEY", "C2PA_TSA_URL"
# Folder of the certificate that is created without C2PA_CERT.
FOLDER = "C2PA_FOLDER"
REQUIRED, DEFAULT, OFF = "required", "default", "off"
PEM_START = "-----BEGIN "


@dataclass(frozen=True)
class MarkSettings:
    """The deployer's settings.

    Attributes:
        policy: "required": every video is marked. "default": unless a request sets ``mark`` to false. "off":
            only if a request sets ``mark`` to true.
        certificate: The certificate chain as PEM, the signer's first; empty: a self-signed one is created.
        key: Its private key as PEM.
        time_stamps: URL of a time stamp service (RFC 3161); empty: none.
        folder: Folder of the self-signed certificate.
    """

    policy: str
    certificate: str
    key: str = field(repr=False)
    time_stamps: str
    folder: Path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> MarkSettings:
        """Read the settings.

        Args:
            environment: Variables by name; None reads this process's.

        Raises:
            InvalidInput: A variable has an invalid value, or one of C2PA_CERT and C2PA_KEY is missing.
        """
        policy = read_policy(environment)
        certificate, key = (_read_pem(name, environment) for name in (CERTIFICATE, KEY))
        if bool(certificate) != bool(key):
            present, missing = (CERTIFICATE, KEY) if certificate else (KEY, CERTIFICATE)
            raise InvalidInput(
                f"{present} is set without {missing}. Set both to sign with your certificate, or neither."
            )
        time_stamps = read_text(TIME_STAMPS, "", environment)
        if time_stamps:
            parse_value(TIME_STAMPS, time_stamps, _check_url)
        return cls(policy, certificate, key, time_stamps, certificate_folder(environment))


def read_policy(environment: Mapping[str, str] | None = None) -> str:
    """Read ``MARK``.

    Raises:
        InvalidInput: The value is not one of the three policies.
    """
    return parse_value(POLICY, read_text(POLICY, DEFAULT, environment), _parse_policy)


def is_marked_by_default() -> bool:
    """Return the default of a request's ``mark``.

    Raises:
        InvalidInput: ``MARK`` has an invalid value.
    """
    return read_policy() != OFF


def check_marks(environment: Mapping[str, str] | None = None) -> None:
    """Check at startup that videos can be marked, before models are loaded.

    Without a certificate, nothing is imported: the startup time stays the same.

    Raises:
        InvalidInput: A variable has an invalid value, or the certificate or the key cannot be used.
        MultiTalkError: The library for Content Credentials is not installed.
    """
    from .identity import check_own, identity_of
    from .signing import check_identity

    settings = MarkSettings.from_environment(environment)
    if find_spec("c2pa") is None:
        raise MultiTalkError(
            "Videos cannot be marked as made by AI: the package c2pa-python is not installed. Install it "
            "(make setup)."
        )
    if settings.certificate:
        check_identity(identity_of(settings))
    else:
        check_own(settings.folder)


def trusted_certificates() -> str:
    """Return the deployer's certificates as PEM, which readers here trust; empty without any.

    Raises:
        InvalidInput: ``C2PA_CERT`` cannot be read.
    """
    return _read_pem(CERTIFICATE, None)


def _parse_policy(text: str) -> str:
    if text.lower() not in (REQUIRED, DEFAULT, OFF):
        raise ValueError(f"{REQUIRED}, {DEFAULT} or {OFF}")
    return text.lower()


def _check_url(text: str) -> None:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("a URL such as http://timestamp.digicert.com")


def _read_pem(name: str, environment: Mapping[str, str] | None) -> str:
    """Read a variable that contains PEM, or the path of a file with it."""
    text = read_text(name, "", environment)
    if not text:
        return ""
    if text.startswith(PEM_START):
        return text.replace("\\n", "\n")  # secrets of hosts that allow only one line
    shown = "its value" if name == KEY else repr(text[:200])  # which may be the key, in some other form
    try:
        content = Path(text).read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise InvalidInput(
            f"{name} must be a PEM file or its text, which begins with {PEM_START.strip()} and has no "
            f"quotes: {shown} cannot be read ({reason})."
        ) from None
    if PEM_START not in content:
        raise InvalidInput(f"{name} must be a PEM file or its text, and {shown} is no PEM file.")
    return content


def certificate_folder(environment: Mapping[str, str] | None = None) -> Path:
    """Return the folder of the self-signed certificate."""
    if folder := read_text(FOLDER, environment=environment):
        return Path(folder)
    data = read_text("XDG_DATA_HOME", environment=environment)
    if data is None:
        try:
            data = str(Path.home() / ".local/share")
        except RuntimeError:  # a container's user without a home
            data = "/"
    return Path(data) / "multitalk" / "credentials"
