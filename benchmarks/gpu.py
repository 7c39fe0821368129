"""Run the GPU benchmarks, the most valuable ones first: ``python -m benchmarks.gpu --output gpu.json``.

Needs a GPU but no weights: 18.9 B random parameters are created on it. First come single model calls (bf16,
the kernels against their PyTorch forms, int8, fp8), a clip of the fast preset and the memory under two
limits, then everything else: other attention backends, two people, compiled blocks, other presets.

``--seconds`` ends the run in time. Every row is written at once, so an interrupted run keeps its results, and
a failed measurement is a row with its error. ``--tiny`` runs it on a CPU with small networks, as a test.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from .model_calls import PRECISIONS, REAL, TINY, ModelCalls, Row, Shapes

# name, options of `python -m multitalk bench`; the first is the most valuable
CLIPS = (
    ("lightx2v, audio guidance 1, int8", "--preset lightx2v --audio-guidance 1 --precision int8"),
    ("lightx2v, audio guidance 1, bf16", "--preset lightx2v --audio-guidance 1 --precision bf16"),
    ("lightx2v, audio guidance 1, fp8", "--preset lightx2v --audio-guidance 1 --precision fp8"),
    ("lightx2v, audio guidance 2, fp8", "--preset lightx2v --audio-guidance 2 --precision fp8 --compile"),
    ("lightx2v, guidance 2, two people", "--preset lightx2v --audio-guidance 2 --precision fp8 --people 2"),
    ("FusionX, fp8", "--preset fusionx --precision fp8 --compile"),
    ("40 steps, TeaCache 0.3, fp8", "--preset quality --teacache 0.3 --precision fp8 --compile"),
)
# memory limits in GB and precisions; the first two are the most valuable
CAPS = tuple((cap, precision) for cap in (24, 48, 16, 32, 80) for precision in ("int8", "bf16"))
PARTS = ("calls", "clips", "caps")


@dataclass(frozen=True)
class Measurement:
    """A row of the result.

    Attributes:
        part: One of `PARTS`.
        name: For the table.
        run: Measures it.
    """

    part: str
    name: str
    run: Callable[[], Row]


class Clock:
    """The time that is left.

    Args:
        seconds: In all; None: without an end.
    """

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    @property
    def left(self) -> float | None:
        """Seconds until the end, at least 0; None without an end."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())


def measurements(
    shapes: Shapes, calls: ModelCalls, precisions: list[str], clock: Clock, backends: list[str] | None
) -> Iterator[Measurement]:
    """Yield all measurements, in the order of their value."""

    def call(precision: str, how: str = "kernels", attention: str | None = None) -> Measurement:
        name = f"{precision}, {attention or 'best attention'}, {how}"
        return Measurement("calls", name, partial(calls.measure, precision, attention, how))

    def clip(name: str, options: str) -> Measurement:
        return Measurement("clips", name, partial(measure_clip, shapes, options, clock))

    def cap(limit: int, precision: str) -> Measurement:
        name = f"{limit} GB, {precision}"
        return Measurement("caps", name, partial(measure_cap, shapes, limit, precision, clock))

    clips = [
        (name, options)
        for name, options in CLIPS
        if options.split("--precision ")[1].split()[0] in precisions
    ]
    caps = [(limit, precision) for limit, precision in CAPS if precision in precisions]
    if shapes is TINY:
        caps = caps[:2]
    yield Measurement("calls", "attention backends", partial(calls.probe, backends))
    first = precisions[0]
    yield call(first)
    yield call(first, "PyTorch")
    for precision in precisions[1:]:
        yield call(precision)
        yield call(precision, "PyTorch")
    yield from (clip(*row) for row in clips[:1])
    yield from (cap(*row) for row in caps[:2])
    for precision in precisions:
        yield call(precision, "two people")
        for name in calls.working[1:]:
            yield call(precision, attention=name)
    yield from (clip(*row) for row in clips[1:])
    yield from (cap(*row) for row in caps[2:])
    for precision in precisions:
        yield call(precision, "compiled")


def run_bench(shapes: Shapes, options: list[str], clock: Clock) -> Row:
    """Run ``multitalk bench``, normally in a separate process, so that device memory is empty before it."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "result.json"
        arguments = ["bench", *shapes.options, *options, "--output", str(output)]
        if importlib.util.find_spec("av") is None:
            arguments.append("--no-video")
        if shapes is TINY:
            from multitalk.cli.main import main as command

            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as errors:
                status = command(arguments)
            log = errors.getvalue()
        else:
            process = [sys.executable, "-m", "multitalk", *arguments]
            run = subprocess.run(process, capture_output=True, text=True, check=False, timeout=clock.left)
            status, log = run.returncode, run.stderr
        if status or not output.exists():
            raise RuntimeError((log.strip().splitlines() or ["no result"])[-1][:400])
        return json.loads(output.read_text(encoding="utf-8"))


def measure_clip(shapes: Shapes, options: str, clock: Clock) -> Row:
    """Measure a whole clip, from text to the encoded file."""
    arguments = options.split()
    if shapes is TINY:  # with few steps
        arguments = [option for option in arguments if option != "--compile"]
        arguments += ["--steps", "6" if "--teacache" in arguments else "1"]
    result = run_bench(shapes, arguments, clock)
    return {"seconds": result["seconds"], "result": result}


def measure_cap(shapes: Shapes, cap: int, precision: str, clock: Clock) -> Row:
    """Compare a plan's expected peak memory with the measured one, under a memory limit."""
    plain = "float32" if shapes is TINY else "bf16"
    weights = precision if precision == "int8" else plain
    options = ["--memory-gb", str(cap), "--precision", weights, "--steps", "1", "--people", "2"]
    result = run_bench(shapes, [*options, "--text-precision", weights], clock)
    peak = max(stage["peak_bytes"] for stage in result["stages"])
    claimed = result["plan"]["expected_peak_bytes"]
    held = peak <= min(claimed, cap * 10**9) if claimed else None
    row: Row = {"cap_gb": cap, "precision": precision, "claimed": claimed, "peak_bytes": peak, "held": held}
    return row | {"seconds": result["seconds"], "plan": result["plan"]["description"]}


def line(row: Row) -> str:
    """Format a row for the table."""
    if "error" in row:
        return f"{row['name']:<50}{row['error']}"
    if "work" in row:
        return f"attention backends that work: {', '.join(row['work'])}; that fail: {row['fail'] or 'none'}"
    if row["part"] == "caps":
        claim = f"{row['claimed'] / 1e9:.1f} GB claimed, {row['peak_bytes'] / 1e9:.1f} GB taken"
        return f"{row['name']:<50}{claim}, held: {row['held']}, {row['seconds']:.1f} s, {row['plan']}"
    floor = f"{row['floor'] / row['seconds']:>9.1%} of {row['floor']:.3f} s" if row.get("floor") else ""
    return f"{row['name']:<50}{row['seconds']:>10.3f} s{floor}"


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and write all measurements; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--backends", nargs="+", metavar="NAME", help="attention backends (default: all)")
    parser.add_argument("--seconds", type=float, metavar="BUDGET", help="start nothing after this time")
    parser.add_argument("--output", type=Path, default=Path("gpu.json"))
    parser.add_argument("--tiny", action="store_true", help="small networks on the CPU")
    options = parser.parse_args(arguments)
    if not options.tiny and not torch.cuda.is_available():
        print("error: no GPU found. Use --tiny to run small networks on the CPU.", file=sys.stderr)
        return 1
    shapes = TINY if options.tiny else REAL
    clock, calls = Clock(options.seconds), ModelCalls(shapes)
    result: Row = {
        "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        "device": torch.cuda.get_device_name() if shapes.device.type == "cuda" else "CPU",
        "torch": torch.__version__,
        "rows": [],
    }
    print(f"{result['device']}, torch {result['torch']}, {result['date']}", flush=True)
    for measurement in measurements(shapes, calls, options.precisions, clock, options.backends):
        if measurement.part not in options.only:
            continue
        row: Row = {"part": measurement.part, "name": measurement.name}
        if clock.left == 0:
            row["error"] = "not measured: the time was over"
        else:
            if measurement.part != "calls":
                calls.release()  # the clip's process needs the memory
            row |= measured(measurement)
        result["rows"].append(row)
        print(line(row), flush=True)
        options.output.write_text(json.dumps(result, indent=1, default=str) + "\n", encoding="utf-8")
    return 0


def measured(measurement: Measurement) -> Row:
    """Return a measurement, or its error: the others go on."""
    started = time.monotonic()
    try:
        row = measurement.run()
    except Exception as error:  # of a kernel, of the compiler, of a process that ran out of memory or time
        row = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:400]}
    return row | {"took": time.monotonic() - started}


if __name__ == "__main__":
    raise SystemExit(main())
