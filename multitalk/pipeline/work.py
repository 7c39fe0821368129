"""The work of a job: floating-point operations of its stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..models.vae_stages import TEMPORAL_STRIDE, chunk_weights, latent_frames
from ..runtime.operations import (
    call_operations,
    decoder_operations,
    encoder_operations,
    preview_operations,
    previews_of,
)

if TYPE_CHECKING:
    from ..conditioning.timeline import ClipSpan
    from ..runtime.memory import Workload
    from ..runtime.sizes import ModelSizes

SKIPPED_STEP = 0.02  # work of a step that a cache skips, as a share of a computed one


@dataclass(frozen=True)
class JobWork:
    """Floating-point operations of a job.

    Attributes:
        units: Operations of a unit of each stage: a chunk of 4 frames to encode, a step to denoise, a latent
            frame to decode.
        amounts: Number of units of each stage in the whole job.
    """

    units: Mapping[str, float]
    amounts: Mapping[str, float]

    def total(self, stage: str) -> float:
        """Return the operations of a stage in the whole job."""
        return self.units[stage] * self.amounts[stage]


def count_work(sizes: ModelSizes, workload: Workload, spans: Sequence[ClipSpan]) -> JobWork:
    """Count the operations of a job.

    Args:
        sizes: The model.
        workload: A clip.
        spans: The clips.
    """
    steps = workload.calls / workload.branches
    previews = previews_of(workload) * preview_operations(sizes, workload)
    units = {
        "encode": encoder_operations(sizes, workload) / workload.latent_frames,
        "denoise": workload.branches * call_operations(sizes, workload) + previews / steps,
        "decode": decoder_operations(sizes, workload) / workload.latent_frames,
    }
    amounts = {
        "encode": sum(encoded_chunks(span, workload.frames) for span in spans),
        "denoise": float(len(spans) * steps),
        "decode": float(sum(decoded_latents(span) for span in spans)),
    }
    return JobWork(units, amounts)


def encoded_chunks(span: ClipSpan, frames: int) -> float:
    """Return the chunks of frames that are encoded as the condition of a clip of this length."""
    condition_frames = span.skip or 1  # the image
    return sum(chunk_weights(latent_frames(condition_frames), latent_frames(frames)))


def decoded_latents(span: ClipSpan) -> int:
    """Return the number of latent frames that are decoded for a clip; the last clip may need fewer."""
    return 1 + -(-(span.skip + span.new_frames - 1) // TEMPORAL_STRIDE)


def step_weights(steps: int, computed: Sequence[bool] | None) -> list[float]:
    """Return the work of each step, as a share of a whole one.

    Args:
        steps: Number of steps.
        computed: For each step, whether the transformer's blocks run; None: in all.
    """
    return [1.0 if computed is None or computed[step] else SKIPPED_STEP for step in range(steps)]


def clip_amounts(
    spans: Sequence[ClipSpan], encoded: Sequence[float], steps: Sequence[float]
) -> list[dict[str, float]]:
    """Return the units of each stage for every clip.

    Args:
        spans: The clips.
        encoded: Chunks to encode, by clip.
        steps: Work of each step; see `step_weights`.
    """
    return [
        {"encode": chunks, "denoise": sum(steps), "decode": float(decoded_latents(span)), "video": 1.0}
        for span, chunks in zip(spans, encoded, strict=True)
    ]
