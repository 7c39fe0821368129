"""The command ``python -m multitalk bench``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from ..errors import InvalidInput

NAMES = (
    *("scale", "layers", "frames", "people", "clips", "preset", "steps", "text_guidance", "audio_guidance"),
    *("teacache", "cache", "precision", "text_precision", "lora_rank", "device", "attention", "compile"),
    *("batch_branches", "memory_gb", "compile_mode"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The bench's options; what is left out is the plan's choice, or the preset's."""
    from ..request.parts import CACHES
    from ..request.presets import PRESETS

    add = parser.add_argument
    add("--scale", choices=("tiny", "small", "real"), help="widths of the networks (real; on a CPU small)")
    add("--layers", type=int, metavar="N", help="at most so many layers in every network")
    add("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="480 832; on a CPU 128 224")
    add("--frames", type=int, default=81, help="of a clip, 4n+1 (81)")
    add("--people", type=int, choices=(1, 2), default=1)
    add("--clips", type=int, default=1)
    add("--preset", choices=tuple(PRESETS), default="lightx2v")
    add("--steps", type=int)
    add("--text-guidance", type=float, metavar="SCALE")
    add("--audio-guidance", type=float, metavar="SCALE")
    add("--teacache", type=float, metavar="THRESHOLD")
    add("--cache", choices=tuple(CACHES))
    add(
        "--precision", choices=("float32", "bf16", "fp16", "int8", "fp8"), help="of the transformer's weights"
    )
    add("--text-precision", choices=("float32", "bf16", "int8"), help="of the text encoder's")
    add("--lora-rank", type=int, default=32, help="of the LoRA beside the weights, where the preset has one")
    add("--device", metavar="NAME", help="cpu, cuda or cuda:N")
    add("--attention", metavar="BACKEND", help="of self-attention")
    add("--compile", action=argparse.BooleanOptionalAction, help="compile the transformer's blocks")
    add("--compile-mode", metavar="MODE")
    add("--compile-cache", metavar="DIR", help="keep compiled kernels here, for later processes")
    add("--batch-branches", action=argparse.BooleanOptionalAction, help="guidance branches in one call")
    add("--memory-gb", type=float, metavar="GB", help="plan for so much memory, and use no more")
    add("--output", metavar="RESULT.json", help="write the result there")
    add("--compare", nargs=2, metavar=("FIRST.json", "SECOND.json"), help="two results, and measure nothing")


def run(args: argparse.Namespace) -> int:
    """Measures, or compares; returns the exit status."""
    from .report import compare, read, table

    if args.compare:
        print(compare(*(read(path) for path in args.compare)))
        return 0
    if args.output and not Path(args.output).absolute().parent.is_dir():
        raise InvalidInput(f"the folder of {args.output!r} doesn't exist.", "output")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")  # its hints are for developers
    from .measure import measure

    result = measure(_options(args), lambda text: print(text, file=sys.stderr, flush=True))
    print(table(result))
    if args.output:
        Path(args.output).write_text(json.dumps(result, indent=1, default=str) + "\n", encoding="utf-8")
    return 0


def _options(args: argparse.Namespace) -> Any:
    import torch

    from ..runtime.compiled import use_compile_cache
    from .clip import BenchOptions

    cuda = torch.cuda.is_available() and args.device != "cpu"
    fields = {name: getattr(args, name) for name in NAMES if getattr(args, name) is not None}
    fields.setdefault("scale", "real" if cuda else "small")
    fields["height"], fields["width"] = args.size or ((480, 832) if cuda else (128, 224))
    if args.compile_cache:
        folder = Path(args.compile_cache)
        folder.mkdir(parents=True, exist_ok=True)
        use_compile_cache(folder)
    if args.memory_gb is not None and cuda:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, args.memory_gb * 1e9 / total))
    return BenchOptions(**fields)
