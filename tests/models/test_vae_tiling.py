"""The VAE in tiles compared with whole frames: close, without seams, and within the planned memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLWan
from PIL import Image

from multitalk.conditioning.image import prepare_image
from multitalk.models import vae_stages, vae_tiling
from multitalk.models.vae_layers import use_fast_layers
from multitalk.models.vae_tiling import STRIDE, TILE, tile_starts, tile_weights
from multitalk.models.video_vae import decode_latents, encode_condition
from multitalk.runtime import memory
from multitalk.weights.folders import EMBEDDED_FOLDER
from multitalk.weights.store import WeightsFolder, load_vae
from tests.runtime.live_bytes import LiveBytes

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
HEIGHT, WIDTH = 320, 352  # two tiles in both directions, the last ones overlapping more


@pytest.fixture(scope="module")
def vae() -> AutoencoderKLWan:
    return load_vae(WeightsFolder(EMBEDDED_FOLDER), "cpu", torch.float32)


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    """An image that moves sideways."""
    with Image.open(EXAMPLES / "one_person.png") as image:
        wide = prepare_image(image.convert("RGB"), HEIGHT, WIDTH + 16)
    return torch.stack([wide[:, :, shift : shift + WIDTH] for shift in range(0, 10, 2)], dim=1)


def psnr(one: torch.Tensor, other: torch.Tensor) -> float:
    return (10 * torch.log10(4 / (one - other).square().mean())).item()


def test_tiles_cover_an_axis_and_their_weights_add_up_to_one() -> None:
    for length in (20, TILE, TILE + 1, 40, 60, 90, 104, 160):
        total = torch.zeros(length)
        for start in tile_starts(length):
            weights = tile_weights(start, length)
            assert start + len(weights) <= length
            total[start : start + len(weights)] += weights
        assert (total > 0).all()
        if length % STRIDE == TILE - STRIDE:  # regular overlaps
            torch.testing.assert_close(total, torch.ones(length))


@pytest.fixture(scope="module")
def videos(vae: AutoencoderKLWan, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames decoded whole and in tiles, after comparing their latents."""
    with torch.inference_mode():
        vae.use_tiling = False
        latents = encode_condition(vae, frames, 9)
        whole = torch.cat(list(decode_latents(vae, latents)), dim=1)
        vae.use_tiling = True
        tiled_latents = encode_condition(vae, frames, 9)
        groups = list(decode_latents(vae, latents))
        vae.use_tiling = False
    assert not torch.equal(tiled_latents, latents), "it was tiled"
    assert (tiled_latents - latents).norm() < 0.001 * latents.norm()
    assert [group.shape[1] for group in groups] == [1, 4, 4]
    return whole, torch.cat(groups, dim=1)


def test_tiled_frames_are_close_to_whole_ones(videos: tuple[torch.Tensor, torch.Tensor]) -> None:
    whole, tiled = videos
    assert tiled.shape == whole.shape
    assert not torch.equal(tiled, whole), "it was tiled"
    assert psnr(tiled, whole) > 70
    assert (tiled - whole).abs().max() < 0.03


def test_no_seam(videos: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Differences between neighboring pixels at a tile's edge are as small as in whole frames."""
    edges = [start * 8 for start in tile_starts(WIDTH // 8) if start] + [TILE * 8]
    for edge in edges:
        steps = [(video[..., edge] - video[..., edge - 1]).abs().mean() for video in videos]
        assert abs(steps[1] - steps[0]) < 0.02 * steps[0] + 1e-4


@torch.inference_mode()
def test_small_frames_are_not_tiled(vae: AutoencoderKLWan, frames: torch.Tensor) -> None:
    small = frames[..., :128, :160]
    latents = encode_condition(vae, small, 9)
    whole = list(decode_latents(vae, latents))
    vae.use_tiling = True
    assert torch.equal(encode_condition(vae, small, 9), latents)
    assert all(map(torch.equal, decode_latents(vae, latents), whole))
    vae.use_tiling = False


def test_cancelled_between_tiles(vae: AutoencoderKLWan) -> None:
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt

    vae.use_tiling = True
    with torch.inference_mode(), pytest.raises(KeyboardInterrupt):
        next(decode_latents(vae, torch.zeros(16, 1, HEIGHT // 8, WIDTH // 8), check))
    vae.use_tiling = False
    assert calls == 2


def test_memory_of_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vae_stages, "_same", lambda before, after: False)
    with torch.device("meta"):
        vae = AutoencoderKLWan()
    use_fast_layers(vae)
    vae.use_tiling = True
    layout = memory.MemoryLayout(memory.ModelSizes(), "fp16", "fp16", "fp16", "fp16", (), vae_tiling=True)
    workload = memory.Workload(height=480, width=832, frames=17)
    frames = 64 * 3 * workload.height * workload.width * 4
    with torch.inference_mode(), LiveBytes() as live:
        encode_condition(vae, torch.empty(3, 9, 480, 832, device="meta"), 17)
    assert live.peak <= layout._vae_work(workload, memory.ENCODE_UNITS) + frames
    monkeypatch.setattr(vae_tiling, "HOST", torch.device("meta"))
    with torch.inference_mode(), LiveBytes() as live:
        for _ in decode_latents(vae, torch.empty(16, 5, 60, 104, device="meta")):
            pass
    host = 3 * 17 * workload.height * workload.width * 4  # the assembled frames
    assert live.peak - host <= layout._vae_work(workload, memory.DECODE_UNITS) + frames
