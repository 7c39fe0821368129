"""The VAE with this project's layers compared with diffusers' own forward pass."""

from __future__ import annotations

import copy

import pytest
import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d
from torch.utils._python_dispatch import TorchDispatchMode

from multitalk.models.vae_layers import CausalConv3d, use_channels_last, use_fast_layers
from multitalk.models.video_vae import decode_latents, encode_condition, prepare_decoder
from multitalk.weights.folders import EMBEDDED_FOLDER
from multitalk.weights.store import WeightsFolder, load_part

FRAMES, HEIGHT, WIDTH = 9, 64, 96


@pytest.fixture(scope="module")
def theirs() -> AutoencoderKLWan:
    return load_part(WeightsFolder(EMBEDDED_FOLDER), "vae", "cpu", torch.float32)


@pytest.fixture(params=[False, True], ids=["channels first", "channels last"])
def ours(request: pytest.FixtureRequest, theirs: AutoencoderKLWan) -> AutoencoderKLWan:
    vae = copy.deepcopy(theirs)
    use_fast_layers(vae)
    if request.param:
        use_channels_last(vae)
    return vae


@pytest.fixture
def frames() -> torch.Tensor:
    return torch.rand(3, 5, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture
def latents() -> torch.Tensor:
    return torch.randn(
        16, 1 + FRAMES // 4, HEIGHT // 8, WIDTH // 8, generator=torch.Generator().manual_seed(1)
    )


def decode(vae: AutoencoderKLWan, latents: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return torch.cat(list(decode_latents(vae, latents)), dim=1)


def normalization(vae: AutoencoderKLWan) -> tuple[torch.Tensor, ...]:
    values = (vae.config.latents_mean, vae.config.latents_std)
    return tuple(torch.tensor(entries).view(1, -1, 1, 1, 1) for entries in values)


def decode_with_diffusers(vae: AutoencoderKLWan, latents: torch.Tensor) -> torch.Tensor:
    mean, std = normalization(vae)
    with torch.inference_mode():
        latents = (latents[None] * std + mean).to(vae.post_quant_conv.weight.dtype)
        return vae.decode(latents, return_dict=False)[0][0].float()


def test_names_of_the_weights_stay(theirs: AutoencoderKLWan, ours: AutoencoderKLWan) -> None:
    assert ours.state_dict().keys() == theirs.state_dict().keys()


@pytest.mark.parametrize("zeros", [0, 1, 2, 3])
@pytest.mark.parametrize("cached", [0, 1, 2])
def test_zero_weights_of_past_frames_are_not_used(zeros: int, cached: int) -> None:
    torch.manual_seed(0)
    theirs = WanCausalConv3d(4, 5, 3, padding=1)
    theirs.weight.data[:, :, :zeros] = 0
    ours = CausalConv3d(theirs)
    assert (ours.unused_frames, ours.earlier_frames) == (min(zeros, 2), 2 - min(zeros, 2))
    frames, cache = torch.randn(1, 4, 3, 6, 7), torch.randn(1, 4, cached, 6, 7) if cached else None
    with torch.inference_mode():
        torch.testing.assert_close(ours(frames, cache), theirs(frames, cache), atol=1e-5, rtol=0)


def test_the_embedded_vae_uses_past_frames_only_at_latent_resolution(ours: AutoencoderKLWan) -> None:
    blocks = ours.decoder.up_blocks
    assert {resnet.conv2.earlier_frames for resnet in blocks[0].resnets} == {2}
    assert {resnet.conv2.earlier_frames for block in blocks[1:] for resnet in block.resnets} == {0}


def test_frames_are_those_of_diffusers(
    theirs: AutoencoderKLWan, ours: AutoencoderKLWan, latents: torch.Tensor
) -> None:
    expected = decode_with_diffusers(theirs, latents)
    torch.testing.assert_close(decode(ours, latents), expected, atol=2e-5, rtol=0)


def test_latents_are_those_of_diffusers(
    theirs: AutoencoderKLWan, ours: AutoencoderKLWan, frames: torch.Tensor
) -> None:
    with torch.inference_mode():
        padded = torch.cat([frames, frames.new_zeros(3, 4, HEIGHT, WIDTH)], dim=1)
        expected = theirs.encode(padded[None]).latent_dist.mode()
        mean, std = normalization(theirs)
        found = encode_condition(ours, frames, FRAMES)
    torch.testing.assert_close(found, ((expected - mean) / std)[0], atol=2e-5, rtol=0)


class LargestFloat32(TorchDispatchMode):
    """The number of elements of the largest float32 tensor that an operation made."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.dtype == torch.float32:
            self.elements = max(self.elements, result.numel())
        return result


def test_half_precision_has_no_copies_in_float32_and_a_smaller_error(
    theirs: AutoencoderKLWan, ours: AutoencoderKLWan, latents: torch.Tensor
) -> None:
    exact = decode_with_diffusers(theirs, latents)
    before = copy.deepcopy(theirs)
    prepare_decoder(before, torch.bfloat16)
    prepare_decoder(ours, torch.bfloat16)
    with LargestFloat32() as largest:
        found = decode(ours, latents)
    # the frames themselves, which the caller gets in float32
    assert largest.elements <= 3 * FRAMES * HEIGHT * WIDTH
    error = (found - exact).square().mean().sqrt()
    assert error <= 1.05 * (decode_with_diffusers(before, latents) - exact).square().mean().sqrt()
