"""Decode a clip's latents, group by group; frames are passed on while the device decodes the next group."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch

from ..models.video_vae import SPATIAL_STRIDE
from ..sampling.pace import DeviceEvent, record_event
from .work import decoded_latents

if TYPE_CHECKING:
    from ..conditioning.timeline import ClipSpan
    from ..sampling.color import ColorCorrection

OnFrames = Callable[[torch.Tensor], None]
# Decodes latents `C T h w` in groups `3 f H W` in [-1, 1], and calls a function before each.
Decode = Callable[[torch.Tensor, Callable[[], None]], Iterator[torch.Tensor]]


def decode_clip(
    decode: Decode,
    latents: torch.Tensor,
    span: ClipSpan,
    color: ColorCorrection,
    motion_frames: int,
    before_group: Callable[[], None],
    on_frames: OnFrames | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Decode a clip.

    Args:
        decode: The decoder: that of the VAE, or the small one.
        latents: ``C T h w`` float32; latents after the last new frame are not decoded.
        span: The clip's new frames.
        color: Color correction, applied before the last frames are kept.
        motion_frames: Number of last frames that the next clip needs.
        before_group: Called before each group of frames is decoded; may raise to stop.
        on_frames: Called with each group's new frames ``f H W 3`` uint8 on the CPU, in order, while the next
            group is decoded.

    Returns:
        The new frames ``T H W 3`` uint8 on the CPU, and the last `motion_frames` decoded frames ``3 n H W``
        as floats, which the next clip starts with.
    """
    latents = needed_latents(latents, span)
    height, width = (side * SPATIAL_STRIDE for side in latents.shape[2:])
    # page-locked, so that copies from a GPU are asynchronous
    frames = torch.empty(span.new_frames, height, width, 3, dtype=torch.uint8, pin_memory=latents.is_cuda)
    pending = _PendingFrames(on_frames)
    tail: list[torch.Tensor] = []
    position = -span.skip  # of the group's first frame among the new frames
    for group in decode(latents, before_group):
        group = color.apply(group)
        tail = _keep_last([*tail, group], motion_frames)
        first, last = max(position, 0), min(position + group.shape[1], span.new_frames)
        if first < last:
            kept = group[:, first - position : last - position]
            pixels = ((kept + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 3, 0)
            frames[first:last].copy_(pixels, non_blocking=True)
            pending.add(frames[first:last], record_event(latents.device))
        position += group.shape[1]
    pending.finish()
    return frames, torch.cat(tail, dim=1)[:, -motion_frames:]


def needed_latents(latents: torch.Tensor, span: ClipSpan) -> torch.Tensor:
    """Return the latents ``C T h w`` up to a clip's last new frame.

    The decoder is causal: later latents do not change earlier frames.
    """
    return latents[:, : decoded_latents(span)]


class _PendingFrames:
    """Passes each group of frames on one group later, when the next one is queued on the device."""

    def __init__(self, on_frames: OnFrames | None) -> None:
        self._on_frames = on_frames
        self._waiting: tuple[torch.Tensor, DeviceEvent | None] | None = None

    def add(self, frames: torch.Tensor, event: DeviceEvent | None) -> None:
        """Add frames that are complete once the device has passed the event."""
        self.finish()
        self._waiting = (frames, event)

    def finish(self) -> None:
        """Wait for the last group and pass it on."""
        if self._waiting is None:
            return
        frames, event = self._waiting
        self._waiting = None
        if event is not None:
            event.synchronize()
        if self._on_frames is not None:
            self._on_frames(frames)


def _keep_last(groups: list[torch.Tensor], frames: int) -> list[torch.Tensor]:
    """Drop leading groups ``3 f H W`` that do not contain any of the last frames."""
    while sum(group.shape[1] for group in groups[1:]) >= frames:
        groups = groups[1:]
    return groups
