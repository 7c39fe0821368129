"""Convert published tensors to the names of the libraries' models, with tables.

A table converts one tensor at a time, also on the meta device: a model is converted shard by shard, and a
LoRA's change of a published tensor is mapped to the converted model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

Named = list[tuple[str, torch.Tensor]]
Convert = Callable[[str, torch.Tensor], Named]


@dataclass(frozen=True)
class RenameTable:
    """Maps a model's published names to a library's names.

    An entry names a module (its weight and bias) or a single tensor. Its target is one name, or several: then
    the tensor is cut along its first axis into as many equal parts.

    Attributes:
        names: Entries outside the repeated blocks.
        blocks: Published and new name of the list of blocks.
        block_names: Entries inside a block.
        reshape: New shapes by published name, where the library's shape differs.
        ignored: Prefixes of published names that the model does not need.
    """

    names: Mapping[str, str | tuple[str, ...]]
    blocks: tuple[str, str] = ("blocks", "blocks")
    block_names: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    reshape: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()

    def convert(self, key: str, tensor: torch.Tensor) -> Named:
        """Convert one tensor.

        Args:
            key: Its published name.
            tensor: Its values, or any tensor of the same shape (on the meta device, or a LoRA's difference).

        Returns:
            New names and tensors; empty if the model does not need the tensor.

        Raises:
            KeyError: The name is unknown.
        """
        if key.startswith(self.ignored):
            return []
        if key in self.reshape:
            tensor = tensor.reshape(self.reshape[key])
        published, new = self.blocks
        block = re.match(rf"{re.escape(published)}\.(\d+)\.(.+)", key)
        if block is None:
            targets = _look_up(self.names, key)
        else:
            targets = [f"{new}.{block[1]}.{name}" for name in _look_up(self.block_names, block[2])]
        return list(zip(targets, tensor.chunk(len(targets)), strict=True))


def _look_up(names: Mapping[str, str | tuple[str, ...]], key: str) -> list[str]:
    """Look up a tensor by its own name, or by its module's."""
    suffix = ""
    target = names.get(key)
    if target is None:
        module, dot, parameter = key.rpartition(".")
        target, suffix = names[module], dot + parameter
    return [name + suffix for name in ((target,) if isinstance(target, str) else target)]


_EMBEDDER = "condition_embedder"

# Wan2.1 I2V -> diffusers' WanTransformer3DModel; the audio layers -> MultiTalkTransformer.
TRANSFORMER = RenameTable(
    names={
        "patch_embedding": "patch_embedding",
        "text_embedding.0": f"{_EMBEDDER}.text_embedder.linear_1",
        "text_embedding.2": f"{_EMBEDDER}.text_embedder.linear_2",
        "time_embedding.0": f"{_EMBEDDER}.time_embedder.linear_1",
        "time_embedding.2": f"{_EMBEDDER}.time_embedder.linear_2",
        "time_projection.1": f"{_EMBEDDER}.time_proj",
        "img_emb.proj.0": f"{_EMBEDDER}.image_embedder.norm1",
        "img_emb.proj.1": f"{_EMBEDDER}.image_embedder.ff.net.0.proj",
        "img_emb.proj.3": f"{_EMBEDDER}.image_embedder.ff.net.2",
        "img_emb.proj.4": f"{_EMBEDDER}.image_embedder.norm2",
        "head.modulation": "scale_shift_table",
        "head.head": "proj_out",
        "audio_proj.proj1": "audio_projection.proj_first",
        "audio_proj.proj1_vf": "audio_projection.proj_later",
        "audio_proj.proj2": "audio_projection.proj_hidden",
        "audio_proj.proj3": "audio_projection.proj_out",
        "audio_proj.norm": "audio_projection.norm",
    },
    block_names={
        "modulation": "scale_shift_table",
        "self_attn.q": "attn1.to_q",
        "self_attn.k": "attn1.to_k",
        "self_attn.v": "attn1.to_v",
        "self_attn.o": "attn1.to_out.0",
        "self_attn.norm_q": "attn1.norm_q",
        "self_attn.norm_k": "attn1.norm_k",
        "norm3": "norm2",  # diffusers numbers the norms in the order they run
        "cross_attn.q": "attn2.to_q",
        "cross_attn.k": "attn2.to_k",
        "cross_attn.v": "attn2.to_v",
        "cross_attn.o": "attn2.to_out.0",
        "cross_attn.k_img": "attn2.add_k_proj",
        "cross_attn.v_img": "attn2.add_v_proj",
        "cross_attn.norm_q": "attn2.norm_q",
        "cross_attn.norm_k": "attn2.norm_k",
        "cross_attn.norm_k_img": "attn2.norm_added_k",
        "norm_x": "norm_audio",
        "audio_cross_attn.q_linear": "audio_attn.to_q",
        "audio_cross_attn.kv_linear": ("audio_attn.to_k", "audio_attn.to_v"),
        "audio_cross_attn.proj": "audio_attn.to_out",
        "ffn.0": "ffn.net.0.proj",
        "ffn.2": "ffn.net.2",
    },
)


def convert_transformer_tensor(key: str, tensor: torch.Tensor) -> Named:
    """Convert one tensor of the transformer; see :meth:`RenameTable.convert`."""
    return TRANSFORMER.convert(key, tensor)
