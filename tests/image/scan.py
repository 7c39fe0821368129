"""What the layers of an image contain that they should not: secrets, and files that everyone may write."""

from __future__ import annotations

import re
import stat

from .registry import Layer

SECRETS = re.compile(
    rb"hf_[A-Za-z0-9]{30,}|gh[pousr]_[A-Za-z0-9]{30,}|AKIA[0-9A-Z]{16}|rpa_[A-Z0-9]{30,}|xox[baprs]-[0-9A-Za-z-]{20,}"
    rb"|-----BEGIN [A-Z ]*PRIVATE KEY-----\n"
)
PRIVATE = re.compile(
    r"(^|/)(\.netrc|\.git-credentials|\.pypirc|\.env|\.aws/credentials|\.docker/config\.json|\.cache/huggingface/token"
    r"|id_(rsa|dsa|ecdsa|ed25519)|stored_tokens|pip\.conf)$|(^|/)\.git/"
)


def names_of(layers: list[Layer]) -> set[str]:
    """List the files of all layers."""
    names: set[str] = set()
    for layer in layers:
        with layer.open() as archive:
            names |= {member.name for member in archive}
    return names


def findings(layer: Layer, token: str) -> list[str]:
    """Describe the secrets in a layer, private files, and files that everyone may write or run as root.

    Args:
        token: A secret of the build.
    """
    found: list[str] = []
    with layer.open() as archive:
        for member in archive:
            if PRIVATE.search(member.name):
                found.append(f"{member.name}: private file")
            if not member.issym() and member.mode & stat.S_IWOTH and not member.mode & stat.S_ISVTX:
                found.append(f"{member.name}: writable for everyone")
            if member.isfile() and member.mode & (stat.S_ISUID | stat.S_ISGID):
                found.append(f"{member.name}: set-user-id")
            if (file := archive.extractfile(member)) is not None:
                content = file.read()
                if token.encode() in content or SECRETS.search(content):
                    found.append(f"{member.name}: secret")
    return found
