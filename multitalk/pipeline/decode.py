"""From a clip's latents to its frames, group by group, while the device works on the next group."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from ..models.video_vae import SPATIAL_STRIDE, TEMPORAL_STRIDE, decode_latents
from ..sampling.pace import DeviceEvent, record_event

if TYPE_CHECKING:
    from diffusers import AutoencoderKLWan

    from ..conditioning.timeline import ClipSpan
    from ..sampling.color import ColorCorrection

OnFrames = Callable[[torch.Tensor], None]


def decode_clip(
    vae: AutoencoderKLWan,
    latents: torch.Tensor,
    plan: ClipSpan,
    color: ColorCorrection,
    motion_frames: int,
    before_group: Callable[[], None],
    on_frames: OnFrames | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Decode a clip.

    Args:
        vae: The autoencoder.
        latents: ``C T h w`` float32; those past the last new frame aren't decoded.
        plan: Which of its frames are new.
        color: What becomes of the colours, before the last frames are taken.
        motion_frames: How many of the last frames the next clip needs.
        before_group: Called before every group of frames is decoded; may raise to stop.
        on_frames: Called with each group's new frames ``f H W 3`` uint8 on the CPU, in order, while the next
            group is decoded.

    Returns:
        The new frames ``T H W 3`` uint8 on the CPU, and the last frames that were decoded, ``3 n H W`` as
        floats: those that the next clip begins with, where there is one.
    """
    # the decoder is causal: what comes later changes no frame
    needed = plan.skip + plan.new_frames
    latents = latents[:, : 1 + -(-(needed - 1) // TEMPORAL_STRIDE)]
    height, width = (side * SPATIAL_STRIDE for side in latents.shape[2:])
    # page-locked, so that frames come over from a GPU while it goes on
    frames = torch.empty(plan.new_frames, height, width, 3, dtype=torch.uint8, pin_memory=latents.is_cuda)
    arriving = _Arriving(on_frames)
    tail: list[torch.Tensor] = []
    position = -plan.skip  # of the group's first frame among the new frames
    for group in decode_latents(vae, latents, before_group):
        group = color.apply(group)
        tail = _keep_last([*tail, group], motion_frames)
        first, last = max(position, 0), min(position + group.shape[1], plan.new_frames)
        if first < last:
            kept = group[:, first - position : last - position]
            pixels = ((kept + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 3, 0)
            frames[first:last].copy_(pixels, non_blocking=True)
            arriving.add(frames[first:last], record_event(latents.device))
        position += group.shape[1]
    arriving.finish()
    return frames, torch.cat(tail, dim=1)[:, -motion_frames:]


class _Arriving:
    """Hands frames on once they are there: one group late, so that the next one is queued already."""

    def __init__(self, on_frames: OnFrames | None) -> None:
        self._on_frames = on_frames
        self._waiting: tuple[torch.Tensor, DeviceEvent | None] | None = None

    def add(self, frames: torch.Tensor, event: DeviceEvent | None) -> None:
        """Frames that are there once the device has passed the event."""
        self.finish()
        self._waiting = (frames, event)

    def finish(self) -> None:
        """Wait for what was added last and hand it on."""
        if self._waiting is None:
            return
        frames, event = self._waiting
        self._waiting = None
        if event is not None:
            event.synchronize()
        if self._on_frames is not None:
            self._on_frames(frames)


def _keep_last(groups: list[torch.Tensor], frames: int) -> list[torch.Tensor]:
    """Drop leading groups ``3 f H W`` that the last so many frames don't need."""
    while sum(group.shape[1] for group in groups[1:]) >= frames:
        groups = groups[1:]
    return groups
