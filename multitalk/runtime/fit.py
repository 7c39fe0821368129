"""Make a job fit into a machine's memory: which weights are offloaded, streamed and mapped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..errors import InvalidInput
from ..models.constants import SLOTS
from .gpus import GB, format_gb
from .machine import Machine
from .memory import MemoryLayout, Workload, usable
from .plan import PARTS
from .settings import PlanSettings


def mapped_parts(machine: Machine, layout: MemoryLayout, stored: str) -> tuple[str, ...]:
    """Return the parts that stay in their mapped files, for all jobs, where host memory is short.

    They are the encoders that a job uses least. What is cast or quantized while loading is not in a file.

    Args:
        machine: The machine.
        layout: A layout of the weights.
        stored: Precision in which the text encoder is stored.
    """
    everything = replace(layout, streamed_blocks=layout.sizes.layers, resident=PARTS[:1]).host_bytes
    as_stored = layout.compute == "bf16" and layout.text_encoder == stored
    is_short = 0 < machine.host_memory < everything
    return ("text_encoder", "image_encoder") if is_short and as_stored else ()


def _options(start: MemoryLayout, settings: PlanSettings) -> Iterator[MemoryLayout]:
    """Yield layouts from the fastest to the one that needs the least memory."""
    yield start
    layout = start
    if settings.resident is None:
        for offloaded in ("text_encoder", "image_encoder", "audio_encoder", "vae"):
            layout = replace(layout, resident=tuple(part for part in layout.resident if part != offloaded))
            yield layout
    counts = [layout.streamed_blocks]
    if settings.streamed_blocks is None:
        counts += range(SLOTS + 1, layout.sizes.layers + 1)  # fewer would free no more than the slots take
    for tiling in (False, True) if settings.vae_tiling is None else (layout.vae_tiling,):
        for count in counts:
            yield replace(layout, vae_tiling=tiling, streamed_blocks=count)


def budget_of(machine: Machine, settings: PlanSettings) -> int:
    """Return the device bytes that a plan may use, of the GPU or of the `memory_gb` setting."""
    memory = machine.gpu.memory if machine.gpu is not None else 0
    return usable(memory if settings.memory_gb is None else int(settings.memory_gb * GB))


def fit(
    start: MemoryLayout,
    workload: Workload,
    budget: int,
    settings: PlanSettings,
    notes: list[str],
    machine: Machine,
) -> MemoryLayout:
    """Return the first layout of a job that fits; see :func:`multitalk.runtime.choose.plan_for`.

    Args:
        start: The layout with everything resident, or as the settings say.
        workload: The job.
        budget: Device bytes that it may use.
        settings: Settings that override choices.
        notes: A note is added if the settings force a layout that may not fit.
        machine: A machine with a GPU.

    Raises:
        InvalidInput: None fits.
    """
    assert machine.gpu is not None
    if start.streamed_blocks > start.sizes.layers:
        raise InvalidInput(
            f"streamed_blocks must be at most {start.sizes.layers}, not {start.streamed_blocks}.", "plan"
        )
    smallest = start
    needed_on_host = 0
    for layout in _options(start, settings):
        if layout.peak(workload) <= budget:
            host = layout.host_bytes
            if not machine.host_memory or host <= machine.host_memory:
                return layout
            needed_on_host = needed_on_host or host
        smallest = min(smallest, layout, key=lambda option: option.peak(workload))
    name = machine.gpu.name
    if needed_on_host:
        raise InvalidInput(
            f"{name} needs {format_gb(needed_on_host)} of host memory for offloaded weights "
            f"({format_gb(machine.host_memory)} available). Use smaller weights or a larger GPU.",
            "device",
        )
    stages = smallest.stages(workload)
    worst = max(stages, key=stages.__getitem__)
    message = (
        f"size: a clip of {workload.frames} frames at {workload.width}x{workload.height} needs "
        f"{format_gb(stages[worst])} of GPU memory to {worst} ({name} has {format_gb(budget)} to use). "
        "Choose a smaller size, fewer frames_per_clip, weights in a smaller precision, or a larger GPU."
    )
    streamed = None if start.shared_by > 1 else settings.streamed_blocks
    overrides = (settings.resident, streamed, settings.vae_tiling)
    if settings.memory_gb is None and any(setting is not None for setting in overrides):
        notes.append(f"The job may not fit with these settings: {message}")
        return smallest
    raise InvalidInput(message, "size")
