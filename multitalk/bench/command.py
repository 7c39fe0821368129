"""The command ``multitalk bench``: its options, the table it prints, and the comparison of two results."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..errors import InvalidInput
from ..runtime.environment import set_defaults

HEADER = ("stage", "seconds", "share", "TFLOP/s", "of matmul", "of copy", "peak GB")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options; by default the plan or the preset decides."""
    from ..request.parts import CACHES
    from ..request.presets import PRESETS

    add = parser.add_argument
    add("--scale", choices=("tiny", "small", "real"), help="network widths (default: real; on a CPU small)")
    add("--layers", type=int, metavar="N", help="limit every network to this many layers")
    add("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="default: 480 832; on a CPU 128 224")
    add("--frames", type=int, default=81, help="frames per clip, 4n+1 (default: 81)")
    add("--people", type=int, choices=(1, 2), default=1, help="number of speakers (default: 1)")
    add("--clips", type=int, default=1, help="number of clips (default: 1)")
    add("--preset", choices=tuple(PRESETS), default="lightx2v", help="default: lightx2v")
    add("--steps", type=int, help="sampling steps")
    add("--text-guidance", type=float, metavar="SCALE")
    add("--audio-guidance", type=float, metavar="SCALE")
    add("--teacache", type=float, metavar="THRESHOLD")
    add("--cache", choices=tuple(CACHES))
    add(
        "--precision",
        choices=("float32", "bf16", "fp16", "int8", "fp8"),
        help="precision of the transformer's weights",
    )
    add(
        "--text-precision",
        choices=("float32", "bf16", "int8"),
        help="precision of the text encoder's weights",
    )
    add("--lora-rank", type=int, default=32, help="rank of the preset's LoRA; 0: none (default: 32)")
    add(
        "--video",
        action=argparse.BooleanOptionalAction,
        help="encode a file (default); without, PyAV is not needed",
    )
    add("--device", metavar="NAME", help="cpu, cuda or cuda:N")
    add("--attention", metavar="BACKEND", help="attention backend of self-attention")
    add("--compile", action=argparse.BooleanOptionalAction, help="compile the transformer's blocks")
    add("--compile-mode", metavar="MODE")
    add("--compile-cache", metavar="DIR", help="store compiled kernels here for later processes")
    add("--batch-branches", action=argparse.BooleanOptionalAction, help="batch the guidance branches")
    add("--memory-gb", type=float, metavar="GB", help="limit GPU memory, and plan for that limit")
    add("--output", metavar="RESULT.json", help="write the result to this file")
    add(
        "--compare",
        nargs=2,
        metavar=("FIRST.json", "SECOND.json"),
        help="compare two results, without measuring",
    )


def run(args: argparse.Namespace) -> int:
    """Measure or compare; returns the exit status."""
    if args.compare:
        print(compare(*(read_result(path) for path in args.compare)))
        return 0
    if args.output and not Path(args.output).absolute().parent.is_dir():
        raise InvalidInput(f"--output: the folder of {args.output!r} does not exist.", "output")
    set_defaults(DIFFUSERS_VERBOSITY="error")
    from .measure import measure

    result = measure(_options(args), lambda text: print(text, file=sys.stderr, flush=True))
    print(table(result))
    if args.output:
        Path(args.output).write_text(json.dumps(result, indent=1, default=str) + "\n", encoding="utf-8")
    return 0


def _options(args: argparse.Namespace) -> Any:
    import torch

    from ..runtime.compiled import use_compile_cache
    from .job import BenchOptions

    cuda = torch.cuda.is_available() and args.device != "cpu"
    names = {option.name for option in fields(BenchOptions)}
    values = {name: value for name, value in vars(args).items() if name in names and value is not None}
    values.setdefault("scale", "real" if cuda else "small")
    values["height"], values["width"] = args.size or ((480, 832) if cuda else (128, 224))
    if args.compile_cache:
        folder = Path(args.compile_cache)
        folder.mkdir(parents=True, exist_ok=True)
        use_compile_cache(folder)
    if args.memory_gb is not None and cuda:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, args.memory_gb * 1e9 / total))
    return BenchOptions(**values)


def table(result: dict[str, Any]) -> str:
    """Format a result as a table."""
    options, plan, steps, peaks = (result[name] for name in ("options", "plan", "steps", "ceilings"))
    shape = f"{options['frames']} frames of {options['height']}x{options['width']}"
    people = "one person" if options["people"] == 1 else "two people"
    skipped = f", {steps['computed']} computed" if steps["computed"] not in (None, steps["all"]) else ""
    matmul = ", ".join(f"{name} {rate / 1e12:.4g}" for name, rate in peaks["matmul"].items())
    lines = [
        f"{result['device']}, torch {result['torch']}, {result['threads']} threads: {plan['description']}",
        f"{options['clips']} x {shape}, {people}, {options['preset']}, {steps['all']} steps{skipped}",
        f"measured peak: matrix products {matmul} TFLOP/s, copies {peaks['copy'] / 1e9:.4g} GB/s",
        "",
        f"{HEADER[0]:<10}" + "".join(f"{name:>11}" for name in HEADER[1:]),
    ]
    for stage in result["stages"]:
        lines.append(
            f"{stage['stage']:<10}{stage['seconds']:>11.4f}{stage['share']:>11.1%}{stage['tflops']:>11.4g}"
            f"{stage['of_matmul']:>11.1%}{stage['of_copy']:>11.1%}{stage['peak_bytes'] / 1e9:>11.2f}"
        )
    return "\n".join([*lines, f"{'total':<10}{result['seconds']:>11.4f}"])


def compare(first: dict[str, Any], second: dict[str, Any]) -> str:
    """Format two results stage by stage, and their differences."""
    lines = [f"{'stage':<10}{'first':>11}{'second':>11}{'ratio':>9}"]
    later = {stage["stage"]: stage["seconds"] for stage in second["stages"]}
    rows = [(stage["stage"], stage["seconds"], later.get(stage["stage"])) for stage in first["stages"]]
    for name, before, after in [*rows, ("total", first["seconds"], second["seconds"])]:
        seconds = "-" if after is None else f"{after:.4f}"
        ratio = f"{after / before:.3f}" if before and after is not None else "-"
        lines.append(f"{name:<10}{before:>11.4f}{seconds:>11}{ratio:>9}")
    for name in ("device", "torch", "threads"):
        if first.get(name) != second.get(name):
            lines.append(f"different {name}: {first.get(name)} and {second.get(name)}")
    for name in {**first["options"], **second["options"]}:
        before, after = first["options"].get(name), second["options"].get(name)
        if before != after:
            lines.append(f"different {name}: {before} and {after}")
    return "\n".join(lines)


def read_result(path: str) -> dict[str, Any]:
    """Read the JSON file of a result.

    Raises:
        InvalidInput: The file cannot be read or contains no result.
    """
    try:
        result = json.loads(Path(path).read_text(encoding="utf-8"))
        if not {"stages", "seconds", "options"} <= result.keys():
            raise ValueError("stages, seconds or options is missing")
    except (OSError, ValueError, AttributeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInput(
            f"--compare: {path!r} is not a result of multitalk bench ({reason}).", "compare"
        ) from None
    return result
