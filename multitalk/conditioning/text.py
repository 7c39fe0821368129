"""The prompt: cleaned, tokenised, encoded by UMT5."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

import ftfy
import torch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, UMT5EncoderModel


def clean_prompt(prompt: str) -> str:
    """Mend mojibake, unescape HTML twice and collapse white space, as the model's training data was."""
    prompt = html.unescape(html.unescape(ftfy.fix_text(prompt))).strip()
    return re.sub(r"\s+", " ", prompt).strip()


def encode_prompt(
    text_encoder: UMT5EncoderModel, tokenizer: PreTrainedTokenizerBase, prompt: str, max_tokens: int
) -> torch.Tensor:
    """Encode a prompt.

    Only the real tokens are run: padding is masked out of the attention, so it changes nothing but the time.

    Args:
        text_encoder: UMT5's encoder.
        tokenizer: Its tokenizer.
        prompt: Any text; what exceeds `max_tokens` is cut.
        max_tokens: The context length of the transformer (512).

    Returns:
        ``1 n text_dim`` in the encoder's dtype, n being the number of tokens.
    """
    encoded = tokenizer(clean_prompt(prompt), truncation=True, max_length=max_tokens, return_tensors="pt")
    input_ids = encoded.input_ids.to(text_encoder.device)
    return text_encoder(input_ids=input_ids, attention_mask=torch.ones_like(input_ids)).last_hidden_state
