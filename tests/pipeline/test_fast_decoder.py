"""Jobs with the small decoder: the result, previews, and what they cost."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from multitalk import GenerationRequest, MultiTalkPipeline
from multitalk.bake import catalogue
from multitalk.bake.bake import bake
from multitalk.errors import InvalidInput
from multitalk.media.fragments import write_preview
from multitalk.models.constants import preview_steps
from multitalk.pipeline.results import Preview

FAST = {"size": (64, 80), "steps": 4, "text_guidance": 1.0, "audio_guidance": 1.0}


@pytest.fixture(scope="module")
def pipeline(baked: Path) -> MultiTalkPipeline:
    return MultiTalkPipeline.from_pretrained(baked, device="cpu", dtype=torch.float32)


def request(**fields) -> GenerationRequest:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 80, 3), dtype=np.uint8))
    voice = np.random.default_rng(1).normal(0, 0.1, 16000 * 4).astype(np.float32)
    return GenerationRequest(image=picture, audio=(voice, 16000), **(FAST | fields))


def test_the_first_clip_is_sampled_alike_and_decoded_by_the_small_decoder(pipeline) -> None:
    full, fast = (list(pipeline.stream(request(vae=vae))) for vae in ("full", "fast"))
    assert [clip.frames.shape for clip in fast] == [clip.frames.shape for clip in full]
    assert torch.equal(fast[0].latents, full[0].latents)
    assert not torch.equal(fast[0].frames, full[0].frames)
    # color correction, which the second clip's motion frames went through, is on for two clips
    plain = next(iter(pipeline.stream(request(vae="fast", max_seconds=2, color_correction=0))))
    decoded = torch.cat(list(pipeline.components.fast_decoder().decode(plain.latents)), dim=1)
    pixels = ((decoded + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 3, 0)
    assert torch.equal(plain.frames, pixels[: len(plain.frames)])


def test_previews_come_before_their_clip_and_change_nothing(pipeline, tmp_path: Path) -> None:
    events: list[Preview | int] = []
    job = request(preview=True, color_correction=0)
    clips = []
    for clip in pipeline.stream(job, on_preview=events.append):
        events.append(clip.index)
        clips.append(clip)
    previews = [event for event in events if isinstance(event, Preview)]
    assert [event if isinstance(event, int) else (event.clip, event.step) for event in events] == [
        *((0, 1), (0, 2), (0, 3), 0),
        *((1, 1), (1, 2), (1, 3), 1),
    ]
    assert {(preview.clips, preview.steps, float(preview.fps)) for preview in previews} == {(2, 4, 6.25)}
    # one frame for four new ones: 81 frames, then 19
    assert [tuple(preview.frames.shape) for preview in previews[::3]] == [(21, 64, 80, 3), (5, 64, 80, 3)]
    assert previews[0].frames.dtype == torch.uint8
    write_preview(previews[0], tmp_path / "preview.mp4")  # people see it as they see a clip
    with av.open(str(tmp_path / "preview.mp4")) as file:
        assert file.metadata["description"] == clips[0].tags["description"]
    assert previews[0].frame_marks is clips[0].frame_marks is not None
    without = list(pipeline.stream(request(preview=False, color_correction=0)))
    for clip, other in zip(clips, without, strict=True):
        assert torch.equal(clip.latents, other.latents)
        assert torch.equal(clip.frames, other.frames)


def test_the_last_steps_prediction_is_the_result(pipeline) -> None:
    """At the last step but one, the predicted clean latents are near those of the result."""
    previews: list[Preview] = []
    job = request(preview=True, color_correction=0, max_seconds=2, steps=40)
    [clip] = pipeline.stream(job, on_preview=previews.append)
    assert [preview.step for preview in previews] == [10, 20, 30]
    shown = pipeline.components.fast_decoder().preview(clip.latents).float()[: len(previews[0].frames)]
    errors = [(preview.frames.float() - shown).abs().mean() for preview in previews]
    assert errors == sorted(errors, reverse=True), "later previews are closer to the result"


def test_nothing_is_loaded_or_decoded_for_a_caller_without_previews(baked: Path) -> None:
    pipeline = MultiTalkPipeline.from_pretrained(baked, device="cpu", dtype=torch.float32)
    list(pipeline.stream(request(preview=True, max_seconds=2)))
    assert pipeline.components.fast_decoder.cache_info().currsize == 0
    list(pipeline.stream(request(vae="fast", max_seconds=2)))
    assert pipeline.components.fast_decoder.cache_info().currsize == 1


def test_weights_without_it_say_so(published: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(published, tmp_path / "published"))
    shutil.rmtree(source / catalogue.AUTOENCODERS.folder)
    bake(source, tmp_path / "baked", precision="float32")
    pipeline = MultiTalkPipeline.from_pretrained(tmp_path / "baked", device="cpu", dtype=torch.float32)
    with pytest.raises(InvalidInput, match=r"^vae 'fast' cannot be used: .* Use 'full', or fetch") as error:
        next(iter(pipeline.stream(request(vae="fast"))))
    assert error.value.field == "vae"
    with pytest.raises(InvalidInput, match=r"^preview cannot be used: .* Set it to false") as error:
        next(iter(pipeline.stream(request(preview=True))))
    assert error.value.field == "preview"


def test_the_estimate_counts_it(pipeline) -> None:
    plain, fast, preview = (
        pipeline.work_of(request(**fields), 4.0) for fields in ({}, {"vae": "fast"}, {"preview": True})
    )
    assert fast.total("decode") != plain.total("decode")
    assert fast.total("denoise") == plain.total("denoise")
    assert preview.total("denoise") > plain.total("denoise")
    published = replace(pipeline.sizes, vae_dim=96, fast_decoder_dim=64)
    pipeline.sizes, small = published, pipeline.sizes
    try:
        full, fast = (pipeline.work_of(request(vae=vae), 4.0).total("decode") for vae in ("full", "fast"))
    finally:
        pipeline.sizes = small
    assert 20 < full / fast < 30


@pytest.mark.parametrize(
    ("steps", "expected"),
    [(1, []), (2, [1]), (4, [1, 2, 3]), (6, [2, 4]), (8, [2, 4, 6]), (40, [10, 20, 30])],
)
def test_previews_are_evenly_spaced(steps: int, expected: list[int]) -> None:
    assert list(preview_steps(steps)) == expected


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("vae", "tiny", "vae must be one of full, fast, not 'tiny'"),
        ("vae", None, "vae must be one of full, fast"),
        ("preview", "yes", "preview must be true or false, not 'yes'"),
    ],
)
def test_invalid_values_are_refused(field: str, value: object, message: str) -> None:
    with pytest.raises(Exception, match=message):
        request(**{field: value})
