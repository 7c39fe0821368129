"""Switching LoRAs in a loaded transformer: equal to merging, and without a trace afterwards."""

from __future__ import annotations

import itertools
import os

import pytest
import torch
from safetensors.torch import save_file

from multitalk.bake.bake import bake
from multitalk.errors import InvalidInput, WeightsError
from multitalk.models.linear import LowRankLayer
from multitalk.models.quantized import QuantizedLinear
from multitalk.models.transformer import MultiTalkTransformer
from multitalk.runtime.compiled import compile_blocks
from multitalk.weights.lora_switch import LoraSwitcher, activate_for_job
from multitalk.weights.store import WeightsFolder, load_part
from multitalk.weights.tensor_files import SafetensorsSource
from tests.small_checkpoint import FUSIONX, Sizes

from .models import PRECISIONS, both, load, predict, same_bits, state_of

DIM = Sizes().dim
MODULE = "diffusion_model.blocks.0.self_attn.q"


def effective_weights(model: MultiTalkTransformer) -> dict[str, torch.Tensor]:
    """The weights that the layers effectively use, in float32."""
    weights = {name: tensor.float() for name, tensor in model.state_dict().items()}
    for name, layer in model.named_modules():
        if isinstance(layer, QuantizedLinear):
            weights[f"{name}.weight"] = layer.dequantize()
            del weights[f"{name}.scale"]
        if isinstance(layer, LowRankLayer) and layer.lora_down is not None:
            weights[f"{name}.weight"] = (
                weights[f"{name}.weight"] + layer.lora_up.float() @ layer.lora_down.float()
            )
    return weights


def relative_error(value: torch.Tensor, expected: torch.Tensor) -> float:
    return float((value - expected).norm() / expected.norm())


@pytest.mark.parametrize("precision", PRECISIONS)
def test_switching_equals_merging(precision, folders, published, tmp_path):
    model = load(folders, precision)
    switcher = LoraSwitcher(model)
    fusionx, lightx2v = both(folders)
    switcher.activate([(fusionx, 1.0)])
    switcher.activate([(lightx2v, 1.2), (fusionx, 0.5)])
    assert [scale for _, scale in switcher.active] == [1.2, 0.5]
    bake(published, tmp_path / "exact", precision="float32", loras=[("lightx2v", 1.2), (fusionx, 0.5)])
    exact = load_part(WeightsFolder(tmp_path / "exact"), "transformer", "cpu", torch.float32)
    expected = exact.state_dict()
    base = effective_weights(load(folders, precision))
    changed = 0
    tolerances = {"float32": (1e-6, 2e-7), "bf16": (8e-3, 4e-3), "int8": (8e-3, 0.012), "fp8": (0.06, 0.02)}
    relative, absolute = tolerances[precision]
    for name, weight in effective_weights(model).items():
        torch.testing.assert_close(weight, expected[name], rtol=relative, atol=absolute)
        changed += not torch.equal(weight, base[name])
    assert changed > 60
    # the same result as weights merged at bake in the same precision
    bake(published, tmp_path / "merged", precision=precision, loras=[("lightx2v", 1.2), (fusionx, 0.5)])
    merged = load_part(WeightsFolder(tmp_path / "merged"), "transformer", "cpu", model.compute_dtype)
    bound = {"float32": 3e-6, "bf16": 0.015, "int8": 0.03, "fp8": 0.12}[precision]
    answers = [predict(each) for each in (model, merged, exact)]
    assert relative_error(answers[0], answers[1]) < bound
    # and as close to the exact result
    errors = [relative_error(answer, answers[2]) for answer in answers[:2]]
    assert errors[0] < 1.3 * errors[1] + 3e-6


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_hundred_switches_leave_no_trace(precision, folders, tmp_path):
    model = load(folders, precision)
    fusionx, lightx2v = both(folders)
    generator = torch.Generator().manual_seed(4)
    # a whole matrix, which is written, in a layer that also has a product beside it
    save_file(
        {
            f"{MODULE}.diff": 0.1 * torch.randn(DIM, DIM, generator=generator),
            "diffusion_model.patch_embedding.lora_down.weight": torch.randn(2, 36, 1, 2, 2),
            "diffusion_model.patch_embedding.lora_up.weight": torch.randn(DIM, 2, 1, 1, 1),
        },
        tmp_path / "whole.safetensors",
    )
    before, answer = state_of(model), predict(model)
    switcher = LoraSwitcher(model)
    jobs = [
        [(fusionx, 1.0)],
        [],
        [(lightx2v, 1.2)],
        [(tmp_path / "whole.safetensors", 0.7)],
        [(lightx2v, 1.0), (fusionx, 0.3), (tmp_path / "whole.safetensors", 1.0)],
    ]
    first: dict[int, torch.Tensor] = {}
    for number in range(100):
        job = number % len(jobs)
        switcher.activate(jobs[job])
        if number < len(jobs):
            first[job] = predict(model)
            assert job == 1 or not same_bits(model, before) or not torch.equal(first[job], answer)
        elif number >= 95:  # no drift while a LoRA is active
            assert torch.equal(predict(model), first[job])
    switcher.activate([])
    assert same_bits(model, before)
    assert all(buffer is None for name, buffer in lora_buffers(model))
    assert torch.equal(predict(model), answer)


def lora_buffers(model: MultiTalkTransformer) -> list[tuple[str, torch.Tensor | None]]:
    return [
        (name, layer._buffers[buffer])
        for name, layer in model.named_modules()
        if isinstance(layer, LowRankLayer)
        for buffer in ("lora_down", "lora_up")
    ]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_matrices_are_never_written(precision, folders):
    model = load(folders, precision)
    weights = {
        name: (layer.weight.data_ptr(), layer.weight.clone())
        for name, layer in model.named_modules()
        if isinstance(layer, LowRankLayer)
    }
    fusionx, lightx2v = both(folders)
    LoraSwitcher(model).activate([(fusionx, 1.0), (lightx2v, 1.0)])
    for name, (address, values) in weights.items():
        weight = model.get_submodule(name).weight
        assert weight.data_ptr() == address
        assert torch.equal(weight.view(torch.uint8), values.view(torch.uint8))


def test_only_the_lora_file_is_read(folders, tmp_path, monkeypatch):
    switcher = LoraSwitcher(load(folders, "int8"))
    read = []
    original = SafetensorsSource.get
    monkeypatch.setattr(SafetensorsSource, "get", lambda self, key: read.append(key) or original(self, key))
    path = tmp_path / "lora.safetensors"
    save_file({f"{MODULE}.diff_b": torch.ones(DIM)}, path)
    switcher.activate([(path, 1.0)])
    switcher.activate([(path, 1.0)])  # nothing to do
    switcher.activate([])
    assert read == [f"{MODULE}.diff_b"]


def test_a_replaced_file_is_read_again(folders, tmp_path):
    model = load(folders, "float32")
    before = effective_weights(model)["blocks.0.attn1.to_q.bias"].clone()
    switcher = LoraSwitcher(model)
    path = tmp_path / "lora.safetensors"
    for number in (1, 2):
        save_file({f"{MODULE}.diff_b": torch.full((DIM,), float(number))}, path)
        os.utime(path, ns=(number, number))  # the file system's clock may be too coarse
        switcher.activate([(path, 1.0)])
        torch.testing.assert_close(effective_weights(model)["blocks.0.attn1.to_q.bias"], before + number)
    path.unlink()
    with pytest.raises(WeightsError, match="missing"):
        switcher.activate([(path, 1.0)])
    assert switcher.active == ((path, 1.0),)


def test_a_lora_of_a_tensor_that_is_divided(folders, tmp_path):
    model = load(folders, "float32")
    names = [f"blocks.0.audio_attn.{name}.weight" for name in ("to_k", "to_v")]
    before = torch.cat([effective_weights(model)[name] for name in names])
    down, up = torch.randn(2, Sizes().audio_dim), torch.randn(2 * DIM, 2)
    module = "diffusion_model.blocks.0.audio_cross_attn.kv_linear"
    path = tmp_path / "lora.safetensors"
    save_file({f"{module}.lora_down.weight": down, f"{module}.lora_up.weight": up}, path)
    LoraSwitcher(model).activate([(path, 1.0)])
    after = torch.cat([effective_weights(model)[name] for name in names])
    torch.testing.assert_close(after, before + up @ down)


def test_matrices_stored_like_convolutions(folders, tmp_path):
    flat, kernel = tmp_path / "flat.safetensors", tmp_path / "kernel.safetensors"
    down, up = torch.randn(2, DIM), torch.randn(DIM, 2)
    save_file({f"{MODULE}.lora_down.weight": down, f"{MODULE}.lora_up.weight": up}, flat)
    kernels = {"lora_down": down[:, :, None, None], "lora_up": up[:, :, None, None]}
    save_file({f"{MODULE}.{name}.weight": each.contiguous() for name, each in kernels.items()}, kernel)
    model = load(folders, "float32")
    switcher = LoraSwitcher(model)
    switcher.activate([(flat, 1.0)])
    expected = predict(model)
    switcher.activate([(kernel, 1.0)])
    assert torch.equal(predict(model), expected)
    switcher.activate([(kernel, 0.5), (flat, 0.5)])
    torch.testing.assert_close(predict(model), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("piece", ["lora_down.weight", "lora_up.weight", "alpha"])
def test_values_that_are_not_finite(piece, value, folders, tmp_path):
    tensors = {"lora_down.weight": torch.randn(2, DIM), "lora_up.weight": torch.randn(DIM, 2)}
    tensors["alpha"] = torch.tensor(2.0)
    tensors[piece].view(-1)[0] = value
    path = tmp_path / "x.safetensors"
    save_file({f"{MODULE}.{name}": tensor for name, tensor in tensors.items()}, path)
    model = load(folders, "float32")
    before, switcher = state_of(model), LoraSwitcher(model)
    with pytest.raises(WeightsError, match=r"x\.safetensors is damaged: it has values that are not finite"):
        switcher.activate([(path, 1.0)])
    assert same_bits(model, before)
    assert switcher.active == ()


def test_a_job_in_inference_mode_leaves_usable_tensors(folders):
    model = load(folders, "bf16")
    with torch.inference_mode():
        LoraSwitcher(model).activate([(both(folders)[1], 1.0)])
    assert not any(tensor.is_inference() for _, tensor in lora_buffers(model) if tensor is not None)
    assert not any(parameter.is_inference() for parameter in model.parameters())


def test_switches_alternate_in_any_order(folders):
    """The result does not depend on what was active before."""
    model = load(folders, "fp8")
    fusionx, lightx2v = both(folders)
    switcher = LoraSwitcher(model)
    sets = ([], [(fusionx, 1.0)], [(lightx2v, 1.0)])
    answers: dict[int, torch.Tensor] = {}
    for order in itertools.permutations(range(3)):
        for index in order:
            switcher.activate(sets[index])
            assert torch.equal(predict(model), answers.setdefault(index, predict(model)))


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_switching_under_a_compiled_model(precision, folders):
    """Compiled blocks notice that a LoRA is added or removed."""
    model, plain = load(folders, precision), load(folders, precision)
    fusionx, lightx2v = both(folders)
    compile_blocks(model, backend="eager")
    switchers = [LoraSwitcher(model), LoraSwitcher(plain)]
    for loras in ([], [(fusionx, 1.0)], [(lightx2v, 1.2)], [], [(fusionx, 0.5)]):
        for switcher in switchers:
            switcher.activate(loras)
        assert torch.equal(predict(model), predict(plain))


def test_a_lora_that_was_not_baked_is_invalid_input(folders, copy_of, tmp_path):
    folder = copy_of(folders["float32"].path)
    switcher = LoraSwitcher(load(folders, "float32"))
    for path in (folder / "loras" / "own.safetensors", tmp_path / "own.safetensors"):
        path.write_bytes(b"no header")
        with pytest.raises(InvalidInput, match=r"LoRA file .*own\.safetensors cannot be read") as error:
            activate_for_job(switcher, [(path, 1.0)], folder)
        assert error.value.field == "lora"
    (folder / "loras" / FUSIONX).write_bytes(b"no header")
    with pytest.raises(WeightsError, match="cannot be read"):
        activate_for_job(switcher, [(folder / "loras" / FUSIONX, 1.0)], folder)
