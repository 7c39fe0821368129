"""Rotary position embeddings (RoPE): 3-axis RoPE of the video, and label RoPE that separates two people."""

from __future__ import annotations

import torch
from diffusers.models.embeddings import get_1d_rotary_pos_embed
from torch import nn

from .kernels.dispatch import kernels_for

# Base of the frequencies
THETA = 10000.0

RotaryTable = tuple[torch.Tensor, torch.Tensor]


def apply_rotary(hidden_states: torch.Tensor, table: RotaryTable) -> torch.Tensor:
    """Rotate the interleaved pairs (x0, x1), (x2, x3), ... of every head.

    Args:
        hidden_states: Queries or keys, ``B N H D``, any float dtype.
        table: Cosines and sines, each broadcastable to ``B N H D/2``, float32.

    Returns:
        ``B N H D`` in the input's dtype; the rotation is computed in float32.
    """
    cosines, sines = table
    even, odd = hidden_states.float().unflatten(-1, (-1, 2)).unbind(-1)
    rotated = torch.stack((even * cosines - odd * sines, even * sines + odd * cosines), dim=-1)
    return rotated.flatten(-2).type_as(hidden_states)


class VideoRotaryEmbedding(nn.Module):
    """Wan's 3-axis RoPE (time, height, width).

    The angles are those of diffusers' ``WanRotaryPosEmbed``. The table is computed once per shape, on the
    device, in float32. It is not a buffer, so casting the model does not round it.

    Args:
        head_dim: Width of an attention head. A third of its pairs (rounded down) belongs to each spatial
            axis.
        patch_size: Latent frames, rows and columns per token.
        max_length: Maximum number of tokens per axis.
        theta: Base of the frequencies.
    """

    def __init__(
        self, head_dim: int, patch_size: tuple[int, ...], max_length: int = 1024, theta: float = THETA
    ) -> None:
        super().__init__()
        self.patch_size = tuple(patch_size)
        self.max_length = max_length
        self.theta = theta
        spatial = 2 * (head_dim // 6)
        self.axis_dims = (head_dim - 2 * spatial, spatial, spatial)
        self._tables: dict[tuple[tuple[int, ...], torch.device], RotaryTable] = {}

    def forward(self, latents: torch.Tensor) -> RotaryTable:
        """Return cosines and sines ``1 N 1 D/2`` (float32) for latents ``B C T h w``."""
        lengths = tuple(size // patch for size, patch in zip(latents.shape[2:], self.patch_size, strict=True))
        if max(lengths) > self.max_length:
            raise ValueError(
                f"{lengths} tokens exceed the rotary table, which has {self.max_length} positions per axis."
            )
        key = (lengths, latents.device)
        if key not in self._tables:
            self._tables.clear()  # only one shape is used at a time
            self._tables[key] = self._make_table(lengths, latents.device)
        return self._tables[key]

    def _make_table(self, lengths: tuple[int, ...], device: torch.device) -> RotaryTable:
        cosines, sines = [], []
        for axis, (length, dim) in enumerate(zip(lengths, self.axis_dims, strict=True)):
            cosine, sine = get_1d_rotary_pos_embed(
                dim,
                torch.arange(length, device=device),  # a table from the host would be a blocking copy
                self.theta,
                use_real=True,
                repeat_interleave_real=False,
                freqs_dtype=torch.float64,  # float32 angles have an error of 1e-4 at position 1000
            )
            shape = [1, 1, 1, dim // 2]
            shape[axis] = length
            # with use_real the table contains every angle twice
            cosines.append(cosine[:, : dim // 2].reshape(shape).expand(*lengths, -1))
            sines.append(sine[:, : dim // 2].reshape(shape).expand(*lengths, -1))
        count = lengths[0] * lengths[1] * lengths[2]
        table = (torch.cat(part, dim=-1).reshape(1, count, 1, -1) for part in (cosines, sines))
        cosine, sine = (part.float() for part in table)
        return cosine, sine


def label_rotary_table(positions: torch.Tensor, head_dim: int, theta: float = THETA) -> RotaryTable:
    """Compute cosines and sines of label RoPE (docs/MODEL.md, section 3; MultiTalk paper, arXiv 2505.22647).

    Args:
        positions: Label positions, any shape ``...``, any float dtype.
        head_dim: Width of an attention head.
        theta: Base of the frequencies.

    Returns:
        Two float32 tensors ``... D/2``.
    """
    exponents = torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32) / head_dim
    angles = positions.float().unsqueeze(-1) * (1.0 / theta**exponents)
    return angles.cos(), angles.sin()


def normalize_and_rotate(
    hidden_states: torch.Tensor, norm: nn.RMSNorm, heads: int, table: RotaryTable | None = None
) -> torch.Tensor:
    """Normalize queries or keys over all heads, then rotate every head; one pass on a GPU.

    Args:
        hidden_states: ``B N (H D)``.
        norm: Over ``H D``.
        heads: H.
        table: Cosines and sines ``1 N 1 D/2``; None does not rotate.

    Returns:
        ``B N H D``.
    """
    if kernels := kernels_for(hidden_states):
        cosines, sines = (None, None) if table is None else table
        epsilon = torch.finfo(hidden_states.dtype).eps if norm.eps is None else norm.eps
        rotated = kernels.norm_rotate(
            hidden_states.contiguous(), heads, norm.weight, epsilon, cosines, sines, None, THETA
        )
        return rotated.unflatten(-1, (heads, -1))
    hidden_states = norm(hidden_states).unflatten(-1, (heads, -1))
    return hidden_states if table is None else apply_rotary(hidden_states, table)


def rotate_by_label(hidden_states: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Apply label RoPE; a kernel computes the angles from the positions.

    Args:
        hidden_states: Queries or keys, ``B N H D``.
        positions: Label positions, ``B N`` or ``N``, float32.

    Returns:
        ``B N H D``.
    """
    heads = hidden_states.shape[2]
    if kernels := kernels_for(hidden_states):
        positions = positions.expand(hidden_states.shape[:2]).contiguous()
        flat = hidden_states.flatten(2).contiguous()
        rotated = kernels.norm_rotate(flat, heads, None, 0.0, None, None, positions, THETA)
        return rotated.unflatten(-1, (heads, -1))
    cosines, sines = label_rotary_table(positions, hidden_states.shape[-1])
    return apply_rotary(hidden_states, (cosines.unsqueeze(-2), sines.unsqueeze(-2)))
