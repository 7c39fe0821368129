"""A block of the transformer: Wan's block with audio cross-attention before the feed-forward."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.models.normalization import FP32LayerNorm
from diffusers.models.transformers.transformer_wan import WanTransformerBlock

from ..patches.diffusers import register_block
from .attention import CrossAttentionProcessor, SelfAttentionProcessor
from .audio_attention import AudioCrossAttention, video_labels
from .half import feed_forward
from .rotary import RotaryTable
from .sequence import TokenShard


def modulated_norm(
    hidden_states: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor, eps: float, dtype: torch.dtype
) -> torch.Tensor:
    """LayerNorm in float32, then ``* (1 + scale) + shift``.

    Args:
        hidden_states: ``B N D``.
        scale, shift: ``b 1 D`` float32. b is B, or 1 for the whole batch, which needs one kernel only.
        eps: Added to the variance.
        dtype: Dtype of the result.
    """
    dim = hidden_states.shape[-1]
    if scale.shape[0] == 1:
        normed = F.layer_norm(hidden_states.float(), (dim,), (1 + scale).flatten(), shift.flatten(), eps)
    else:
        normed = F.layer_norm(hidden_states.float(), (dim,), None, None, eps) * (1 + scale) + shift
    return normed.to(dtype)


def gated_residual(hidden_states: torch.Tensor, update: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
    """Return ``hidden_states + update * gate``, computed in float32, in the input's dtype."""
    return torch.addcmul(hidden_states.float(), update.float(), gate).type_as(hidden_states)


@register_block
class MultiTalkTransformerBlock(WanTransformerBlock):
    """A Wan block with audio cross-attention before the feed-forward (docs/MODEL.md, section 3).

    Args:
        dim: Width of the video tokens.
        ffn_dim: Width of the feed-forward's hidden layer.
        num_heads: Attention heads.
        eps: Epsilon of the norms.
        audio_dim: Width of the audio tokens.
    """

    def __init__(self, dim: int, ffn_dim: int, num_heads: int, eps: float, audio_dim: int) -> None:
        super().__init__(dim, ffn_dim, num_heads, cross_attn_norm=True, eps=eps, added_kv_proj_dim=dim)
        self.eps = eps
        self.attn1.set_processor(SelfAttentionProcessor())
        self.attn2.set_processor(CrossAttentionProcessor())
        self.norm_audio = FP32LayerNorm(dim, eps, elementwise_affine=True)
        self.audio_attn = AudioCrossAttention(dim, num_heads, audio_dim)

    def forward(
        self,
        hidden_states: torch.Tensor,
        text_hidden_states: torch.Tensor,
        image_hidden_states: torch.Tensor,
        audio_hidden_states: torch.Tensor,
        modulation: torch.Tensor,
        rotary_emb: RotaryTable,
        person_masks: torch.Tensor | None = None,
        shard: TokenShard | None = None,
    ) -> torch.Tensor:
        """Run the block.

        Args:
            hidden_states: Residual stream of the video tokens ``B N D``; see :mod:`.half` for its dtype.
            text_hidden_states: Projected text ``B text_len D``.
            image_hidden_states: Projected image tokens ``B 257 D``.
            audio_hidden_states: Audio tokens ``B T A C``.
            modulation: Timestep modulation ``b 6 D`` float32, b = B or 1.
            rotary_emb: Cosines and sines of the N tokens.
            person_masks: ``3 S`` for two people. None for one person: no reference map is computed.
            shard: Shard of the tokens in `hidden_states` with sequence parallelism, or None for all N.

        Returns:
            ``B N D``.
        """
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = (
            self.scale_shift_table.float() + modulation
        ).chunk(6, dim=1)
        dtype = text_hidden_states.dtype  # compute dtype; the residual stream may be wider
        normed = modulated_norm(hidden_states, scale, shift, self.eps, dtype)
        attended, reference_map = self.attn1(
            normed, rotary_emb=rotary_emb, person_masks=person_masks, shard=shard
        )
        hidden_states = gated_residual(hidden_states, attended, gate)
        del attended

        normed = self.norm2(hidden_states).to(dtype)
        hidden_states = hidden_states + self.attn2(
            normed, text_hidden_states, image_hidden_states=image_hidden_states
        )

        normed = self.norm_audio(hidden_states).to(dtype)
        labels = None if reference_map is None else video_labels(reference_map)
        if labels is not None and shard is not None:
            labels = shard.take(labels)
        hidden_states = hidden_states + self.audio_attn(normed, audio_hidden_states, labels, shard)

        normed = modulated_norm(hidden_states, ffn_scale, ffn_shift, self.eps, dtype)
        return gated_residual(hidden_states, feed_forward(self.ffn, normed), ffn_gate)
