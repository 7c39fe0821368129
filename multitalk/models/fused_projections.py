"""Query, key and value of self-attention by one matrix product instead of three."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .joined import join_children

if TYPE_CHECKING:
    from .transformer import MultiTalkTransformer

NAMES = ("to_q", "to_k", "to_v")


def fuse_qkv(transformer: MultiTalkTransformer) -> None:
    """Join the three projections of every self-attention, in place; LoRAs still find them.

    diffusers' ``fuse_qkv_projections`` does so for plain weights, and keeps them twice.

    Args:
        transformer: Attentions whose three layers aren't of one kind stay as they are.
    """
    for block in transformer.blocks:
        attention: Any = block.attn1
        if attention.fused_projections or len({type(getattr(attention, name)) for name in NAMES}) > 1:
            continue
        join_children(attention, NAMES, "to_qkv")
        attention.fused_projections = True
