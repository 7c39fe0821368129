"""Prompts: cleaning, tokenization and encoding by UMT5."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import ftfy
import torch

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from ..models.text_encoder import UMT5Encoder


def clean_prompt(prompt: str) -> str:
    """Fix mojibake, unescape HTML twice and collapse whitespace, like the model's training data."""
    prompt = html.unescape(html.unescape(ftfy.fix_text(prompt))).strip()
    return re.sub(r"\s+", " ", prompt).strip()


def encode_prompts(
    text_encoder: UMT5Encoder, tokenizer: Tokenizer, prompts: Sequence[str], max_tokens: int
) -> list[torch.Tensor]:
    """Encode prompts (docs/MODEL.md, section 4).

    Prompts are not padded: padding is masked out of the attention and would only cost time.

    Args:
        text_encoder: UMT5's encoder.
        tokenizer: UMT5's tokenizer.
        prompts: Any texts; truncated to `max_tokens`.
        max_tokens: Context length of the transformer (512).

    Returns:
        For each prompt ``1 n text_dim`` in the encoder's dtype, n being its number of tokens.
    """
    tokenizer.enable_truncation(max_tokens)
    encoded = [tokenizer.encode(clean_prompt(prompt)).ids for prompt in prompts]
    return text_encoder.encode_all([torch.tensor([ids], device=text_encoder.device) for ids in encoded])
