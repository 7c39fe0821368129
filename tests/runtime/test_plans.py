"""Plans for every known GPU, job and precision fit; a GPU that is too small gives an error."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.moved_bytes import ROWS, count
from multitalk.errors import InvalidInput
from multitalk.models.constants import FP8_CAPABILITY, INT8_CAPABILITY
from multitalk.runtime.choose import Weights, _layout, plan_for
from multitalk.runtime.gpus import GB, GPUS, find_specification
from multitalk.runtime.machine import Gpu, Machine, driver_version
from multitalk.runtime.memory import HOST_RESERVE, MemoryLayout, Workload, usable
from multitalk.runtime.operations import MOVED_UNITS
from multitalk.runtime.plan import PARTS, HardwarePlan
from multitalk.runtime.report import SIZES, plans_table, usual_machine
from multitalk.runtime.settings import PlanSettings
from multitalk.runtime.sizes import PUBLISHED

BY_NAME = {gpu.name: gpu for gpu in GPUS}
CASES = list(itertools.product(SIZES, (1, 2), ("bf16", "fp8", "int8")))


def workload_of(size: str, people: int) -> Workload:
    height, width = SIZES[size]
    return Workload(height=height, width=width, people=people)


def plan_of(gpu: str, size: str = "480p", people: int = 2, precision: str = "bf16") -> HardwarePlan:
    weights = Weights(PUBLISHED, precision, precision)
    return plan_for(usual_machine(BY_NAME[gpu]), workload_of(size, people), weights)


def test_the_table_has_every_gpu() -> None:
    assert set(BY_NAME) == {
        "V100 16 GB", "V100 32 GB", "T4", "A100 40 GB", "A100 80 GB", "RTX A6000", "A40", "RTX 4090",
        "RTX 5090", "H100", "H200",
    }  # fmt: skip


@pytest.mark.parametrize("gpu", BY_NAME)
def test_every_plan_fits(gpu: str) -> None:
    dtype = torch.bfloat16 if BY_NAME[gpu].capability >= (8, 0) else torch.float16
    for size, people, precision in CASES:
        plan = plan_of(gpu, size, people, precision)
        case = f"{size}, {people} people, {precision}"
        assert 0 < plan.expected_peak_bytes <= usable(BY_NAME[gpu].memory), case
        assert plan.dtype == dtype, case
        half = {torch.bfloat16: "bf16", torch.float16: "fp16"}[dtype]
        assert plan.transformer_precision == (half if precision == "bf16" else precision), case
        assert 0 <= plan.streamed_blocks <= 40, case
        assert plan.expected_seconds is not None, case
        assert plan.expected_bound in ("compute", "memory", "copies"), case
        assert "estimated" in plan.description, case


@pytest.mark.parametrize("gpu", BY_NAME)
def test_8_bits_are_multiplied_where_they_are_faster(gpu: str) -> None:
    """Without the kernels, passes over the tokens can cost more than the products save."""
    capability = BY_NAME[gpu].capability
    for precision, minimum in (("int8", INT8_CAPABILITY), ("fp8", FP8_CAPABILITY)):
        plan = plan_of(gpu, precision=precision)
        assert plan.eight_bit_products == (capability >= minimum)
        if plan.eight_bit_products:
            assert plan.expected_seconds < 0.95 * plan_of(gpu).expected_seconds
        machine = replace(usual_machine(BY_NAME[gpu]), kernels=False)
        eager = plan_for(machine, weights=Weights(PUBLISHED, precision, precision))
        if gpu in ("A100 80 GB", "H100") and precision == "int8":
            assert not eager.eight_bit_products
        chosen = plan_for(
            machine,
            weights=Weights(PUBLISHED, precision, precision),
            settings=PlanSettings(eight_bit_products=True),
        )
        assert chosen.eight_bit_products == (capability >= minimum)
        assert eager.expected_seconds <= chosen.expected_seconds


def test_copies_of_streamed_blocks_can_be_the_bound() -> None:
    slow = replace(BY_NAME["RTX 4090"], host_link=GB)
    gpu = Gpu(slow.name, slow.capability, slow.memory, slow)
    plan = plan_for(replace(usual_machine(slow), gpu=gpu))
    assert plan.expected_bound == "copies"
    assert "bound by copies" in plan.description
    assert plan.expected_seconds >= 8 * plan.streamed_blocks * PUBLISHED.block_bytes("bf16") / GB


@pytest.mark.parametrize("row", [row for row in ROWS if row[2]], ids=lambda row: row[0])
def test_bytes_that_a_block_moves(row) -> None:
    """The constants of the estimate agree with what is counted on a block at full width."""
    _, precision, _, product, kernels = row
    units = "fused" if str(product).endswith("-fused") else product or "16-bit"
    for height, width in SIZES.values():
        workload = Workload(height=height, width=width)
        counted = count(height, width, workload.frames, workload.people, row).work.bytes
        weights = PUBLISHED.block_bytes(precision or "bf16")
        estimated = MOVED_UNITS[kernels, units] * workload.tokens * PUBLISHED.dim * 2 + weights
        assert estimated == pytest.approx(counted, rel=0.03)


@pytest.mark.parametrize(
    ("gpu", "backend"),
    [
        ("V100 16 GB", "_native_efficient"),
        ("T4", "_native_efficient"),
        ("A100 40 GB", "flash"),
        ("RTX A6000", "flash"),
        ("A40", "flash"),
        ("RTX 4090", "sage_fp8_fp32"),  # the cu124 image
        ("RTX 5090", "sage"),
        ("H100", "_native_cudnn"),
        ("H200", "_native_cudnn"),
    ],
)
def test_attention_that_the_gpu_can_run(gpu: str, backend: str) -> None:
    assert plan_of(gpu).attention_backend == backend


def test_no_more_blocks_are_streamed_than_needed() -> None:
    for name, size in (("RTX 4090", "480p"), ("A40", "720p"), ("V100 32 GB", "480p")):
        plan = plan_of(name, size)
        assert plan.streamed_blocks > 3
        fewer = (plan.streamed_blocks - 1) * PUBLISHED.block_bytes(plan.transformer_precision)
        freed = plan.streamed_blocks * PUBLISHED.block_bytes(plan.transformer_precision) - fewer
        assert plan.expected_peak_bytes + freed > usable(BY_NAME[name].memory)


def test_everything_is_resident_if_it_fits() -> None:
    plan = plan_of("H100", "720p", 2, "bf16")
    assert (plan.streamed_blocks, plan.vae_tiling) == (0, False)
    assert "text_encoder" in plan.resident
    assert "all weights resident" in plan.description


def test_a_job_that_does_not_fit_is_rejected() -> None:
    gpu = Gpu("RTX 2080", (7, 5), 8 * GB)
    with pytest.raises(
        InvalidInput,
        match=r"^size: a clip of 81 frames at 832x480 needs [\d.]+ GB of GPU memory to denoise \(RTX 2080",
    ) as error:
        plan_for(replace(usual_machine(BY_NAME["T4"]), gpu=gpu))
    assert error.value.field == "size"
    assert "\n" not in str(error.value)
    assert "Choose a smaller size" in str(error.value)
    # a smaller clip does fit
    assert plan_for(
        replace(usual_machine(BY_NAME["T4"]), gpu=gpu), Workload(height=240, width=416)
    ).streamed_blocks


def test_a_machine_without_a_gpu() -> None:
    small = Weights(replace(PUBLISHED, layers=1, text_layers=0, text_matrices=0, text_embedding=0))
    plan = plan_for(Machine(host_memory=24 * GB), Workload(), small)
    assert (plan.device.type, plan.dtype) == ("cpu", torch.float32)
    assert (plan.streamed_blocks, plan.vae_tiling, plan.expected_seconds) == (0, False, None)
    with pytest.raises(InvalidInput, match=r"need 10\d\.\d GB of memory on a CPU \(24\.0 GB available\)"):
        plan_for(Machine(host_memory=24 * GB), Workload(), Weights())


def layout_of(plan: HardwarePlan) -> MemoryLayout:
    weights = Weights(PUBLISHED, plan.transformer_precision, plan.text_encoder_precision)
    return _layout(weights, plan.dtype, Workload(), PlanSettings())


def test_too_little_host_memory_is_rejected() -> None:
    machine = usual_machine(BY_NAME["RTX 4090"])
    with pytest.raises(InvalidInput, match=r"needs [\d.]+ GB of host memory .* \(16\.0 GB available\)"):
        plan_for(replace(machine, host_memory=16 * GB))
    plan = plan_for(machine)
    offloaded = sum(layout_of(plan).part_bytes(part) for part in PARTS[1:])
    block = layout_of(plan).block_bytes
    assert plan.expected_host_bytes == plan.streamed_blocks * block + offloaded + HOST_RESERVE
    assert plan_for(replace(machine, host_memory=plan.expected_host_bytes)).streamed_blocks


@pytest.mark.parametrize(
    ("gpu", "precision", "host", "streamed"),
    [(8, "int8", 24, 40), (24, "int8", 24, 14), (12, "bf16", 48, 40)],
)
def test_encoders_stay_in_their_files_where_host_memory_is_short(
    gpu: int, precision: str, host: int, streamed: int
) -> None:
    """For all jobs alike, so that a later job does not need what an earlier one copied."""
    weights = Weights(PUBLISHED, precision, precision)
    usual = replace(usual_machine(BY_NAME["RTX 4090"]), gpu=Gpu("GPU", (8, 9), gpu * GB))
    machine = replace(usual, host_memory=host * GB)
    plan = plan_for(machine, weights=weights)
    assert (plan.streamed_blocks, plan.mapped) == (streamed, ("text_encoder", "image_encoder"))
    assert plan.expected_host_bytes <= host * GB
    assert any("stay in their files" in note for note in plan.notes)
    assert plan_for(machine, Workload(height=240, width=416), weights).mapped == plan.mapped
    assert plan_for(usual, weights=weights).mapped == ()


def test_weights_that_are_changed_while_loading_are_not_in_a_file() -> None:
    machine = replace(usual_machine(BY_NAME["RTX 4090"]), host_memory=50 * GB)
    for settings, is_mapped in (
        (PlanSettings(), True),
        (PlanSettings(text_encoder_precision="int8"), False),
        (PlanSettings(dtype="float16"), False),
    ):
        assert bool(plan_for(machine, settings=settings).mapped) == is_mapped


def test_host_memory_for_audio_layers_that_are_not_active() -> None:
    """They are in the page cache, so too little memory makes a switch slow, but is not an error."""
    weights = Weights(audio_layer_bytes=10 * GB)
    machine = usual_machine(BY_NAME["RTX 4090"])
    assert not [note for note in plan_for(machine, weights=weights).notes if "audio layers" in note]
    small = replace(machine, host_memory=36 * GB)
    (note,) = [note for note in plan_for(small, weights=weights).notes if "audio layers" in note]
    assert "not in use (10.0 GB, with " in note
    assert plan_for(small).streamed_blocks == plan_for(small, weights=weights).streamed_blocks
    on_cpu = replace(weights, sizes=replace(PUBLISHED, layers=1, text_layers=0, text_embedding=0))
    (note,) = plan_for(Machine(host_memory=12 * GB), weights=on_cpu).notes
    assert "Switching between models then takes as long as reading them from disk." in note


def test_a_torch_without_kernels_for_the_gpu_is_rejected() -> None:
    machine = usual_machine(BY_NAME["RTX 5090"])
    old = replace(machine, architectures=("sm_80", "sm_86", "sm_90"), cuda=(12, 4))
    with pytest.raises(InvalidInput, match=r"no kernels for RTX 5090 \(sm_120\)\. Use the cu128 image"):
        plan_for(old)
    assert plan_for(replace(old, architectures=("sm_90", "compute_90"))).streamed_blocks
    # binaries of the same generation are enough
    assert plan_for(replace(usual_machine(BY_NAME["RTX 4090"]), architectures=("sm_80",))).streamed_blocks


def test_an_unknown_gpu_has_no_time_estimate() -> None:
    gpu = Gpu("NVIDIA L40S", (8, 9), 48 * GB, find_specification("NVIDIA L40S", 48 * GB))
    plan = plan_for(replace(usual_machine(BY_NAME["RTX 4090"]), gpu=gpu))
    assert plan.expected_seconds is None
    assert plan.expected_peak_bytes <= usable(48 * GB)


@pytest.mark.parametrize(
    ("name", "memory", "expected"),
    [
        ("Tesla V100-SXM2-16GB", 16_935_682_048, "V100 16 GB"),
        ("Tesla V100-PCIE-32GB", 34_079_637_504, "V100 32 GB"),
        ("Tesla T4", 15_843_721_216, "T4"),
        ("NVIDIA A100-SXM4-80GB", 85_174_583_296, "A100 80 GB"),
        ("NVIDIA A100-PCIE-40GB", 42_298_834_944, "A100 40 GB"),
        ("NVIDIA RTX A6000", 51_041_271_808, "RTX A6000"),
        ("NVIDIA A40", 47_608_692_736, "A40"),
        ("NVIDIA GeForce RTX 4090", 25_386_352_640, "RTX 4090"),
        ("NVIDIA GeForce RTX 5090", 34_190_917_632, "RTX 5090"),
        ("NVIDIA H100 80GB HBM3", 85_029_158_912, "H100"),
        ("NVIDIA H200", 150_110_011_392, "H200"),
        ("NVIDIA A4000", 16_000_000_000, None),
    ],
)
def test_a_gpu_is_found_by_its_drivers_name(name: str, memory: int, expected: str | None) -> None:
    gpu = find_specification(name, memory)
    assert (gpu.name if gpu is not None else None) == expected


def test_the_table_of_plans() -> None:
    text = plans_table()
    lines = text.splitlines()
    assert len([line for line in lines if line.startswith(tuple(BY_NAME))]) == len(GPUS) * 2 * 3
    assert "estimate for 81 frames" in text
    assert "None of these values has been measured" in text
    assert max(map(len, lines[:60])) < 130


def test_the_documentation_has_the_table() -> None:
    """docs/HARDWARE.md shows the output of `doctor --plans`; update it after a change."""
    page = Path(__file__).resolve().parents[2] / "docs" / "HARDWARE.md"
    assert plans_table().strip() in page.read_text(encoding="utf-8")


def test_a_driver_that_is_too_old_is_rejected(tmp_path: Path) -> None:
    machine = replace(usual_machine(BY_NAME["H100"]), driver=(470, 82))
    with pytest.raises(InvalidInput, match=r"driver 470\.82 is too old for .*\. Install driver 525\.60"):
        plan_for(machine)
    assert plan_for(replace(machine, driver=(550, 54))).streamed_blocks == 0
    file = tmp_path / "version"
    file.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12\n")
    assert driver_version(file) == (535, 183)
    file.write_text("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.124.06  Release Build\n")
    assert driver_version(file) == (570, 124)
    assert driver_version(tmp_path / "absent") is None
