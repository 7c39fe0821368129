"""A job on random weights, run by the pipeline itself and measured stage by stage."""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
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
from ..pipeline.progress import JobMonitor
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
from .ceilings import synchronize
from .counting import Counter, Work
from .networks import SCALES, Scale, make_components

SAMPLE_RATE = 16000


@dataclass(frozen=True)
class BenchOptions:
    """What is measured.

    Attributes:
        scale: A name of :data:`multitalk.bench.networks.SCALES`.
        layers: Depth of every network at most; None leaves the scale's.
        height, width, frames, people, clips: Of the job; frames are a clip's.
        preset, steps, text_guidance, audio_guidance, teacache, cache: As in a request.
        precision: Of the transformer's weights: "bf16", "int8", ...; None: that of the computation.
        text_precision: Of the text encoder's.
        lora_rank: Of the LoRA beside the weights where the preset has one; 0 leaves it out.
        device, attention, compile, batch_branches, memory_gb: Override the plan; None leaves it its choice.
        compile_mode: See :class:`multitalk.runtime.settings.PlanSettings`; None leaves the plan its choice.
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


@dataclass
class StageMeasurement:
    """What a stage took.

    Attributes:
        seconds: All its runs together, each until the device was done.
        peak_bytes: Device memory at its highest; of a CPU, the process's highest so far.
        work: What it computed and moved.
    """

    seconds: float = 0.0
    peak_bytes: int = 0
    work: Work = field(default_factory=Work)


class StageMeter(JobMonitor):
    """A job's monitor that measures.

    Args:
        device: Waited for at the end of every stage.
        counting: Whether operations are counted, which takes time of its own.
    """

    def __init__(self, device: torch.device, counting: bool = False) -> None:
        super().__init__(None, None)
        self.device = device
        self.counting = counting
        self.stages: dict[str, StageMeasurement] = {}

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """See :meth:`JobMonitor.timed`."""
        measured = self.stages.setdefault(name, StageMeasurement())
        synchronize(self.device)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        counter = Counter() if self.counting else nullcontext()
        started = time.perf_counter()
        try:
            with counter, super().timed(name):
                yield
                synchronize(self.device)
        finally:
            measured.seconds += time.perf_counter() - started
            measured.peak_bytes = max(measured.peak_bytes, peak_memory(self.device))
            if isinstance(counter, Counter):
                measured.work += counter.work


def peak_memory(device: torch.device) -> int:
    """Bytes allocated on a device at the highest since it was reset; of a CPU, by the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def sizes_of(scale: Scale) -> ModelSizes:
    """A scale as the plan knows sizes."""
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


def describe_bench(options: BenchOptions) -> Workload:
    """What a plan needs to know of what is measured, as the pipeline would say it."""
    seconds = options.frames * options.clips / FPS
    return workload_of(make_request(options), PRESETS[options.preset], seconds)


def plan_bench(options: BenchOptions) -> HardwarePlan:
    """The plan for what is measured.

    Raises:
        InvalidInput: It doesn't fit, or a setting can't be used here.
    """
    default = "bf16" if torch.cuda.is_available() and options.device != "cpu" else "float32"
    weights = Weights(
        sizes_of(options.shape), options.precision or default, options.text_precision or default
    )
    chosen = replace(
        PlanSettings.from_environment(),
        **{
            name: getattr(options, name)
            for name in ("device", "attention", "compile", "batch_branches", "memory_gb", "compile_mode")
            if getattr(options, name) is not None
        },
    )
    return Planner(chosen, weights).plan(describe_bench(options))


class SyntheticFolder:
    """A weights folder without files: the preset's LoRA counts as merged, the bench adds random ones."""

    def __init__(self, path: Path, preset: Preset) -> None:
        self.path = path
        merged = [MergedLora(preset.lora, 1.0)] if preset.lora else []
        self.manifest = SimpleNamespace(default_preset="quality", loras=merged)


def make_pipeline(options: BenchOptions, plan: HardwarePlan, folder: Path) -> MultiTalkPipeline:
    """A pipeline on random weights, with PyTorch's own attention and nothing compiled."""
    native = replace(
        plan, compile=False, attention_backend=DEFAULT_BACKEND, cross_attention_backend=DEFAULT_BACKEND
    )
    pipeline = MultiTalkPipeline(
        make_components(options.shape, native),
        cast(WeightsFolder, SyntheticFolder(folder, PRESETS[options.preset])),
        plan,
    )
    if PRESETS[options.preset].lora and options.lora_rank:
        add_lora(pipeline.components.transformer, options.lora_rank)
    return pipeline


def add_lora(transformer: torch.nn.Module, rank: int) -> None:
    """Put a LoRA of small random numbers beside the weights of every layer that takes one."""
    for layer in transformer.modules():
        if isinstance(layer, LowRankLayer):
            layer = cast(LoraLinear, layer)  # or a quantized one, with the same attributes
            like = layer.bias if layer.bias is not None else layer.weight
            down = torch.randn(rank, layer.in_features, device=like.device, dtype=like.dtype)
            up = torch.randn(layer.out_features, rank, device=like.device, dtype=like.dtype)
            layer.set_low_rank(down * 0.001, up * 0.001)


def make_request(options: BenchOptions, **changes: Any) -> GenerationRequest:
    """The job: a picture and voices of noise."""
    random = np.random.default_rng(0)
    motion = min(25, options.frames - 4)
    frames = options.frames + (options.clips - 1) * (options.frames - motion)
    people = [f"person{number + 1}" for number in range(options.people)]
    samples = frames * SAMPLE_RATE // FPS
    sounds = {name: (random.normal(0, 0.1, samples).astype(np.float32), SAMPLE_RATE) for name in people}
    pixels = random.integers(0, 255, (options.height, options.width, 3), dtype=np.uint8)
    names = ("preset", "steps", "text_guidance", "audio_guidance", "teacache", "cache")
    fields: dict[str, Any] = {
        name: getattr(options, name) for name in names if getattr(options, name) is not None
    }
    fields |= {"frames_per_clip": options.frames, "motion_frames": motion}
    fields |= {"audio": sounds, "size": (options.height, options.width), **changes}
    return GenerationRequest(image=Image.fromarray(pixels), **fields)


def run_job(pipeline: MultiTalkPipeline, request: GenerationRequest, meter: StageMeter) -> float:
    """Make the video in a temporary folder; returns the seconds of all of it."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        pipeline.generate(request, Path(folder) / "bench.mp4", monitor=meter)
        return time.perf_counter() - started


def finish_pipeline(options: BenchOptions, pipeline: MultiTalkPipeline) -> None:
    """Bring in the plan's kernels, and compile where it says so, after everything was counted."""
    plan, transformer = pipeline.plan, pipeline.components.transformer
    set_attention_backends(transformer, plan.attention_backend, plan.cross_attention_backend)
    compile_by_plan(transformer, plan)
