"""Decoding in groups, and encoding in the background."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan

from multitalk.conditioning.timeline import ClipSpan
from multitalk.errors import Cancelled, MultiTalkError
from multitalk.media.background import MAX_QUEUED, BackgroundWriter
from multitalk.media.video import VideoWriter
from multitalk.models.vae_layers import use_fast_layers
from multitalk.models.video_vae import decode_latents, encode_condition, prepare_decoder
from multitalk.pipeline.decode import decode_clip
from multitalk.sampling.color import ColorCorrection
from tests.waiting import wait_until


def small_vae() -> AutoencoderKLWan:
    torch.manual_seed(0)
    vae = AutoencoderKLWan(base_dim=8, dim_mult=[1, 2, 2, 2], num_res_blocks=1).eval()
    use_fast_layers(vae)
    return vae


@pytest.fixture(scope="module")
def vae() -> AutoencoderKLWan:
    return small_vae()


def decode(vae, skip: int = 0, before_group=lambda: None, on_frames=None):
    latents = torch.randn(16, 4, 4, 6, generator=torch.Generator().manual_seed(1))
    span = ClipSpan(index=0, start=0, skip=skip, new_frames=13 - skip - 1)
    color = ColorCorrection(torch.zeros(3, 32, 48), 0.0)
    with torch.inference_mode():
        return decode_clip(partial(decode_latents, vae), latents, span, color, 5, before_group, on_frames)


@pytest.mark.parametrize("skip", [0, 5])
def test_groups_come_in_order_and_are_the_clip(skip, vae):
    groups: list[torch.Tensor] = []
    frames, tail = decode(vae, skip, on_frames=lambda group: groups.append(group.clone()))
    assert torch.equal(torch.cat(groups), frames)
    assert [len(group) for group in groups] == ([1, 4, 4, 3] if skip == 0 else [4, 3])
    assert tail.shape == (3, 5, 32, 48)
    assert tail.dtype == torch.float32


def test_a_group_is_passed_on_while_the_next_is_decoded(vae):
    events: list[str] = []
    decode(vae, 0, lambda: events.append("decode"), lambda group: events.append("passed on"))
    assert events[:4] == ["decode", "decode", "passed on", "decode"]
    assert events.count("passed on") == 4


@pytest.mark.parametrize("tiling", [False, True])
@pytest.mark.parametrize(
    ("skip", "new_frames", "decoded"), [(0, 1, 1), (0, 6, 3), (5, 1, 3), (5, 4, 3), (5, 5, 4)]
)
def test_only_new_frames_are_decoded(skip, new_frames, decoded, tiling):
    vae = small_vae()
    vae.use_tiling = tiling
    width = 40 if tiling else 6  # a tile has 32
    latents = torch.randn(16, 6, 4, width, generator=torch.Generator().manual_seed(1))
    color = ColorCorrection(torch.zeros(3, 32, 8 * width), 0.0)
    lengths: list[int] = []
    vae.post_quant_conv.register_forward_pre_hook(lambda module, inputs: lengths.append(inputs[0].shape[2]))
    with torch.inference_mode():
        decode = partial(decode_latents, vae)
        whole = decode_clip(decode, latents, ClipSpan(0, 0, skip, 21 - skip), color, 5, lambda: None)[0]
        frames = decode_clip(decode, latents, ClipSpan(0, 0, skip, new_frames), color, 5, lambda: None)[0]
    # fewer latents may take another kernel, and a value halfway between two levels may go to either
    assert (frames.int() - whole[:new_frames].int()).abs().max() <= 1
    assert lengths == [6, decoded]


def test_without_correction_the_image_is_not_read():
    color = ColorCorrection(torch.empty(3, 32, 48, device="meta"), 0.0)  # its values cannot be read
    frames = torch.zeros(3, 2, 32, 48)
    assert color.apply(frames) is frames


def test_cancelling_stops_within_a_group(vae):
    groups = 0

    def stop() -> None:
        nonlocal groups
        groups += 1
        if groups == 2:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        decode(vae, before_group=stop)
    assert groups == 2


def test_a_half_precision_decoder_does_not_change_the_encoder(vae):
    half = small_vae()
    prepare_decoder(half, torch.bfloat16)
    latents, picture = torch.randn(16, 3, 4, 6), torch.rand(3, 1, 32, 48) * 2 - 1
    with torch.inference_mode():
        assert torch.equal(encode_condition(half, picture, 9), encode_condition(vae, picture, 9))
        exact = torch.cat(list(decode_latents(vae, latents)), dim=1)
        near = torch.cat(list(decode_latents(half, latents)), dim=1)
    assert near.dtype == torch.float32
    assert (near - exact).abs().mean() < 0.02 * exact.abs().mean() + 1e-3
    assert half.decoder.conv_in.weight.is_contiguous(memory_format=torch.channels_last_3d)


def frames(count: int, value: int = 0) -> np.ndarray:
    return np.full((count, 32, 48, 3), value, np.uint8)


def test_all_frames_are_encoded_in_order(tmp_path: Path):
    path = tmp_path / "out.mp4"
    with VideoWriter(path, 48, 32, crf=1) as writer, BackgroundWriter(writer) as background:
        for value in range(0, 250, 10):
            background.write(frames(4, value))
    with av.open(path) as file:
        levels = [frame.to_ndarray(format="rgb24").mean() for frame in file.decode(video=0)]
    assert len(levels) == 100
    assert np.allclose(levels, np.repeat(np.arange(0, 250, 10), 4), atol=4)


def write_all(path: Path, groups: Iterable[np.ndarray]) -> None:
    with VideoWriter(path, 48, 32) as writer, BackgroundWriter(writer) as background:
        for group in groups:
            background.write(group)


def test_an_error_of_the_encoder_reaches_the_caller_and_leaves_no_file(tmp_path: Path):
    # more than the queue holds: the caller must not block
    wrong = [np.zeros((1, 8, 8, 3), np.uint8)] * (2 * MAX_QUEUED)
    with pytest.raises(ValueError, match="frames must be"):
        write_all(tmp_path / "out.mp4", wrong)
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_caller_ends_the_thread_and_leaves_no_file(tmp_path: Path):
    def failing() -> Iterator[np.ndarray]:
        yield frames(4)
        raise MultiTalkError("failed")

    before = set(threading.enumerate())
    with pytest.raises(MultiTalkError, match="failed"):
        write_all(tmp_path / "out.mp4", failing())
    # threads of other tests may end meanwhile: only new ones count
    wait_until(lambda: not set(threading.enumerate()) - before, what="the end of the encoder's thread")
    assert list(tmp_path.iterdir()) == []
