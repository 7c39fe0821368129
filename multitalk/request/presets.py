"""Presets: named sampling settings, and what a request's own settings make of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """Sampling settings that go together.

    Attributes:
        name: What a request calls it.
        description: One sentence for people.
        steps: Model evaluations per clip (of each guidance branch).
        shift: Of the timesteps, by resolution ("480p", "720p").
        text_guidance: Scale of the text guidance; 1 is off.
        audio_guidance: Scale of the audio guidance; 1 is off.
        size: Of the video where a request names none.
        lora: Name of the LoRA file it needs in the weights folder's ``loras/``, or None.
        lora_scale: Strength of that LoRA.
        teacache: Thresholds worth trying, the cautious one first; none where the steps are too few to skip
            any: the first five always run, and few steps are far apart.
    """

    name: str
    description: str
    steps: int
    shift: Mapping[str, float]
    text_guidance: float
    audio_guidance: float
    size: str = "480p"
    lora: str | None = None
    lora_scale: float = 1.0
    teacache: tuple[float, ...] = ()


# Settings of docs/MODEL.md, section 5. A new preset is an entry here.
PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="quality",
            description="The model as published, without a LoRA: the best picture, in 40 steps.",
            steps=40,
            shift={"480p": 7.0, "720p": 11.0},
            text_guidance=5.0,
            audio_guidance=4.0,
            teacache=(0.2, 0.3, 0.5),
        ),
        Preset(
            name="fusionx",
            description="With the FusionX LoRA: a good picture in 8 steps.",
            steps=8,
            shift={"480p": 2.0, "720p": 2.0},
            text_guidance=1.0,
            audio_guidance=2.0,
            lora="Wan2.1_I2V_14B_FusionX_LoRA.safetensors",
        ),
        Preset(
            name="lightx2v",
            description="With the lightx2v LoRA: the fastest, in 4 steps.",
            steps=4,
            shift={"480p": 2.0, "720p": 2.0},
            text_guidance=1.0,
            audio_guidance=2.0,
            lora="Wan21_T2V_14B_lightx2v_cfg_step_distill_lora_rank32.safetensors",
        ),
        Preset(
            name="demo",
            description="For the small embedded weights: drawn faces, in 6 steps.",
            steps=6,
            shift={"480p": 3.0, "720p": 3.0},
            text_guidance=1.0,
            audio_guidance=1.0,
            size="160p",
        ),
    )
}


@dataclass(frozen=True)
class SamplingSettings:
    """The settings a job runs with: a preset's, where the request names none of its own."""

    steps: int
    shift: float
    text_guidance: float
    audio_guidance: float


def settings_for(
    preset: Preset,
    resolution: str,
    steps: int | None = None,
    shift: float | None = None,
    text_guidance: float | None = None,
    audio_guidance: float | None = None,
) -> SamplingSettings:
    """Complete a request's settings from a preset.

    Args:
        preset: Where they come from.
        resolution: "480p" or "720p".
        steps: Overrides the preset's, as do the other arguments.
        shift: See :class:`Preset`.
        text_guidance: See :class:`Preset`.
        audio_guidance: See :class:`Preset`.
    """
    return SamplingSettings(
        steps=preset.steps if steps is None else steps,
        shift=preset.shift[resolution] if shift is None else shift,
        text_guidance=preset.text_guidance if text_guidance is None else text_guidance,
        audio_guidance=preset.audio_guidance if audio_guidance is None else audio_guidance,
    )
