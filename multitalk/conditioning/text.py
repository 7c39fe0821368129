"""Prompts: cleaning, tokenization and encoding by UMT5."""

from __future__ import annotations

import html
import re
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


def encode_prompt(
    text_encoder: UMT5Encoder, tokenizer: Tokenizer, prompt: str, max_tokens: int
) -> torch.Tensor:
    """Encode a prompt (docs/MODEL.md, section 4).

    The prompt is not padded: padding is masked out of the attention and would only cost time.

    Args:
        text_encoder: UMT5's encoder.
        tokenizer: UMT5's tokenizer.
        prompt: Any text; truncated to `max_tokens`.
        max_tokens: Context length of the transformer (512).

    Returns:
        ``1 n text_dim`` in the encoder's dtype, n being the number of tokens.
    """
    tokenizer.enable_truncation(max_tokens)
    tokens = torch.tensor([tokenizer.encode(clean_prompt(prompt)).ids], device=text_encoder.device)
    return text_encoder(tokens).last_hidden_state
