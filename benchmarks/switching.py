"""Options and the transformer of the benchmarks that switch LoRAs and audio layers."""

from __future__ import annotations

import argparse

import torch

from multitalk.models.transformer import MultiTalkTransformer


def switching_parser(name: str, description: str | None, switches: int) -> argparse.ArgumentParser:
    """Create the parser of a benchmark with the options `--device`, `--precision` and `--switches`."""
    parser = argparse.ArgumentParser(prog=name, description=description)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("bf16", "int8", "fp8"), default="int8")
    parser.add_argument("--switches", type=int, default=switches)
    return parser


def published_transformer(precision: str) -> MultiTalkTransformer:
    """Create the transformer of the published widths on the meta device."""
    with torch.device("meta"):
        quantization = None if precision == "bf16" else precision
        return MultiTalkTransformer(quantization=quantization).to(torch.bfloat16)
