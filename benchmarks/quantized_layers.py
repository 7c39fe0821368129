"""Measure one layer: plain, dequantized and with 8-bit products (``python -m benchmarks.quantized_layers``).

``--device cuda --rows 32760`` measures the tokens of a 480p clip on a GPU.
"""

from __future__ import annotations

import argparse

import torch
from torch import nn

from multitalk.bench.floor import fastest
from multitalk.models.matmul_choice import choose_matmul
from multitalk.models.quantized import QUANTIZED_LINEARS

SHAPES = ((5120, 5120), (5120, 13824), (13824, 5120))  # in and out: attention, and the feed-forward's two


@torch.inference_mode()
def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns the exit status."""
    parser = argparse.ArgumentParser(prog="quantized_layers", description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rows", type=int, nargs="+", default=[256, 1024, 4096], help="tokens")
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "float32"), default="bfloat16")
    options = parser.parse_args(arguments)
    device, dtype = torch.device(options.device), getattr(torch, options.dtype)
    print("| tokens | layer | weights | plain | dequantized | 8 bits |\n|---|---|---|---|---|---|")
    for rows in options.rows:
        for shape in SHAPES:
            plain = nn.Linear(*shape, device=device)
            tokens = torch.randn(rows, shape[0], device=device, dtype=dtype)
            for precision, kind in QUANTIZED_LINEARS.items():
                layer = kind.from_linear(plain).to(dtype)
                layer.minimal_rows = 0
                times = [fastest(lambda: layer(tokens), device, 3)]  # noqa: B023  (run at once)
                layer.matmul = choose_matmul(precision, device, shape)
                times += [fastest(lambda: layer(tokens), device, 3)] if layer.matmul else []  # noqa: B023
                reference = nn.Linear(*shape, device=device, dtype=dtype)
                times.insert(0, fastest(lambda: reference(tokens), device, 3))  # noqa: B023
                texts = [f"{value:.4f} s" for value in times] + ["-"] * (3 - len(times))
                size = f"{shape[0]} to {shape[1]}"
                print(f"| {rows} | {size} | {precision} | {' | '.join(texts)} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
