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
from .checks import EMPTY, PEOPLE, SIDE_STEP, check_choice
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


def uses_infinitetalk_names(fields: Mapping[str, Any]) -> bool:
    """Whether a job comes from a client of the known InfiniteTalk worker."""
    return any(name in fields for name in OWN_NAMES)


def translate_infinitetalk(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the names of that worker by those of :class:`GenerationRequest`; other fields are kept.

    Raises:
        InvalidInput: A file or the length is set twice, a file is missing, or a value is invalid.
    """
    names = {*OWN_NAMES, *WITHOUT_FIELD, "image_path"}
    kept = {name: value for name, value in fields.items() if name not in names}
    kind, count = _input_type(fields), _person_count(fields)
    used: dict[str, str] = {}  # name in the job, by field
    if source := _file_name(fields, kind):
        used[kind] = source
    first, second = _file_name(fields, "wav"), _file_name(fields, "wav", "_2")
    if first or second:
        used["audio"] = first or second
    if fields.get("max_frame") not in EMPTY:
        used["max_seconds"] = "max_frame"
    for name, value in kept.items():
        field = "audio" if name == "audio_paths" else name
        if field in used and value not in EMPTY:
            raise InvalidInput(f"{name} and {used[field]} set the same field. Set one of them.", field)
    if source:
        kept[kind] = fields[source]
    if second and not first and kept.get("speech") in EMPTY:
        raise InvalidInput(
            f"{second} is set, but the first voice is missing. A single voice is {_choices('wav')}.",
            second,
        )
    if "audio" in used:
        voices = [first] if count == "single" else [first, second or first]
        kept["audio"] = {person: fields[name] for person, name in zip(PEOPLE, voices, strict=False) if name}
        kept.pop("audio_paths", None)
    if "max_seconds" in used:
        number = Range(1, whole=True).check(fields["max_frame"], "max_seconds", "max_frame")
        assert number is not None, "it is not optional"
        kept["max_seconds"] = number / FPS
    if kept.get("size") is None:
        kept |= {side: _side(kept.get(side)) for side in ("height", "width")}
    return {"model": "infinitetalk", **kept}


def ignored_fields(fields: Mapping[str, Any]) -> list[str]:
    """Return a warning about each file that contradicts another field, and that worker ignores.

    Raises:
        InvalidInput: ``input_type`` or ``person_count`` is invalid.
    """
    if not uses_infinitetalk_names(fields):
        return []
    kind, count = _input_type(fields), _person_count(fields)
    warnings = []
    if unused := _file_name(fields, "image" if kind == "video" else "video"):
        warnings.append(f"{unused} was ignored, because input_type is '{kind}'.")
    if count == "single" and (second := _file_name(fields, "wav", "_2")):
        warnings.append(f"{second} was ignored, because person_count is 'single'. Set it to 'multi'.")
    return warnings


def missing_picture(fields: Mapping[str, Any]) -> InvalidInput | None:
    """Return the error of a job of that worker without an image or video; None for another job."""
    if not uses_infinitetalk_names(fields):
        return None
    kind = _input_type(fields)
    type_given = f", but input_type is '{kind}'" if fields.get("input_type") else ""
    return InvalidInput(f"{kind} is missing{type_given}. Set {_choices(kind)}.", kind)


def _input_type(fields: Mapping[str, Any]) -> str:
    """Return ``input_type``; without one, the type of the file that is set."""
    default = INPUT_TYPES[1 if _file_name(fields, "video") and not _file_name(fields, "image") else 0]
    return check_choice(fields.get("input_type") or default, "input_type", INPUT_TYPES)


def _person_count(fields: Mapping[str, Any]) -> str:
    return check_choice(fields.get("person_count") or PERSON_COUNTS[0], "person_count", PERSON_COUNTS)


def _side(value: Any) -> Any:
    """Return a height or width as that worker does: a number or a text, rounded to a multiple of 16."""
    if value in EMPTY:
        return SIDE
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return value
    try:
        number = Fraction(value if isinstance(value, int) else float(value))
    except (ValueError, OverflowError):
        return value
    return max(1, round(number / SIDE_STEP)) * SIDE_STEP


def _choices(kind: str) -> str:
    *others, last = (f"{kind}_{form}" for form in FORMS)
    return f"{', '.join(others)} or {last}"


def _file_name(fields: Mapping[str, Any], kind: str, suffix: str = "") -> str:
    """Return which of a file's three names is used, or an empty text.

    Raises:
        InvalidInput: Two of them are.
    """
    names = [f"{kind}_{form}{suffix}" for form in FORMS]
    present = [name for name in names if fields.get(name) not in EMPTY]
    if len(present) > 1:
        field = "audio" if kind == "wav" else kind
        raise InvalidInput(f"{present[0]} and {present[1]} set the same file. Set one of them.", field)
    return "".join(present)
