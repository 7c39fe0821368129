"""The names that clients of the best-known MultiTalk worker use, as this project's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import InvalidInput
from ..models.constants import FPS
from .checks import check_choice, shown
from .generation_request import NUMBERS, GenerationRequest

ALIASES = {
    "image_path": "image",
    "audio_paths": "audio",
    "audio_type": "turns",
    "sample_steps": "steps",
    "sample_text_guide_scale": "text_guidance",
    "sample_audio_guide_scale": "audio_guidance",
}
OPTIONAL_NUMBERS = ("sample_steps", "sample_text_guide_scale", "sample_audio_guide_scale")
# That worker puts these on a command line, where an empty value counts as none.
OPTIONAL = ("audio_type", "mode", *OPTIONAL_NUMBERS)
MODES = ("clip", "streaming")


def uses_aliases(given: Mapping[str, Any]) -> bool:
    """Whether a job comes from a client of that worker."""
    return any(name in given for name in (*ALIASES, "mode"))


def translate(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a job under the names of GenerationRequest.

    Args:
        given: A job's input.

    Returns:
        A new dict; ``mode`` has become ``max_seconds``, everything unknown is as it was.

    Raises:
        InvalidInput: A field is given under both of its names, the mode is unknown, or it is "clip" and
            frames_per_clip can't be used.
    """
    fields: dict[str, Any] = {}
    for name, value in given.items():
        if name in OPTIONAL and value in (None, ""):
            continue
        target = ALIASES.get(name, name)
        if value is None and (target in fields or (target != name and target in given)):
            continue
        if fields.get(target) is not None or (target != name and given.get(target) is not None):
            raise InvalidInput(f"{target} is given twice: {name} is another name for it.", target)
        fields[target] = _as_number(value) if name in OPTIONAL_NUMBERS else value
    if "mode" in fields:
        _apply_mode(fields, check_choice(fields.pop("mode"), "mode", MODES))
    return fields


def _apply_mode(fields: dict[str, Any], mode: str) -> None:
    """The reference's mode "clip" makes one clip, though the audio encoder hears the whole sound."""
    if mode != "clip":
        return
    if fields.get("max_seconds") is not None:
        raise InvalidInput(
            f"max_seconds is {shown(fields['max_seconds'])}, but mode 'clip' says already where to stop.",
            "max_seconds",
        )
    frames = fields.get("frames_per_clip", GenerationRequest.model_fields["frames_per_clip"].default)
    number = NUMBERS["frames_per_clip"].check(frames, "frames_per_clip")
    assert number is not None, "the field isn't optional"
    fields["max_seconds"] = number / FPS


def _as_number(value: Any) -> Any:
    """A number that came as a text, as that worker takes it; all else as it is."""
    if not isinstance(value, str):
        return value
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value
