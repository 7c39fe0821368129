"""Names of the known InfiniteTalk worker for RunPod, and the fields that they mean.

A job has one of three names for each file (``image_path``, ``image_url``, ``image_base64``), whose values are
what the serverless worker reads under any name.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from ..errors import InvalidInput
from ..models.constants import FPS
from .checks import PEOPLE, SIDE_STEP, check_choice
from .numbers import Range

FORMS = ("path", "url", "base64")
INPUT_TYPES, PERSON_COUNTS = ("image", "video"), ("single", "multi")
SIDE = 512  # default height and width of that worker
# What only that worker's clients send: "image_path" is a name of the MultiTalk worker too.
OWN_NAMES = (
    *(
        f"{kind}_{form}"
        for kind in ("image", "video", "wav")
        for form in FORMS
        if (kind, form) != ("image", "path")
    ),
    *(f"wav_{form}_2" for form in FORMS),
    *("input_type", "person_count", "max_frame"),
)
# The hardware plan decides what is offloaded; multitalk/serverless answers with a path on the volume.
WITHOUT_FIELD = ("force_offload", "network_volume")
_EMPTY: tuple[Any, ...] = (None, "")


def uses_infinitetalk_names(fields: Mapping[str, Any]) -> bool:
    """Whether a job comes from a client of the known InfiniteTalk worker."""
    return any(name in fields for name in OWN_NAMES)


def translate_infinitetalk(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the names of that worker by those of :class:`GenerationRequest`; other fields are kept.

    Raises:
        InvalidInput: A file has two names, or a value is invalid.
    """
    names = {*OWN_NAMES, *WITHOUT_FIELD, "image_path"}
    kept = {name: value for name, value in fields.items() if name not in names}
    kind = check_choice(fields.get("input_type") or INPUT_TYPES[0], "input_type", INPUT_TYPES)
    count = check_choice(fields.get("person_count") or PERSON_COUNTS[0], "person_count", PERSON_COUNTS)
    if (source := _file(fields, kind)) is not None:
        kept[kind] = source
    voices = [_file(fields, "wav"), _file(fields, "wav", "_2")]
    if count == "single":
        voices = voices[:1]
    elif voices[1] is None:
        voices[1] = voices[0]  # as that worker
    if voices[0] is not None:
        kept["audio"] = dict(zip(PEOPLE, voices, strict=False))
    if (frames := fields.get("max_frame")) not in _EMPTY:
        number = Range(1, whole=True).check(frames, "max_seconds", "max_frame")
        assert number is not None, "it is not optional"
        kept["max_seconds"] = number / FPS
    if kept.get("size") is None:
        kept |= {side: _side(kept.get(side)) for side in ("height", "width")}
    return {"model": "infinitetalk", **kept}


def _side(value: Any) -> Any:
    """Return a height or width as that worker does: rounded to a multiple of 16, with a default."""
    if isinstance(value, int) and not isinstance(value, bool):
        return max(1, round(Fraction(value, SIDE_STEP))) * SIDE_STEP
    return SIDE if value in _EMPTY else value


def _file(fields: Mapping[str, Any], kind: str, suffix: str = "") -> Any:
    """Return the value of a file, which has one of its three names; None without one."""
    names = [f"{kind}_{form}{suffix}" for form in FORMS]
    present = [name for name in names if fields.get(name) not in _EMPTY]
    if len(present) > 1:
        field = "audio" if kind == "wav" else kind
        raise InvalidInput(
            f"{present[0]} and {present[1]} set the same file. Set one of them.",
            field,
        )
    return fields[present[0]] if present else None
