"""Settings that override the plan, and errors for invalid ones."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from multitalk import MultiTalkPipeline
from multitalk.cli.main import main
from multitalk.errors import InvalidInput
from multitalk.models.matmul_choice import choose_matmul
from multitalk.models.quantized import QuantizedLinear
from multitalk.runtime.attention import BACKENDS, candidates
from multitalk.runtime.choose import plan_for
from multitalk.runtime.gpus import GPUS
from multitalk.runtime.machine import _attention_packages
from multitalk.runtime.plan import PARTS
from multitalk.runtime.planner import Planner
from multitalk.runtime.report import usual_machine
from multitalk.runtime.settings import PlanSettings

BY_NAME = {gpu.name: gpu for gpu in GPUS}
H100, T4, RTX_4090, RTX_5090 = (
    usual_machine(BY_NAME[name]) for name in ("H100", "T4", "RTX 4090", "RTX 5090")
)
NEWEST = ("flash_attn_interface", "flash_attn.cute", "sageattn3")


def test_every_choice_can_be_set_by_the_environment() -> None:
    settings = PlanSettings.from_environment(
        {
            "MULTITALK_DEVICE": "cuda:1",
            "MULTITALK_DTYPE": "float16",
            "MULTITALK_ATTENTION": "flash",
            "MULTITALK_CROSS_ATTENTION": "native",
            "MULTITALK_TRANSFORMER_PRECISION": "int8",
            "MULTITALK_TEXT_ENCODER_PRECISION": "fp8",
            "MULTITALK_STREAMED_BLOCKS": "7",
            "MULTITALK_RESIDENT": "vae, image_encoder",
            "MULTITALK_VAE_TILING": "on",
            "MULTITALK_BATCH_BRANCHES": "no",
            "MULTITALK_COMPILE": "1",
            "MULTITALK_MEMORY_GB": "20.5",
            "MULTITALK_EIGHT_BIT_PRODUCTS": "off",
            "MULTITALK_COMPILE_MODE": "max-autotune-no-cudagraphs",
            "MULTITALK_COMPILE_CACHE": "/kernels",
            "MULTITALK_WEIGHTS": "elsewhere",
        }
    )
    assert settings == PlanSettings(
        "cuda:1", "float16", "flash", "native", "int8", "fp8", 7, ("transformer", "image_encoder", "vae"),
        True, False, True, 20.5, False, "max-autotune-no-cudagraphs", Path("/kernels"),
    )  # fmt: skip
    assert all(getattr(settings, field.name) is not None for field in fields(settings))
    assert PlanSettings.from_environment({"MULTITALK_DTYPE": "", "MULTITALK_COMPILE": " "}) == PlanSettings()


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("DTYPE", "half", "bfloat16, float16 or float32"),
        ("ATTENTION", "fast", "native, _native_cudnn, "),
        ("STREAMED_BLOCKS", "-1", "a whole number from 0"),
        ("STREAMED_BLOCKS", "²", "a whole number from 0"),
        ("VAE_TILING", "maybe", "on or off"),
        ("RESIDENT", "vae,clip", "all, none, or a comma-separated list of transformer, "),
        ("MEMORY_GB", "0", "a number of GB above 0"),
        ("MEMORY_GB", "nan", "a number of GB above 0"),
        ("TRANSFORMER_PRECISION", "int4", "int8 or fp8"),
        ("COMPILE_MODE", "reduce-overhead", "default or max-autotune-no-cudagraphs"),
    ],
)
def test_an_invalid_value_gives_a_one_line_error(variable: str, value: str, allowed: str) -> None:
    name = f"MULTITALK_{variable}"
    with pytest.raises(InvalidInput) as error:
        PlanSettings.from_environment({name: value})
    assert str(error.value).startswith(f"{name} must be {allowed}")
    assert str(error.value).endswith(f", not '{value}'.")
    assert "\n" not in str(error.value)


def test_the_command_line_overrides_the_environment() -> None:
    settings = PlanSettings(streamed_blocks=3, dtype="float16").updated(
        ["streamed_blocks=5", "compile=on", "compile_mode=default", "compile_cache=kernels"]
    )
    assert (settings.streamed_blocks, settings.dtype, settings.compile) == (5, "float16", True)
    assert (settings.compile_mode, settings.compile_cache) == ("default", Path("kernels"))
    for invalid in ("streamed_blocks", "blocks=3", "compile_cache="):
        with pytest.raises(InvalidInput, match=rf"must be NAME=VALUE .* device, dtype, .*, not '{invalid}'"):
            settings.updated([invalid])


def test_an_invalid_setting_ends_a_command_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("MULTITALK_STREAMED_BLOCKS", "many")
    arguments = ["--image", "examples/one_person.png", "--audio", "examples/one_person.wav"]
    arguments += ["-o", str(tmp_path / "out.mp4")]
    assert main(["generate", *arguments]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "error: MULTITALK_STREAMED_BLOCKS must be a whole number from 0, not 'many'."
    )
    monkeypatch.delenv("MULTITALK_STREAMED_BLOCKS")
    assert main(["generate", *arguments, "--plan", "vae_tiling=perhaps"]) == 2
    assert "--plan vae_tiling must be on or off, not 'perhaps'." in capsys.readouterr().err
    # doctor reports it, too
    monkeypatch.setenv("MULTITALK_DTYPE", "float8")
    assert main(["doctor"]) == 1
    assert "MULTITALK_DTYPE must be bfloat16, float16 or float32, not 'float8'." in capsys.readouterr().out


def test_settings_override_the_plan() -> None:
    settings = PlanSettings(
        dtype="float32", streamed_blocks=11, resident=("transformer", "vae"), vae_tiling=True, compile=True,
        batch_branches=True, transformer_precision="int8", text_encoder_precision="int8",
        compile_mode="max-autotune-no-cudagraphs", compile_cache=Path("kernels"),
    )  # fmt: skip
    plan = plan_for(H100, settings=settings)
    assert plan.dtype == torch.float32
    assert (plan.streamed_blocks, plan.resident, plan.vae_tiling) == (11, ("transformer", "vae"), True)
    assert (plan.compile, plan.batch_branches) == (True, True)
    assert (plan.compile_mode, plan.compile_cache) == ("max-autotune-no-cudagraphs", Path("kernels"))
    assert (plan.transformer_precision, plan.text_encoder_precision) == ("int8", "int8")
    assert plan_for(H100, settings=PlanSettings(resident=PARTS)).resident == PARTS


def test_settings_that_may_not_fit_give_a_note() -> None:
    plan = plan_for(RTX_4090, settings=PlanSettings(streamed_blocks=0))
    assert plan.streamed_blocks == 0
    start = "The job may not fit with these settings: size: a clip of 81 frames"
    assert any(note.startswith(start) for note in plan.notes)
    with pytest.raises(InvalidInput, match=r"streamed_blocks must be at most 40, not 41"):
        plan_for(RTX_4090, settings=PlanSettings(streamed_blocks=41))


def test_planning_for_less_memory() -> None:
    plan = plan_for(H100, settings=PlanSettings(memory_gb=24))
    assert plan.streamed_blocks == plan_for(RTX_4090).streamed_blocks
    with pytest.raises(InvalidInput, match=r"\(H100 has 3\.8 GB to use\)"):
        plan_for(H100, settings=PlanSettings(memory_gb=5))


def test_bfloat16_is_rejected_if_it_would_be_emulated() -> None:
    with pytest.raises(InvalidInput, match=r"requires compute capability 8\.0 or higher\. Use float16 on T4"):
        plan_for(T4, settings=PlanSettings(dtype="bfloat16"))


def test_an_unknown_dtype_is_rejected() -> None:
    with pytest.raises(InvalidInput, match="dtype must be bfloat16 or float16 or float32, not 'float64'"):
        plan_for(T4, settings=PlanSettings(dtype="float64"))


@pytest.mark.parametrize(
    ("machine", "backend", "reason"),
    [
        (T4, "flash", "requires compute capability 8.0 (this GPU has 7.5)"),
        (T4, "sage", "requires compute capability 8.0 (this GPU has 7.5)"),
        (T4, "_native_flash", "requires compute capability 8.0"),
        (RTX_4090, "sage", "crashes on this GPU with CUDA before 12.8"),
        (H100, "sage_fp8_fp32", "has no kernel for compute capability 9.0"),
        (replace(H100, packages=()), "flash", "requires the package flash_attn, which is not installed"),
        (H100, "flash_4", "requires the package flash_attn.cute, which is not installed"),
        (RTX_5090, "_flash_3", "runs on compute capability 9 only, use flash_4"),
        (H100, "sage_3", "requires compute capability 10.0 (this GPU has 9.0)"),
        (RTX_4090, "flash_4", "requires compute capability 9.0 (this GPU has 8.9)"),
    ],
)
def test_a_backend_that_cannot_run_falls_back_with_the_reason(
    machine: object, backend: str, reason: str
) -> None:
    plan = plan_for(machine, settings=PlanSettings(attention=backend))  # type: ignore[arg-type]
    assert plan.attention_backend != backend
    assert any(reason in note and f"{plan.attention_backend} is used" in note for note in plan.notes)


def test_a_backend_that_can_run_is_used() -> None:
    for machine, backend in ((H100, "sage"), (RTX_4090, "flash"), (RTX_4090, "sage_fp8_fp32")):
        plan = plan_for(machine, settings=PlanSettings(attention=backend))
        assert (plan.attention_backend, plan.notes) == (backend, ())
    newer = replace(RTX_4090, cuda=(12, 8))
    assert plan_for(newer).attention_backend == "sage"
    bare = replace(RTX_4090, packages=())
    assert plan_for(bare).attention_backend == "_native_flash"


def test_the_newest_kernels_are_last_and_chosen_by_a_setting() -> None:
    for usual, expected in (
        (RTX_4090, []),
        (H100, ["_flash_3", "flash_4"]),
        (RTX_5090, ["flash_4", "sage_3"]),
    ):
        machine = replace(usual, packages=(*usual.packages, *((name, "1.0") for name in NEWEST)))
        names, notes = candidates(machine)
        assert names == [*candidates(usual)[0], *expected]
        assert notes == candidates(usual)[1]
        assert plan_for(machine).attention_backend == plan_for(usual).attention_backend
        for name in expected:
            plan = plan_for(machine, settings=PlanSettings(attention=name))
            assert (plan.attention_backend, plan.notes) == (name, ())


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["flash_attn/__init__.py"], ["flash_attn"]),
        (["flash_attn/cute/__init__.py"], ["flash_attn.cute"]),
        (["flash_attn/__init__.py", "flash_attn/cute/__init__.py"], ["flash_attn", "flash_attn.cute"]),
        (["flash_attn_interface.py", "sageattn3/__init__.py"], ["flash_attn_interface", "sageattn3"]),
    ],
)
def test_packages_are_found_without_importing_them(
    files: list[str], found: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert [name for name, _ in _attention_packages()] == found


def test_cross_attention_never_quantizes() -> None:
    for gpu in GPUS:
        plan = plan_for(usual_machine(gpu))
        assert BACKENDS[plan.cross_attention_backend].exact


def test_float32_uses_a_kernel_that_supports_it() -> None:
    assert plan_for(H100, settings=PlanSettings(dtype="float32")).attention_backend == "_native_efficient"


def test_a_device_that_does_not_exist() -> None:
    with pytest.raises(InvalidInput, match="device must be cpu, cuda or cuda:N, not 'tpu'"):
        Planner(PlanSettings(device="tpu"))
    if not torch.cuda.is_available():
        with pytest.raises(InvalidInput, match=r"device: torch found no NVIDIA GPU \(cuda:3 requested\)"):
            Planner(PlanSettings(device="cuda:3"))


@pytest.mark.parametrize("products", [None, False])
def test_8_bit_products_can_be_disabled(products: bool | None) -> None:
    kernel = choose_matmul("int8", torch.device("cpu"), (64, 64)) if products is None else None
    plan = PlanSettings(device="cpu", transformer_precision="int8", eight_bit_products=products)
    transformer = MultiTalkPipeline.from_pretrained(plan=plan).components.transformer
    assert {layer.matmul for layer in transformer.modules() if isinstance(layer, QuantizedLinear)} == {kernel}


def test_the_documentation_lists_every_setting() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "HARDWARE.md").read_text(encoding="utf-8")
    for field in fields(PlanSettings):
        assert f"| `{field.name}` | `MULTITALK_{field.name.upper()}` |" in page, field.name
    for name in BACKENDS:
        assert f"| `{name}` |" in page, name
