"""One run of the bench: count, warm up, measure."""

from __future__ import annotations

import gc
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ..conditioning.resolve import resolve_settings
from ..runtime.plan import HardwarePlan
from ..sampling.schedule import make_timesteps
from ..sampling.teacache import computed_steps
from .ceilings import Ceilings, measure_ceilings
from .clip import (
    BenchOptions,
    StageMeasurement,
    StageMeter,
    finish_pipeline,
    make_pipeline,
    make_request,
    plan_bench,
    run_job,
)
from .counting import Work

Say = Callable[[str], None]


def measure(options: BenchOptions, say: Say = lambda text: None) -> dict[str, Any]:
    """Run the bench.

    Args:
        options: What is measured.
        say: Told what is going on.

    Returns:
        What :func:`multitalk.bench.report.table` prints and the JSON file holds.

    Raises:
        InvalidInput: The job doesn't fit here.
    """
    plan = plan_bench(options)
    say(plan.description)
    say("measuring what the device reaches")
    ceilings = measure_ceilings(plan.device, plan.dtype, plan.transformer_precision)
    if plan.device.type == "cuda":
        torch.cuda.empty_cache()  # it may be asked to use little memory
    with tempfile.TemporaryDirectory() as folder:
        say("making random weights")
        pipeline = make_pipeline(options, plan, Path(folder))
        request = make_request(options)
        steps = request.steps or pipeline.preset_of(request).steps
        # what a cache skips shows only when it does; else one step tells of all
        whole = request.cache is not None
        say("counting operations")
        counter = StageMeter(plan.device, counting=True)
        run_job(pipeline, make_request(options, steps=steps if whole else 1), counter)
        computed = steps if whole else _computed(pipeline, request, steps)
        finish_pipeline(options, pipeline)
        say("warming up")
        run_job(pipeline, make_request(options, steps=1), StageMeter(plan.device))
        say("measuring")
        meter = StageMeter(plan.device)
        total = run_job(pipeline, request, meter)
    for name, stage in meter.stages.items():
        stage.work = counter.stages[name].work * (1 if whole or name != "denoise" else computed)
    result = _result(options, plan, ceilings, meter.stages, total)
    result["steps"] = {"all": steps, "computed": None if whole else computed}
    del pipeline
    gc.collect()
    return result


def _computed(pipeline: Any, request: Any, steps: int) -> int:
    """How many steps run the blocks."""
    if request.teacache is None:
        return steps
    settings = resolve_settings(request, pipeline.preset_of(request))
    with torch.inference_mode():
        times = make_timesteps(steps, settings.sampling.shift)[:-1].to(pipeline.plan.device)
        modulations = pipeline.components.transformer.time_embedding(times)[1]
    return sum(computed_steps(modulations, request.teacache, settings.resolution))


def _result(
    options: BenchOptions,
    plan: HardwarePlan,
    ceilings: Ceilings,
    stages: dict[str, StageMeasurement],
    total: float,
) -> dict[str, Any]:
    cuda = plan.device.type == "cuda"
    precision = plan.transformer_precision
    matmul = ceilings.matmul.get(precision) or next(iter(ceilings.matmul.values()))
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(plan.device) if cuda else f"CPU ({platform.machine()})",
        "threads": torch.get_num_threads(),
        "options": asdict(options),
        "plan": {**asdict(plan), "device": str(plan.device), "dtype": str(plan.dtype)},
        "ceilings": asdict(ceilings),
        "seconds": total,
        "stages": [_stage(name, stage, total, matmul, ceilings) for name, stage in stages.items()],
    }


def _stage(
    name: str, stage: StageMeasurement, total: float, matmul: float, ceilings: Ceilings
) -> dict[str, Any]:
    work: Work = stage.work
    rate = work.operations / stage.seconds if stage.seconds else 0.0
    moved = work.bytes / stage.seconds if stage.seconds else 0.0
    own = matmul if name == "denoise" else ceilings.matmul[next(iter(ceilings.matmul))]
    return {
        "stage": name,
        "seconds": stage.seconds,
        "share": stage.seconds / total,
        "operations": work.operations,
        "bytes": work.bytes,
        "tflops": rate / 1e12,
        "of_matmul": rate / own,
        "of_copy": moved / ceilings.copy,
        "peak_bytes": stage.peak_bytes,
    }
