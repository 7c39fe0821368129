"""What the Content Credentials of a video say."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, BinaryIO

from .. import __version__
from .tags import GENERATOR, source_type

GENERATION = "org.multitalk.generation"  # label of the assertion with the model and the settings
TITLE = "AI-generated video"
SOURCE = "source"
# Settings with words of the user: a manifest must not have them, because it cannot be removed from the file
# without a trace.
WORDS = ("prompt", "negative_prompt", "speech", "said")
_CHUNK_BYTES = 1 << 20


def make_manifest(
    model: str,
    license_name: str,
    settings: Mapping[str, Any],
    source: BinaryIO | None = None,
    is_composite: bool | None = None,
) -> dict[str, Any]:
    """Describe a generated video, without prompts, spoken words and file names.

    Args:
        model: The model's name.
        license_name: License of its weights.
        settings: The settings that the file's metadata has.
        source: The video that is in the file, changed or not, an open file; None: there is none.
        is_composite: Whether AI did not make all of that video; None: it did not, if there is one.

    Returns:
        The definition of a manifest for C2PA's builder.
    """
    action: dict[str, Any] = {
        "action": "c2pa.created",
        "when": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "digitalSourceType": source_type(source is not None if is_composite is None else is_composite),
        "softwareAgent": {"name": GENERATOR, "version": __version__},
    }
    manifest: dict[str, Any] = {
        "claim_generator_info": [{"name": GENERATOR, "version": __version__}],
        "title": TITLE,
        "format": "video/mp4",
    }
    if source is not None:
        action["parameters"] = {"ingredientIds": [SOURCE]}
        manifest["ingredients"] = [_ingredient(source)]
    generation = {
        "model": {"name": model, "license": license_name},
        "settings": plain_settings(settings),
    }
    manifest["assertions"] = [
        {"label": "c2pa.actions.v2", "data": {"actions": [action]}},
        {"label": GENERATION, "data": generation},
    ]
    return manifest


def plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without the user's words and without file names."""
    plain = {name: value for name, value in settings.items() if name not in WORDS}
    if "lora" in plain:
        plain["lora"] = [{"scale": lora["scale"]} for lora in plain["lora"]]
    return {name: _readable(value) for name, value in plain.items()}


def _readable(value: Any) -> Any:
    """Return a value as C2PA's readers show it: they take lists of small numbers for bytes."""
    if isinstance(value, Mapping):
        return {name: _readable(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        if value and all(isinstance(each, (int, float)) for each in value):
            return ", ".join(f"{each:g}" for each in value)
        return [_readable(each) for each in value]
    return value


def _ingredient(source: BinaryIO) -> dict[str, Any]:
    """Describe the source video by its hash alone; its own credentials are not read."""
    digest = hashlib.sha256()
    position = 0
    # at positions: the decoder processes share the file's own
    while chunk := os.pread(source.fileno(), _CHUNK_BYTES, position):
        digest.update(chunk)
        position += len(chunk)
    return {
        "title": "Source video",
        "relationship": "inputTo",
        "label": SOURCE,
        "instance_id": f"urn:sha256:{digest.hexdigest()}",
        "metadata": {"sha256": digest.hexdigest()},
    }
