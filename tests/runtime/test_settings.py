"""What a person sets instead of the plan, and what is said of what can't be set."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from multitalk import MultiTalkPipeline
from multitalk.cli.main import main
from multitalk.errors import InvalidInput
from multitalk.models.quantized import QuantizedLinear
from multitalk.models.quantized_matmul import choose_matmul
from multitalk.runtime.attention import BACKENDS
from multitalk.runtime.choose import plan_for
from multitalk.runtime.gpus import GPUS
from multitalk.runtime.plan import PARTS
from multitalk.runtime.planner import make_plan
from multitalk.runtime.report import usual_machine
from multitalk.runtime.settings import PlanSettings

BY_NAME = {gpu.name: gpu for gpu in GPUS}
H100, T4, RTX_4090 = (usual_machine(BY_NAME[name]) for name in ("H100", "T4", "RTX 4090"))


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
            "MULTITALK_WEIGHTS": "elsewhere",
        }
    )
    assert settings == PlanSettings(
        "cuda:1", "float16", "flash", "native", "int8", "fp8", 7, ("transformer", "image_encoder", "vae"),
        True, False, True, 20.5, False,
    )  # fmt: skip
    assert all(getattr(settings, field.name) is not None for field in fields(settings))
    assert PlanSettings.from_environment({"MULTITALK_DTYPE": ""}) == PlanSettings()


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("DTYPE", "half", "bfloat16 or float16 or float32"),
        ("ATTENTION", "fast", "one of native, "),
        ("STREAMED_BLOCKS", "-1", "a whole number from 0"),
        ("STREAMED_BLOCKS", "²", "a whole number from 0"),
        ("VAE_TILING", "maybe", "on or off"),
        ("RESIDENT", "vae,clip", "all, none, or names out of transformer, "),
        ("MEMORY_GB", "0", "a number of GB above 0"),
        ("MEMORY_GB", "nan", "a number of GB above 0"),
        ("TRANSFORMER_PRECISION", "int4", "int8 or fp8"),
    ],
)
def test_a_bad_value_is_one_sentence(variable: str, value: str, allowed: str) -> None:
    name = f"MULTITALK_{variable}"
    with pytest.raises(InvalidInput) as error:
        PlanSettings.from_environment({name: value})
    assert str(error.value).startswith(f"{name} is '{value}', but it must be {allowed}")
    assert "\n" not in str(error.value)


def test_settings_of_the_command_line_go_over_the_environments() -> None:
    settings = PlanSettings(streamed_blocks=3, dtype="float16").updated(["streamed_blocks=5", "compile=on"])
    assert (settings.streamed_blocks, settings.dtype, settings.compile) == (5, "float16", True)
    for wrong in ("streamed_blocks", "blocks=3"):
        with pytest.raises(InvalidInput, match=r"is no setting: use NAME=VALUE with device, dtype, "):
            settings.updated([wrong])


def test_a_bad_setting_ends_a_command_with_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("MULTITALK_STREAMED_BLOCKS", "many")
    arguments = ["--image", "examples/one_person.png", "--audio", "examples/one_person.wav"]
    arguments += ["-o", str(tmp_path / "out.mp4")]
    assert main(["generate", *arguments]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "error: MULTITALK_STREAMED_BLOCKS is 'many', but it must be a whole number from 0."
    )
    monkeypatch.delenv("MULTITALK_STREAMED_BLOCKS")
    assert main(["generate", *arguments, "--plan", "vae_tiling=perhaps"]) == 2
    assert "--plan vae_tiling is 'perhaps', but it must be on or off." in capsys.readouterr().err
    # the doctor says it, too
    monkeypatch.setenv("MULTITALK_DTYPE", "float8")
    assert main(["doctor"]) == 1
    assert "MULTITALK_DTYPE is 'float8'" in capsys.readouterr().out


def test_choices_are_overridden() -> None:
    settings = PlanSettings(
        dtype="float32", streamed_blocks=11, resident=("transformer", "vae"), vae_tiling=True, compile=True,
        batch_branches=True, transformer_precision="int8", text_encoder_precision="int8",
    )  # fmt: skip
    plan = plan_for(H100, settings=settings)
    assert plan.dtype == torch.float32
    assert (plan.streamed_blocks, plan.resident, plan.vae_tiling) == (11, ("transformer", "vae"), True)
    assert (plan.compile, plan.batch_branches) == (True, True)
    assert (plan.transformer_precision, plan.text_encoder_precision) == ("int8", "int8")
    assert plan_for(H100, settings=PlanSettings(resident=PARTS)).resident == PARTS


def test_what_may_not_fit_is_done_and_said() -> None:
    plan = plan_for(RTX_4090, settings=PlanSettings(streamed_blocks=0))
    assert plan.streamed_blocks == 0
    assert any(note.startswith("With the chosen settings it may not fit.") for note in plan.notes)
    with pytest.raises(InvalidInput, match=r"streamed_blocks is 41, but the transformer has 40"):
        plan_for(RTX_4090, settings=PlanSettings(streamed_blocks=41))


def test_a_smaller_memory_is_planned_for() -> None:
    plan = plan_for(H100, settings=PlanSettings(memory_gb=24))
    assert plan.streamed_blocks == plan_for(RTX_4090).streamed_blocks
    with pytest.raises(InvalidInput, match=r"H100 has 3\.8 GB to use"):
        plan_for(H100, settings=PlanSettings(memory_gb=5))


def test_bfloat16_is_refused_where_it_would_be_emulated() -> None:
    with pytest.raises(InvalidInput, match=r"needs compute capability 8\.0: use float16 on T4"):
        plan_for(T4, settings=PlanSettings(dtype="bfloat16"))


@pytest.mark.parametrize(
    ("machine", "backend", "reason"),
    [
        (T4, "flash", "needs compute capability 8.0, and this GPU has 7.5"),
        (T4, "sage", "needs compute capability 8.0, and this GPU has 7.5"),
        (T4, "_native_flash", "needs compute capability 8.0"),
        (RTX_4090, "sage", "crashes here: its default sums need CUDA 12.8"),
        (H100, "sage_fp8_fp32", "has no kernel for compute capability 9.0"),
        (replace(H100, packages=()), "flash", "needs the package flash_attn, which isn't installed"),
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


def test_cross_attention_never_quantizes() -> None:
    for gpu in GPUS:
        plan = plan_for(usual_machine(gpu))
        assert BACKENDS[plan.cross_attention_backend].exact


def test_float32_takes_a_kernel_that_has_it() -> None:
    assert plan_for(H100, settings=PlanSettings(dtype="float32")).attention_backend == "_native_efficient"


def test_a_device_that_isnt_here() -> None:
    with pytest.raises(InvalidInput, match="device 'tpu' is unknown"):
        make_plan("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(InvalidInput, match="device 'cuda:3' needs an NVIDIA GPU"):
            make_plan("cuda:3")


@pytest.mark.parametrize("products", [None, False])
def test_8_bit_products_can_be_left_out(products: bool | None) -> None:
    kernel = choose_matmul("int8", torch.device("cpu"), (64, 64)) if products is None else None
    plan = PlanSettings(device="cpu", transformer_precision="int8", eight_bit_products=products)
    transformer = MultiTalkPipeline.from_pretrained(plan=plan).components.transformer
    assert {layer.matmul for layer in transformer.modules() if isinstance(layer, QuantizedLinear)} == {kernel}


def test_every_setting_stands_on_the_page() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "HARDWARE.md").read_text(encoding="utf-8")
    for field in fields(PlanSettings):
        assert f"| `{field.name}` | `MULTITALK_{field.name.upper()}` |" in page, field.name
    for name in BACKENDS:
        assert f"| `{name}` |" in page, name
