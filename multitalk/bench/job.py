"""The job that is measured: options, plan, request, and a pipeline with random weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch
from PIL import Image

from ..models.attention_backends import set_attention_backends
from ..models.constants import FPS
from ..models.linear import LoraLinear, LowRankLayer
from ..pipeline.pipeline import MultiTalkPipeline
from ..pipeline.planning import workload_of
from ..request.generation_request import GenerationRequest
from ..request.presets import PRESETS, Preset
from ..runtime.choose import Weights
from ..runtime.compiled import compile_by_plan
from ..runtime.memory import Workload
from ..runtime.plan import DEFAULT_BACKEND, HardwarePlan
from ..runtime.planner import Planner
from ..runtime.settings import PlanSettings
from ..runtime.sizes import PUBLISHED, ModelSizes
from ..weights.manifest import MergedLora
from ..weights.store import WeightsFolder
from .networks import SCALES, Scale, make_components

SAMPLE_RATE = 16000
_REQUEST_FIELDS = ("preset", "steps", "text_guidance", "audio_guidance", "teacache", "cache")
_PLAN_SETTINGS = ("device", "attention", "compile", "batch_branches", "memory_gb", "compile_mode")


@dataclass(frozen=True)
class BenchOptions:
    """What to measure.

    Attributes:
        scale: A name of :data:`multitalk.bench.networks.SCALES`.
        layers: Maximum depth of every network; None keeps the scale's.
        height, width, frames, people, clips: Of the job; frames per clip.
        preset, steps, text_guidance, audio_guidance, teacache, cache: As in a request.
        precision: Of the transformer's weights: "bf16", "int8", ...; None: the dtype of the computation.
        text_precision: Of the text encoder's weights.
        video: Whether the video is encoded to a file.
        lora_rank: Rank of the LoRA, if the preset has one; 0 runs without it.
        device, attention, compile, batch_branches, memory_gb, compile_mode: Override the plan
            (:class:`multitalk.runtime.settings.PlanSettings`); None lets the plan choose.
    """

    scale: str = "real"
    layers: int | None = None
    height: int = 480
    width: int = 832
    frames: int = 81
    people: int = 1
    clips: int = 1
    preset: str = "lightx2v"
    steps: int | None = None
    text_guidance: float | None = None
    audio_guidance: float | None = None
    teacache: float | None = None
    cache: str | None = None
    precision: str | None = None
    text_precision: str | None = None
    video: bool = True
    lora_rank: int = 32
    device: str | None = None
    attention: str | None = None
    compile: bool | None = None
    batch_branches: bool | None = None
    memory_gb: float | None = None
    compile_mode: str | None = None

    @property
    def shape(self) -> Scale:
        """The networks' widths and depths."""
        return SCALES[self.scale].cut(self.layers)

    def chosen(self, names: tuple[str, ...]) -> dict[str, Any]:
        """Return the options of these names that are set."""
        return {name: value for name in names if (value := getattr(self, name)) is not None}


def sizes_of(scale: Scale) -> ModelSizes:
    """Convert a scale to the sizes that the planner uses."""
    return replace(
        PUBLISHED,
        dim=scale.heads * scale.head_dim,
        heads=scale.heads,
        ffn_dim=scale.ffn_dim,
        layers=scale.layers,
        text_dim=scale.text_dim,
        image_dim=scale.image_dim,
        vae_dim=scale.vae_dim,
        text_layers=scale.text_layers,
        text_matrices=PUBLISHED.text_matrices * scale.text_layers // PUBLISHED.text_layers,
        text_down=PUBLISHED.text_down * scale.text_layers // PUBLISHED.text_layers,
    )


def bench_workload(options: BenchOptions) -> Workload:
    """Describe the job for the planner, as the pipeline does."""
    seconds = options.frames * options.clips / FPS
    return workload_of(make_request(options), PRESETS[options.preset], seconds)


def bench_plan(options: BenchOptions) -> HardwarePlan:
    """Plan the job.

    Raises:
        InvalidInput: It does not fit, or a setting is invalid on this machine.
    """
    default = "bf16" if torch.cuda.is_available() and options.device != "cpu" else "float32"
    weights = Weights(
        sizes_of(options.shape), options.precision or default, options.text_precision or default
    )
    settings = replace(PlanSettings.from_environment(), **options.chosen(_PLAN_SETTINGS))
    return Planner(settings, weights).plan(bench_workload(options))


class RandomWeightsFolder:
    """A weights folder without files; the preset's LoRA counts as merged (see :func:`add_lora`)."""

    def __init__(self, path: Path, preset: Preset) -> None:
        self.path = path
        merged = [MergedLora(preset.lora, 1.0)] if preset.lora else []
        self.manifest = SimpleNamespace(default_preset="quality", loras=merged, files={})


def make_pipeline(options: BenchOptions, plan: HardwarePlan, folder: Path) -> MultiTalkPipeline:
    """Create a pipeline with random weights and PyTorch's own attention, not compiled."""
    native = replace(
        plan, compile=False, attention_backend=DEFAULT_BACKEND, cross_attention_backend=DEFAULT_BACKEND
    )
    preset = PRESETS[options.preset]
    pipeline = MultiTalkPipeline(
        make_components(options.shape, native),
        cast(WeightsFolder, RandomWeightsFolder(folder, preset)),
        plan,
        sizes=sizes_of(options.shape),
    )
    if preset.lora and options.lora_rank:
        add_lora(pipeline.components.transformer, options.lora_rank, plan.device)
    return pipeline


def finish_pipeline(pipeline: MultiTalkPipeline) -> None:
    """Set the plan's attention backends and compile if the plan says so, after counting."""
    plan, transformer = pipeline.plan, pipeline.components.transformer
    set_attention_backends(transformer, plan.attention_backend, plan.cross_attention_backend)
    compile_by_plan(transformer, plan)


def add_lora(transformer: torch.nn.Module, rank: int, device: torch.device) -> None:
    """Add a random LoRA to every layer that supports one, on the device: weights may be in host memory."""
    for layer in transformer.modules():
        if isinstance(layer, LowRankLayer):
            layer = cast(LoraLinear, layer)  # or a quantized layer with the same attributes
            dtype = (layer.bias if layer.bias is not None else layer.weight).dtype
            down = torch.randn(rank, layer.in_features, device=device, dtype=dtype)
            up = torch.randn(layer.out_features, rank, device=device, dtype=dtype)
            layer.set_low_rank(down * 0.001, up * 0.001)


def make_request(options: BenchOptions, **changes: Any) -> GenerationRequest:
    """Create the request: an image and voices of noise."""
    random = np.random.default_rng(0)
    motion = min(25, options.frames - 4)
    frames = options.frames + (options.clips - 1) * (options.frames - motion)
    samples = frames * SAMPLE_RATE // FPS
    audio = {
        f"person{number + 1}": (random.normal(0, 0.1, samples).astype(np.float32), SAMPLE_RATE)
        for number in range(options.people)
    }
    pixels = random.integers(0, 255, (options.height, options.width, 3), dtype=np.uint8)
    fields: dict[str, Any] = options.chosen(_REQUEST_FIELDS)
    fields |= {"frames_per_clip": options.frames, "motion_frames": motion}
    fields |= {"audio": audio, "size": (options.height, options.width), **changes}
    return GenerationRequest(image=Image.fromarray(pixels), **fields)
