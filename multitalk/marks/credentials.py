"""The Content Credentials (C2PA) that a file has."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

from ..errors import InvalidInput
from .identity import SELF_SIGNED
from .manifest import GENERATION
from .tags import is_ai

SETTINGS = {
    # a file must not make the reader fetch anything
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    # Otherwise a file is hashed in buffers of 256 MB, and its copy is kept in memory up to 512 MB. Chunks
    # need a file with one mdat, as our writer makes it: c2pa 0.91 mixes up the hashes of several.
    "core": {
        "merkle_tree_chunk_size_in_kb": 4096,
        "merkle_tree_max_proofs": 0,  # all hashes in one list: 32 bytes a chunk
        "backing_store_memory_threshold_in_mb": 16,  # beyond it, a temporary file
    },
}
UNTRUSTED = "signingCredential.untrusted"
TRUSTED, INVALID = "trusted", "invalid"
MAX_TEXT = 200  # letters of a text in a file


@dataclass(frozen=True)
class Credentials:
    """The Content Credentials of a file.

    Attributes:
        state: "trusted": nothing was changed, and the signer is trusted; "valid": nothing was changed, and
            the signer is not in the reader's list; "invalid": the file or the credentials were changed.
        problems: C2PA's codes of what is wrong, apart from the missing trust.
        signer: Name in the certificate.
        time: Time of the signature by a time stamp service; empty without one.
        generator: Name and version of the program that created the file.
        created: When it created it, as it says; empty if it does not.
        source_type: IPTC's digital source type of the file, a URI; empty if it is not stated.
        generation: The model and the settings, if MultiTalk created the file.
        manifest: The whole manifest, as C2PA's reader gives it.
        is_own: Whether this installation's own certificate signed the file.
    """

    state: str
    problems: tuple[str, ...]
    signer: str
    time: str
    generator: str
    source_type: str
    created: str = ""
    generation: dict[str, Any] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict, repr=False)
    is_own: bool = False

    @property
    def is_intact(self) -> bool:
        """Whether neither the file nor the credentials were changed."""
        return self.state != INVALID

    @property
    def is_ai(self) -> bool:
        """Whether they say that a generative model made the file, or a part of it."""
        return is_ai(self.source_type)

    @property
    def is_changed(self) -> bool:
        """Whether the file, or what its credentials say, was changed after it was signed."""
        return not self.is_intact and any("mismatch" in problem.lower() for problem in self.problems)

    @property
    def signed_by(self) -> str:
        """Who signed the file, and whether the reader knows the signer."""
        if self.is_own:
            return SELF_SIGNED
        return f"{self.signer} ({'trusted' if self.state == TRUSTED else 'unknown signer'})"

    @property
    def source_sha256(self) -> tuple[str, ...]:
        """The SHA-256 of each video that the file was made from, if MultiTalk made it."""
        ingredients = _mappings(self.manifest.get("ingredients"))
        hashes = (_text(_mapping(each.get("metadata")).get("sha256")) for each in ingredients)
        return tuple(filter(None, hashes))

    @property
    def reason(self) -> str:
        """Why they are invalid, in one sentence."""
        if self.is_changed:
            return "The file was changed after it was signed."
        return f"The reader reports {', '.join(self.problems) or 'no reason'}."


def read_credentials(file: BinaryIO, trusted: str = "", own: str = "") -> Credentials | None:
    """Read and verify the Content Credentials of a file.

    Args:
        file: The open file. Untrusted files belong into a decoder process.
        trusted: Certificates to trust, as PEM; empty: none.
        own: This installation's certificate as PEM, or empty; used if `trusted` is empty.

    Returns:
        The credentials; None if the file has none.

    Raises:
        InvalidInput: The file is damaged, so that its credentials cannot be read.
    """
    import c2pa

    settings: dict[str, Any] = dict(SETTINGS)
    if anchors := trusted or own:
        settings["trust"] = {"user_anchors": anchors}
    file.seek(0)
    try:
        with c2pa.Context.from_dict(settings) as context:
            reader = c2pa.Reader.try_create("", file, context=context)  # detects the format
            if reader is None:
                return None
            with reader:
                credentials = _describe(json.loads(reader.json()))
    except c2pa.C2paError.NotSupported:  # a format that cannot have any
        return None
    except c2pa.C2paError as error:
        raise InvalidInput(f"The Content Credentials cannot be read: {reason_of(error)}.") from None
    if own and not trusted and credentials.state == TRUSTED:  # nobody else knows that certificate
        return replace(credentials, state="valid", is_own=True)
    return credentials


def _describe(store: dict[str, Any]) -> Credentials:
    """Select what people want to know from the reader's JSON; files of others may contain anything."""
    manifest = _mapping(_mapping(store.get("manifests")).get(_text(store.get("active_manifest"))))
    results = _mapping(_mapping(store.get("validation_results")).get("activeManifest"))
    problems = dict.fromkeys(_text(each.get("code")) for each in _mappings(results.get("failure")))
    problems.pop(UNTRUSTED, None)
    signature = _mapping(manifest.get("signature_info"))
    generators = _mappings(manifest.get("claim_generator_info")) or [{}]
    assertions = [
        (_text(each.get("label")), _mapping(each.get("data")))
        for each in _mappings(manifest.get("assertions"))
    ]
    actions = [
        action
        for label, data in assertions
        if label.startswith("c2pa.actions")
        for action in _mappings(data.get("actions"))
    ]
    return Credentials(
        state=_text(store.get("validation_state")).lower() or INVALID,
        problems=tuple(problems),
        signer=_text(signature.get("common_name") or signature.get("issuer")) or "an unnamed certificate",
        time=_text(signature.get("time")),
        generator=f"{_text(generators[0].get('name'))} {_text(generators[0].get('version'))}".strip(),
        source_type=_first(actions, "digitalSourceType"),
        created=_first(actions, "when"),
        generation=next((data for label, data in assertions if label == GENERATION), {}),
        manifest=manifest,
    )


def _first(actions: list[dict[str, Any]], name: str) -> str:
    """Return the first text under a name in a manifest's actions."""
    return next(filter(None, (_text(action.get(name)) for action in actions)), "")


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _mappings(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value[:MAX_TEXT] if isinstance(value, str) else ""


def reason_of(error: Exception) -> str:
    """Return an error of the library as a short line."""
    return " ".join(str(error).split())[:300].rstrip(".")
