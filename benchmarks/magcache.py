"""Measure MagCache's ratios of a weights folder: ``python -m benchmarks.magcache [--weights DIR]``.

Samples one clip with all blocks and prints how much the residual of the prediction with prompt and voice
changes from step to step, as the value of the request's field ``cache``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from multitalk import GenerationRequest, MultiTalkPipeline
from multitalk.models.transformer import MultiTalkTransformer
from multitalk.sampling.guidance import needed_branches

EXAMPLES = Path(__file__).parent.parent / "examples"


def record_ratios(transformer: MultiTalkTransformer, calls_per_step: int) -> list[float]:
    """Record the transformer's ratios from now on; the returned list grows by one per step."""
    forward: Callable[..., Any] = transformer.forward
    ratios: list[float] = []
    calls = 0
    before: torch.Tensor | None = None

    def measured(*args: Any, return_block_residual: bool = False, **options: Any) -> Any:
        nonlocal calls, before
        output, residual = forward(*args, return_block_residual=True, **options)
        if calls % calls_per_step == 0:  # the first branch has prompt and voice
            size = residual.float().norm(dim=-1)
            ratios.append(1.0 if before is None else float((size / (before + 1e-8)).mean()))
            before = size
        calls += 1
        return (output, residual) if return_block_residual else output

    transformer.forward = measured  # type: ignore[method-assign]
    return ratios


def main(arguments: list[str] | None = None) -> int:
    """Print the ratios; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, metavar="BAKED_DIR")
    parser.add_argument("--preset")
    parser.add_argument("--size", help="480p, 720p, ...")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--image", type=Path, default=EXAMPLES / "one_person.png")
    parser.add_argument("--audio", type=Path, default=EXAMPLES / "one_person.wav")
    options = parser.parse_args(arguments)
    pipeline = MultiTalkPipeline.from_pretrained(options.weights)
    fields = {name: getattr(options, name) for name in ("preset", "size", "steps") if getattr(options, name)}
    request = GenerationRequest(image=options.image, audio=options.audio, **fields)
    settings = pipeline.preset_of(request)
    branches = needed_branches(settings.text_guidance, settings.audio_guidance)
    ratios = record_ratios(pipeline.components.transformer, len(branches))
    next(pipeline.stream(request))
    print(json.dumps({"cache": {"name": "magcache", "ratios": [round(ratio, 5) for ratio in ratios]}}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
