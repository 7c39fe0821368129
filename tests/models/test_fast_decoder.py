"""The small decoder: its published layout, decoding piece by piece, and previews."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from multitalk.bake import catalogue
from multitalk.bake.bake import bake
from multitalk.bake.configs import fast_decoder_config
from multitalk.bake.convert import FAST_DECODER
from multitalk.errors import Cancelled, WeightsError
from multitalk.models.fast_decoder import FastDecoder
from multitalk.weights.store import WeightsFolder, load_fast_decoder
from multitalk.weights.tensor_files import SafetensorsSource
from multitalk.weights.verify import verify
from tests.small_checkpoint import Tensors, fast_decoder_shapes

# Widths of the published file, and the number and size of its tensors.
PUBLISHED = (256, 128, 64, 64)
PUBLISHED_PARAMETERS = 9_844_611


@pytest.fixture(scope="module")
def decoder(baked: Path) -> FastDecoder:
    return load_fast_decoder(WeightsFolder(baked), "cpu", torch.float32)


@pytest.fixture(scope="module")
def latents() -> torch.Tensor:
    return torch.randn(16, 4, 6, 5, generator=torch.Generator().manual_seed(3))


def decoded(decoder: FastDecoder, latents: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return torch.cat(list(decoder.decode(latents)), dim=1)


def published_decode(tensors: Tensors, latents: torch.Tensor, growth: tuple[int, ...]) -> torch.Tensor:
    """Decode as published: module by module, each over all frames at once, with nothing before the first."""

    def conv(name: str, frames: torch.Tensor, padding: int = 1) -> torch.Tensor:
        bias = tensors.get(f"decoder.{name}.bias")
        weight = tensors[f"decoder.{name}.weight"].float()
        return F.conv2d(frames, weight, None if bias is None else bias.float(), padding=padding)

    frames = F.relu(conv("1", 3 * torch.tanh(latents.transpose(0, 1) / 3)))
    for first, factor in zip((3, 9, 15), growth, strict=True):
        for block in range(first, first + 3):
            past = F.pad(frames, (0, 0, 0, 0, 0, 0, 1, 0))[:-1]
            hidden = F.relu(conv(f"{block}.conv.0", torch.cat((frames, past), 1)))
            hidden = F.relu(conv(f"{block}.conv.2", hidden))
            frames = F.relu(conv(f"{block}.conv.4", hidden) + frames)
        frames = F.interpolate(frames, scale_factor=2, mode="nearest")
        width = frames.shape[1]
        grown = conv(f"{first + 4}.conv", frames, padding=0)[:, -factor * width :]
        frames = conv(str(first + 5), grown.reshape(-1, width, *grown.shape[2:]))
    return conv("22", F.relu(frames)).clamp(0, 1)


def test_it_decodes_as_published(decoder, latents, published) -> None:
    tensors = load_file(published / catalogue.FAST_DECODER)
    expected = published_decode(tensors, latents, (1, 2, 2))[3:]  # four frames of the first latent are one
    frames = decoded(decoder, latents)
    assert frames.shape == (3, 13, 48, 40)
    assert torch.allclose(frames, (2 * expected - 1).transpose(0, 1), atol=2e-6)
    assert expected.std() > 0.1, "the weights make a picture"


def test_the_published_file_fits(tmp_path: Path) -> None:
    path = tmp_path / "taew2_1.safetensors"
    shapes = fast_decoder_shapes(PUBLISHED, encoder=64)
    save_file({name: torch.zeros(shape, dtype=torch.float16) for name, shape in shapes.items()}, path)
    source = SafetensorsSource.of_file(path)
    config = fast_decoder_config(source)
    assert config == {"latent_channels": 16, "widths": list(PUBLISHED)}
    state = dict(pair for key in source.keys() for pair in FAST_DECODER.convert(key, source.get(key)))  # noqa: SIM118
    with torch.device("meta"):
        decoder = FastDecoder(config)
    decoder.load_state_dict(state, strict=True, assign=True)
    assert sum(tensor.numel() for tensor in state.values()) == PUBLISHED_PARAMETERS
    assert len(state) == 64


@pytest.mark.parametrize("pieces", [(1, 3), (2, 2), (1, 1, 2)])
def test_pieces_are_the_whole(pieces, decoder, latents) -> None:
    memory: dict[int, torch.Tensor] = {}
    with torch.inference_mode():
        parts = [decoder(part, memory) for part in latents.transpose(0, 1).split(pieces)]
        whole = decoder(latents.transpose(0, 1), {})
    assert torch.allclose(torch.cat(parts), whole, atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 21])
def test_frames_are_those_of_the_vae(count, decoder) -> None:
    latents = 20 * torch.randn(16, count, 2, 3, generator=torch.Generator().manual_seed(count))
    with torch.inference_mode():
        groups = list(decoder.decode(latents))
    assert [group.shape[1] for group in groups] == [1, *[4] * (count - 1)]
    frames = torch.cat(groups, dim=1)
    assert frames.shape == (3, 4 * count - 3, 16, 24)
    assert frames.dtype == torch.float32
    assert -1 <= frames.min() < frames.max() <= 1


def test_later_latents_do_not_change_earlier_frames(decoder, latents) -> None:
    assert torch.equal(decoded(decoder, latents)[:, :9], decoded(decoder, latents[:, :3]))


def test_a_preview_has_the_last_frame_of_each_latent(decoder, latents, published) -> None:
    tensors = load_file(published / catalogue.FAST_DECODER)
    expected = published_decode(tensors, latents, (1, 1, 1))
    with torch.inference_mode():
        frames = decoder.preview(latents)
    assert frames.dtype == torch.uint8
    assert frames.shape == (4, 48, 40, 3)
    assert (frames.float() / 255 - expected.permute(0, 2, 3, 1)).abs().max() < 0.51 / 255 + 1e-5
    # without the frames between, the memory blocks see another frame before: coarser, but the same picture
    last = (decoded(decoder, latents)[:, ::4].permute(1, 2, 3, 0) + 1) / 2
    similarity = torch.corrcoef(torch.stack((frames.float().flatten(), last.flatten())))[0, 1]
    assert similarity > 0.9


def test_cancelling_stops_before_a_group(decoder, latents) -> None:
    calls: list[int] = []

    def stop() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        list(decoder.decode(latents, stop))
    assert len(calls) == 3


def test_half_precision_is_close(baked, decoder, latents) -> None:
    for dtype, bound in ((torch.bfloat16, 5e-3), (torch.float16, 1e-3)):
        half = load_fast_decoder(WeightsFolder(baked), "cpu", dtype)
        assert half.conv_in.weight.dtype == dtype
        assert (decoded(half, latents) - decoded(decoder, latents)).abs().mean() < bound


def test_weights_without_it_are_complete(published, tmp_path: Path) -> None:
    source = tmp_path / "published"
    shutil.copytree(published, source)
    shutil.rmtree(source / catalogue.AUTOENCODERS.folder)
    manifest = bake(source, tmp_path / "baked", precision="float32", check=True)
    assert not manifest.has_fast_decoder
    assert verify(tmp_path / "baked") == []


def test_a_damaged_file_is_refused(published, baked, copy_of, tmp_path: Path) -> None:
    source = tmp_path / "published"
    shutil.copytree(published, source)
    tensors = load_file(source / catalogue.FAST_DECODER)
    del tensors["decoder.9.conv.2.bias"]
    save_file(tensors, source / catalogue.FAST_DECODER)
    with pytest.raises(WeightsError, match=r"lacks a tensor of the fast_decoder: stages\.1\.blocks\.0"):
        bake(source, tmp_path / "baked", precision="float32")
    folder = copy_of(baked)
    (folder / "fast_decoder" / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"fast_decoder/model\.safetensors is missing"):
        WeightsFolder(folder)
