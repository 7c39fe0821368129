"""The settings' fields: what a preset makes of them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..presets import PRESETS, settings_for
from .options import AUTOMATIC, OWN_SIZE
from .worker import ModelWorker


def preset_values(worker: ModelWorker, preset: str, size: str, picture_size: Any) -> dict[str, Any]:
    """A preset's steps, shift and guidances for a size; empty before the models are there.

    Args:
        worker: Knows what the weights are best at.
        preset: Its name; empty: what they are best at.
        size: The page's choice.
        picture_size: (width, height) of the picture, or None.
    """
    if worker.pipeline is None:
        return {}
    from ..conditioning.size import choose_size, resolution_of

    chosen = PRESETS[preset or worker.pipeline.folder.manifest.default_preset]
    width, height = picture_size or (832, 480)
    named = chosen.size if size in (AUTOMATIC, OWN_SIZE, None) else size
    return asdict(settings_for(chosen, resolution_of(*choose_size(named, height, width))))
