"""Attention processors: Wan's self and cross attention, and the reference map that tells people apart."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.transformers.transformer_wan import WanAttention

from .attention_backends import attend
from .half import project_to_residual
from .rotary import RotaryTable, apply_rotary
from .sequence import TokenShard

# Attention kernels want a head width that is a multiple of 8: the mask columns are padded to it.
_MAP_WIDTH = 8


class SelfAttentionProcessor:
    """Self-attention with rotary embeddings that can return the reference map beside its result.

    The backend is one of diffusers' or of ours (``attention_backends.set_attention_backends``).
    """

    _attention_backend: Any = None
    _parallel_config: Any = None

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
        """Attend and, where masks are given, map every token to the people of the first frame.

        Args:
            attn: The layer whose projections are used.
            hidden_states: ``B N D``.
            encoder_hidden_states: Not used by self-attention.
            attention_mask: Not used by MultiTalk.
            rotary_emb: Cosines and sines for the N tokens.
            person_masks: ``3 S``, 0 or 1: person 1, person 2, background over the first frame's tokens.
            shard: Which tokens `hidden_states` are where several processes share them; None: all N.

        Returns:
            The result ``B N D`` and the reference map ``B 3 N`` (float32), or None without masks. With a
            shard the result is that of its tokens; the map is whole in every process.
        """
        query, key, value = attn.to_q(hidden_states), attn.to_k(hidden_states), attn.to_v(hidden_states)
        query = attn.norm_q(query).unflatten(-1, (attn.heads, -1))
        key = attn.norm_k(key).unflatten(-1, (attn.heads, -1))
        value = value.unflatten(-1, (attn.heads, -1))
        if rotary_emb is not None:
            # one after the other: both unrotated tensors at once would be the peak of a block's memory
            query = apply_rotary(query, rotary_emb)
            key = apply_rotary(key, rotary_emb)
        if shard is not None:
            query, key, value = shard.tokens_to_heads(query, key, value)
        attended = attend(query, key, value, self._attention_backend, self._parallel_config)
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
        """How much each token looks at each person in the first frame (docs/MODEL.md, section 3: reference map).

        It is an attention over the first frame's keys whose values are the mask columns, so the ``N x S``
        matrix never exists.

        Args:
            query: ``B N H D`` after RoPE.
            key: ``B N H D`` after RoPE; the first S tokens are the first latent frame.
            person_masks: ``3 S``.

        Returns:
            ``B 3 N`` in float32, averaged over the heads.
        """
        classes, tokens_per_frame = person_masks.shape
        columns = person_masks.float() / person_masks.float().sum(dim=1, keepdim=True).clamp(min=1.0)
        value = columns.new_zeros(tokens_per_frame, _MAP_WIDTH)
        value[:, :classes] = columns.T
        value = value.type_as(query)[None, :, None].expand(query.shape[0], -1, query.shape[2], -1)
        # PyTorch's own attention: of the backends it alone takes values of another width than the keys
        scores = torch.nn.functional.scaled_dot_product_attention(
            query.transpose(1, 2), key[:, :tokens_per_frame].transpose(1, 2), value.transpose(1, 2)
        )
        return scores[..., :classes].float().mean(dim=1).transpose(1, 2)


class CrossAttentionProcessor:
    """Wan's image-to-video cross attention: text and image attended apart, summed before the output layer.

    diffusers' own processor cuts one concatenated context at 512 text tokens; here the two come apart.
    """

    _attention_backend: Any = None
    _parallel_config: Any = None

    def __call__(
        self,
        attn: WanAttention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        rotary_emb: RotaryTable | None = None,
        image_hidden_states: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Attend from ``B N D`` to text ``B text_len D`` and image tokens ``B 257 D``; returns ``B N D``."""
        query = attn.norm_q(attn.to_q(hidden_states)).unflatten(-1, (attn.heads, -1))
        key, value = attn.to_k(encoder_hidden_states), attn.to_v(encoder_hidden_states)
        key_image, value_image = attn.add_k_proj(image_hidden_states), attn.add_v_proj(image_hidden_states)
        attended = self._attend(query, attn.norm_k(key), value)
        attended = attended + self._attend(query, attn.norm_added_k(key_image), value_image)
        return project_to_residual(attn.to_out[0], attended.type_as(hidden_states))

    def _attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        heads = query.shape[2]
        key, value = key.unflatten(-1, (heads, -1)), value.unflatten(-1, (heads, -1))
        # a context whose batch is 1 serves every element of the queries' batch
        key, value = (part.expand(query.shape[0], -1, -1, -1) for part in (key, value))
        return attend(query, key, value, self._attention_backend).flatten(2)
