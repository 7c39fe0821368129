"""The choice of a plan, as a pure function of machine, workload, weights and settings."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from ..errors import InvalidInput
from ..models.constants import BFLOAT16_CAPABILITY
from .attention import NATIVE, candidates, cross_attention_backend, refusal
from .fit import budget_of, fit, mapped_parts
from .gpus import format_gb, has_products
from .machine import Machine
from .memory import MemoryLayout, Workload
from .operations import call_time, clip_seconds
from .plan import COMPILE_MODES, PARTS, HardwarePlan, describe
from .settings import PlanSettings
from .sizes import PUBLISHED, ModelSizes

# Model calls with fewer tokens than this leave a GPU partly idle, so guidance branches are batched.
BATCHED_TOKENS = 8192
EIGHT_BIT = ("int8", "fp8")
_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
_LABELS = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "float32"}


@dataclass(frozen=True)
class Weights:
    """Sizes and precision of the weights in a folder.

    Attributes:
        sizes: Sizes of the model.
        transformer: Precision of the transformer's matrices: "float32", "bf16", "fp16", "int8" or "fp8".
        text_encoder: Precision of the text encoder's matrices.
        audio_layer_bytes: Bytes of the files of the audio layers that are not active after loading. They are
            kept in the page cache: host memory that the system takes back if it is needed.
    """

    sizes: ModelSizes = PUBLISHED
    transformer: str = "bf16"
    text_encoder: str = "bf16"
    audio_layer_bytes: int = 0


def plan_for(
    machine: Machine,
    workload: Workload | None = None,
    weights: Weights | None = None,
    settings: PlanSettings | None = None,
    shared_by: int = 1,
) -> HardwarePlan:
    """Choose how a job runs on a machine.

    If the job does not fit, the cheapest steps are taken first. First, the encoders are offloaded between
    their stages. Then as few blocks as possible are streamed: copying a block takes a fraction of the time
    that it computes, and the result is bitwise equal. Last, the VAE works in tiles, which is slower and only
    approximately equal.

    Args:
        machine: The machine.
        workload: The job; None is a 480p clip of two people.
        weights: The weights; None is the published model in bf16.
        settings: Settings that override choices.
        shared_by: Number of processes that share the transformer's matrices; with more than one, no block is
            streamed.

    Raises:
        InvalidInput: The job does not fit, or a setting is invalid on this machine.
    """
    workload, stored, settings = workload or Workload(), weights or Weights(), settings or PlanSettings()
    weights = replace(
        stored,
        transformer=_precision(stored.transformer, settings.transformer_precision, "transformer_precision"),
        text_encoder=_precision(
            stored.text_encoder, settings.text_encoder_precision, "text_encoder_precision"
        ),
    )
    dtype = _choose_dtype(machine, settings)
    if machine.gpu is None:
        return _plan_for_cpu(machine, workload, weights, settings, dtype)
    if (reason := machine.old_driver or machine.missing_kernels) is not None:
        raise InvalidInput(reason, "device")
    attention, cross, notes = _choose_attention(machine, settings, dtype)
    if shared_by > 1:
        settings = replace(settings, streamed_blocks=0)
        notes.append(f"The transformer's weights are shared by {shared_by} processes.")
    start = replace(_layout(weights, dtype, workload, settings), shared_by=shared_by)
    start = replace(start, mapped=mapped_parts(machine, start, stored.text_encoder))
    start = replace(start, eight_bit_products=_multiplies_in_8_bits(machine, start, workload, settings))
    layout = fit(start, workload, budget_of(machine, settings), settings, notes, machine)
    if not set(layout.mapped) <= set(layout.resident):
        notes.append(
            f"Host memory ({format_gb(machine.host_memory)}) does not hold all weights: the text encoder and "
            "the image encoder stay in their files, and each job reads them through the page cache."
        )
    if dtype == torch.float16:
        notes.append("In float16, the residual stream and the outputs that are added to it stay in float32.")
    notes += _note_on_audio_layers(machine, weights, layout.host_bytes)
    return _make_plan(machine, workload, layout, dtype, attention, cross, settings, notes)


def _precision(stored: str, setting: str | None, name: str) -> str:
    """Return the precision in which weights are loaded: as stored, or quantized while loading."""
    if setting is None or setting == stored:
        return stored
    if stored in EIGHT_BIT:
        raise InvalidInput(f"{name} must be unset for weights stored in {stored}, not {setting!r}.", "plan")
    return setting


def _choose_dtype(machine: Machine, settings: PlanSettings) -> torch.dtype:
    gpu = machine.gpu
    if settings.dtype is None:
        if gpu is None:
            return torch.float32
        return torch.bfloat16 if gpu.capability >= BFLOAT16_CAPABILITY else torch.float16
    if settings.dtype not in _DTYPES:
        raise InvalidInput(f"dtype must be {' or '.join(_DTYPES)}, not {settings.dtype!r}.", "dtype")
    dtype = _DTYPES[settings.dtype]
    if gpu is not None and dtype == torch.bfloat16 and gpu.capability < BFLOAT16_CAPABILITY:
        minimum = ".".join(map(str, BFLOAT16_CAPABILITY))
        raise InvalidInput(
            f"dtype: bfloat16 requires compute capability {minimum} or higher. Use float16 on {gpu.name}.",
            "dtype",
        )
    return dtype


def _choose_attention(
    machine: Machine, settings: PlanSettings, dtype: torch.dtype
) -> tuple[str, str, list[str]]:
    """Choose the backends for self-attention and cross-attention, with notes about the choice."""
    names, notes = candidates(machine)
    if dtype == torch.float32:  # flash, cuDNN and SageAttention support 16 bits only
        names, notes = ["_native_efficient"], []
    attention, cross = names[0], cross_attention_backend(machine)
    if settings.attention is not None:
        attention, notes = _check_backend(settings.attention, attention, machine)
    if settings.cross_attention is not None:
        cross, cross_notes = _check_backend(settings.cross_attention, cross, machine)
        notes = [*notes, *cross_notes]
    return attention, cross, notes


def _check_backend(name: str, fallback: str, machine: Machine) -> tuple[str, list[str]]:
    """Return a backend, or the fallback and a note if the machine cannot run it."""
    reason = refusal(name, machine)
    if reason is None:
        return name, []
    return fallback, [f"Attention backend {name} {reason}: {fallback} is used."]


def _layout(weights: Weights, dtype: torch.dtype, workload: Workload, settings: PlanSettings) -> MemoryLayout:
    batch = settings.batch_branches
    if batch is None:
        batch = workload.tokens <= BATCHED_TOKENS
    transformer, text_encoder = (
        precision if precision in EIGHT_BIT else _LABELS[dtype]
        for precision in (weights.transformer, weights.text_encoder)
    )
    return MemoryLayout(
        sizes=weights.sizes,
        compute=_LABELS[dtype],
        transformer=transformer,
        text_encoder=text_encoder,
        image_encoder=_LABELS[dtype],
        resident=PARTS if settings.resident is None else settings.resident,
        streamed_blocks=0 if settings.streamed_blocks is None else settings.streamed_blocks,
        vae_tiling=bool(settings.vae_tiling),
        batch=workload.branches if batch else 1,
    )


def _multiplies_in_8_bits(
    machine: Machine, layout: MemoryLayout, workload: Workload, settings: PlanSettings
) -> bool:
    """Decide whether 8-bit weights are multiplied in 8 bits: if possible and estimated to be faster."""
    gpu = machine.gpu
    if gpu is None or settings.eight_bit_products is False:
        return False
    possible = has_products(gpu.capability, layout.transformer)
    if not possible or settings.eight_bit_products or gpu.specification is None:
        return possible
    products, dequantized = (
        call_time(gpu.specification, replace(layout, eight_bit_products=choice), workload, machine.kernels)
        for choice in (True, False)
    )
    return products.seconds < dequantized.seconds


def _plan_for_cpu(
    machine: Machine, workload: Workload, weights: Weights, settings: PlanSettings, dtype: torch.dtype
) -> HardwarePlan:
    """Plan for a CPU: all weights in host memory; blocks are streamed only if the settings say so."""
    notes = []
    for name in (settings.attention, settings.cross_attention):
        if name is not None:
            notes += _check_backend(name, NATIVE, machine)[1]
    settings = replace(settings, resident=PARTS, batch_branches=bool(settings.batch_branches))
    layout = _layout(weights, dtype, workload, settings)
    needed = sum(map(layout.part_bytes, PARTS))
    if machine.host_memory and needed > machine.host_memory:
        raise InvalidInput(
            f"These weights need {format_gb(needed)} of memory on a CPU "
            f"({format_gb(machine.host_memory)} available). Use a GPU or the embedded weights.",
            "device",
        )
    notes += _note_on_audio_layers(machine, weights, needed)
    return _make_plan(machine, workload, layout, dtype, NATIVE, NATIVE, settings, notes)


def _note_on_audio_layers(machine: Machine, weights: Weights, needed: int) -> list[str]:
    """Say if host memory is too small for the audio layers that are not active.

    Args:
        machine: The machine.
        weights: The weights.
        needed: Bytes of host memory that the plan uses.
    """
    size, memory = weights.audio_layer_bytes, machine.host_memory
    if not size or not memory or needed + size <= memory:
        return []
    return [
        f"Host memory may not hold the audio layers that are not in use ({format_gb(size)}, with "
        f"{format_gb(max(0, memory - needed))} free). Switching between models then takes as long as reading "
        "them from disk."
    ]


def _make_plan(
    machine: Machine,
    workload: Workload,
    layout: MemoryLayout,
    dtype: torch.dtype,
    attention: str,
    cross: str,
    settings: PlanSettings,
    notes: list[str],
) -> HardwarePlan:
    sheet = machine.gpu.specification if machine.gpu is not None else None
    seconds = bound = None
    if sheet is not None:
        call = call_time(sheet, layout, workload, machine.kernels)
        seconds, bound = clip_seconds(sheet, layout, workload, call), call.bound
    products = settings.eight_bit_products is not False
    if machine.gpu is not None and layout.transformer in EIGHT_BIT:
        products = layout.eight_bit_products
    plan = HardwarePlan(
        device=torch.device(machine.device),
        dtype=dtype,
        attention_backend=attention,
        transformer_precision=layout.transformer,
        text_encoder_precision=layout.text_encoder,
        streamed_blocks=layout.streamed_blocks,
        resident=layout.resident,
        mapped=layout.mapped,
        vae_tiling=layout.vae_tiling,
        batch_branches=layout.batch > 1,
        compile=bool(settings.compile),
        expected_peak_bytes=layout.peak(workload) if machine.gpu is not None else 0,
        expected_host_bytes=layout.host_bytes if machine.gpu is not None else 0,
        expected_seconds=seconds,
        expected_bound=bound,
        cross_attention_backend=cross,
        notes=tuple(notes),
        eight_bit_products=products,
        compile_mode=settings.compile_mode or COMPILE_MODES[0],
        compile_cache=settings.compile_cache,
    )
    return replace(plan, description=describe(plan, machine, workload))
