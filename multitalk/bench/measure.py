"""One benchmark run: count operations, warm up, measure every stage."""

from __future__ import annotations

import gc
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..conditioning.resolve import resolve_settings
from ..pipeline.pipeline import MultiTalkPipeline
from ..pipeline.progress import JobMonitor
from ..request.generation_request import GenerationRequest
from ..runtime.plan import HardwarePlan
from ..runtime.process_memory import peak_memory
from ..sampling.cache import computed_steps
from ..sampling.schedule import make_timesteps
from .floor import Counter, Peaks, Work, measure_peaks, synchronize
from .job import BenchOptions, bench_plan, finish_pipeline, make_pipeline, make_request


@dataclass
class StageMeasurement:
    """Measurements of a stage.

    Attributes:
        seconds: Total of all its runs, including the device's work.
        peak_bytes: Peak device memory; on a CPU the peak of the process so far.
        work: Counted work.
    """

    seconds: float = 0.0
    peak_bytes: int = 0
    work: Work = field(default_factory=Work)


class StageMeter(JobMonitor):
    """Measure the stages of a job.

    Args:
        device: Synchronized at the end of every stage.
        counting: Whether to count operations, which takes time.
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
            measured.peak_bytes = max(measured.peak_bytes, _peak_memory(self.device))
            if isinstance(counter, Counter):
                measured.work += counter.work


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # ru_maxrss of a child process begins at the size of its parent
    return peak_memory() or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(options: BenchOptions, report: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Run the benchmark.

    Args:
        options: What to measure.
        report: Called with a line about each step.

    Returns:
        The content of the JSON file that :func:`multitalk.bench.command.table` prints.

    Raises:
        InvalidInput: The job does not fit on this machine.
    """
    plan = bench_plan(options)
    report(plan.description)
    report("measuring the peak throughput of the device")
    peaks = measure_peaks(plan.device, plan.dtype, plan.transformer_precision)
    if plan.device.type == "cuda":
        torch.cuda.empty_cache()  # memory may be limited
    with tempfile.TemporaryDirectory() as folder:
        report("creating random weights")
        pipeline = make_pipeline(options, plan, Path(folder))
        request = make_request(options)
        steps = request.steps or pipeline.preset_of(request).steps
        # what a cache skips is only known from all steps; otherwise one step is enough
        whole = request.cache is not None
        report("counting operations")
        counter = StageMeter(plan.device, counting=True)
        run_job(pipeline, make_request(options, steps=steps if whole else 1), counter, options.video)
        computed = steps if whole else _count_computed(pipeline, request, steps)
        finish_pipeline(pipeline)
        report("warming up")
        run_job(pipeline, make_request(options, steps=1), StageMeter(plan.device), options.video)
        report("measuring")
        meter = StageMeter(plan.device)
        total = run_job(pipeline, request, meter, options.video)
    for name, stage in meter.stages.items():
        stage.work = counter.stages[name].work * (1 if whole or name != "denoise" else computed)
    result = _result(options, plan, peaks, meter.stages, total)
    result["steps"] = {"all": steps, "computed": None if whole else computed}
    del pipeline
    gc.collect()
    return result


def run_job(
    pipeline: MultiTalkPipeline, request: GenerationRequest, meter: StageMeter, video: bool = True
) -> float:
    """Generate all clips, and with `video` a file in a temporary folder; returns the total seconds."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        if video:
            pipeline.generate(request, Path(folder) / "bench.mp4", monitor=meter)
        else:
            for _ in pipeline.stream(request, monitor=meter):
                pass
        return time.perf_counter() - started


def _count_computed(pipeline: MultiTalkPipeline, request: GenerationRequest, steps: int) -> int:
    """Count the steps that run the transformer's blocks."""
    if request.teacache is None:
        return steps
    settings = resolve_settings(request, pipeline.preset_of(request))
    with torch.inference_mode():
        schedule = make_timesteps(steps, settings.sampling.shift, settings.sampling.timestep_spacing)
        timesteps = schedule[:-1].to(pipeline.plan.device)
        modulations = pipeline.components.transformer.time_embedding(timesteps)[1]
    return sum(computed_steps(modulations, request.teacache, settings.resolution))


def _result(
    options: BenchOptions,
    plan: HardwarePlan,
    peaks: Peaks,
    stages: dict[str, StageMeasurement],
    total: float,
) -> dict[str, Any]:
    cuda = plan.device.type == "cuda"
    plain = next(iter(peaks.matmul.values()))
    quantized = peaks.matmul.get(plan.transformer_precision, plain)
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(plan.device) if cuda else f"CPU ({platform.machine()})",
        "threads": torch.get_num_threads(),
        "options": asdict(options),
        "plan": {**asdict(plan), "device": str(plan.device), "dtype": str(plan.dtype)},
        "ceilings": asdict(peaks),
        "seconds": total,
        "stages": [
            _describe_stage(name, stage, total, quantized if name == "denoise" else plain, peaks.copy)
            for name, stage in stages.items()
        ],
    }


def _describe_stage(
    name: str, stage: StageMeasurement, total: float, matmul: float, copy: float
) -> dict[str, Any]:
    rate = stage.work.operations / stage.seconds if stage.seconds else 0.0
    moved = stage.work.bytes / stage.seconds if stage.seconds else 0.0
    return {
        "stage": name,
        "seconds": stage.seconds,
        "share": stage.seconds / total,
        "operations": stage.work.operations,
        "bytes": stage.work.bytes,
        "tflops": rate / 1e12,
        "of_matmul": rate / matmul,
        "of_copy": moved / copy,
        "peak_bytes": stage.peak_bytes,
    }
