"""The LoRAs of a job: those of its preset and those of the request."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import InvalidInput
from ..request.parts import LoraSpec
from ..request.presets import PRESETS, Preset
from ..weights.manifest import LORA_FOLDER
from ..weights.store import WeightsFolder


def job_loras(
    folder: WeightsFolder, preset: Preset, extra: Sequence[LoraSpec] = ()
) -> list[tuple[Path, float]]:
    """List the LoRAs of a job, except those that are merged into the weights.

    Args:
        folder: The weights.
        preset: Preset of the job.
        extra: LoRAs of the request.

    Returns:
        Files and scales.

    Raises:
        InvalidInput: The weights contain the merged LoRA of another preset, or lack this preset's LoRA.
        WeightsError: The preset's LoRA file was baked with the weights and is now missing.
    """
    merged = {lora.name for lora in folder.manifest.loras}
    foreign = [other for other in PRESETS.values() if other.lora in merged and other.lora != preset.lora]
    if foreign:
        raise InvalidInput(
            f"preset '{preset.name}' cannot be used: the LoRA of preset '{foreign[0].name}' is merged into "
            f"these weights. Use preset '{foreign[0].name}', or bake weights without its LoRA.",
            "preset",
        )
    loras = []
    if preset.lora and preset.lora not in merged:
        baked = f"{LORA_FOLDER}/{preset.lora}" in folder.manifest.files
        if not baked and not (folder.path / LORA_FOLDER / preset.lora).is_file():
            raise InvalidInput(
                f"preset '{preset.name}' cannot be used: its LoRA {preset.lora} is missing from these "
                f"weights. Choose another preset, or copy the file to their folder {LORA_FOLDER}.",
                "preset",
            )
        loras.append((folder.lora_file(preset.lora), preset.lora_scale))
    return loras + [(lora.path, lora.scale) for lora in extra]
