"""The settings' fields: what a preset makes of them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..errors import InvalidInput
from ..request.checks import check_size
from ..request.presets import PRESETS, Preset, settings_for
from .fields import size_of
from .worker import ModelWorker

PRESET_FIELDS = ("steps", "shift", "text_guidance", "audio_guidance")


def preset_values(worker: ModelWorker, form: dict[str, Any], picture_size: Any) -> dict[str, Any]:
    """A form's preset's steps, shift and guidances for its size; empty before the models are there.

    Args:
        worker: Knows what the weights are best at.
        form: The fields' values: the preset (empty: what the weights are best at), and the size.
        picture_size: (width, height) of the picture, or None.
    """
    if worker.pipeline is None:
        return {}
    from ..conditioning.resolve import choose_size, resolution_of

    preset = _preset_of(worker, form)
    width, height = picture_size or (832, 480)
    try:
        size = check_size(size_of(form) or preset.size)
    except InvalidInput:  # said when the video is asked for
        size = preset.size
    return asdict(settings_for(preset, resolution_of(*choose_size(size, height, width))))


def changed_shift(worker: ModelWorker, form: dict[str, Any], picture_size: Any) -> float | None:
    """The preset's shift for another size; None where the form has a person's own, which stays."""
    values = preset_values(worker, form, picture_size)
    if not values or (form["shift"] and form["shift"] not in _preset_of(worker, form).shift.values()):
        return None
    return float(values["shift"])


def completed(worker: ModelWorker, form: dict[str, Any], picture_size: Any) -> dict[str, Any]:
    """The preset's values for those fields that are still empty."""
    values = preset_values(worker, form, picture_size)
    return {name: value for name, value in values.items() if not form[name]}


def proposals(form: dict[str, Any], values: dict[str, Any]) -> list[dict[str, Any] | None]:
    """New values for the preset's fields, each with what the field had when it was asked for.

    The page takes one where the field has that still: a person may have typed something meanwhile.
    """
    return [
        {"asked": form[name], "value": values[name]} if name in values else None for name in PRESET_FIELDS
    ]


def _preset_of(worker: ModelWorker, form: dict[str, Any]) -> Preset:
    assert worker.pipeline is not None
    return PRESETS[form["preset"] or worker.pipeline.folder.manifest.default_preset]
