"""Placement: the device never holds more than either plan needs, and a later plan recovers from a failure."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn
from transformers import UMT5Config

from multitalk.models import streaming
from multitalk.models.constants import SLOTS
from multitalk.models.host_copy import HostCopy
from multitalk.models.streaming import BlockStreamer
from multitalk.models.text_encoder import UMT5Encoder
from multitalk.runtime import placement as placing
from multitalk.runtime.placement import Placement
from multitalk.runtime.plan import PARTS, HardwarePlan
from tests.models.test_models import small_transformer
from tests.runtime.test_compiled import call

from .small_device import DEVICE, SmallDevice

BLOCKS = 10
COUNTS = [0, 3, 7, 10, 8, 1, 4, 0, 10, 0]


def stack(blocks: int = BLOCKS) -> nn.ModuleList:
    torch.manual_seed(0)
    return nn.ModuleList(nn.Linear(64, 64) for _ in range(blocks)).requires_grad_(False)


def run(blocks: nn.ModuleList, streamer: BlockStreamer | None) -> torch.Tensor:
    x = torch.linspace(-1, 1, 64)
    with torch.inference_mode():
        for block in blocks if streamer is None else streamer.run():
            x = block(x)
    return x


def device_bytes(blocks: nn.ModuleList, count: int) -> int:
    """Resident blocks and slots, as the memory model counts them."""
    block = 64 * 64 * 4 + 64 * 4
    return (len(blocks) - count + min(SLOTS, count)) * block


def test_a_change_needs_no_more_than_the_larger_layout() -> None:
    expected = run(stack(), None)
    blocks = stack()
    with SmallDevice() as device:
        streamer = BlockStreamer(blocks, DEVICE, COUNTS[0])
        assert torch.equal(run(blocks, streamer), expected)
        for before, after in pairwise(COUNTS):
            device.start_peak()
            streamer.set_count(after)
            assert torch.equal(run(blocks, streamer), expected)
            assert len(streamer.streamed) == after
            assert device.live == device_bytes(blocks, after), (before, after)
            largest = max(device_bytes(blocks, count) for count in (before, after))
            assert device.peak <= largest, (before, after)


class Transformer(nn.Module):
    """The parts of a transformer that are moved."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = stack()
        self.outer = nn.Linear(8, 8).requires_grad_(False)
        self.block_streamer: BlockStreamer | None = None


def plan(streamed: int, *resident: str) -> HardwarePlan:
    return HardwarePlan(
        DEVICE, torch.float32, "native", streamed_blocks=streamed, resident=("transformer", *resident)
    )


@pytest.mark.parametrize("good", [7, 5, 0])
def test_a_plan_after_a_failed_change(good: int) -> None:
    expected = run(stack(), None)
    with SmallDevice() as device:
        transformer = Transformer()
        placement = Placement(transformer, {}, plan(7))
        device.limit = device_bytes(transformer.blocks, 3) + 1000
        with pytest.raises(torch.OutOfMemoryError):
            placement.apply(plan(0))
        if good == 0:
            device.limit = None  # the same plan again, now with enough memory
        placement.apply(plan(good))
        assert torch.equal(run(transformer.blocks, transformer.block_streamer), expected)
        streamer = transformer.block_streamer
        assert (0 if streamer is None else len(streamer.streamed)) == good


def test_cached_memory_is_released_before_weights_are_loaded(monkeypatch) -> None:
    """Before a change and after the last block is offloaded; repeating the last plan releases nothing."""
    with SmallDevice() as device:
        moments: list[int] = []
        for module in (streaming, placing):
            monkeypatch.setattr(module, "release_cached_memory", lambda device_: moments.append(device.live))
        transformer = Transformer()
        placement = Placement(
            transformer, {"image_encoder": nn.Linear(64, 64).requires_grad_(False)}, plan(3)
        )
        run(transformer.blocks, transformer.block_streamer)
        for before, after in ((3, 7), (7, 2)):
            moments.clear()
            before_change = device.live
            placement.apply(plan(after))
            run(transformer.blocks, transformer.block_streamer)
            moved = {
                index for count in (before, after) for index in streaming.streamed_indices(BLOCKS, count)
            }
            resident = (BLOCKS - len(moved)) * (64 * 64 + 64) * 4
            outer = (8 * 8 + 8) * 4
            assert moments == [before_change, resident + outer], "offloaded, and nothing loaded yet"
            moments.clear()
            placement.apply(plan(after))
            assert moments == []
        placement.apply(plan(2, "image_encoder"))
        assert len(moments) == 1, "another part becomes resident"


def test_a_part_that_failed_to_load_stays_offloaded() -> None:
    image = nn.Linear(64, 64).requires_grad_(False)
    expected = image(torch.ones(64))
    with SmallDevice() as device:
        placement = Placement(None, {"image_encoder": image}, plan(0))
        device.limit = 100
        with pytest.raises(torch.OutOfMemoryError):
            placement.apply(plan(0, *PARTS))
        device.limit = None
        with placement.on_device("image_encoder"):
            assert device.live >= 64 * 64 * 4
            assert torch.equal(image(torch.ones(64)), expected)
        assert device.live == 0, "it is offloaded"


CONFIG = UMT5Config(
    vocab_size=50,
    d_model=16,
    d_kv=8,
    d_ff=32,
    num_layers=4,
    num_heads=2,
    relative_attention_num_buckets=8,
    feed_forward_proj="gated-gelu",
)


def test_a_text_encoder_is_offloaded_between_its_stages() -> None:
    encoder = UMT5Encoder(CONFIG.to_dict()).eval().requires_grad_(False)
    tokens = torch.tensor([[3, 1, 4, 1, 5]])
    expected = encoder(tokens).last_hidden_state
    with SmallDevice() as device:
        placement = Placement(None, {"text_encoder": encoder}, plan(0))
        for _ in range(2):
            with placement.on_device("text_encoder"):
                assert torch.equal(encoder(tokens).last_hidden_state, expected)
                assert device.live > 0
            assert device.live == 0


def test_two_prompts_share_one_pass_through_a_streamed_text_encoder(monkeypatch) -> None:
    config = UMT5Config(vocab_size=20, d_model=8, d_kv=4, d_ff=16, num_heads=2, num_layers=4).to_dict()
    torch.manual_seed(0)
    encoder = UMT5Encoder(config | {"feed_forward_proj": "gated-gelu"}).requires_grad_(False)
    prompts = [torch.arange(3)[None], torch.arange(7)[None]]
    with torch.inference_mode():
        expected = [encoder(prompt).last_hidden_state for prompt in prompts]
    copied = []
    fill = HostCopy.fill
    monkeypatch.setattr(HostCopy, "fill", lambda copy, memory: (copied.append(copy), fill(copy, memory)))
    with SmallDevice():
        placement = Placement(None, {"text_encoder": encoder}, plan(0))
        with torch.inference_mode(), placement.on_device("text_encoder"):
            contexts = encoder.encode_all(prompts)
    assert all(map(torch.equal, contexts, expected))
    assert len(copied) == len(set(copied)) == 4 + 1, "each layer once, and the vocabulary"


def test_a_mapped_part_is_not_copied_on_the_host() -> None:
    torch.manual_seed(0)
    encoder = UMT5Encoder(CONFIG.to_dict()).eval().requires_grad_(False)
    tokens = torch.tensor([[3, 1, 4, 1, 5]])
    expected = encoder(tokens).last_hidden_state
    places = [tensor.data_ptr() for tensor in encoder.parameters()]
    with SmallDevice() as device:
        mapped = replace(plan(0), mapped=("text_encoder",))
        placement = Placement(None, {"text_encoder": encoder}, mapped)
        for _ in range(2):
            with placement.on_device("text_encoder"):
                assert torch.equal(encoder(tokens).last_hidden_state, expected)
                assert device.live > 0
            assert device.live == 0
            assert [tensor.data_ptr() for tensor in encoder.parameters()] == places
        placement.apply(plan(0, *PARTS))
        assert torch.equal(encoder(tokens).last_hidden_state, expected)
        assert device.live > 0


def test_an_abandoned_run_does_not_end_the_next_one() -> None:
    """A traceback keeps a run alive, which may end during a later one."""
    expected = run(stack(), None)
    blocks = stack()
    streamer = BlockStreamer(blocks, DEVICE, 6)
    abandoned = streamer.run()
    for _ in range(3):
        next(abandoned)
    x = torch.linspace(-1, 1, 64)
    for number, block in enumerate(streamer.run()):
        x = block(x)
        if number == 2:
            abandoned.close()
    assert torch.equal(x, expected)


def test_a_failing_block_ends_its_run() -> None:
    transformer = small_transformer(num_layers=4)
    streamer = transformer.block_streamer = BlockStreamer(list(transformer.blocks), DEVICE, 4)

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("in the middle of the stack")

    transformer.blocks[2].register_forward_pre_hook(fail)
    with pytest.raises(torch.OutOfMemoryError) as error:
        call(transformer, 1)
    assert error.traceback, "keeps the frames alive"
    assert streamer._placed is None
    assert not streamer._copied
