"""The form's sampling settings that a preset fills in."""

from __future__ import annotations

from typing import Any

from ..errors import InvalidInput
from ..request.checks import check_size
from ..request.presets import PRESETS, SAMPLING_FIELDS, Preset, settings_for
from .fields import size_of
from .worker import ModelWorker

PRESET_FIELDS = SAMPLING_FIELDS


def preset_values(worker: ModelWorker, form: dict[str, Any], picture_size: Any) -> dict[str, Any]:
    """Return the preset's steps, shift and guidance scales for a form's size; empty while models load.

    Args:
        worker: Provides the default preset of the weights.
        form: Values by field name; only the preset and the size are used.
        picture_size: (width, height) of the image, or None.
    """
    if worker.pipeline is None:
        return {}
    from ..conditioning.resolve import choose_size, resolution_of

    preset = _preset_of(worker, form)
    width, height = picture_size or (832, 480)
    try:
        size = check_size(size_of(form) or preset.size)
    except InvalidInput:  # shown when the video is requested
        size = preset.size
    settings = settings_for(preset, resolution_of(*choose_size(size, height, width)))
    return {name: getattr(settings, name) for name in PRESET_FIELDS}


def changed_shift(worker: ModelWorker, form: dict[str, Any], picture_size: Any) -> float | None:
    """Return the preset's shift for another size; None to keep a shift that the user has set."""
    values = preset_values(worker, form, picture_size)
    if not values or (form["shift"] and form["shift"] not in _preset_of(worker, form).shift.values()):
        return None
    return float(values["shift"])


def missing_values(worker: ModelWorker, form: dict[str, Any], picture_size: Any) -> dict[str, Any]:
    """Return the preset's values for the fields that are empty."""
    values = preset_values(worker, form, picture_size)
    return {name: value for name, value in values.items() if not form[name]}


def proposals(form: dict[str, Any], values: dict[str, Any]) -> list[dict[str, Any] | None]:
    """Return new values for the preset's fields, each with the field's value at the time of the request.

    The page drops a proposal if the user has changed the field meanwhile.
    """
    return [
        {"previous": form[name], "value": values[name]} if name in values else None for name in PRESET_FIELDS
    ]


def _preset_of(worker: ModelWorker, form: dict[str, Any]) -> Preset:
    assert worker.pipeline is not None
    return PRESETS[form["preset"] or worker.pipeline.default_preset]
