"""Whole videos in each precision against float32: ``python -m benchmarks.precision_videos [--weights DIR]``.

Two people, one clip, the same seed; the peak signal-to-noise ratio over all frames. On a CPU, activations are
float32 unless the row says bf16.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from multitalk import GenerationRequest, MultiTalkPipeline
from multitalk.runtime.settings import PlanSettings

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
ROWS: dict[str, dict[str, Any]] = {
    "bf16": {"dtype": "bfloat16"},
    "int8": {"transformer_precision": "int8", "text_encoder_precision": "int8", "eight_bit_products": False},
    "int8 x int8": {"transformer_precision": "int8", "text_encoder_precision": "int8"},
    "fp8": {"transformer_precision": "fp8", "text_encoder_precision": "int8", "eight_bit_products": False},
}


def make_frames(weights: Path | None, **settings: Any) -> torch.Tensor:
    """The frames of the video, float32 in 0..1."""
    plan = PlanSettings(device="cpu", **settings)
    pipeline = MultiTalkPipeline.from_pretrained(weights, plan=plan)
    voices = {"person1": EXAMPLES / "left.wav", "person2": EXAMPLES / "right.wav"}
    request = GenerationRequest(image=EXAMPLES / "two_people.png", audio=voices, max_seconds=3.2)
    return torch.cat([clip.frames for clip in pipeline.stream(request)]).float() / 255


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns the exit status."""
    parser = argparse.ArgumentParser(prog="precision_videos", description=__doc__)
    parser.add_argument("--weights", type=Path, help="a baked folder, unquantized; left out: as usual")
    options = parser.parse_args(arguments)
    expected = make_frames(options.weights)
    print("| precision | PSNR to float32 |\n|---|---|")
    for name, settings in ROWS.items():
        error = (make_frames(options.weights, **settings) - expected).square().mean()
        print(f"| {name} | {-10 * torch.log10(error):.1f} dB |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
