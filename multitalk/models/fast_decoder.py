"""A small decoder of Wan 2.1's latents, about 25 times less work than the VAE's (TAEHV, by Ollin Boer Bohan).

It is a stack of two-dimensional convolutions. Time is only seen by its memory blocks, which also read the
frame before, so that a clip can be decoded one latent frame at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

# Frames that each stage makes of one, from the first stage to the last.
GROWTH = (1, 2, 2)
BLOCKS = 3  # memory blocks of a stage
# The first latent frame is one frame of the video: of the four frames that it is decoded to, the last.
DROPPED = 3

# By memory block, in order: its input for the last frame.
Memory = dict[int, torch.Tensor]


class MemoryBlock(nn.Module):
    """Three convolutions of a frame and the frame before, beside a residual connection.

    Args:
        width: Channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        inputs = (2 * width, width, width)
        self.convs = nn.ModuleList(nn.Conv2d(channels, width, 3, padding=1) for channels in inputs)

    def forward(self, frames: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        """Return ``T C h w`` for frames ``T C h w`` and the one before them, ``1 C h w``."""
        past = torch.cat((before, frames[:-1]))
        first, second, third = self.convs
        hidden = F.relu_(second(F.relu_(first(torch.cat((frames, past), dim=1)))))
        return F.relu_(third(hidden) + frames)


class Stage(nn.Module):
    """Memory blocks, then more frames, twice the height and width, and another width.

    Args:
        width: Channels.
        next_width: Channels of the next stage.
        growth: Frames that are made of one.
    """

    def __init__(self, width: int, next_width: int, growth: int) -> None:
        super().__init__()
        self.growth = growth
        self.blocks = nn.ModuleList(MemoryBlock(width) for _ in range(BLOCKS))
        self.grow = nn.Conv2d(width, width * growth, 1, bias=False)
        self.projection = nn.Conv2d(width, next_width, 3, padding=1, bias=False)

    def forward(self, frames: torch.Tensor, memory: Memory, first: int, all_frames: bool) -> torch.Tensor:
        """Make `growth` frames of each, or only the last of them.

        Args:
            frames: ``T C h w``.
            memory: Of all blocks of the decoder; changed in place.
            first: Number of the stage's first block.
            all_frames: Whether to make all frames.

        Returns:
            ``growth * T, C', 2h, 2w``, or ``T C' 2h 2w``.
        """
        for index, block in enumerate(self.blocks, first):
            before = memory.get(index)
            memory[index] = frames[-1:]
            frames = block(frames, torch.zeros_like(frames[:1]) if before is None else before)
        count, width = frames.shape[:2]
        growth = self.growth if all_frames else 1
        weight = self.grow.weight[-growth * width :]
        # before the upsampling, which repeats pixels: the same values for a quarter of the work
        frames = F.conv2d(frames, weight).reshape(count * growth, width, *frames.shape[2:])
        return self.projection(F.interpolate(frames, scale_factor=2, mode="nearest"))


class FastDecoder(nn.Module):
    """The decoder.

    Args:
        config: ``latent_channels``, and ``widths`` of its three stages and of its end.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = {name: config[name] for name in ("latent_channels", "widths")}
        widths = self.config["widths"]
        self.conv_in = nn.Conv2d(self.config["latent_channels"], widths[0], 3, padding=1)
        self.stages = nn.ModuleList(
            Stage(width, following, growth)
            for width, following, growth in zip(widths[:-1], widths[1:], GROWTH, strict=True)
        )
        self.conv_out = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, latents: torch.Tensor, memory: Memory, all_frames: bool = True) -> torch.Tensor:
        """Decode the next latent frames of a clip.

        Args:
            latents: Normalized latents, ``T C h w``.
            memory: Empty for the first ones; changed in place.
            all_frames: Make four frames of each latent frame, not only the last of them.

        Returns:
            ``F 3 8h 8w``, of which [0, 1] is black to white; F = 4T or T.
        """
        frames = F.relu_(self.conv_in(torch.tanh(latents / 3) * 3))
        for number, stage in enumerate(self.stages):
            frames = stage(frames, memory, BLOCKS * number, all_frames)
        return self.conv_out(F.relu_(frames))

    def decode(
        self, latents: torch.Tensor, check_cancelled: Callable[[], None] | None = None
    ) -> Iterator[torch.Tensor]:
        """Decode latents in groups of frames, as :func:`.video_vae.decode_latents` does.

        Args:
            latents: Normalized latents, ``C T h w``.
            check_cancelled: Called before every group; may raise.

        Yields:
            ``3 f 8h 8w`` float32 in [-1, 1]: 1 frame first, then 4 for every further latent frame.
        """
        memory: Memory = {}
        for index, latent in enumerate(self._input(latents).split(1)):
            if check_cancelled is not None:
                check_cancelled()
            frames = self(latent, memory)
            yield frames[DROPPED if index == 0 else 0 :].float().clamp(0, 1).mul(2).sub(1).transpose(0, 1)

    def preview(self, latents: torch.Tensor) -> torch.Tensor:
        """Decode one frame for each latent frame, which is coarser in time and takes less work.

        Args:
            latents: Normalized latents, ``C T h w``.

        Returns:
            ``T 8h 8w 3`` uint8, on the latents' device.
        """
        memory: Memory = {}
        frames = [self(latent, memory, all_frames=False) for latent in self._input(latents).split(1)]
        return (torch.cat(frames).float().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)

    def _input(self, latents: torch.Tensor) -> torch.Tensor:
        """Return ``T C h w`` in the decoder's dtype, on its device."""
        weight = self.conv_in.weight
        return latents.to(weight.device, weight.dtype).transpose(0, 1)
