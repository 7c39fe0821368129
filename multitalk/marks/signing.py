"""Signing a finished video: it gets Content Credentials (C2PA)."""

from __future__ import annotations

import io
import logging
import os
import secrets
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from ..errors import InvalidInput, MultiTalkError
from .credentials import SETTINGS, reason_of
from .identity import Identity
from .settings import CERTIFICATE
from .tags import GENERATED

FORMAT = "video/mp4"
NO_TIME_STAMP = "Signing with the time stamp service {host} failed: the video is signed without a time stamp."

logger = logging.getLogger(__name__)


def sign_file(
    path: Path, manifest: Mapping[str, Any], identity: Identity, time_stamps: str = ""
) -> list[str]:
    """Add signed Content Credentials to an mp4, whose audio and video stay as they are.

    The file is copied once more to a temporary file if it is large; memory does not grow with it.

    Args:
        path: The finished file, which is replaced.
        manifest: See :func:`multitalk.marks.manifest.make_manifest`.
        identity: What signs.
        time_stamps: URL of a time stamp service, or empty. Nothing else uses the network.

    Returns:
        Warnings, one sentence each.

    Raises:
        MultiTalkError: The file cannot be signed.
        OSError: The file system reports an error.
    """
    import c2pa

    warnings = []
    part = path.with_name(f".{path.name.strip('.')[:50]}.{secrets.token_hex(6)}.part")
    try:
        try:
            _sign(path, part, manifest, identity, time_stamps)
        except c2pa.C2paError as error:
            if not time_stamps:
                raise
            host = urlsplit(time_stamps).hostname  # the URL may contain a password
            logger.warning("signing with the time stamp service %s failed: %s", host, reason_of(error))
            _sign(path, part, manifest, identity, "")
            warnings.append(NO_TIME_STAMP.format(host=host))
        os.replace(part, path)
    except c2pa.C2paError as error:
        raise MultiTalkError(f"The video cannot be marked as made by AI: {reason_of(error)}.") from error
    finally:
        part.unlink(missing_ok=True)
    return warnings


class _Target(io.FileIO):
    """A file that keeps the error of a failed write, which the library replaces by its own."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            rest = memoryview(data).cast("B")
            while rest:  # a disk that becomes full takes a part, which the library would not notice
                rest = rest[super().write(rest) :]
            return len(memoryview(data).cast("B"))
        except OSError as error:
            self.error = error
            raise


def _sign(path: Path, part: Path, manifest: Mapping[str, Any], identity: Identity, time_stamps: str) -> None:
    with path.open("rb") as source, _Target(part, "w+") as target:
        try:
            _sign_streams(FORMAT, source, target, manifest, identity, time_stamps)
        except Exception:
            if target.error is not None:
                raise target.error from None
            raise


def _sign_streams(
    media_type: str,
    source: BinaryIO,
    target: Any,
    manifest: Mapping[str, Any],
    identity: Identity,
    time_stamps: str = "",
) -> None:
    import c2pa

    info = c2pa.C2paSignerInfo(identity.algorithm, identity.certificate, identity.key, time_stamps or None)
    with (
        c2pa.Context.from_dict(SETTINGS) as context,
        c2pa.Signer.from_info(info) as signer,
        c2pa.Builder(dict(manifest), context=context) as builder,
    ):
        builder.sign(signer, media_type, source, target)


def check_identity(identity: Identity) -> None:
    """Sign an empty sound in memory, so that an unusable certificate is found before the first video.

    Raises:
        InvalidInput: The certificate or its key cannot be used.
    """
    import c2pa

    sound = io.BytesIO()
    with wave.open(sound, "wb") as writer:
        writer.setparams((1, 2, 8000, 0, "NONE", ""))
    action = {"action": "c2pa.created", "digitalSourceType": GENERATED}
    manifest = {"assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}]}
    try:
        _sign_streams("audio/wav", sound, io.BytesIO(), manifest, identity)
    except c2pa.C2paError as error:
        raise InvalidInput(
            f"{CERTIFICATE} cannot sign Content Credentials ({reason_of(error)}). It must be an end-entity "
            "certificate for digital signatures, with the extended key usage emailProtection or "
            "documentSigning."
        ) from None
