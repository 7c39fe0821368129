"""Adds the trained audio layers of InfiniteTalk to an exported weights folder."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file

from multitalk.weights.folders import AUDIO_LAYER_SETS, EMBEDDED_FOLDER, audio_layers_part
from multitalk.weights.libraries import weights_name

from . import progress
from .export import PRECISION, write_manifest


def export(target: Path = EMBEDDED_FOLDER) -> None:
    """Add the layers, with averaged weights; the same ones serve one voice and two."""
    average = progress.require("infinitetalk")["average"]
    tensors = {name: value.to(PRECISION) for name, value in average.items()}
    for part in map(audio_layers_part, AUDIO_LAYER_SETS[1:]):
        (target / part).mkdir(parents=True, exist_ok=True)
        save_file(tensors, target / part / f"{weights_name(part)}.safetensors", metadata={"format": "pt"})
    write_manifest(target, AUDIO_LAYER_SETS)


if __name__ == "__main__":
    progress.command_line(export)
