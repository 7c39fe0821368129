"""The hardware plan: how the model runs on a machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from .attention import BACKENDS
from .gpus import format_gb

if TYPE_CHECKING:
    from .machine import Machine
    from .memory import Workload

# PyTorch's dispatcher picks the best kernel for the GPU: flash, cuDNN or memory-efficient.
DEFAULT_BACKEND = "native"
# The parts of the model that can stay on the device or be offloaded between their stages.
PARTS = ("transformer", "text_encoder", "image_encoder", "audio_encoder", "vae")
# No modes with CUDA graphs ("reduce-overhead", "max-autotune"): all blocks run one compiled function, whose
# graph would write the result of every block to the same memory. At 480p a block computes for tens of
# milliseconds, which hides the microseconds of its kernel launches.
COMPILE_MODES = ("default", "max-autotune-no-cudagraphs")


@dataclass(frozen=True)
class HardwarePlan:
    """How the model runs on a machine.

    Attributes:
        device: The device that computes.
        dtype: Dtype of the activations of the transformer, the text encoder, the image encoder and, in
            bfloat16, the VAE decoder. The VAE encoder and the audio encoder stay in float32.
        attention_backend: Kernel for self-attention, a name in
            :data:`multitalk.runtime.attention.BACKENDS`.
        transformer_precision: Precision of the transformer's large matrices in memory: "float32", "bf16",
            "fp16", "int8" or "fp8".
        text_encoder_precision: Precision of the text encoder's matrices.
        streamed_blocks: Number of transformer blocks that are offloaded to host memory. Each is copied to the
            device in every model call, while earlier blocks compute.
        resident: Names in :data:`PARTS` that stay on the device. The others are loaded for their stage only,
            the text encoder layer by layer; an offloaded audio encoder computes on the host. The transformer
            is always resident, even if some of its blocks are streamed.
        mapped: Names in :data:`PARTS` that stay in their mapped files while they are offloaded, because host
            memory is short. The system may drop their pages and read them again.
        vae_tiling: Whether frames are encoded and decoded in tiles.
        batch_branches: Whether guidance branches share a model call.
        compile: Whether the transformer's blocks are compiled.
        expected_peak_bytes: Device memory of the largest stage of the planned job; 0 on a CPU.
        expected_host_bytes: Host memory of the planned job; 0 on a CPU.
        expected_seconds: Estimated (not measured) seconds for a clip of the planned job; None on a device
            without a data sheet.
        expected_bound: What takes most of a model call's estimated time: "compute", "memory" or "copies".
        description: One-line summary.
        cross_attention_backend: Kernel for cross-attention to text, image and audio.
        notes: Sentences about choices that the user should know about.
        eight_bit_products: Whether 8-bit weights are multiplied in 8 bits if the device supports it.
            Otherwise they are dequantized, which is closer to the unquantized model.
        compile_mode: One of :data:`COMPILE_MODES`.
        compile_cache: Folder for compiled kernels. None uses ``compiled/`` in the weights folder if it
            exists, otherwise torch's default.
    """

    device: torch.device
    dtype: torch.dtype
    attention_backend: str
    transformer_precision: str = "float32"
    text_encoder_precision: str = "float32"
    streamed_blocks: int = 0
    resident: tuple[str, ...] = PARTS
    mapped: tuple[str, ...] = ()
    vae_tiling: bool = False
    batch_branches: bool = False
    compile: bool = False
    expected_peak_bytes: int = 0
    expected_host_bytes: int = 0
    expected_seconds: float | None = None
    expected_bound: str | None = None
    description: str = ""
    cross_attention_backend: str = DEFAULT_BACKEND
    notes: tuple[str, ...] = ()
    eight_bit_products: bool = True
    compile_mode: str = COMPILE_MODES[0]
    compile_cache: Path | None = None

    @property
    def all_resident(self) -> bool:
        """Whether no part of the model is offloaded."""
        return not self.streamed_blocks and set(PARTS) <= set(self.resident)

    @property
    def speech_device(self) -> torch.device:
        """The device for speech synthesis: the plan's if it has memory to spare, otherwise the CPU."""
        return self.device if self.all_resident else torch.device("cpu")


def describe(plan: HardwarePlan, machine: Machine, workload: Workload) -> str:
    """Summarize a plan in one line."""
    device = machine.gpu.name if machine.gpu is not None else "CPU"
    if machine.gpu_count > 1:
        device = f"{machine.gpu_count} x {device}"
    kernel = BACKENDS[plan.attention_backend].description
    offloaded = [part for part in PARTS if part not in plan.resident]
    parts = [
        f"{device}: computes in {str(plan.dtype).removeprefix('torch.')}",
        f"weights in {plan.transformer_precision}",
        f"attention by {plan.attention_backend} ({kernel})",
        f"{', '.join(offloaded)} offloaded between stages" if offloaded else "all weights resident",
    ]
    if plan.streamed_blocks:
        parts.append(f"{plan.streamed_blocks} blocks streamed")
    if plan.vae_tiling:
        parts.append("VAE in tiles")
    if plan.expected_peak_bytes:
        size = f"{workload.width}x{workload.height}"
        parts.append(f"expected peak {format_gb(plan.expected_peak_bytes)} at {size}")
        parts.append(f"{format_gb(plan.expected_host_bytes)} of host memory")
    if plan.expected_seconds is not None:
        calls = f"a clip of {workload.calls} model calls"
        parts.append(f"estimated {plan.expected_seconds:.0f} s for {calls}, bound by {plan.expected_bound}")
    return ", ".join(parts)
