"""Text and image encoder of the demo weights: tiny, with random weights that are never trained."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    PreTrainedTokenizerFast,
    UMT5Config,
    UMT5EncoderModel,
)

from multitalk.request.generation_request import DEFAULT_NEGATIVE_PROMPT, DEFAULT_PROMPT

from .speech import WORDS

TEXT_LENGTH = 32
TEXT_WIDTH = 32
IMAGE_WIDTH = 32
PROMPTS = (
    DEFAULT_PROMPT,
    DEFAULT_NEGATIVE_PROMPT,
    "",
    "Two people are talking.",
    "A drawn face speaks.",
    "A woman smiles and talks to the camera.",
    "A man explains something, calm and friendly.",
    "cartoon portrait, talking head, soft light",
)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Create a byte-level BPE tokenizer with a small vocabulary; it appends ``</s>`` like UMT5's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=["<pad>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*PROMPTS, " ".join(WORDS)], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=512,
    )


def make_text_encoder(vocabulary: int) -> UMT5EncoderModel:
    """Create one random layer of UMT5."""
    torch.manual_seed(101)
    config = UMT5Config(
        vocab_size=vocabulary,
        d_model=TEXT_WIDTH,
        d_kv=16,
        d_ff=64,
        num_layers=1,
        num_heads=2,
        feed_forward_proj="gated-gelu",
        layer_norm_epsilon=1e-6,
        architectures=["UMT5EncoderModel"],
    )
    return UMT5EncoderModel(config).eval().requires_grad_(False)


def make_image_encoder() -> CLIPVisionModel:
    """Create one random layer of CLIP's vision model, with 17 tokens instead of 257."""
    torch.manual_seed(102)
    config = CLIPVisionConfig(
        hidden_size=IMAGE_WIDTH,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=224,
        patch_size=56,
        hidden_act="gelu",
        layer_norm_eps=1e-5,
        architectures=["CLIPVisionModel"],
    )
    return CLIPVisionModel(config).eval().requires_grad_(False)
