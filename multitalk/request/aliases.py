"""Aliases of a request's fields: names common in video generation, and names of another RunPod worker.

Every front end accepts the common names, since :class:`GenerationRequest` does. The names of the other
MultiTalk worker, and those of an InfiniteTalk worker, are accepted by the serverless worker alone, for the
clients of the other ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import InvalidInput
from ..models.constants import FPS
from .checks import EMPTY, MAX_SIDE, MIN_SIDE, RowsFirst, check_choice, check_sides
from .infinitetalk_names import OWN_NAMES as INFINITETALK_NAMES
from .infinitetalk_names import translate_infinitetalk, uses_infinitetalk_names
from .numbers import FRAMES_PER_CLIP, NUMBERS, Range, shown

# As in diffusers, and as in the reference's command line (num_frames: the frames of a clip, 4n+1).
COMMON_NAMES = {
    "num_inference_steps": "steps",
    "guidance_scale": "text_guidance",
    "audio_guidance_scale": "audio_guidance",
    "num_frames": "frames_per_clip",
    "generator_seed": "seed",
}
SIDES = ("height", "width")  # together: size
WORKER_NAMES = {
    "image_path": "image",
    "audio_paths": "audio",
    "audio_type": "turns",
    "bbox": "boxes",
    "sample_steps": "steps",
    "sample_text_guide_scale": "text_guidance",
    "sample_audio_guide_scale": "audio_guidance",
}
# Every other name, and its field.
ALIASES = {**COMMON_NAMES, **dict.fromkeys(SIDES, "size"), **WORKER_NAMES}
WORKER_NUMBERS = ("sample_steps", "sample_text_guide_scale", "sample_audio_guide_scale")
# The other worker passes these to a command line, where an empty value means the default.
WORKER_OPTIONAL = ("audio_type", "bbox", "mode", *WORKER_NUMBERS)
MODES = ("clip", "streaming")
# Other names of fields whose values are files.
FILE_NAMES = (
    *("image_path", "audio_paths"),
    *(name for name in INFINITETALK_NAMES if name.startswith(("image_", "video_", "wav_"))),
)


def rename_fields(fields: Mapping[str, Any], names: Mapping[str, str] = COMMON_NAMES) -> dict[str, Any]:
    """Replace other names by those of :class:`GenerationRequest`.

    None under one name does not conflict with a value under the other.

    Args:
        fields: Values by field or alias.
        names: Field by alias, besides height and width.

    Raises:
        InvalidInput: A field is set under two names, only one of height and width is set, or a number under
            an alias is invalid. The error has the names in ``fields``.
    """
    used: dict[str, str] = {}  # name in fields, by field
    for name, value in fields.items():
        field = names.get(name, name)
        if field in used:
            if value is None:
                continue
            if fields[used[field]] is not None:
                raise _set_twice(used[field], name, field)
        used[field] = name
    renamed = {field: _check_number(fields[name], field, name) for field, name in used.items()}
    return _join_sides(renamed)


def override(fields: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Merge ``changes`` into ``fields``; a change also replaces the field's value under its other names."""

    def replaced(name: str) -> bool:
        return any(
            ALIASES.get(name, name) == ALIASES.get(change, change) and {name, change} != set(SIDES)
            for change in changes
        )

    return {**{name: value for name, value in fields.items() if not replaced(name)}, **changes}


def uses_worker_names(fields: Mapping[str, Any]) -> bool:
    """Whether a job comes from a client of one of the other workers."""
    return any(name in fields for name in (*WORKER_NAMES, "mode")) or uses_infinitetalk_names(fields)


def translate(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Replace common names and the other workers' names in a job's input by those of GenerationRequest.

    Returns:
        A new dict. ``mode`` is replaced by ``max_seconds``; unknown names are kept.

    Raises:
        InvalidInput: See :func:`rename_fields`; or the mode is unknown, or "clip" with max_seconds set.
    """
    if uses_infinitetalk_names(fields):
        fields = translate_infinitetalk(fields)
    present = {
        name: _parse_number(value) if name in WORKER_NUMBERS else value
        for name, value in fields.items()
        if not (name in WORKER_OPTIONAL and value in EMPTY)
    }
    if isinstance(present.get("audio_paths"), Mapping):
        present["audio_paths"] = {
            person: value for person, value in present["audio_paths"].items() if value not in EMPTY
        }
    if "bbox" in present:
        present["bbox"] = RowsFirst(present["bbox"])
    renamed = rename_fields(present, {**COMMON_NAMES, **WORKER_NAMES})
    if "mode" in renamed:
        _apply_mode(renamed, check_choice(renamed.pop("mode"), "mode", MODES))
    return renamed


def _apply_mode(fields: dict[str, Any], mode: str) -> None:
    """End the video after one clip in mode "clip"; the audio encoder still receives the whole audio."""
    if mode != "clip":
        return
    if fields.get("max_seconds") is not None:
        raise InvalidInput(
            f"max_seconds cannot be used with mode 'clip' ({shown(fields['max_seconds'])}). Set one of them.",
            "max_seconds",
        )
    frames = fields.get("frames_per_clip", FRAMES_PER_CLIP)
    number = NUMBERS["frames_per_clip"].check(frames, "frames_per_clip")
    assert number is not None, "the field is not optional"
    fields["max_seconds"] = number / FPS


def _join_sides(fields: dict[str, Any]) -> dict[str, Any]:
    """Replace height and width by size."""
    sides = {name: fields[name] for name in SIDES if fields.get(name) is not None}
    others = {name: value for name, value in fields.items() if name not in SIDES}
    if not sides:
        return others
    if others.get("size") is not None:
        raise _set_twice("size", " and ".join(sides), "size")
    if len(sides) == 1:
        (name,) = sides
        other = SIDES[1 - SIDES.index(name)]
        raise InvalidInput(f"{name} is set ({shown(sides[name])}), but {other} is missing. Set both.", "size")
    numbers = Range(MIN_SIDE, MAX_SIDE, whole=True)
    height, width = (numbers.check(value, "size", name) for name, value in sides.items())
    return {**others, "size": check_sides(int(height or 0), int(width or 0))}


def _set_twice(first: str, second: str, field: str) -> InvalidInput:
    return InvalidInput(f"{first} and {second} set the same field. Set one of them.", field)


def _check_number(value: Any, field: str, name: str) -> Any:
    """Check a number under an alias now, since the request's own check would name the field."""
    return NUMBERS[field].check(value, field, name) if name != field and field in NUMBERS else value


def _parse_number(value: Any) -> Any:
    """Parse a number that is a string, as the other worker does; anything else is returned unchanged."""
    if not isinstance(value, str):
        return value
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value
