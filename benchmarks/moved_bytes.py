"""Bytes that a transformer block moves in one model call, counted on tensors without data; no GPU is needed.

Every operation counts as its operands and results: a Triton kernel as one operation, an attention as one that
writes no scores. Compared are the PyTorch forms with the kernels of multitalk.models.kernels.

    python -m benchmarks.moved_bytes
    python -m benchmarks.moved_bytes --size 720 1280 --people 1 --operations
"""

from __future__ import annotations

import argparse
from collections import Counter as Tally
from typing import Any

import torch

from multitalk.bench.floor import Counter
from multitalk.bench.networks import SCALES
from multitalk.models.attention import CrossAttentionProcessor, SelfAttentionProcessor
from multitalk.models.kernels.dispatch import forced
from multitalk.models.linear import LoraLinear, LowRankLayer, replace_linears
from multitalk.models.quantized import QuantizedLinear, quantize_linears
from multitalk.models.transformer import MultiTalkTransformer
from multitalk.models.transformer_block import MultiTalkTransformerBlock
from multitalk.weights.libraries import kept_in_float32

SCALE = SCALES["real"]
DIM = SCALE.heads * SCALE.head_dim
TEXT, IMAGE, AUDIO_TOKENS, AUDIO_DIM, RANK = 512, 257, 32, 768, 32
# what a row is: its name, precision, LoRA, 8-bit product, kernels
ROWS = (
    ("bf16, PyTorch", None, False, None, False),
    ("bf16, kernels", None, False, None, True),
    ("bf16 with a LoRA, PyTorch", None, True, None, False),
    ("bf16 with a LoRA, kernels", None, True, None, True),
    ("int8 with a LoRA, PyTorch", "int8", True, "int8", False),
    ("int8 with a LoRA, kernels, torch's product", "int8", True, "int8", True),
    ("int8 with a LoRA, kernels", "int8", True, "int8-fused", True),
    ("fp8 with a LoRA, PyTorch, Ada", "fp8", True, "fp8", False),
    ("fp8 with a LoRA, kernels, torch's product, Ada", "fp8", True, "fp8", True),
    ("fp8 with a LoRA, PyTorch, Hopper", "fp8", True, "fp8-rowwise", False),
    ("fp8 with a LoRA, kernels, torch's product, Hopper", "fp8", True, "fp8-rowwise", True),
    ("fp8 with a LoRA, kernels", "fp8", True, "fp8-fused", True),
)


class Recorder(Counter):
    """Counts the bytes of every operation by name."""

    def __init__(self) -> None:
        super().__init__()
        self.by_name: Tally[str] = Tally()
        self.calls: Tally[str] = Tally()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = self.work.bytes
        result = super().__torch_dispatch__(func, types, args, kwargs)
        name = func.overloadpacket.__name__
        if self.work.bytes > before:
            self.by_name[name] += self.work.bytes - before
            self.calls[name] += 1
        if name == "scaled_dot_product_attention":
            # B H N D: kernels on a GPU write it as B N H D, so that the output projection needs no copy
            return result.transpose(1, 2).contiguous().transpose(1, 2)
        return result


def make_block(
    precision: str | None, lora: bool, matmul: str | None, dtype: torch.dtype = torch.bfloat16
) -> MultiTalkTransformerBlock:
    """Create a block of the published widths on the meta device; a LoRA has the layers of preset lightx2v."""
    with torch.device("meta"):
        attention = (SelfAttentionProcessor(), CrossAttentionProcessor())
        block = MultiTalkTransformerBlock(DIM, SCALE.ffn_dim, SCALE.heads, 1e-6, AUDIO_DIM, *attention)
    if precision is not None:
        quantize_linears(block, precision)
    replace_linears(block, LoraLinear.from_linear)
    for name, parameter in block.named_parameters():
        if parameter.itemsize > 1 and not kept_in_float32(MultiTalkTransformer, name, dtype):
            parameter.data = parameter.data.to(dtype)
    for name, layer in block.named_modules():
        if isinstance(layer, QuantizedLinear):
            layer.matmul = matmul
        if lora and isinstance(layer, LowRankLayer) and not name.startswith(("audio_attn", "attn2.add")):
            down, up = (
                torch.empty(shape, device="meta", dtype=dtype)
                for shape in ((RANK, layer.in_features), (layer.out_features, RANK))
            )
            layer.set_low_rank(down, up)
    return block


def count(
    height: int, width: int, frames: int, people: int, row: tuple[str, str | None, bool, str | None, bool]
) -> Recorder:
    """Count one call of a block.

    Args:
        height, width, frames: Of the video.
        people: 1 or 2.
        row: One of `ROWS`.
    """
    _, precision, lora, matmul, kernels = row
    latent_frames = 1 + (frames - 1) // 4
    tokens_per_frame = (height // 16) * (width // 16)
    tokens = latent_frames * tokens_per_frame

    def empty(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
        return torch.empty(shape, device="meta", dtype=dtype)

    with torch.inference_mode():
        block = make_block(precision, lora, matmul)
        table = tuple(empty(1, tokens, 1, SCALE.head_dim // 2, dtype=torch.float32) for _ in range(2))
        arguments = (
            empty(1, tokens, DIM),
            empty(1, TEXT, DIM),
            empty(1, IMAGE, DIM),
            empty(1, latent_frames, people * AUDIO_TOKENS, AUDIO_DIM),
            empty(1, 6, DIM, dtype=torch.float32),
            table,
            empty(3, tokens_per_frame, dtype=torch.float32) if people == 2 else None,
        )
        with forced(kernels), Recorder() as recorder:
            block(*arguments)
    return recorder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(480, 832), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--frames", type=int, default=81)
    parser.add_argument("--people", type=int, choices=(1, 2), default=2)
    parser.add_argument("--operations", action="store_true", help="also list the operations of each row")
    options = parser.parse_args()
    for row in ROWS:
        recorder = count(*options.size, options.frames, options.people, row)
        print(f"{row[0]:50} {recorder.work.bytes / 1e9:7.1f} GB {sum(recorder.calls.values()):5} operations")
        if options.operations:
            for name, moved in recorder.by_name.most_common():
                print(f"    {name:40} {moved / 1e9:7.2f} GB {recorder.calls[name]:5}")


if __name__ == "__main__":
    main()
