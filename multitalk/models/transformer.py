"""MultiTalk's diffusion transformer: Wan2.1 image-to-video with an audio cross-attention in every block."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from typing import Protocol

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import nn

from ..errors import InvalidInput
from ..patches.diffusers import keep_in_float32, replace_config
from .attention import CrossAttentionProcessor, SelfAttentionProcessor
from .audio_projection import AudioProjection
from .half import residual_dtype
from .linear import LoraLinear, replace_linears
from .norms import Modulation, normalize
from .quantized import quantize_linears
from .rotary import VideoRotaryEmbedding
from .sequence import TokenShard
from .transformer_block import MultiTalkTransformerBlock


def timestep_features(timestep: torch.Tensor, dim: int) -> torch.Tensor:
    """Compute the sinusoidal embedding of timesteps, ``B dim``, float32.

    Angles are float64, as upstream; float32 angles, as in diffusers, have an error of 1e-4 at timestep 1000.
    """
    half = dim // 2
    exponents = torch.arange(half, dtype=torch.float64, device=timestep.device) / half
    angles = torch.outer(timestep.double(), 10000.0**-exponents)
    return torch.cat((angles.cos(), angles.sin()), dim=1).float()


class BlockRunner(Protocol):
    """Loads the weights of blocks onto the device just before they run."""

    def run(self) -> Generator[nn.Module, None, None]:
        """Yield the blocks in order; each can compute until the next one is requested."""
        ...


# The norms, the timestep embedding, which is computed once per step and shifts every token, and the scales of
# quantized weights
@keep_in_float32(
    *("time_embedder", "time_proj", "scale_shift_table"),
    *("norm", "norm1", "norm2", "norm3", "norm_audio", "scale"),
)
class MultiTalkTransformer(WanTransformer3DModel):
    """MultiTalk's diffusion transformer with 18.9 B parameters (docs/MODEL.md, section 3).

    Text, image and audio are projected once, by :meth:`project_text`, :meth:`project_image` and
    :meth:`project_audio`; :meth:`forward` takes the projections.

    Args:
        patch_size, num_attention_heads, ..., rope_max_seq_len: As in diffusers' ``WanTransformer3DModel``.
        text_len: Number of text tokens; shorter contexts are padded with zeros.
        audio_window: Neighboring audio features per video frame.
        audio_layers: Hidden layers of the audio encoder per feature.
        audio_channels: Width of these layers.
        audio_hidden_dim: Width of the audio projection's hidden layers.
        audio_tokens: Audio tokens per latent frame and person.
        audio_dim: Width of an audio token.
        quantization: "int8" or "fp8" for the linear layers of the blocks, or None. Other layers are never
            quantized: they are 2 % of the weights and act on every token.
    """

    _no_split_modules = ["MultiTalkTransformerBlock"]
    _repeated_blocks = ["MultiTalkTransformerBlock"]
    # diffusers' context parallelism is written for its own forward; see share_tokens
    _cp_plan = None
    _token_group: torch.distributed.ProcessGroup | None = None
    # set when blocks are loaded just before they run (runtime/placement.py, parallel/weights.py)
    block_streamer: BlockRunner | None = None

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
        config = dict(self.config)
        # the parent class builds everything but the blocks and the rotary table
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
        replace_config(self, config)  # the parent class has registered its own arguments
        self.rope = VideoRotaryEmbedding(attention_head_dim, patch_size, rope_max_seq_len)
        attention = (SelfAttentionProcessor(), CrossAttentionProcessor())
        self.blocks = nn.ModuleList(
            MultiTalkTransformerBlock(dim, ffn_dim, num_attention_heads, eps, audio_dim, *attention)
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

    def project_text(self, context: torch.Tensor) -> torch.Tensor:
        """Pad a text context ``B n text_dim`` with zeros to text_len and project it to ``B text_len D``."""
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
            The embedding ``B D`` for the output layer and the modulation ``B 6 D`` for the blocks, both
            float32.
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
        audio_scales: torch.Tensor | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Predict the velocity.

        Args:
            hidden_states: Noisy latents and condition, ``B 36 T h w``.
            timestep: ``B``, or ``1`` for the whole batch (faster), in 0..1000.
            text_hidden_states: ``B text_len D``, from :meth:`project_text`.
            image_hidden_states: ``B 257 D``, from :meth:`project_image`.
            audio_hidden_states: ``B T A C``, from :meth:`project_audio`.
            person_masks: ``P+1 S`` at token resolution for P people; None for one person and for null audio.
            block_residual: ``B N D``; added instead of running the blocks (TeaCache).
            return_block_residual: Also return the difference that the blocks made. With sequence parallelism
                (:meth:`share_tokens`) it contains this process's tokens only.
            audio_scales: Factors of the audio attention's output, float32: ``P+1`` for P people and the
                background, ``1`` for one person; None for none.

        Returns:
            The prediction ``B 16 T h w`` in the dtype of the model; with `return_block_residual`, a tuple of
            the prediction and the residual ``B N D``.
        """
        shape = hidden_states.shape
        rotary_emb = self.rope(hidden_states)
        embedding, modulation = self.time_embedding(timestep)
        tokens = self.patch_embedding(hidden_states.to(self.compute_dtype))
        tokens = tokens.flatten(2).transpose(1, 2).contiguous()  # B N D
        shard = self._shard(shape)
        if shard is not None:
            tokens, rotary_emb = shard.take(tokens), shard.take_table(rotary_emb)
        tokens = tokens.to(residual_dtype(self.compute_dtype))
        start = tokens if return_block_residual else None
        output = tokens
        del tokens  # frees its memory while the blocks run
        if block_residual is not None:
            output = output + block_residual
        else:
            conditions = (
                text_hidden_states,
                image_hidden_states,
                audio_hidden_states,
                modulation,
                rotary_emb,
                person_masks,
                shard,
                audio_scales,
            )
            checkpointing = torch.is_grad_enabled() and self.gradient_checkpointing
            with self._loaded_blocks() as blocks:
                for block in blocks:
                    run = partial(self._gradient_checkpointing_func, block) if checkpointing else block
                    output = run(output, *conditions)
        sample = self._project_out(output, embedding, shape, shard)
        return sample if start is None else (sample, output - start)

    def _loaded_blocks(self) -> AbstractContextManager[Iterable[nn.Module]]:
        """Iterate over the blocks, each on the device; on exit a streamer is closed, also after an error."""
        return nullcontext(self.blocks) if self.block_streamer is None else closing(self.block_streamer.run())

    def share_tokens(self, group: torch.distributed.ProcessGroup | None) -> None:
        """Split the tokens of every video across a group of processes (Ulysses sequence parallelism).

        All processes must make the same calls.

        Args:
            group: The processes; None stops sharing.

        Raises:
            InvalidInput: The number of attention heads is not divisible by the number of processes.
        """
        heads = self.config.num_attention_heads
        if group is not None and heads % group.size():
            raise InvalidInput(
                f"{heads} attention heads cannot be split evenly across {group.size()} processes."
            )
        self._token_group = group

    def _shard(self, shape: torch.Size) -> TokenShard | None:
        """Return this process's shard of the tokens of latents with a shape; None without sharing."""
        if self._token_group is None:
            return None
        tokens_per_frame = shape[3] * shape[4] // self.patch_area
        return TokenShard.of(self._token_group, shape[2] * tokens_per_frame, tokens_per_frame)

    def _project_out(
        self,
        hidden_states: torch.Tensor,
        embedding: torch.Tensor,
        shape: torch.Size,
        shard: TokenShard | None,
    ) -> torch.Tensor:
        """Normalize, project and unpatchify tokens ``B N D`` to ``B 16 T h w``."""
        shift, scale = (self.scale_shift_table.float() + embedding.unsqueeze(1)).chunk(2, dim=1)
        normed = normalize(hidden_states, Modulation(scale, shift, self.config.eps), self.compute_dtype)
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
        """Dtype that the blocks compute in; norms and the timestep embedding may be in float32."""
        return self.patch_embedding.weight.dtype

    @property
    def patch_area(self) -> int:
        """Number of latent pixels per token within a frame."""
        return math.prod(self.config.patch_size[1:])
