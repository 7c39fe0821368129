"""Presets: named sampling settings that a request's fields override."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """Sampling settings that go together.

    Attributes:
        name: Its name in a request.
        description: One sentence for the page and the documentation.
        steps: Denoising steps per clip.
        shift: Timestep shift by resolution ("480p", "720p").
        text_guidance: Text guidance scale; 1 is off.
        audio_guidance: Audio guidance scale; 1 is off.
        size: Default size of the video.
        lora: File name of the LoRA in the weights folder's ``loras/``, or None.
        lora_scale: Scale of the LoRA.
        timestep_spacing: Name in :data:`multitalk.sampling.schedule.SPACINGS`: where its steps are.
        teacache: Recommended TeaCache thresholds, in ascending order; empty if there are too few steps: the
            first five always run.
        corrects_colors: Whether a model's default color correction applies.
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
    timestep_spacing: str = "linspace"
    teacache: tuple[float, ...] = ()
    corrects_colors: bool = True


DISTILLATION = "Wan21_I2V_14B_lightx2v_cfg_step_distill_lora_rank64.safetensors"

# Settings of docs/MODEL.md, section 5. A new preset is an entry here.
PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="quality",
            description="The published model without a LoRA: best quality, 40 steps.",
            steps=40,
            shift={"480p": 7.0, "720p": 11.0},
            text_guidance=5.0,
            audio_guidance=4.0,
            teacache=(0.2, 0.3, 0.5),
        ),
        # trained with 4 steps at shift 5 and without guidance
        Preset(
            name="balanced",
            description="With the image-to-video distillation LoRA and audio guidance, 6 steps.",
            steps=6,
            shift={"480p": 5.0, "720p": 5.0},
            text_guidance=1.0,
            audio_guidance=2.0,
            lora=DISTILLATION,
            timestep_spacing="trailing",
        ),
        Preset(
            name="fast",
            description="With the image-to-video distillation LoRA: fastest, 4 steps without guidance.",
            steps=4,
            shift={"480p": 5.0, "720p": 5.0},
            text_guidance=1.0,
            audio_guidance=1.0,
            lora=DISTILLATION,
            timestep_spacing="trailing",
        ),
        Preset(
            name="fusionx",
            description="With the FusionX LoRA: good quality, 8 steps.",
            steps=8,
            shift={"480p": 2.0, "720p": 2.0},
            text_guidance=1.0,
            audio_guidance=2.0,
            lora="Wan2.1_I2V_14B_FusionX_LoRA.safetensors",
        ),
        Preset(
            name="lightx2v",
            description="With the text-to-video lightx2v LoRA: 4 steps with audio guidance.",
            steps=4,
            shift={"480p": 2.0, "720p": 2.0},
            text_guidance=1.0,
            audio_guidance=2.0,
            lora="Wan21_T2V_14B_lightx2v_cfg_step_distill_lora_rank32.safetensors",
        ),
        Preset(
            name="demo",
            description="For the small embedded weights: drawn faces, 6 steps.",
            steps=6,
            shift={"480p": 3.0, "720p": 3.0},
            text_guidance=1.0,
            audio_guidance=1.0,
            size="160p",
            # in a small drawing, an open mouth changes the statistics of the frame, and would fade
            corrects_colors=False,
        ),
    )
}


# The sampling settings that a request may set instead of its preset.
SAMPLING_FIELDS = ("steps", "shift", "text_guidance", "audio_guidance")


@dataclass(frozen=True)
class SamplingSettings:
    """Sampling settings of a job: the request's, or the preset's defaults."""

    steps: int
    shift: float
    text_guidance: float
    audio_guidance: float
    timestep_spacing: str = "linspace"


def settings_for(
    preset: Preset,
    resolution: str,
    steps: int | None = None,
    shift: float | None = None,
    text_guidance: float | None = None,
    audio_guidance: float | None = None,
) -> SamplingSettings:
    """Complete a request's sampling settings with those of a preset.

    Args:
        preset: Provides the defaults.
        resolution: "480p" or "720p".
        steps: As in :class:`Preset`, like the following arguments; None: the preset's value.
        shift: Timestep shift.
        text_guidance: Text guidance scale.
        audio_guidance: Audio guidance scale.
    """
    return SamplingSettings(
        steps=preset.steps if steps is None else steps,
        shift=preset.shift[resolution] if shift is None else shift,
        text_guidance=preset.text_guidance if text_guidance is None else text_guidance,
        audio_guidance=preset.audio_guidance if audio_guidance is None else audio_guidance,
        timestep_spacing=preset.timestep_spacing,
    )
