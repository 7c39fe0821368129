"""A block of the transformer: Wan's block with audio cross-attention before the feed-forward."""

from __future__ import annotations

import torch
from diffusers.models.normalization import FP32LayerNorm
from diffusers.models.transformers.transformer_wan import WanTransformerBlock

from ..patches.diffusers import register_block
from .attention import CrossAttentionProcessor, SelfAttentionProcessor
from .audio_attention import AudioCrossAttention, video_labels
from .half import feed_forward
from .norms import Modulation, add_and_normalize, add_residual, normalize
from .rotary import RotaryTable
from .sequence import TokenShard


@register_block
class MultiTalkTransformerBlock(WanTransformerBlock):
    """A Wan block with audio cross-attention before the feed-forward (docs/MODEL.md, section 3).

    Args:
        dim: Width of the video tokens.
        ffn_dim: Width of the feed-forward's hidden layer.
        num_heads: Attention heads.
        eps: Epsilon of the norms.
        audio_dim: Width of the audio tokens.
        self_attention: Processor of the self-attention. All blocks of a transformer share one, and one
            `cross_attention`: torch 2.5 would compile a block again for each object.
        cross_attention: Processor of the attention to text and image.
    """

    def __init__(
        self,
        dim: int,
        ffn_dim: int,
        num_heads: int,
        eps: float,
        audio_dim: int,
        self_attention: SelfAttentionProcessor,
        cross_attention: CrossAttentionProcessor,
    ) -> None:
        super().__init__(dim, ffn_dim, num_heads, cross_attn_norm=True, eps=eps, added_kv_proj_dim=dim)
        self.eps = eps
        self.attn1.set_processor(self_attention)
        self.attn2.set_processor(cross_attention)
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
        audio_scales: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Run the block.

        Args:
            hidden_states: Residual stream of the video tokens ``B N D``; see :mod:`.half` for its dtype.
            text_hidden_states: Projected text ``B text_len D``.
            image_hidden_states: Projected image tokens ``B 257 D``.
            audio_hidden_states: Audio tokens ``B T A C``.
            modulation: Timestep modulation ``b 6 D`` float32, b = B or 1.
            rotary_emb: Cosines and sines of the N tokens.
            person_masks: ``P+1 S`` for P people. None for one person: no reference map is computed.
            shard: Shard of the tokens in `hidden_states` with sequence parallelism, or None for all N.
            audio_scales: Factors of the audio attention's output, float32: ``P+1`` for P people and the
                background, ``1`` for one person; None for none.

        Returns:
            ``B N D``.
        """
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = (
            self.scale_shift_table.float() + modulation
        ).chunk(6, dim=1)
        dtype = text_hidden_states.dtype  # compute dtype; the residual stream may be wider
        normed = normalize(hidden_states, Modulation(scale, shift, self.eps), dtype)
        update, reference_map = self.attn1(
            normed, rotary_emb=rotary_emb, person_masks=person_masks, shard=shard
        )
        hidden_states, norm = add_and_normalize(hidden_states, update, gate, self.norm2, dtype)
        del update  # here and below: frees its memory for the norm
        normed = norm()

        update = self.attn2(normed, text_hidden_states, image_hidden_states=image_hidden_states)
        hidden_states, norm = add_and_normalize(hidden_states, update, None, self.norm_audio, dtype)
        del update
        normed = norm()

        labels, people = None, 1
        if reference_map is not None:
            labels, people = video_labels(reference_map), reference_map.shape[1] - 1
            if audio_scales is not None:
                audio_scales = audio_scales[reference_map.argmax(dim=1)]  # B N
        if labels is not None and shard is not None:
            labels = shard.take(labels)
            audio_scales = None if audio_scales is None else shard.take(audio_scales)
        update = self.audio_attn(normed, audio_hidden_states, labels, people, shard)
        if audio_scales is not None:
            update.mul_(audio_scales[..., None])  # in place: a copy would raise peak memory
        before_ffn = Modulation(ffn_scale, ffn_shift, self.eps)
        hidden_states, norm = add_and_normalize(hidden_states, update, None, before_ffn, dtype)
        del update
        normed = norm()
        del norm  # holds the stream
        return add_residual(hidden_states, feed_forward(self.ffn, normed), ffn_gate)
