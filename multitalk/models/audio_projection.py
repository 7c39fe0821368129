"""Projection of wav2vec2 features to the audio tokens that each latent frame attends to."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

# Every latent frame but the first covers 4 video frames. From their windows of 5 features it gets positions
# 0..2 of the first, the center of the two in the middle, and positions 2..4 of the last: 8 consecutive
# features.
FRAMES_PER_LATENT = 4


class AudioProjection(nn.Module):
    """Project windows of audio features to tokens (docs/MODEL.md, section 3; upstream ``AudioProjModel``).

    Args:
        window: Neighbouring audio features per video frame (odd).
        layers: Hidden layers of the audio encoder per feature.
        channels: Width of these layers.
        hidden_dim: Width of the two hidden layers of the projection.
        tokens: Audio tokens per latent frame and person.
        dim: Width of a token.
    """

    def __init__(
        self, window: int, layers: int, channels: int, hidden_dim: int, tokens: int, dim: int
    ) -> None:
        super().__init__()
        self.window = window
        self.tokens = tokens
        self.dim = dim
        later_window = window + FRAMES_PER_LATENT - 1
        self.proj_first = nn.Linear(window * layers * channels, hidden_dim)
        self.proj_later = nn.Linear(later_window * layers * channels, hidden_dim)
        self.proj_hidden = nn.Linear(hidden_dim, hidden_dim)
        self.proj_out = nn.Linear(hidden_dim, tokens * dim)
        self.norm = nn.LayerNorm(dim, eps=1e-5)

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        """Project the windows of one clip.

        Args:
            audio: ``P F W L C``: people, video frames (4n+1), window, encoder layers, channels.

        Returns:
            Tokens ``T (P*tokens) dim``: all people's tokens for each of T = n+1 latent frames.
        """
        people = audio.shape[0]
        first, later = audio[:, :1], audio[:, 1:].unflatten(1, (-1, FRAMES_PER_LATENT))
        center = self.window // 2
        later_window = torch.cat(  # P n (W+3) L C
            (
                later[:, :, 0, : center + 1],
                later[:, :, 1:-1, center],
                later[:, :, -1, center:],
            ),
            dim=2,
        )
        hidden_states = torch.cat(
            (F.relu(self.proj_first(first.flatten(2))), F.relu(self.proj_later(later_window.flatten(2)))),
            dim=1,
        )
        hidden_states = F.relu(self.proj_hidden(hidden_states))
        tokens = self.proj_out(hidden_states).unflatten(-1, (self.tokens, self.dim))  # P T tokens dim
        norm = self.norm
        tokens = F.layer_norm(
            tokens.float(), (self.dim,), norm.weight.float(), norm.bias.float(), norm.eps
        ).type_as(tokens)
        return tokens.permute(1, 0, 2, 3).reshape(-1, people * self.tokens, self.dim)
