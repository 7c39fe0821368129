"""Switching audio layers in a loaded transformer: bitwise what loading would give, with any LoRAs."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from multitalk.bake.bake import bake
from multitalk.errors import InvalidInput, WeightsError
from multitalk.models.transformer import MultiTalkTransformer
from multitalk.runtime.compiled import compile_blocks
from multitalk.runtime.placement import Placement
from multitalk.runtime.plan import HardwarePlan
from multitalk.weights import audio_layers
from multitalk.weights.audio_layers import AudioLayerSwitcher
from multitalk.weights.folders import AUDIO_LAYER_SETS, audio_layer_files
from multitalk.weights.lora_switch import LoraSwitcher
from multitalk.weights.manifest import MANIFEST, Manifest
from multitalk.weights.store import WeightsFolder, load_part
from multitalk.weights.verify import verify
from tests.small_checkpoint import REPLACED, Sizes

from .models import PRECISIONS, bits, both, load, predict, same_bits, state_of

CPU = torch.device("cpu")
SINGLE, MULTI = AUDIO_LAYER_SETS[1:]


def switcher_of(model: MultiTalkTransformer, folder: WeightsFolder) -> AudioLayerSwitcher:
    return AudioLayerSwitcher(model, folder, LoraSwitcher(model))


@pytest.fixture
def audio_lora(tmp_path) -> Path:
    """A LoRA that changes audio layers: a norm, a bias, and a whole matrix that is cut in two."""
    block, generator = "diffusion_model.blocks.0", torch.Generator().manual_seed(5)
    shapes = {
        "norm_x.diff": (Sizes().dim,),
        "audio_cross_attn.q_linear.diff_b": (Sizes().dim,),
        "audio_cross_attn.kv_linear.diff": (2 * Sizes().dim, Sizes().audio_dim),
    }
    tensors = {
        f"{block}.{name}": torch.randn(shape, generator=generator) / 10 for name, shape in shapes.items()
    }
    save_file(tensors, tmp_path / "audio.safetensors")
    return tmp_path / "audio.safetensors"


def test_the_first_set_is_active_after_loading(folders):
    switcher = switcher_of(load(folders, "float32"), folders["float32"])
    assert switcher.names == AUDIO_LAYER_SETS
    assert switcher.active == "multitalk"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_switch_equals_loading_a_folder_with_that_model(precision, folders, published, tmp_path):
    """A folder with InfiniteTalk alone has the set for one person in its transformer."""
    bake(published, tmp_path / "alone", precision=precision, models=["infinitetalk"])
    alone = WeightsFolder(tmp_path / "alone")
    assert alone.manifest.audio_layers == (SINGLE, MULTI)
    model = load(folders, precision)
    expected = load_part(alone, "transformer", "cpu", model.compute_dtype)
    switchers = [switcher_of(model, folders[precision]), switcher_of(expected, alone)]
    answers = []
    for name in (SINGLE, MULTI, SINGLE):
        for switcher in switchers:
            switcher.use(name)
        assert same_bits(model, state_of(expected))
        answers.append(predict(model))
    assert not torch.equal(answers[0], answers[1])
    assert torch.equal(answers[0], answers[2])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_hundred_switches_with_loras_leave_no_trace(precision, folders, audio_lora):
    model = load(folders, precision)
    switcher = switcher_of(model, folders[precision])
    fusionx, lightx2v = both(folders)
    loras = [[], [(fusionx, 1.0)], [(lightx2v, 1.2)], [(lightx2v, 0.5), (fusionx, 0.3), (audio_lora, 0.7)]]
    before, answer = state_of(model), predict(model)
    states: dict[tuple[str, int], tuple[dict[str, torch.Tensor], torch.Tensor]] = {}
    order = random.Random(3)
    name, active = switcher.names[0], 0
    for _ in range(100):
        # one of them, or both in any order
        for change in order.sample(("layers", "loras"), order.choice((1, 2))):
            if change == "layers":
                name = order.choice(switcher.names)
                switcher.use(name)
            else:
                active = order.randrange(len(loras))
                switcher.loras.activate(loras[active])
        state, prediction = states.setdefault((name, active), (state_of(model), predict(model)))
        assert same_bits(model, state)
        assert torch.equal(predict(model), prediction)
        assert switcher.active == name
        assert switcher.loras.active == tuple(loras[active])
    assert len(states) == len(switcher.names) * len(loras)
    switcher.loras.activate([])
    switcher.use(None)
    assert same_bits(model, before)
    assert torch.equal(predict(model), answer)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_parameters_keep_their_identity(precision, folders):
    model = load(folders, precision)
    addresses = {name: (id(tensor), tensor.data_ptr()) for name, tensor in model.named_parameters()}
    switcher = switcher_of(model, folders[precision])
    with torch.inference_mode():  # as in a job
        switcher.use(MULTI)
        switcher.use(SINGLE)
    assert addresses == {name: (id(tensor), tensor.data_ptr()) for name, tensor in model.named_parameters()}
    assert not any(parameter.is_inference() for parameter in model.parameters())


def test_base_tensors_that_a_set_replaces_are_switched_with_it(folders, published):
    from multitalk.weights.renames import convert_transformer_tensor
    from multitalk.weights.tensor_files import SafetensorsSource

    model = load(folders, "float32")
    switcher = switcher_of(model, folders["float32"])
    before = state_of(model)
    names = [convert_transformer_tensor(key, torch.empty(2))[0][0] for key in REPLACED]
    source = SafetensorsSource.of_file(published / "InfiniteTalk/single/infinitetalk.safetensors")
    switcher.use(SINGLE)
    for key, name in zip(REPLACED, names, strict=True):
        assert torch.equal(model.get_parameter(name), source.get(key))
    switcher.use(MULTI)
    assert all(torch.equal(model.get_parameter(name), before[name]) for name in names)


@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_weights_that_are_quantized_during_loading(precision, folders):
    folder = folders["bf16"]
    model = load_part(folder, "transformer", "cpu", torch.bfloat16, quantization=precision)
    before = state_of(model)
    switcher = switcher_of(model, folder)
    switcher.use(SINGLE)
    changed = [
        name for name, value in state_of(model).items() if not torch.equal(bits(value), bits(before[name]))
    ]
    assert "blocks.0.attn2.add_k_proj.scale" in changed
    assert "blocks.1.audio_attn.to_out.weight" in changed
    switcher.use("multitalk")
    assert same_bits(model, before)


def plan(streamed: int) -> HardwarePlan:
    return HardwarePlan(
        device=CPU, dtype=torch.bfloat16, attention_backend="native", streamed_blocks=streamed
    )


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_streamed_blocks_are_switched_in_host_memory(precision, folders):
    model, resident = load(folders, precision), load(folders, precision)
    switchers = [switcher_of(each, folders[precision]) for each in (model, resident)]
    placement = Placement(model, {}, plan(1))
    lightx2v = both(folders)[1]
    jobs = [(1, SINGLE, []), (2, MULTI, [(lightx2v, 1.0)]), (0, SINGLE, []), (1, "multitalk", [])]
    for streamed, name, loras in jobs:
        placement.apply(plan(streamed))
        for switcher in switchers:
            switcher.use(name)
            switcher.loras.activate(loras)
        assert torch.equal(predict(model), predict(resident))
        assert same_bits(model, state_of(resident))


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_compiled_blocks_use_the_active_set(precision, folders):
    model, plain = load(folders, precision), load(folders, precision)
    compile_blocks(model, backend="eager")
    switchers = [switcher_of(each, folders[precision]) for each in (model, plain)]
    for name in (*AUDIO_LAYER_SETS, *AUDIO_LAYER_SETS):
        for switcher in switchers:
            switcher.use(name)
        assert torch.equal(predict(model), predict(plain))


def test_a_failed_switch_is_repaired_by_the_next(folders, monkeypatch):
    folder = folders["float32"]
    model = load(folders, "float32")
    before = state_of(model)
    switcher = switcher_of(model, folder)
    lightx2v = both(folders)[1]
    switcher.loras.activate([(lightx2v, 1.0)])
    with_lora = state_of(model)
    read = audio_layers.read_tensors

    def fail_later(*arguments, **options):
        for number, item in enumerate(read(*arguments, **options)):
            if number == 20:
                raise WeightsError("the disk was removed")
            yield item

    monkeypatch.setattr(audio_layers, "read_tensors", fail_later)
    with pytest.raises(WeightsError, match="the disk was removed"):
        switcher.use(SINGLE)
    assert switcher.active is None
    assert not same_bits(model, with_lora)
    monkeypatch.undo()
    switcher.use("multitalk")
    switcher.loras.activate([(lightx2v, 1.0)])
    assert same_bits(model, with_lora)
    switcher.loras.activate([])
    assert same_bits(model, before)


def test_only_tensors_that_differ_are_read(folders, monkeypatch):
    switcher = switcher_of(load(folders, "bf16"), folders["bf16"])
    seen: list[str] = []
    read = audio_layers.read_tensors

    def record(*arguments, **options):
        for name, value in read(*arguments, **options):
            seen.append(name)
            yield name, value

    monkeypatch.setattr(audio_layers, "read_tensors", record)
    switcher.use("multitalk")  # nothing to do
    assert seen == []
    stored = folders["bf16"].manifest.tensors
    switcher.use(MULTI)
    assert sorted(seen) == sorted(stored[f"audio_layers/{MULTI}"])
    seen.clear()
    switcher.use(SINGLE)
    assert sorted(seen) == sorted(stored[f"audio_layers/{SINGLE}"])
    assert len(seen) == len(stored[f"audio_layers/{MULTI}"]) + len(REPLACED)
    seen.clear()
    switcher.use(MULTI)
    assert len(seen) == len(set(seen)) == len(stored[f"audio_layers/{SINGLE}"])


def test_a_set_that_the_weights_lack_is_invalid_input(folders, published, tmp_path):
    bake(published, tmp_path / "multitalk", precision="float32", models=["multitalk"])
    folder = WeightsFolder(tmp_path / "multitalk")
    model = load_part(folder, "transformer", "cpu", torch.float32)
    switcher = switcher_of(model, folder)
    with pytest.raises(
        InvalidInput, match="these weights do not have the audio layers infinitetalk-single"
    ) as error:
        switcher.use(SINGLE)
    assert error.value.field == "model"
    assert switcher.active == "multitalk"


def test_folders_baked_before_audio_layers_could_be_switched(published, copy_of, tmp_path):
    bake(published, tmp_path / "multitalk", precision="float32", models=["multitalk"])
    old = tmp_path / "multitalk"
    content = json.loads((old / MANIFEST).read_text())
    assert content.pop("audio_layers") == ["multitalk"]
    content["format"] = 1
    (old / MANIFEST).write_text(json.dumps(content))
    assert verify(old) == []
    folder = WeightsFolder(old)
    assert folder.manifest.audio_layers == ("multitalk",)
    model = load_part(folder, "transformer", "cpu", torch.float32)
    switcher_of(model, folder).use("multitalk")


@pytest.mark.parametrize("names", ["[]", '["wav2lip"]', '["multitalk", "multitalk"]', "3"])
def test_a_manifest_with_other_audio_layers_is_damaged(names, baked, copy_of):
    folder = copy_of(baked)
    content = json.loads((folder / MANIFEST).read_text())
    content["audio_layers"] = json.loads(names)
    (folder / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(WeightsError, match=r"manifest\.json is damaged\. Bake the weights again\."):
        Manifest.read(folder)


def test_audio_layers_are_verified(baked, copy_of):
    folder = copy_of(baked)
    file = audio_layer_files(folder)[0]
    assert file.parent.name == SINGLE
    name = file.relative_to(folder).as_posix()
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert verify(folder) == [f"{name} is damaged: its sha256 differs from the manifest's."]
    file.write_bytes(data[:-4])
    assert any(problem.startswith(f"{name} has ") for problem in verify(folder, hashes=False))
    shutil.rmtree(file.parent)
    assert f"{name} is missing." in verify(folder, hashes=False)
    with pytest.raises(WeightsError, match=f"not valid: {name} is missing"):
        WeightsFolder(folder)


def test_a_set_without_tensors_is_not_valid(baked, copy_of):
    folder = copy_of(baked)
    manifest = Manifest.read(folder)
    tensors = {part: infos for part, infos in manifest.tensors.items() if not part.endswith(MULTI)}
    replace(manifest, tensors=tensors).write(folder)
    with pytest.raises(WeightsError, match=f"audio_layers/{MULTI} has no tensors"):
        WeightsFolder(folder)
