"""What a vocabulary in int8 costs in exactness: ``python -m benchmarks.vocabulary [--weights DIR ...]``.

Errors of the encoded texts are relative (L2) to float32, and all else is in float32. The vocabulary has one
scale per row, or one for every 32 values. With `--weights`, the text encoder is that of an
unquantized baked folder. Otherwise it has random weights and the published depth.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from multitalk.models.quantized import Int8Linear, quantize_linears
from multitalk.models.text_encoder import UMT5Encoder
from multitalk.runtime.sizes import PUBLISHED
from multitalk.weights.store import WeightsFolder, load_part

from .precision import percent, relative_error, table

VOCABULARY, TEXTS, TOKENS, BLOCK = 2000, 2, 60, 32
# Random encoders: degrees of freedom of Student's t for the vocabulary and the matrices (None: normal), and
# the number of channels in which all rows of the vocabulary are 20 times as large.
RANDOM = {
    "normal": (None, None, 0),
    "vocabulary with heavy tails": (4, None, 0),
    "everything with heavy tails": (4, 4, 0),
    "vocabulary with 4 large channels": (None, None, 4),
    "heavy tails and 4 large channels": (4, 4, 4),
}


def random_values(shape: torch.Size, freedom: int | None) -> torch.Tensor:
    """Draw values with a variance of 1."""
    values = torch.randn(shape)
    if freedom is None:
        return values
    squares = torch.zeros(shape)
    for _ in range(freedom):
        squares += torch.randn(shape).square_()
    values /= squares.div_(freedom).sqrt_()
    return values / values.std()


def random_encoder(width: int, vocabulary: int | None, matrices: int | None, large: int) -> UMT5Encoder:
    """Create an encoder with the variances of T5's initialization, rounded to bf16 like published weights."""
    config = {
        "vocab_size": VOCABULARY, "d_model": width, "d_kv": 64, "d_ff": width * 5 // 2,
        "num_heads": width // 64, "num_layers": PUBLISHED.text_layers, "layer_norm_epsilon": 1e-6,
        "relative_attention_num_buckets": 32, "relative_attention_max_distance": 128,
    }  # fmt: skip
    encoder = UMT5Encoder(config)
    for name, parameter in encoder.named_parameters():
        if parameter.ndim == 1:
            continue  # norms are ones
        values = random_values(parameter.shape, vocabulary if name == "shared.weight" else matrices)
        if name == "shared.weight":
            values[:, torch.randperm(width)[:large]] *= 20
        elif "relative_attention_bias" not in name:
            values *= (64 * width if ".q." in name else parameter.shape[1]) ** -0.5
        parameter.copy_(values.bfloat16())
    return encoder


def rounded(vocabulary: torch.Tensor, block: int) -> torch.Tensor:
    """Round to int8 with one scale per block of values in a row, and back."""
    values, scale = Int8Linear.quantize(vocabulary.reshape(-1, block))
    return (values * scale).view_as(vocabulary)


def errors(encoder: UMT5Encoder) -> list[float]:
    """Errors with the layers in int8, then with each form of the vocabulary: alone, and with the layers."""
    vocabulary = encoder.shared.weight.data
    texts = list(torch.randint(len(vocabulary), (TEXTS, 1, TOKENS)))
    forms = [rounded(vocabulary, block) for block in (vocabulary.shape[1], BLOCK)]
    exact = torch.cat(encoder.encode_all(texts))

    def error(form: torch.Tensor) -> float:
        encoder.shared.weight.data = form
        return relative_error(torch.cat(encoder.encode_all(texts)), exact)

    alone = [error(form) for form in forms]
    quantize_linears(encoder, "int8")
    layers, *both = [error(form) for form in (vocabulary, *forms)]
    return [layers, *(value for pair in zip(alone, both, strict=True) for value in pair)]


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns the exit status."""
    parser = argparse.ArgumentParser(prog="vocabulary", description=__doc__)
    parser.add_argument("--weights", type=Path, nargs="*", default=[], help="unquantized baked folders")
    parser.add_argument("--width", type=int, default=512, help="of the random encoders (512)")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    with torch.inference_mode():
        encoders = {
            folder.name: lambda folder=folder: load_part(
                WeightsFolder(folder), "text_encoder", "cpu", torch.float32
            )
            for folder in options.weights
        }
        if not encoders:
            encoders = {
                name: lambda case=case: random_encoder(options.width, *case) for name, case in RANDOM.items()
            }
        rows = ([name, *map(percent, errors(make()))] for name, make in encoders.items())
        forms = ("a scale per row", f"a scale per {BLOCK} values")
        pairs = (text for form in forms for text in (f"vocabulary in int8, {form}", "both"))
        table("The encoded texts", ["text encoder", "layers in int8", *pairs], rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
