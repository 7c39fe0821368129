"""Single model calls, compared with their lower bound."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from multitalk.bench.floor import Counter, fastest, measure_peaks
from multitalk.bench.networks import SCALES, Scale, make_transformer
from multitalk.models.attention_backends import probe, set_attention_backends
from multitalk.models.kernels.dispatch import forced
from multitalk.models.quantized import QuantizedLinear, set_matmuls
from multitalk.models.transformer import MultiTalkTransformer
from multitalk.runtime.attention import BACKENDS, candidates, refusal
from multitalk.runtime.compiled import compile_blocks, why_not_compiled
from multitalk.runtime.machine import detect_machine

PRECISIONS = ("bf16", "int8", "fp8")
# with the Triton kernels, in the PyTorch forms, for two people (with the kernels), and with compiled blocks
HOW = ("kernels", "PyTorch", "two people", "compiled")
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


class ModelCalls:
    """Measures calls of the transformer, in one precision at a time.

    Args:
        shapes: Of the calls.
    """

    def __init__(self, shapes: Shapes) -> None:
        self.shapes = shapes
        self.working: list[str] = []
        self._precision: str | None = None
        self._transformer: MultiTalkTransformer | None = None
        self._floors: dict[str, Row] = {}

    def probe(self, only: Sequence[str] | None = None) -> Row:
        """Find the attention backends that work, best first; the other measurements need it."""
        shapes = self.shapes
        machine = detect_machine(shapes.device)
        best_first = dict.fromkeys([*candidates(machine)[0], *BACKENDS])
        names = [name for name in best_first if refusal(name, machine) is None and (not only or name in only)]
        problems = {name: probe(name, shapes.device, shapes.dtype) for name in names}
        self.working = [name for name in names if problems[name] is None]
        return {"work": self.working, "fail": {name: text for name, text in problems.items() if text}}

    def measure(self, precision: str, attention: str | None = None, how: str = "kernels") -> Row:
        """Measure a call.

        Args:
            precision: One of `PRECISIONS`.
            attention: A backend that works; None is the best.
            how: One of `HOW`.
        """
        attention = attention or self.working[0]
        row: Row = {"precision": precision, "attention": attention, "how": how}
        device = self.shapes.device
        if how == "compiled" and device.type == "cuda" and (reason := why_not_compiled(device)) is not None:
            return {**row, "error": reason}
        transformer = self._load(precision)
        set_matmuls(transformer, device)
        call = make_call(transformer, self.shapes, 2 if how == "two people" else 1)
        if precision not in self._floors:
            self._floors[precision] = _floor(transformer, call, precision, self.shapes)
        if how != "two people":
            row |= self._floors[precision]
        set_attention_backends(transformer, attention, "native")
        if how == "compiled":
            torch._dynamo.reset()
            # on a CPU the path is tested, not the kernels
            compile_blocks(transformer, backend="inductor" if device.type == "cuda" else "eager")
            self._precision = None  # its blocks stay compiled
        if how == "PyTorch":
            for layer in transformer.modules():
                if isinstance(layer, QuantizedLinear) and layer.matmul is not None:
                    layer.matmul = layer.matmul.removesuffix("-fused")
        with forced(False) if how == "PyTorch" else nullcontext():
            return row | _timed(call, self.shapes)

    def release(self) -> None:
        """Free the transformer."""
        self._precision = self._transformer = None
        gc.collect()
        if self.shapes.device.type == "cuda":
            torch.cuda.empty_cache()

    def _load(self, precision: str) -> MultiTalkTransformer:
        if self._transformer is None or precision != self._precision:
            self.release()
            shapes = self.shapes
            self._transformer = make_transformer(shapes.scale, shapes.device, shapes.dtype, precision)
            self._precision = precision
        return self._transformer


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


def _timed(call: Callable[[], Any], shapes: Shapes) -> Row:
    cuda = shapes.device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(shapes.device)
    row: Row = {"seconds": fastest(call, shapes.device, repeats=2)}
    return {**row, "peak_bytes": torch.cuda.max_memory_allocated(shapes.device)} if cuda else row
