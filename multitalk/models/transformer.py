"""MultiTalk's diffusion transformer: Wan2.1 image-to-video with an audio cross-attention in every block."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable
from contextlib import AbstractContextManager, closing, nullcontext
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import FrozenDict, register_to_config
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import nn

from ..errors import InvalidInput
from .audio_projection import AudioProjection
from .half import residual_dtype
from .linear import LoraLinear, replace_linears
from .quantized import quantize_linears
from .rotary import VideoRotaryEmbedding
from .sequence import TokenShard
from .transformer_block import MultiTalkTransformerBlock, modulated_norm


def timestep_features(timestep: torch.Tensor, dim: int) -> torch.Tensor:
    """Cosines and sines of a timestep, ``B dim``, float32.

    The angles are float64, as upstream's: float32 ones (diffusers') are off by 1e-4 at timestep 1000.
    """
    half = dim // 2
    exponents = torch.arange(half, dtype=torch.float64, device=timestep.device) / half
    angles = torch.outer(timestep.double(), 10000.0**-exponents)
    return torch.cat((angles.cos(), angles.sin()), dim=1).float()


class BlockRunner(Protocol):
    """Runs through blocks whose weights aren't on the device all the time."""

    def run(self) -> Generator[nn.Module, None, None]:
        """The blocks in their order, each ready to compute until the next is asked for."""
        ...


class MultiTalkTransformer(WanTransformer3DModel):
    """The 18.9 B-parameter transformer of MultiTalk (docs/MODEL.md, section 3).

    What depends on the prompt, the picture or the sound alone is projected once by :meth:`project_text`,
    :meth:`project_image` and :meth:`project_audio`; :meth:`forward` takes the projections.

    Args:
        patch_size, num_attention_heads, ..., rope_max_seq_len: As in diffusers' ``WanTransformer3DModel``.
        text_len: Text tokens a context is padded to with zeros.
        audio_window: Neighbouring audio features per video frame.
        audio_layers: Hidden layers of the audio encoder per feature.
        audio_channels: Their width.
        audio_hidden_dim: Width of the audio projection's hidden layers.
        audio_tokens: Audio tokens per latent frame and person.
        audio_dim: Width of an audio token.
        quantization: "int8" or "fp8" for the linear layers of the blocks, None for none. What is outside the
            blocks is 2 % of the weights and acts on every token, so it stays as it is.
    """

    # diffusers' plan is for its own forward: share_tokens does what it does, for two people and any sizes too
    _cp_plan = None
    # the processes that share the tokens
    _token_group: torch.distributed.ProcessGroup | None = None
    _no_split_modules = ["MultiTalkTransformerBlock"]
    _repeated_blocks = ["MultiTalkTransformerBlock"]
    # modules that stay in float32 in a half-precision model: the norms, and the path of the timestep, which
    # is computed once a step and shifts every token; the factors of quantized weights
    _keep_in_fp32_modules = [
        "time_embedder", "time_proj", "scale_shift_table", "norm", "norm1", "norm2", "norm3", "norm_audio",
        "scale",
    ]  # fmt: skip

    @register_to_config
    def __init__(
        self,
        patch_size: tuple[int, ...] = (1, 2, 2),
        num_attention_heads: int = 40,
        attention_head_dim: int = 128,
        in_channels: int = 36,
        out_channels: int = 16,
        text_dim: int = 4096,
        text_len: int = 512,
        freq_dim: int = 256,
        ffn_dim: int = 13824,
        num_layers: int = 40,
        eps: float = 1e-6,
        image_dim: int = 1280,
        rope_max_seq_len: int = 1024,
        audio_window: int = 5,
        audio_layers: int = 12,
        audio_channels: int = 768,
        audio_hidden_dim: int = 512,
        audio_tokens: int = 32,
        audio_dim: int = 768,
        quantization: str | None = None,
    ) -> None:
        dim = num_attention_heads * attention_head_dim
        own_config = FrozenDict(self.config)
        # the parent builds everything but the blocks and the rotary table, which are ours
        super().__init__(
            patch_size=patch_size,
            num_attention_heads=num_attention_heads,
            attention_head_dim=attention_head_dim,
            in_channels=in_channels,
            out_channels=out_channels,
            text_dim=text_dim,
            freq_dim=freq_dim,
            ffn_dim=ffn_dim,
            num_layers=0,
            eps=eps,
            image_dim=image_dim,
            added_kv_proj_dim=dim,
            rope_max_seq_len=1,
        )
        self._internal_dict = own_config  # the parent has registered its own arguments over ours
        self.rope = VideoRotaryEmbedding(attention_head_dim, patch_size, rope_max_seq_len)
        self.blocks = nn.ModuleList(
            MultiTalkTransformerBlock(dim, ffn_dim, num_attention_heads, eps, audio_dim)
            for _ in range(num_layers)
        )
        self.audio_projection = AudioProjection(
            audio_window, audio_layers, audio_channels, audio_hidden_dim, audio_tokens, audio_dim
        )
        for norm in (
            self.condition_embedder.image_embedder.norm1,
            self.condition_embedder.image_embedder.norm2,
        ):
            norm.eps = 1e-5
        if quantization is not None:
            quantize_linears(self.blocks, quantization)
        replace_linears(self, LoraLinear.from_linear)

    # set where blocks' weights are copied just before they run (runtime/placement.py, parallel/weights.py)
    block_streamer: BlockRunner | None = None

    def project_text(self, context: torch.Tensor) -> torch.Tensor:
        """Pad a text context ``B n text_dim`` with zeros to text_len and project it: ``B text_len D``."""
        padded = F.pad(context.to(self.compute_dtype), (0, 0, 0, self.config.text_len - context.shape[1]))
        return self.condition_embedder.text_embedder(padded)

    def project_image(self, features: torch.Tensor) -> torch.Tensor:
        """Project CLIP features ``B 257 image_dim`` to ``B 257 D``."""
        return self.condition_embedder.image_embedder(features.to(self.compute_dtype))

    def project_audio(self, audio: torch.Tensor) -> torch.Tensor:
        """Project audio windows ``P F W L C`` of one clip to tokens ``1 T (P*audio_tokens) audio_dim``."""
        return self.audio_projection(audio.to(self.compute_dtype)).unsqueeze(0)

    def time_embedding(self, timestep: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Embed timesteps.

        Args:
            timestep: ``B``, in 0..1000.

        Returns:
            The embedding ``B D`` for the output layer and the modulation ``B 6 D`` for the blocks, float32.
        """
        embedder = self.condition_embedder
        features = timestep_features(timestep, self.config.freq_dim)
        embedding = embedder.time_embedder(features.to(embedder.time_embedder.linear_1.weight.dtype))
        modulation = embedder.time_proj(F.silu(embedding).to(embedder.time_proj.weight.dtype))
        return embedding.float(), modulation.float().unflatten(1, (6, -1))

    def forward(
        self,
        hidden_states: torch.Tensor,
        timestep: torch.Tensor,
        text_hidden_states: torch.Tensor,
        image_hidden_states: torch.Tensor,
        audio_hidden_states: torch.Tensor,
        person_masks: torch.Tensor | None = None,
        block_residual: torch.Tensor | None = None,
        return_block_residual: bool = False,
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Predict the velocity.

        Args:
            hidden_states: Noisy latents and condition, ``B 36 T h w``.
            timestep: ``B``, or ``1`` for the whole batch (faster), in 0..1000.
            text_hidden_states: From :meth:`project_text`.
            image_hidden_states: From :meth:`project_image`.
            audio_hidden_states: From :meth:`project_audio`: ``B T A C``.
            person_masks: ``3 S`` at token resolution for two people; None for one, null audio included.
            block_residual: ``B N D``; where given, it is added instead of running the blocks (TeaCache).
            return_block_residual: Return what the blocks added as well: where several processes share the
                video (:meth:`share_tokens`), that of this one's tokens.

        Returns:
            The prediction ``B 16 T h w`` in the dtype of the model; with `return_block_residual` a pair.
        """
        shape = hidden_states.shape
        rotary_emb = self.rope(hidden_states)
        embedding, modulation = self.time_embedding(timestep)
        tokens = self.patch_embedding(hidden_states.to(self.compute_dtype))
        tokens = tokens.flatten(2).transpose(1, 2).contiguous()  # B N D
        shard = self._shard(shape)
        if shard is not None:
            tokens, rotary_emb = shard.own(tokens), shard.own_table(rotary_emb)
        tokens = tokens.to(residual_dtype(self.compute_dtype))
        start = tokens if return_block_residual else None
        output = tokens
        del tokens  # the blocks needn't keep it in memory
        if block_residual is not None:
            output = output + block_residual
        else:
            conditions = (
                text_hidden_states,
                image_hidden_states,
                audio_hidden_states,
                modulation,
                rotary_emb,
            )
            with self._ready_blocks() as blocks:
                for block in blocks:
                    output = self._run_block(block, output, conditions, person_masks, shard)
        sample = self._project_out(output, embedding, shape, shard)
        return sample if start is None else (sample, output - start)

    def _ready_blocks(self) -> AbstractContextManager[Iterable[nn.Module]]:
        """The blocks, each ready when it comes; a streamer is done with them at an error, too."""
        return nullcontext(self.blocks) if self.block_streamer is None else closing(self.block_streamer.run())

    def share_tokens(self, group: torch.distributed.ProcessGroup | None) -> None:
        """Let a group of processes share every video's tokens: all of them make the same calls.

        Args:
            group: The processes; None for this one alone.

        Raises:
            InvalidInput: The attention heads can't be shared out evenly.
        """
        heads = self.config.num_attention_heads
        if group is not None and heads % group.size():
            raise InvalidInput(f"{group.size()} processes can't share {heads} attention heads evenly.")
        self._token_group = group

    def _shard(self, shape: torch.Size) -> TokenShard | None:
        """This process's tokens of latents of this shape; None where it has them all."""
        if self._token_group is None:
            return None
        tokens_per_frame = shape[3] * shape[4] // self.patch_area
        return TokenShard.of(self._token_group, shape[2] * tokens_per_frame, tokens_per_frame)

    def _run_block(
        self,
        block: nn.Module,
        hidden_states: torch.Tensor,
        conditions: tuple[Any, ...],
        person_masks: torch.Tensor | None,
        shard: TokenShard | None,
    ) -> torch.Tensor:
        if torch.is_grad_enabled() and self.gradient_checkpointing:
            return self._gradient_checkpointing_func(block, hidden_states, *conditions, person_masks, shard)
        return block(hidden_states, *conditions, person_masks, shard)

    def _project_out(
        self,
        hidden_states: torch.Tensor,
        embedding: torch.Tensor,
        shape: torch.Size,
        shard: TokenShard | None,
    ) -> torch.Tensor:
        """Norm, project and unpatchify tokens ``B N D`` to ``B 16 T h w``."""
        shift, scale = (self.scale_shift_table.float() + embedding.unsqueeze(1)).chunk(2, dim=1)
        normed = modulated_norm(hidden_states, scale, shift, self.config.eps, self.compute_dtype)
        patches = self.proj_out(normed)
        if shard is not None:
            patches = shard.gather(patches)
        grid = [size // patch for size, patch in zip(shape[2:], self.config.patch_size, strict=True)]
        patches = patches.unflatten(2, (*self.config.patch_size, -1)).unflatten(1, grid)
        # B T h w (1 2 2) C -> B C T 1 h 2 w 2
        patches = patches.permute(0, 7, 1, 4, 2, 5, 3, 6)
        return patches.reshape(shape[0], -1, *shape[2:])

    @property
    def compute_dtype(self) -> torch.dtype:
        """The dtype the blocks compute in; the norms and the timestep's path may be kept in float32."""
        return self.patch_embedding.weight.dtype

    @property
    def patch_area(self) -> int:
        """Latent pixels a token covers in its frame."""
        return math.prod(self.config.patch_size[1:])
