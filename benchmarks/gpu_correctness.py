"""Check on a GPU that everything computes what it should: ``python -m benchmarks.gpu_correctness``.

Compared are every attention backend and 8-bit product with float32, and every Triton kernel with its PyTorch
form, for a few tokens and for a clip's; and the color correction, the VAE and whole small jobs (one and two
people, two clips, a LoRA, TeaCache, streamed blocks, int8) with the same on the CPU. No weights are needed.
Every check is guarded and written at once; the exit status is 1 if one fails. ``--cpu`` compares the CPU with
itself, as a test.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from multitalk.bench.job import BenchOptions, bench_plan, finish_pipeline, make_pipeline, make_request
from multitalk.bench.networks import SCALES, make_vae
from multitalk.models import attention_backends, matmul_choice
from multitalk.models.constants import FP8_CAPABILITY, probed_tokens
from multitalk.models.kernels.probe import PUBLISHED, Case, cases, errors_of
from multitalk.models.video_vae import decode_latents, prepare_decoder
from multitalk.runtime.attention import BACKENDS, refusal
from multitalk.runtime.machine import detect_machine
from multitalk.sampling.color import ColorCorrection

# A check returns its relative error, which must not exceed the bound beside its name.
Check = tuple[str, float, Callable[[], float]]
JOBS = (
    ("one person", {}),
    ("two people, two clips", {"people": 2, "clips": 2}),
    ("two people, TeaCache", {"people": 2, "preset": "quality", "steps": 7, "teacache": 0.3}),
    ("int8 weights", {"precision": "int8"}),
    ("streamed blocks", {"people": 2, "streamed": 2}),
)


def relative_error(result: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the L2 error relative to `expected`, infinite if a value is not finite."""
    difference = (result.double().cpu() - expected.double().cpu()).norm() / expected.double().norm().cpu()
    return float("inf") if difference.isnan() else difference.item()


def attention_checks(device: torch.device, dtype: torch.dtype) -> Iterator[Check]:
    """Compare every backend that the machine can run with exact attention."""
    machine = detect_machine(device)
    for name in BACKENDS:
        if refusal(name, machine) is None:
            bound = 0.1 if name.startswith("sage") else 0.01
            for tokens in probed_tokens(device.type):
                yield (
                    f"attention {name}, {tokens} tokens",
                    bound,
                    partial(attention_backends.probe_error, name, tokens, device, dtype),
                )


def product_checks(device: torch.device) -> Iterator[Check]:
    """Compare every 8-bit product with the dequantized one."""
    for precision in ("int8", "fp8"):
        for name in matmul_choice._candidates(precision, device):
            for rows in probed_tokens(device.type):
                yield (
                    f"product {name}, {rows} tokens",
                    0.05,
                    partial(matmul_choice.product_error, name, device, rows),
                )


def kernel_checks(device: torch.device, dtype: torch.dtype) -> Iterator[Check]:
    """Compare every Triton kernel with its PyTorch form."""
    fp8 = torch.cuda.get_device_capability(device) >= FP8_CAPABILITY
    for rows in (333, 4097):
        for name, case in cases(device, dtype, PUBLISHED, fp8, rows):
            yield f"{name}, {rows} tokens", 0.02, partial(kernel_error, case)


@torch.inference_mode()
def kernel_error(case: Case) -> float:
    """Return the largest error of a kernel's results."""
    return max(errors_of(case), key=lambda error: (math.isnan(error), error))


@torch.inference_mode()
def color_error(device: torch.device) -> float:
    """Compare the color correction with that on the CPU."""
    generator = torch.Generator().manual_seed(0)
    reference, frames = (
        torch.rand(shape, generator=generator) * 2 - 1 for shape in ((3, 64, 64), (3, 4, 64, 64))
    )
    expected = ColorCorrection(reference, 1.0).apply(frames)
    return relative_error(ColorCorrection(reference.to(device), 1.0).apply(frames.to(device)), expected)


@torch.inference_mode()
def decoder_error(device: torch.device, dtype: torch.dtype) -> float:
    """Compare the VAE's decoder with that on the CPU in float32."""
    latents = torch.randn(16, 3, 12, 16, generator=torch.Generator().manual_seed(0))
    vae = make_vae(SCALES["tiny"])
    expected = torch.cat(list(decode_latents(vae, latents)), dim=1)
    vae.to(device)
    if dtype != torch.float32:
        prepare_decoder(vae, dtype)
    return relative_error(torch.cat(list(decode_latents(vae, latents.to(device))), dim=1), expected)


@contextmanager
def same_noise() -> Iterator[None]:
    """Draw random numbers on the CPU, because a GPU draws others from the same seed."""
    generator, randn = torch.Generator, torch.randn

    def drawn(*shape: Any, generator: torch.Generator | None = None, **options: Any) -> torch.Tensor:
        target = options.pop("device", None)
        return randn(*shape, generator=generator, **options).to(target)

    def on_cpu(device: Any = None) -> torch.Generator:
        return generator()

    with mock.patch.multiple(torch, Generator=on_cpu, randn=drawn):
        yield


def job_latents(device: torch.device, dtype: torch.dtype, changes: dict[str, Any]) -> torch.Tensor:
    """Return the latents of a small job's clips, with random weights that are the same everywhere."""
    changes = dict(changes)
    streamed = changes.pop("streamed", 0)
    fields = {"scale": "tiny", "height": 64, "width": 96, "frames": 9, "steps": 2, "device": str(device)}
    options = BenchOptions(**fields | changes)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder, same_noise():
        plan = replace(bench_plan(options), dtype=dtype)
        if device.type == "cuda":
            plan = replace(plan, streamed_blocks=streamed)
        if options.precision is None:
            precision = "float32" if dtype == torch.float32 else "bf16"
            plan = replace(plan, transformer_precision=precision)
        torch.manual_seed(0)  # for the LoRA
        pipeline = make_pipeline(options, plan, Path(folder))
        finish_pipeline(pipeline)
        clips = pipeline.stream(make_request(options))
        return torch.cat([clip.latents.float().cpu() for clip in clips], dim=1)


def job_error(device: torch.device, dtype: torch.dtype, changes: dict[str, Any]) -> float:
    """Compare the latents of a job with those on the CPU in float32."""
    expected = job_latents(torch.device("cpu"), torch.float32, changes)
    return relative_error(job_latents(device, dtype, changes), expected)


def checks(device: torch.device) -> Iterator[Check]:
    """Yield all checks, the small ones first."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    yield "color correction", 1e-5, partial(color_error, device)
    yield "VAE decoder, float32", 2e-3, partial(decoder_error, device, torch.float32)
    yield f"VAE decoder, {dtype}", 0.05, partial(decoder_error, device, dtype)
    yield from attention_checks(device, dtype)
    if device.type == "cuda":
        yield from kernel_checks(device, dtype)
    yield from product_checks(device)
    for name, changes in JOBS:
        bound = 0.05 if "precision" in changes else 5e-3
        yield f"job in float32: {name}", bound, partial(job_error, device, torch.float32, changes)
        if device.type == "cuda":
            yield f"job in {dtype}: {name}", 0.1, partial(job_error, device, dtype, changes)


def main(arguments: list[str] | None = None) -> int:
    """Run, print and write all checks; returns 1 if one fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("gpu-correctness.json"))
    parser.add_argument("--cpu", action="store_true", help="compare the CPU with itself")
    options = parser.parse_args(arguments)
    if not options.cpu and not torch.cuda.is_available():
        print("error: no GPU found. Use --cpu to try the checks on the CPU.", file=sys.stderr)
        return 1
    device = torch.device("cpu" if options.cpu else "cuda:0")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    rows: list[dict[str, Any]] = []
    for name, bound, check in checks(device):
        row: dict[str, Any] = {"name": name, "bound": bound}
        try:
            row["error"] = check()
            row["passed"] = row["error"] <= bound
            text = f"{row['error']:.2e}, at most {bound:g}"
        except Exception as error:  # a kernel can raise anything; the others go on
            text = row["error"] = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            row["passed"] = False
        rows.append(row)
        print(f"{'ok' if row['passed'] else 'FAILED':<8}{name:<60}{text}", flush=True)
        options.output.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0 if all(row["passed"] for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
