"""The plan of every GPU people name, for every job and precision: it fits; a smaller GPU gets a sentence."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from multitalk.errors import InvalidInput
from multitalk.hardware import PUBLISHED, Gpu, HardwarePlan, Job, Machine, Weights, plan_for
from multitalk.hardware.gpus import GB, GPUS, find_specification
from multitalk.hardware.machine import driver_version
from multitalk.hardware.memory import HOST_RESERVE, usable
from multitalk.hardware.report import SIZES, plans_table, usual_machine

BY_NAME = {gpu.name: gpu for gpu in GPUS}


def job_of(size: str, people: int) -> Job:
    height, width = SIZES[size]
    return Job(height=height, width=width, people=people)


def plan_of(gpu: str, size: str = "480p", people: int = 2, precision: str = "bf16") -> HardwarePlan:
    weights = Weights(PUBLISHED, precision, precision)
    return plan_for(usual_machine(BY_NAME[gpu]), job_of(size, people), weights)


def test_the_table_has_every_gpu_of_the_stack() -> None:
    assert set(BY_NAME) == {
        "V100 16 GB", "V100 32 GB", "T4", "A100 40 GB", "A100 80 GB", "RTX A6000", "A40", "RTX 4090",
        "RTX 5090", "H100", "H200",
    }  # fmt: skip


@pytest.mark.parametrize("gpu", BY_NAME)
def test_every_plan_fits(gpu: str) -> None:
    dtype = torch.bfloat16 if BY_NAME[gpu].capability >= (8, 0) else torch.float16
    for job in itertools.product(SIZES, (1, 2), ("bf16", "fp8", "int8")):
        plan = plan_of(gpu, *job)
        assert 0 < plan.expected_peak_bytes <= usable(BY_NAME[gpu].memory), job
        assert plan.dtype == dtype, job
        unquantized = "bf16" if dtype == torch.bfloat16 else "fp16"
        assert plan.transformer_precision == (unquantized if job[2] == "bf16" else job[2]), job
        assert 0 <= plan.streamed_blocks <= 40, job
        assert plan.expected_seconds is not None, job
        assert "estimated" in plan.description, job


@pytest.mark.parametrize(
    ("gpu", "backend"),
    [
        ("V100 16 GB", "_native_efficient"),
        ("T4", "_native_efficient"),
        ("A100 40 GB", "flash"),
        ("RTX A6000", "flash"),
        ("A40", "flash"),
        ("RTX 4090", "sage_fp8_fp32"),  # the image's CUDA is 12.4
        ("RTX 5090", "sage"),
        ("H100", "_native_cudnn"),
        ("H200", "_native_cudnn"),
    ],
)
def test_attention_by_what_the_gpu_can_run(gpu: str, backend: str) -> None:
    assert plan_of(gpu).attention_backend == backend


def test_no_block_more_is_streamed_than_needed() -> None:
    for name, size in (("RTX 4090", "480p"), ("A40", "720p"), ("V100 32 GB", "480p")):
        plan = plan_of(name, size)
        assert plan.streamed_blocks > 3
        fewer = (plan.streamed_blocks - 1) * PUBLISHED.block_bytes(plan.transformer_precision)
        freed = plan.streamed_blocks * PUBLISHED.block_bytes(plan.transformer_precision) - fewer
        assert plan.expected_peak_bytes + freed > usable(BY_NAME[name].memory)


def test_all_is_resident_where_there_is_room() -> None:
    plan = plan_of("H100", "720p", 2, "bf16")
    assert (plan.streamed_blocks, plan.vae_tiling) == (0, False)
    assert "text_encoder" in plan.resident
    assert "all weights resident" in plan.description


def test_what_fits_nowhere_is_refused_with_a_sentence() -> None:
    gpu = Gpu("RTX 2080", (7, 5), 8 * GB)
    with pytest.raises(
        InvalidInput,
        match=r"^A clip of 81 frames at 832x480 needs [\d.]+ GB of GPU memory to denoise, and RTX 2080",
    ) as error:
        plan_for(replace(usual_machine(BY_NAME["T4"]), gpu=gpu))
    assert error.value.field == "size"
    assert "\n" not in str(error.value)
    assert "choose a smaller size" in str(error.value)
    # and its sentence is true: a smaller clip fits
    assert plan_for(
        replace(usual_machine(BY_NAME["T4"]), gpu=gpu), Job(height=240, width=416)
    ).streamed_blocks


def test_a_machine_without_a_gpu() -> None:
    small = Weights(replace(PUBLISHED, layers=1, text_layers=0, text_matrices=0, text_embedding=0))
    plan = plan_for(Machine(host_memory=24 * GB), Job(), small)
    assert (plan.device.type, plan.dtype) == ("cpu", torch.float32)
    assert (plan.streamed_blocks, plan.vae_tiling, plan.expected_seconds) == (0, False, None)
    with pytest.raises(InvalidInput, match=r"need 10\d\.\d GB of memory on a CPU, and there are 24\.0 GB"):
        plan_for(Machine(host_memory=24 * GB), Job(), Weights())


def test_too_little_host_memory_is_said() -> None:
    machine = usual_machine(BY_NAME["RTX 4090"])
    with pytest.raises(InvalidInput, match=r"RTX 4090 needs [\d.]+ GB of host memory"):
        plan_for(replace(machine, host_memory=16 * GB))
    needed = plan_for(machine).streamed_blocks * 2**30 + 24 * 2**29 + 2**31  # page-locked: powers of two
    assert plan_for(replace(machine, host_memory=needed + HOST_RESERVE + 4 * GB)).streamed_blocks


def test_a_torch_without_kernels_for_the_gpu_is_refused() -> None:
    machine = usual_machine(BY_NAME["RTX 5090"])
    old = replace(machine, architectures=("sm_80", "sm_86", "sm_90"), cuda=(12, 4))
    with pytest.raises(
        InvalidInput, match=r"sm_120, for which this torch .* has no code: use the cu128 image"
    ):
        plan_for(old)
    assert plan_for(replace(old, architectures=("sm_90", "compute_90"))).streamed_blocks
    # binary code of the same generation is enough
    assert plan_for(replace(usual_machine(BY_NAME["RTX 4090"]), architectures=("sm_80",))).streamed_blocks


def test_an_unknown_gpu_is_planned_without_an_estimate_of_time() -> None:
    gpu = Gpu("NVIDIA L40S", (8, 9), 48 * GB, find_specification("NVIDIA L40S", 48 * GB))
    plan = plan_for(replace(usual_machine(BY_NAME["RTX 4090"]), gpu=gpu))
    assert plan.expected_seconds is None
    assert plan.expected_peak_bytes <= usable(48 * GB)


@pytest.mark.parametrize(
    ("name", "memory", "known"),
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
def test_a_gpu_is_known_by_its_drivers_name(name: str, memory: int, known: str | None) -> None:
    found = find_specification(name, memory)
    assert (found.name if found is not None else None) == known


def test_the_table_for_people() -> None:
    text = plans_table()
    lines = text.splitlines()
    assert len([line for line in lines if line.startswith(tuple(BY_NAME))]) == len(GPUS) * 2 * 3
    assert "an estimate" in text
    assert "Nothing of this table was measured" in text
    assert max(map(len, lines[:60])) < 130


def test_the_page_has_the_table() -> None:
    """docs/HARDWARE.md is what `doctor --plans` prints; after a change print it there again."""
    page = Path(__file__).resolve().parents[2] / "docs" / "HARDWARE.md"
    assert plans_table().strip() in page.read_text(encoding="utf-8")


def test_a_driver_that_is_too_old_is_said(tmp_path: Path) -> None:
    machine = replace(usual_machine(BY_NAME["H100"]), driver=(470, 82))
    with pytest.raises(InvalidInput, match=r"driver 470\.82 is too old for .*: it needs 525\.60"):
        plan_for(machine)
    assert plan_for(replace(machine, driver=(550, 54))).streamed_blocks == 0
    file = tmp_path / "version"
    file.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12\n")
    assert driver_version(file) == (535, 183)
    file.write_text("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.124.06  Release Build\n")
    assert driver_version(file) == (570, 124)
    assert driver_version(tmp_path / "absent") is None
