"""Which LoRAs a job runs with: its preset's and its own."""

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
    """List the LoRAs a job runs with, beyond those merged into the weights.

    Args:
        folder: The weights.
        preset: The job's preset.
        extra: LoRAs that the request adds.

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
            f"preset '{preset.name}' can't be used with these weights, which have the LoRA of preset "
            f"'{foreign[0].name}' merged into them: use '{foreign[0].name}', or bake without it.",
            "preset",
        )
    loras = []
    if preset.lora and preset.lora not in merged:
        baked = f"{LORA_FOLDER}/{preset.lora}" in folder.manifest.files
        if not baked and not (folder.path / LORA_FOLDER / preset.lora).is_file():
            raise InvalidInput(
                f"preset '{preset.name}' can't be used with these weights, which lack its LoRA "
                f"{preset.lora}: choose another preset, or put the file into their folder {LORA_FOLDER}.",
                "preset",
            )
        loras.append((folder.lora_file(preset.lora), preset.lora_scale))
    return loras + [(lora.path, lora.scale) for lora in extra]
