"""Attention processors: Wan's self-attention with MultiTalk's reference map, and Wan's cross-attention."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.transformers.transformer_wan import WanAttention

from .attention_backends import attend
from .half import project_to_residual
from .quantized import project, quantize_once
from .rotary import RotaryTable, normalize_and_rotate
from .sequence import TokenShard

# Attention kernels require a head width that is a multiple of 8, so the mask columns are padded.
_MAP_WIDTH = 8


class SelfAttentionProcessor:
    """Self-attention with rotary embeddings that can also return the reference map.

    The backend is set by :func:`multitalk.models.attention_backends.set_attention_backends`.
    """

    _attention_backend: Any = None

    def __call__(
        self,
        attn: WanAttention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        rotary_emb: RotaryTable | None = None,
        person_masks: torch.Tensor | None = None,
        shard: TokenShard | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Compute self-attention and, with masks, the reference map.

        Args:
            attn: The layer whose projections are used.
            hidden_states: ``B N D``.
            encoder_hidden_states: Unused.
            attention_mask: Unused.
            rotary_emb: Cosines and sines of the N tokens.
            person_masks: ``P+1 S``, 0 or 1: tokens of P people and the background in the first frame.
            shard: Shard of the tokens in `hidden_states` with sequence parallelism, or None for all N.

        Returns:
            The output ``B N D`` and the reference map ``B 3 N`` (float32), or None without masks. With a
            shard, the output contains the shard's tokens only, and the map all tokens.
        """
        tokens = quantize_once(hidden_states, attn.to_q, attn.to_k, attn.to_v)
        value = project(attn.to_v, hidden_states, tokens).unflatten(-1, (attn.heads, -1))
        # nothing but the call holds a projection, so that it is freed before the rotation
        query = normalize_and_rotate(
            project(attn.to_q, hidden_states, tokens), attn.norm_q, attn.heads, rotary_emb
        )
        key = normalize_and_rotate(
            project(attn.to_k, hidden_states, tokens), attn.norm_k, attn.heads, rotary_emb
        )
        del tokens
        if shard is not None:
            query, key, value = shard.tokens_to_heads(query, key, value)
        attended = attend(query, key, value, self._attention_backend)
        if shard is not None:
            attended = shard.heads_to_tokens(attended)
        output = project_to_residual(attn.to_out[0], attended.flatten(2).type_as(hidden_states))
        if person_masks is None:
            return output, None
        reference_map = self.reference_map(query, key, person_masks)
        return output, reference_map if shard is None else shard.mean_over_heads(reference_map)

    def reference_map(
        self, query: torch.Tensor, key: torch.Tensor, person_masks: torch.Tensor
    ) -> torch.Tensor:
        """Compute how much each token attends to each person in the first frame (docs/MODEL.md, section 3).

        The map is an attention over the first frame's keys with the mask columns as values, so the ``N x S``
        attention matrix is never stored.

        Args:
            query: ``B N H D`` after RoPE.
            key: ``B N H D`` after RoPE; the first S tokens are the first latent frame.
            person_masks: ``P+1 S``.

        Returns:
            ``B P+1 N`` in float32, averaged over the heads.
        """
        classes, tokens_per_frame = person_masks.shape
        columns = person_masks.float() / person_masks.float().sum(dim=1, keepdim=True).clamp(min=1.0)
        value = F.pad(columns.T, (0, _MAP_WIDTH - classes))
        value = value.type_as(query)[None, :, None].expand(query.shape[0], -1, query.shape[2], -1)
        # PyTorch's attention, the only backend that accepts values of another width than the keys
        scores = F.scaled_dot_product_attention(
            query.transpose(1, 2), key[:, :tokens_per_frame].transpose(1, 2), value.transpose(1, 2)
        )
        return scores[..., :classes].float().mean(dim=1).transpose(1, 2)


class CrossAttentionProcessor:
    """Wan's image-to-video cross-attention: the sum of an attention to text and one to image tokens.

    diffusers' processor splits one concatenated context after 512 text tokens; here the two are separate
    arguments.
    """

    _attention_backend: Any = None

    def __call__(
        self,
        attn: WanAttention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        rotary_emb: RotaryTable | None = None,
        image_hidden_states: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Attend from ``B N D`` to text ``B text_len D`` and image tokens ``B 257 D``; return ``B N D``."""
        query = normalize_and_rotate(attn.to_q(hidden_states), attn.norm_q, attn.heads)
        key = normalize_and_rotate(attn.to_k(encoder_hidden_states), attn.norm_k, attn.heads)
        attended = self._attend(query, key, attn.to_v(encoder_hidden_states))
        key = normalize_and_rotate(attn.add_k_proj(image_hidden_states), attn.norm_added_k, attn.heads)
        attended = attended + self._attend(query, key, attn.add_v_proj(image_hidden_states))
        return project_to_residual(attn.to_out[0], attended.type_as(hidden_states))

    def _attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        value = value.unflatten(-1, (query.shape[2], -1))
        # a context with a batch of 1 is shared by all branches
        key, value = (part.expand(query.shape[0], -1, -1, -1) for part in (key, value))
        return attend(query, key, value, self._attention_backend).flatten(2)
