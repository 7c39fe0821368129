"""Audio cross-attention: each latent frame attends to its own audio, and each person to their own voice."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from .attention_backends import attend
from .half import project_to_residual
from .rotary import rotate_by_label
from .sequence import TokenShard

# Label positions of L-RoPE (docs/MODEL.md, section 3): the video tokens of person i (from 0) are at 20 i to
# 20 i + 4, and their audio tokens in the middle.
LABEL_DISTANCE, LABEL_RANGE, AUDIO_LABEL = 20.0, 4.0, 2.0
BACKGROUND_LABEL = 12.0


def video_labels(reference_map: torch.Tensor) -> torch.Tensor:
    """Compute the label position of every video token from the person that it attends to most.

    Args:
        reference_map: ``B P+1 N``: the P people and the background, float32.

    Returns:
        Positions ``B N``, float32: 0..4 for person 1, 20..24 for person 2 and so on, 12 for the background.
    """
    people = reference_map[:, :-1]
    low, high = people.amin(dim=2, keepdim=True), people.amax(dim=2, keepdim=True)
    share = (people - low) / (high - low + 1e-8)
    # Python numbers: a tensor made from a list would be a synchronous copy to the device in every block
    positions = [
        share[:, person] * LABEL_RANGE + LABEL_DISTANCE * person for person in range(people.shape[1])
    ]
    positions.append(torch.full_like(share[:, 0], BACKGROUND_LABEL))
    return torch.stack(positions, dim=1).gather(1, reference_map.argmax(dim=1, keepdim=True)).squeeze(1)


class AudioCrossAttention(nn.Module):
    """Attention of the S video tokens of a latent frame to the audio tokens of the same frame.

    The name upstream is ``SingleStreamMultiAttention`` (docs/MODEL.md, section 3).

    Args:
        dim: Width of the video tokens.
        heads: Attention heads.
        audio_dim: Width of the audio tokens.

    Attributes:
        attention_backend: See :func:`multitalk.models.attention_backends.set_attention_backends`.
    """

    attention_backend: str | None = None

    def __init__(self, dim: int, heads: int, audio_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(dim, dim)
        self.to_k = nn.Linear(audio_dim, dim)
        self.to_v = nn.Linear(audio_dim, dim)
        self.to_out = nn.Linear(dim, dim)

    def forward(
        self,
        hidden_states: torch.Tensor,
        audio_hidden_states: torch.Tensor,
        labels: torch.Tensor | None = None,
        people: int = 1,
        shard: TokenShard | None = None,
    ) -> torch.Tensor:
        """Attend frame by frame, with label RoPE for several people.

        Args:
            hidden_states: Video tokens ``B N D`` with N = T*S, frame after frame.
            audio_hidden_states: Audio tokens ``B T A C``. With labels, A has those of one person after those
                of another.
            labels: Label positions ``B N`` of the video tokens, or None for one person.
            people: Number of people with audio tokens.
            shard: Shard of the tokens in `hidden_states` with sequence parallelism, or None for all N.

        Returns:
            ``B N D``.
        """
        if shard is not None:
            audio_hidden_states = audio_hidden_states[:, shard.frames]
        batch, frames = audio_hidden_states.shape[:2]
        query = self.to_q(hidden_states).unflatten(-1, (self.heads, -1))  # B N H D
        key = self.to_k(audio_hidden_states).flatten(0, 1).unflatten(-1, (self.heads, -1))  # (B T) A H D
        value = self.to_v(audio_hidden_states).flatten(0, 1).unflatten(-1, (self.heads, -1))
        if labels is not None:
            query = rotate_by_label(query, labels)
            tokens = audio_hidden_states.shape[2] // people
            positions = [
                torch.full((tokens,), AUDIO_LABEL + LABEL_DISTANCE * person, device=key.device)
                for person in range(people)
            ]
            key = rotate_by_label(key, torch.cat(positions))
        before, after = (0, 0) if shard is None else shard.padding
        if before or after:  # to whole frames, which are attended one by one
            query = F.pad(query, (0, 0, 0, 0, before, after))
        query = query.reshape(batch * frames, -1, *query.shape[2:])
        attended = attend(query, key, value, self.attention_backend)
        attended = attended.reshape(batch, -1, hidden_states.shape[2])
        attended = attended[:, before : before + hidden_states.shape[1]]
        return project_to_residual(self.to_out, attended.type_as(hidden_states))
