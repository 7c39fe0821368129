"""From a machine, a job and weights to a plan: a pure function."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from ..errors import InvalidInput
from ..models.constants import SLOTS
from .attention import candidates, cross_attention_backend, refusal
from .gpus import BFLOAT16_CAPABILITY, GB, multiplies
from .machine import Machine
from .memory import HOST_RESERVE, MemoryLayout, Workload, usable
from .plan import PARTS, HardwarePlan
from .sentences import describe, gb, host_too_small, no_kernels
from .settings import PlanSettings
from .sizes import PUBLISHED, ModelSizes
from .work import clip_seconds

# Below so many tokens a call leaves a GPU partly idle, and branches are better run together.
BATCHED_TOKENS = 8192
EIGHT_BIT = ("int8", "fp8")
_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
_LABELS = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "float32"}


@dataclass(frozen=True)
class Weights:
    """The weights as they lie in a folder.

    Attributes:
        sizes: Of the model.
        transformer: Precision of the transformer's matrices: "float32", "bf16", "fp16", "int8" or "fp8".
        text_encoder: The same of the text encoder.
    """

    sizes: ModelSizes = PUBLISHED
    transformer: str = "bf16"
    text_encoder: str = "bf16"


def plan_for(
    machine: Machine,
    job: Workload | None = None,
    weights: Weights | None = None,
    settings: PlanSettings | None = None,
    shared_by: int = 1,
) -> HardwarePlan:
    """Choose how a job runs on a machine.

    What costs most is done last. First the encoders leave the device between their stages. Then blocks are
    streamed, as few as make it fit: a block's copy takes a fraction of its computation, and the result is
    bitwise the same. Last the autoencoder works in tiles, which is slower and only nearly the same.

    Args:
        machine: Where.
        job: What; None is a 480p clip of two people.
        weights: With which; None is the published model in bf16.
        settings: What a person chose.
        shared_by: Processes that share the transformer's matrices, of which none is streamed then.

    Raises:
        InvalidInput: It doesn't fit, or a setting can't be used here.
    """
    job, weights, settings = job or Workload(), weights or Weights(), settings or PlanSettings()
    weights = replace(
        weights,
        transformer=_precision(weights.transformer, settings.transformer_precision, "transformer_precision"),
        text_encoder=_precision(
            weights.text_encoder, settings.text_encoder_precision, "text_encoder_precision"
        ),
    )
    dtype = _choose_dtype(machine, settings)
    if machine.gpu is None:
        return _on_cpu(machine, job, weights, settings, dtype)
    if machine.old_driver is not None:
        raise InvalidInput(machine.old_driver, "device")
    if not machine.runs_on_gpu:
        raise InvalidInput(no_kernels(machine), "device")
    attention, cross, notes = _choose_attention(machine, settings, dtype)
    if shared_by > 1:
        settings = replace(settings, streamed_blocks=0)
        notes.append(f"the transformer's weights are shared by {shared_by} processes.")
    products = settings.eight_bit_products is not False
    start = replace(
        _layout(weights, dtype, job, settings),
        eight_bit_products=products and multiplies(machine.gpu.capability, weights.transformer),
        shared_by=shared_by,
    )
    layout = _fit(start, job, budget_of(machine, settings), settings, notes, machine)
    if dtype == torch.float16:
        notes.append("float16: the residual stream and what is added to it are kept in float32.")
    return _make_plan(machine, job, layout, dtype, attention, cross, settings, notes)


def _precision(stored: str, wanted: str | None, setting: str) -> str:
    """What weights are loaded in: as they are stored, or quantized while they are loaded."""
    if wanted is None or wanted == stored:
        return stored
    if stored in EIGHT_BIT:
        raise InvalidInput(f"{setting} is {wanted}, but the weights are stored in {stored} already.", "plan")
    return wanted


def _choose_dtype(machine: Machine, settings: PlanSettings) -> torch.dtype:
    if settings.dtype is not None:
        dtype = _DTYPES[settings.dtype]
        gpu = machine.gpu
        if gpu is not None and dtype == torch.bfloat16 and gpu.capability < BFLOAT16_CAPABILITY:
            least = ".".join(map(str, BFLOAT16_CAPABILITY))
            raise InvalidInput(
                f"dtype bfloat16 needs compute capability {least}: use float16 on {gpu.name}.", "dtype"
            )
        return dtype
    if machine.gpu is None:
        return torch.float32
    return torch.bfloat16 if machine.gpu.capability >= BFLOAT16_CAPABILITY else torch.float16


def _choose_attention(
    machine: Machine, settings: PlanSettings, dtype: torch.dtype
) -> tuple[str, str, list[str]]:
    """Backends for self and cross attention, and what is to be said about them."""
    names, notes = candidates(machine)
    if dtype == torch.float32:  # flash, cuDNN and SageAttention take 16 bits only
        names, notes = ["_native_efficient"], []
    attention, cross = names[0], cross_attention_backend(machine)
    if settings.attention is not None:
        attention, notes = _checked(settings.attention, attention, machine)
    if settings.cross_attention is not None:
        cross, more = _checked(settings.cross_attention, cross, machine)
        notes = [*notes, *more]
    return attention, cross, notes


def _checked(wanted: str, otherwise: str, machine: Machine) -> tuple[str, list[str]]:
    reason = refusal(wanted, machine)
    if reason is None:
        return wanted, []
    return otherwise, [f"attention backend {wanted} {reason}: {otherwise} is used."]


def stored_precision(precision: str, dtype: torch.dtype) -> str:
    """How matrices lie in memory: 8-bit ones as they are, others in the dtype of the computation."""
    return precision if precision in EIGHT_BIT else _LABELS[dtype]


def _layout(weights: Weights, dtype: torch.dtype, job: Workload, settings: PlanSettings) -> MemoryLayout:
    batch = settings.batch_branches
    if batch is None:
        batch = job.tokens <= BATCHED_TOKENS
    return MemoryLayout(
        sizes=weights.sizes,
        compute=_LABELS[dtype],
        transformer=stored_precision(weights.transformer, dtype),
        text_encoder=stored_precision(weights.text_encoder, dtype),
        image_encoder=_LABELS[dtype],
        resident=PARTS if settings.resident is None else settings.resident,
        streamed_blocks=0 if settings.streamed_blocks is None else settings.streamed_blocks,
        vae_tiling=bool(settings.vae_tiling),
        batch=job.branches if batch else 1,
    )


def _options(start: MemoryLayout, settings: PlanSettings) -> Iterator[MemoryLayout]:
    """Layouts from the fastest to the one that needs the least memory."""
    yield start
    layout = start
    if settings.resident is None:
        for away in ("text_encoder", "image_encoder", "audio_encoder", "vae"):
            layout = replace(layout, resident=tuple(part for part in layout.resident if part != away))
            yield layout
    counts = [layout.streamed_blocks]
    if settings.streamed_blocks is None:
        counts += range(SLOTS + 1, layout.sizes.layers + 1)  # the slots are as large as so many blocks
    for tiling in (False, True) if settings.vae_tiling is None else (layout.vae_tiling,):
        for count in counts:
            yield replace(layout, vae_tiling=tiling, streamed_blocks=count)


def budget_of(machine: Machine, settings: PlanSettings) -> int:
    """Bytes of the GPU's memory that a plan may count on; of a person's smaller one where that is set."""
    memory = machine.gpu.memory if machine.gpu is not None else 0
    return usable(memory if settings.memory_gb is None else int(settings.memory_gb * GB))


def _fit(
    start: MemoryLayout,
    job: Workload,
    budget: int,
    settings: PlanSettings,
    notes: list[str],
    machine: Machine,
) -> MemoryLayout:
    """The first layout that fits."""
    if start.streamed_blocks > start.sizes.layers:
        raise InvalidInput(
            f"streamed_blocks is {start.streamed_blocks}, but the transformer has {start.sizes.layers}.",
            "plan",
        )
    smallest = start
    too_large = None
    for layout in _options(start, settings):
        if layout.peak(job) <= budget:
            if not machine.host_memory or layout.host_bytes + HOST_RESERVE <= machine.host_memory:
                return layout
            too_large = too_large or layout
        smallest = layout if layout.peak(job) < smallest.peak(job) else smallest
    if too_large is not None:
        raise InvalidInput(host_too_small(too_large, machine), "device")
    stages = smallest.stages(job)
    worst = max(stages, key=stages.__getitem__)
    name = machine.gpu.name if machine.gpu is not None else "the device"
    sentence = (
        f"A clip of {job.frames} frames at {job.width}x{job.height} needs {gb(stages[worst])} of GPU memory "
        f"to {worst}, and {name} has {gb(budget)} to use: choose a smaller size or fewer frames_per_clip, "
        "weights of a smaller precision, or a larger GPU."
    )
    streamed = None if start.shared_by > 1 else settings.streamed_blocks
    chosen = (settings.resident, streamed, settings.vae_tiling)
    if settings.memory_gb is None and any(setting is not None for setting in chosen):
        notes.append(f"With the chosen settings it may not fit. {sentence}")
        return smallest
    raise InvalidInput(sentence, "size")


def _on_cpu(
    machine: Machine, job: Workload, weights: Weights, settings: PlanSettings, dtype: torch.dtype
) -> HardwarePlan:
    """All in host memory; nothing to stream from anywhere."""
    attention, cross, notes = "native", "native", []
    for wanted in (settings.attention, settings.cross_attention):
        if wanted is not None:
            notes += _checked(wanted, "native", machine)[1]
    free = replace(settings, resident=PARTS, streamed_blocks=settings.streamed_blocks or 0)
    layout = _layout(weights, dtype, job, replace(free, batch_branches=bool(settings.batch_branches)))
    needed = sum(map(layout.part_bytes, PARTS))
    if machine.host_memory and needed > machine.host_memory:
        raise InvalidInput(
            f"These weights need {gb(needed)} of memory on a CPU, and there are {gb(machine.host_memory)}: "
            "use a GPU, or the embedded weights.",
            "device",
        )
    return _make_plan(machine, job, layout, dtype, attention, cross, settings, notes)


def _make_plan(
    machine: Machine,
    job: Workload,
    layout: MemoryLayout,
    dtype: torch.dtype,
    attention: str,
    cross: str,
    settings: PlanSettings,
    notes: list[str],
) -> HardwarePlan:
    sheet = machine.gpu.specification if machine.gpu is not None else None
    plan = HardwarePlan(
        device=torch.device(machine.device),
        dtype=dtype,
        attention_backend=attention,
        transformer_precision=layout.transformer,
        text_encoder_precision=layout.text_encoder,
        streamed_blocks=layout.streamed_blocks,
        resident=layout.resident,
        vae_tiling=layout.vae_tiling,
        batch_branches=layout.batch > 1,
        compile=bool(settings.compile),
        expected_peak_bytes=layout.peak(job) if machine.gpu is not None else 0,
        expected_seconds=clip_seconds(sheet, layout, job) if sheet is not None else None,
        cross_attention_backend=cross,
        notes=tuple(notes),
        eight_bit_products=settings.eight_bit_products is not False,
    )
    return replace(plan, description=describe(plan, machine, job))
