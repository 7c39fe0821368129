"""Single model calls in every precision with every attention backend, compared with their lower bound."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from multitalk.bench.floor import Counter, fastest, measure_peaks
from multitalk.bench.networks import SCALES, Scale, make_transformer
from multitalk.models.attention_backends import probe, set_attention_backends
from multitalk.models.quantized import set_matmuls
from multitalk.models.transformer import MultiTalkTransformer
from multitalk.runtime.attention import BACKENDS, refusal
from multitalk.runtime.compiled import compile_blocks, why_not_compiled
from multitalk.runtime.machine import detect_machine

PRECISIONS = ("bf16", "fp8", "int8")
Row = dict[str, Any]


@dataclass(frozen=True)
class Shapes:
    """Shapes of the calls: the published model at 480p, or a small one."""

    scale: Scale
    name: str
    height: int
    width: int
    frames: int
    device: torch.device
    dtype: torch.dtype

    @property
    def options(self) -> list[str]:
        """The same shapes as options of ``multitalk bench``."""
        size = ["--size", str(self.height), str(self.width), "--frames", str(self.frames)]
        return ["--scale", self.name, *size, "--device", self.device.type]


REAL = Shapes(SCALES["real"], "real", 480, 832, 81, torch.device("cuda"), torch.bfloat16)
TINY = Shapes(SCALES["tiny"], "tiny", 64, 64, 9, torch.device("cpu"), torch.float32)


def measure_calls(shapes: Shapes) -> Iterator[Row]:
    """Measure every precision with every backend, and two people and compiled blocks with the fastest."""
    machine = detect_machine(shapes.device)
    names = [name for name in BACKENDS if refusal(name, machine) is None]
    problems = {name: probe(name, shapes.device, shapes.dtype) for name in names}
    working = [name for name in names if problems[name] is None]
    yield {"part": "backends", "work": working, "fail": {n: p for n, p in problems.items() if p}}
    for precision in PRECISIONS:
        transformer = make_transformer(shapes.scale, shapes.device, shapes.dtype, precision)
        set_matmuls(transformer, shapes.device)
        call = make_call(transformer, shapes, 1)
        common = {
            "part": "call",
            "precision": precision,
            "people": 1,
            **_floor(transformer, call, precision, shapes),
        }
        seconds: dict[str, float] = {}
        for name in working:
            set_attention_backends(transformer, name, "native")
            row = _timed(call, shapes)
            seconds[name] = row["seconds"]
            yield {**common, "attention": name, "how": "as it is", **row}
        best = min(seconds, key=seconds.__getitem__)
        set_attention_backends(transformer, best, "native")
        two = make_call(transformer, shapes, 2)
        yield {**common, "attention": best, "how": "two people", **_timed(two, shapes), "floor": None}
        for row in _accelerated(transformer, call, shapes):
            yield {**common, "attention": best, **row}
        del transformer, call, two
        gc.collect()
        if shapes.device.type == "cuda":
            torch.cuda.empty_cache()


def make_call(transformer: MultiTalkTransformer, shapes: Shapes, people: int) -> Callable[[], torch.Tensor]:
    """Return one prediction of one guidance branch, with projected conditions."""
    config, device = transformer.config, shapes.device
    latent_frames, height, width = 1 + (shapes.frames - 1) // 4, shapes.height // 8, shapes.width // 8

    def random(*size: int) -> torch.Tensor:
        return torch.randn(size, device=device, dtype=shapes.dtype)

    with torch.inference_mode():
        text = transformer.project_text(random(1, 64, config.text_dim))
        image = transformer.project_image(random(1, 257, config.image_dim))
        windows = (people, shapes.frames, config.audio_window, config.audio_layers, config.audio_channels)
        audio = transformer.project_audio(random(*windows))
    masks = None
    if people == 2:
        masks = torch.zeros(3, height * width // 4, device=device)
        for person, tokens in enumerate(torch.arange(masks.shape[1]).chunk(3)):
            masks[person, tokens] = 1
    latents = torch.randn(1, 36, latent_frames, height, width, device=device)
    timestep = torch.tensor([500.0], device=device)

    def call() -> torch.Tensor:
        with torch.inference_mode():
            return transformer(latents, timestep, text, image, audio, person_masks=masks)

    return call


def _floor(transformer: MultiTalkTransformer, call: Callable[[], Any], precision: str, shapes: Shapes) -> Row:
    """Compute the seconds that a call's matrix products take at the measured peak."""
    peaks = measure_peaks(shapes.device, shapes.dtype, precision)
    set_attention_backends(transformer, "native", "native")
    with torch.inference_mode(), Counter() as counter:
        call()
    tokens = (1 + (shapes.frames - 1) // 4) * (shapes.height // 16) * (shapes.width // 16)
    attention = 4 * tokens**2 * shapes.scale.heads * shapes.scale.head_dim * shapes.scale.layers
    plain = next(iter(peaks.matmul.values()))
    # attention is computed in 16 bits with all weights
    linear = (counter.work.operations - attention) / peaks.matmul.get(precision, plain)
    return {
        "operations": counter.work.operations,
        "matmul": peaks.matmul,
        "floor": linear + attention / plain,
    }


def _accelerated(transformer: MultiTalkTransformer, call: Callable[[], Any], shapes: Shapes) -> Iterator[Row]:
    """Measure the call with compiled blocks."""
    tiny = shapes.device.type == "cpu"  # on a CPU the path is tested, not the kernels
    if not tiny and (reason := why_not_compiled(shapes.device)) is not None:
        yield {"how": "compiled", "error": reason}
        return
    torch._dynamo.reset()
    compile_blocks(transformer, backend="eager" if tiny else "inductor")
    try:
        yield {"how": "compiled", **_timed(call, shapes)}
    except Exception as error:  # report it and go on with the other measurements
        yield {"how": "compiled", "error": str(error).splitlines()[0][:200]}


def _timed(call: Callable[[], Any], shapes: Shapes) -> Row:
    cuda = shapes.device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(shapes.device)
    row: Row = {"seconds": fastest(call, shapes.device, repeats=2)}
    return {**row, "peak_bytes": torch.cuda.max_memory_allocated(shapes.device)} if cuda else row
