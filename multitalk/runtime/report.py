"""The table of `doctor --plans`: the plan for every known GPU."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import InvalidInput
from .choose import Weights, plan_for
from .gpus import GB, GPUS, GpuSpecification
from .machine import Gpu, Machine
from .memory import HOST_RESERVE, Workload
from .operations import BANDWIDTH_SHARE, UTILIZATION
from .plan import PARTS
from .sizes import PUBLISHED

SIZES = {"480p": (480, 832), "720p": (720, 1280)}
PRECISIONS = ("bf16", "fp8", "int8")
_HEADER: tuple[str, ...] = (
    "GPU", "size", "weights", "dtype", "attention", "resident encoders", "streamed", "tiles", "peak GB",
    "host GB", "est. s", "bound",
)  # fmt: skip
_SHORT = {"text_encoder": "text", "image_encoder": "image", "audio_encoder": "audio"}


def usual_machine(gpu: GpuSpecification) -> Machine:
    """Return a machine with one such GPU and the image's packages: stack cu124, or cu128 from 10.0."""
    newer = gpu.capability >= (10, 0)
    architectures = ("sm_70", "sm_75", "sm_80", "sm_86", "sm_90")
    return Machine(
        gpu=Gpu(gpu.name, gpu.capability, gpu.memory, gpu),
        gpu_count=1,
        host_memory=128 * GB,
        cuda=(12, 8) if newer else (12, 4),
        architectures=(*architectures, "sm_100", "sm_120") if newer else architectures,
        packages=(("flash_attn", "2"), ("sageattention", "2.2.0")),
        kernels=True,
        device="cuda",
    )


def plans_table() -> str:
    """Format the plans of two people for every GPU, size and precision; one person needs about 1 % less."""
    refusals: list[str] = []
    lines = [_HEADER, *(row for gpu in GPUS for row in _rows(gpu, refusals))]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    text.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*text, "", *refusals, *_explanation()])


def _rows(gpu: GpuSpecification, refusals: list[str]) -> Iterator[tuple[str, ...]]:
    for size, (height, width) in SIZES.items():
        for precision in PRECISIONS:
            workload = Workload(height=height, width=width)
            start = (gpu.name, size, precision)
            try:
                plan = plan_for(usual_machine(gpu), workload, Weights(PUBLISHED, precision, precision))
            except InvalidInput as error:
                refusals.append(f"* {size} in {precision}: {error}")
                yield (*start, *["-"] * 5, "no", "-", "-", "-")
                continue
            resident = [_SHORT.get(part, part) for part in plan.resident if part != "transformer"] or ["-"]
            seconds = "-" if plan.expected_seconds is None else f"{plan.expected_seconds:.0f}"
            yield (
                *start,
                str(plan.dtype).removeprefix("torch."),
                plan.attention_backend.removeprefix("_"),
                "all" if plan.resident == PARTS else " ".join(resident),
                str(plan.streamed_blocks) if plan.streamed_blocks else "-",
                "yes" if plan.vae_tiling else "-",
                f"{plan.expected_peak_bytes / GB:.1f}",
                f"{plan.expected_host_bytes / GB:.1f}",
                seconds,
                plan.expected_bound or "-",
            )


def _explanation() -> list[str]:
    return [
        "None of these values has been measured: they are what the plan expects.",
        "peak GB: computed from the model's shapes, in 10^9 bytes; the rest of the memory is a reserve.",
        f"host GB: offloaded weights, and {HOST_RESERVE / GB:.0f} GB for the process. 128 GB are assumed; if "
        "not all weights fit,",
        "the text encoder and the image encoder stay in their files, in the page cache.",
        "est. s: estimate for 81 frames with 8 model calls (lightx2v: 4 steps, 2 branches), from the clip's",
        f"operations at {UTILIZATION:.0%} and bytes at {BANDWIDTH_SHARE:.0%} of the GPU's published rates.",
        "bound: what takes most of a model call: compute, the GPU's memory, or copies of streamed blocks.",
        "The plans are for two people; for one person, only the times differ.",
        "streamed: out of 40 blocks; computation hides their copies.",
    ]
