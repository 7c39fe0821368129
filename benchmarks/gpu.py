"""Run all GPU benchmarks: ``python -m benchmarks.gpu --output gpu.json``.

Needs a GPU but no weights: 18.9 B random parameters are created on it. Three parts, selected with ``--only``:
single model calls in every precision with every attention backend, whole clips, and the planned memory under
memory limits. ``--tiny`` runs everything on a CPU with small networks, as a test.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import torch

from .model_calls import REAL, TINY, Row, Shapes, measure_calls

# name, options of `python -m multitalk bench`
CLIPS = (
    ("lightx2v, audio guidance 1, fp8", "--preset lightx2v --audio-guidance 1 --precision fp8 --compile"),
    ("lightx2v, audio guidance 1, bf16", "--preset lightx2v --audio-guidance 1 --precision bf16 --compile"),
    ("lightx2v, audio guidance 2, fp8", "--preset lightx2v --audio-guidance 2 --precision fp8 --compile"),
    ("lightx2v, guidance 2, two people", "--preset lightx2v --audio-guidance 2 --precision fp8 --people 2"),
    ("FusionX, fp8", "--preset fusionx --precision fp8 --compile"),
    ("40 steps, TeaCache 0.3, fp8", "--preset quality --teacache 0.3 --precision fp8 --compile"),
)
CAPS = (16, 24, 32, 48, 80)  # GB


def run_bench(options: list[str], in_process: bool) -> Row:
    """Run ``multitalk bench``, normally in a separate process, so that device memory is empty before it."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "result.json"
        arguments = ["bench", *options, "--output", str(output)]
        if in_process:
            from multitalk.cli.main import main as command

            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as errors:
                status = command(arguments)
            log = errors.getvalue()
        else:
            run = subprocess.run(
                [sys.executable, "-m", "multitalk", *arguments], capture_output=True, text=True, check=False
            )
            status, log = run.returncode, run.stderr
        if status or not output.exists():
            return {"error": (log.strip().splitlines() or ["no result"])[-1][:400]}
        return json.loads(output.read_text(encoding="utf-8"))


def measure_clips(shapes: Shapes) -> Iterator[Row]:
    """Measure whole clips, from text to the encoded file."""
    tiny = shapes is TINY
    for name, options in CLIPS:
        arguments = [option for option in options.split() if not (tiny and option == "--compile")]
        if tiny:  # every preset, with few steps
            arguments += ["--steps", "6" if "--teacache" in arguments else "1"]
        result = run_bench([*shapes.options, *arguments], in_process=tiny)
        yield {"part": "clip", "name": name, "seconds": result.get("seconds"), "result": result}


def measure_caps(shapes: Shapes) -> Iterator[Row]:
    """Compare each plan's expected peak memory with the measured one, under a memory limit."""
    for cap in CAPS[:1] if shapes is TINY else CAPS:
        for precision in ("int8", "bf16"):
            options = ["--memory-gb", str(cap), "--precision", precision, "--steps", "1", "--people", "2"]
            options += ["--text-precision", "int8" if precision == "int8" else "bf16"]
            if shapes is TINY:
                options = [option if option != "bf16" else "float32" for option in options]
            result = run_bench([*shapes.options, *options], in_process=shapes is TINY)
            row: Row = {"part": "cap", "cap_gb": cap, "precision": precision}
            if "error" in result:
                yield {**row, "error": result["error"]}
                continue
            peak = max(stage["peak_bytes"] for stage in result["stages"])
            claimed = result["plan"]["expected_peak_bytes"]
            held = peak <= min(claimed, cap * 10**9) if claimed else None
            row |= {"claimed": claimed, "peak_bytes": peak, "held": held, "seconds": result["seconds"]}
            yield {**row, "plan": result["plan"]["description"]}


PARTS: dict[str, Callable[[Shapes], Iterator[Row]]] = {
    "calls": measure_calls,
    "clips": measure_clips,
    "caps": measure_caps,
}


def line(row: Row) -> str:
    """Format a measurement as a line of the table."""
    if row["part"] == "backends":
        return f"attention backends that work: {', '.join(row['work'])}; that fail: {row['fail'] or 'none'}"
    if row["part"] == "call":
        name = f"{row['precision']}, {row['attention']}, {row['how']}"
        if "error" in row:
            return f"{name:<60}{row['error']}"
        floor = f"{row['floor'] / row['seconds']:>9.1%} of {row['floor']:.3f} s" if row["floor"] else ""
        return f"{name:<60}{row['seconds']:>10.3f} s{floor}"
    if row["part"] == "clip":
        taken = f"{row['seconds']:>10.2f} s" if row["seconds"] else f"  {row['result']['error']}"
        return f"{row['name']:<60}{taken}"
    name = f"{row['cap_gb']} GB, {row['precision']}"
    if "error" in row:
        return f"{name:<30}{row['error']}"
    claim = f"{row['claimed'] / 1e9:.1f} GB claimed, {row['peak_bytes'] / 1e9:.1f} GB taken"
    return f"{name:<30}{claim}, held: {row['held']}, {row['seconds']:.1f} s, {row['plan']}"


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and write all measurements; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), default=tuple(PARTS))
    parser.add_argument("--output", type=Path, default=Path("gpu.json"))
    parser.add_argument("--tiny", action="store_true", help="small networks on the CPU")
    options = parser.parse_args(arguments)
    if not options.tiny and not torch.cuda.is_available():
        print("error: no GPU found. Use --tiny to run small networks on the CPU.", file=sys.stderr)
        return 1
    shapes = TINY if options.tiny else REAL
    name = torch.cuda.get_device_name() if shapes.device.type == "cuda" else "CPU"
    started = time.gmtime()
    result: Row = {
        "date": time.strftime("%Y-%m-%d %H:%M", started),
        "device": name,
        "torch": torch.__version__,
        "rows": [],
    }
    print(f"{name}, torch {torch.__version__}, {result['date']}", flush=True)
    for part in options.only:
        print(f"\n{part}", flush=True)
        for row in PARTS[part](shapes):
            result["rows"].append(row)
            print(line(row), flush=True)
            # after every row, so that an interrupted run keeps its results
            options.output.write_text(json.dumps(result, indent=1, default=str) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
