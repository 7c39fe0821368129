"""Streamed blocks are read straight into the host memory from which they are copied."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from multitalk.errors import WeightsError
from multitalk.models.host_copy import tensors_of
from multitalk.models.streaming import BlockStreamer
from multitalk.models.transformer import MultiTalkTransformer
from multitalk.runtime.placement import Placement
from multitalk.runtime.plan import HardwarePlan
from multitalk.weights import stream
from multitalk.weights.audio_layers import AudioLayerSwitcher
from multitalk.weights.folders import AUDIO_LAYER_SETS
from multitalk.weights.lora_switch import LoraSwitcher
from multitalk.weights.store import WeightsFolder, load_transformer
from tests.fresh_process import run_script
from tests.small_checkpoint import Sizes, make_small_checkpoint

from .models import PRECISIONS, both, load, predict, same_bits, state_of

CPU = torch.device("cpu")


def load_streamed(folder: WeightsFolder, dtype: torch.dtype, count: int, quantization: str | None = None):
    return load_transformer(folder, CPU, dtype, quantization, streamed_blocks=count)


def streamer_of(model: MultiTalkTransformer) -> BlockStreamer:
    assert isinstance(model.block_streamer, BlockStreamer)
    return model.block_streamer


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_tensors_of_a_block_are_views_of_its_memory(precision, count, folders):
    resident = load(folders, precision)
    model = load_streamed(folders[precision], resident.compute_dtype, count)
    assert same_bits(model, state_of(resident))
    streamer = streamer_of(model)
    assert len(streamer.streamed) == count
    for index in streamer.streamed:
        tensors = list(tensors_of(model.blocks[index]))
        first = tensors[0].untyped_storage()
        assert first.nbytes() == sum(-(-tensor.nbytes // 256) * 256 for tensor in tensors)
        end = first.data_ptr()
        for tensor in tensors:
            assert tensor.untyped_storage().data_ptr() == first.data_ptr()
            assert tensor.data_ptr() == end, "one after another, each aligned"
            end += -(-tensor.nbytes // 256) * 256
        assert first.data_ptr() % 4096 == 0
    assert torch.equal(predict(model), predict(resident))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("quantization", [None, "int8", "fp8"])
def test_blocks_that_are_cast_or_quantized_while_loading(quantization, dtype, folders):
    resident = load_transformer(folders["bf16"], CPU, dtype, quantization)
    model = load_streamed(folders["bf16"], dtype, 1, quantization)
    assert same_bits(model, state_of(resident))
    assert {name: tensor.dtype for name, tensor in model.state_dict().items()} == {
        name: tensor.dtype for name, tensor in resident.state_dict().items()
    }


def test_a_gpu_gets_the_resident_tensors_from_threads(folders, monkeypatch):
    """Nothing is mapped but streamed tensors that are quantized while loading."""
    ways: dict[str, set[str]] = {}

    def watched(way):
        def read(layouts, device, *arguments):
            ways[way] = {stored.name for tensors in layouts.values() for stored in tensors}
            devices[way] = device
            return iter(())

        return read

    devices: dict[str, torch.device] = {}
    monkeypatch.setattr(stream, "read_staged", watched("threads"))
    monkeypatch.setattr(stream, "_read_mapped", watched("mapped"))
    folder = folders["bf16"]
    files = folder.weights_files("transformer")
    stored = {tensor.name: tensor for path in files for tensor in stream.read_layout(path)}
    same = {name: torch.empty(tensor.info.shape, dtype=torch.bfloat16) for name, tensor in stored.items()}
    streamed = {name: same[name] for name in stored if name.startswith("blocks.1.") and "bias" not in name}
    quantized = {name for name in streamed if "ffn" in name}
    targets = streamed | {name: same[name].to(torch.int8) for name in quantized}
    list(stream.read_tensors(files, "cuda", lambda name: None, targets=targets))
    cast = {name for name in streamed if stored[name].info.dtype != "BF16"}
    assert quantized
    assert ways["mapped"] == quantized | cast
    assert ways["threads"] == stored.keys() - ways["mapped"]
    assert {way: device.type for way, device in devices.items()} == {"threads": "cuda", "mapped": "cpu"}


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_audio_layers_and_loras_are_switched_in_streamed_blocks(precision, folders):
    resident = load(folders, precision)
    model = load_streamed(folders[precision], resident.compute_dtype, 2)
    before = state_of(model)
    placement = Placement(model, {}, plan(2))
    switchers = [
        AudioLayerSwitcher(each, folders[precision], LoraSwitcher(each)) for each in (model, resident)
    ]
    multitalk, single, multi = AUDIO_LAYER_SETS
    loras = [(path, 1.0) for path in both(folders)]
    jobs = [(2, single, []), (2, multi, loras), (1, single, loras[1:]), (0, multi, []), (2, multitalk, [])]
    for streamed, name, active in jobs:
        placement.apply(plan(streamed))
        for switcher in switchers:
            switcher.use(name)
            switcher.loras.activate(active)
        assert same_bits(model, state_of(resident))
        assert torch.equal(predict(model), predict(resident))
    assert same_bits(model, before)


def plan(streamed: int) -> HardwarePlan:
    return HardwarePlan(CPU, torch.bfloat16, "native", streamed_blocks=streamed)


def test_a_placement_keeps_the_memory(folders):
    model = load_streamed(folders["int8"], torch.bfloat16, 2)
    streamer = streamer_of(model)
    places = [tensor.data_ptr() for tensor in model.blocks.parameters()]
    placement = Placement(model, {}, plan(2))
    assert model.block_streamer is streamer
    assert [tensor.data_ptr() for tensor in model.blocks.parameters()] == places
    placement.apply(plan(0))
    assert model.block_streamer is None


def test_a_wrong_shape_is_reported(folders, copy_of):
    folder = copy_of(folders["bf16"].path)
    config = folder / "transformer" / "config.json"
    config.write_text(config.read_text().replace('"ffn_dim": 80', '"ffn_dim": 96'))
    with pytest.raises(WeightsError, match="do not match the model"):
        load_streamed(WeightsFolder(folder), torch.bfloat16, 1)


# VmHWM counts the pages of mapped files, too, but not the page cache.
MEMORY_SCRIPT = """
import gc, os, re
from pathlib import Path
import torch
from multitalk.weights.store import WeightsFolder, load_transformer

def status(field):
    return int(re.search(field + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

def load(name, count):
    folder = WeightsFolder(os.environ["FOLDER"] + "/" + name)
    return load_transformer(folder, "cpu", torch.bfloat16, streamed_blocks=count)

load("small", 1)
gc.collect()
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
before = status("VmRSS")
model = load("large", 4)
grown = status("VmHWM") - before
copies = sum(copy.size for copy in model.block_streamer._copies.values())
outer = sum(p.nbytes for name, p in model.named_parameters() if not name.startswith("blocks."))
held = status("RssAnon")
del model
gc.collect()
print(grown, copies, outer, held - status("RssAnon"))
"""


@pytest.fixture(scope="module")
def two_folders(tmp_path_factory) -> Path:
    from multitalk.bake.bake import bake

    root = tmp_path_factory.mktemp("offloaded")
    for name, sizes in (("small", Sizes()), ("large", Sizes(dim=1024, heads=8, ffn_dim=2816, layers=4))):
        make_small_checkpoint(root / f"{name}-published", sizes, infinitetalk=False)
        bake(root / f"{name}-published", root / name, precision="bf16", max_shard_bytes=30e6)
    return root


@pytest.mark.slow
def test_host_memory_while_loading_and_afterwards(two_folders):
    """Only the memory of the blocks, which is returned with the model; loading holds no second copy."""
    grown, copies, outer, returned = map(int, run_script(MEMORY_SCRIPT, FOLDER=str(two_folders)).split())
    assert copies > 140e6
    assert copies <= grown <= copies + outer + 8e6
    assert returned >= copies
