"""Jobs of InfiniteTalk through the pipeline, with small weights of both models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from multitalk import GenerationRequest, MultiTalkPipeline
from multitalk.conditioning import image as image_conditioning
from multitalk.conditioning import infinitetalk as conditioning
from multitalk.conditioning.source import VideoSource
from multitalk.errors import Cancelled, InvalidInput
from multitalk.media.sound_reading import read_sound
from multitalk.media.source_video import FramePosition, Video, VideoReader, read_video
from tests.media.sound_files import tone
from tests.media.video_files import RATE, number_of, video

FAST: dict[str, Any] = {"size": (64, 96), "steps": 2, "text_guidance": 1.0, "audio_guidance": 2.0}
SHORT = {"frames_per_clip": 13, "motion_frames": 5}  # 8 new frames per clip
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8))


def voice(seconds: float) -> tuple[np.ndarray, int]:
    return tone(seconds), 16000


@pytest.fixture(scope="module")
def pipeline(baked: Path) -> MultiTalkPipeline:
    return MultiTalkPipeline.from_pretrained(baked, device="cpu", dtype=torch.float32)


@pytest.fixture(scope="module")
def source() -> Video:
    """40 frames at 30 frames per second: 1.33 seconds."""
    return read_video(video(sound=tone(1.2)[:, 0]))


@pytest.fixture
def conditions(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often the condition y and CLIP's features were computed in this test."""
    counts = {"y": 0, "clip": 0}
    make_condition, encode_image = conditioning.make_condition, image_conditioning.encode_image

    def count_condition(*arguments: Any) -> torch.Tensor:
        counts["y"] += 1
        return make_condition(*arguments)

    def count_image(*arguments: Any) -> torch.Tensor:
        counts["clip"] += 1
        return encode_image(*arguments)

    monkeypatch.setattr(conditioning, "make_condition", count_condition)
    monkeypatch.setattr("multitalk.conditioning.clip.encode_image", count_image)
    return counts


def test_a_picture_is_encoded_once_per_job(pipeline, conditions) -> None:
    request = GenerationRequest(image=PICTURE, audio=voice(1.0), model="infinitetalk", **FAST, **SHORT)
    clips = list(pipeline.stream(request))
    assert len(clips) == 3
    assert sum(len(clip.frames) for clip in clips) == 25
    assert conditions == {"y": 1, "clip": 1}


def test_a_video_is_encoded_once_per_frame(pipeline, source, conditions) -> None:
    """Clips start at 0, 0.32, 0.64, ..., 1.92 s; from the end on, 1.33 s, the last frame is held."""
    request = GenerationRequest(video=source, audio=voice(2.3), **FAST, **SHORT)
    clips = list(pipeline.stream(request))
    assert len(clips) == 7
    assert conditions == {"y": 6, "clip": 6}


def test_every_clip_is_conditioned_on_its_own_frame(pipeline, source, monkeypatch) -> None:
    shown: list[int] = []
    read = VideoReader.read

    def record(reader: VideoReader, position: FramePosition, check: Any) -> tuple[int, Image.Image]:
        number, frame = read(reader, position, check)
        assert number == number_of(frame)
        shown.append(number)
        return number, frame

    monkeypatch.setattr(VideoReader, "read", record)

    def numbers(**fields: Any) -> list[int]:
        shown.clear()
        list(pipeline.stream(GenerationRequest(video=source, audio=voice(2.3), **FAST, **SHORT, **fields)))
        return [*shown]

    starts = [8, 16, 24, 32, 40, 48]  # in frames of the result
    assert numbers() == [min(int(start / 25 * RATE + 0.01), 39) for start in starts]
    assert numbers(video_timing="frame") == [8, 16, 24, 32, 39, 39]
    assert numbers(video_timing="frame", video_end="loop") == [8, 16, 24, 32, 0, 8]
    assert numbers(video_timing="frame", video_end="pingpong") == [8, 16, 24, 32, 38, 30]
    assert numbers(video_end="loop")[-1] == int((48 / 25 - 40 / RATE) * RATE + 0.01)


def test_positions_after_the_end(source) -> None:
    frame = torch.zeros(3, 64, 96)
    back = VideoSource(source, frame, "time", "pingpong")
    seconds = source.seconds
    assert back.position(50).seconds == pytest.approx(2 * seconds - 2.0)
    assert back.position(75).seconds == pytest.approx(3.0 - 2 * seconds)
    one = Video(source.file, "", source.picture, 1, 0.04, has_sound=False, sound_delay=0.0)
    for end in ("hold", "loop", "pingpong"):
        position = VideoSource(one, frame, "frame", end).position(7)
        assert position.number in (0, 7)


@pytest.mark.parametrize(
    ("fields", "frames", "seconds"),
    [
        ({}, 20, 0.8),
        ({"length": "video"}, 34, 1.33),  # 40 frames at 30 frames per second
        ({"length": "shortest"}, 20, 0.8),
        ({"length": "video", "max_seconds": 0.5}, 13, 0.5),
        ({"length": "video", "audio": voice(3.0)}, 34, 1.33),
        ({"length": "shortest", "audio": voice(3.0)}, 34, 1.33),
    ],
)
def test_lengths(fields, frames, seconds, pipeline, source, tmp_path) -> None:
    request = GenerationRequest(**{"video": source, "audio": voice(0.8), **FAST, **fields})
    result = pipeline.generate(request, tmp_path / "out.mp4")
    assert result.frames == frames
    assert result.model == "infinitetalk-single"
    assert read_sound(tmp_path / "out.mp4").seconds == pytest.approx(seconds, abs=0.08)
    assert pipeline.work_of(request, read_sound(request.audio["person1"]).seconds).amounts["encode"] == 1


def test_the_videos_sound_is_kept_under_the_voice(pipeline, source, tmp_path) -> None:
    quiet = (0.01 * np.random.default_rng(0).normal(size=16000).astype(np.float32), 16000)

    def loudness(**fields: Any) -> float:
        request = GenerationRequest(video=source, audio=quiet, **FAST, **fields)
        pipeline.generate(request, tmp_path / "out.mp4")
        return float(np.abs(read_sound(tmp_path / "out.mp4").samples).mean())

    alone, half, full = (loudness(source_volume=volume) for volume in (0.0, 0.5, 1.0))
    assert alone < 0.02
    assert half == pytest.approx(full / 2, rel=0.1)
    assert full > 0.2


def test_the_result_and_its_file_say_which_model_it_was(pipeline, tmp_path) -> None:
    two = {"person1": voice(0.4), "person2": voice(0.4)}
    expected = {
        ("multitalk", 1): "multitalk",
        ("multitalk", 2): "multitalk",
        ("infinitetalk", 1): "infinitetalk-single",
        ("infinitetalk", 2): "infinitetalk-multi",
    }
    latents = []
    for (model, people), name in expected.items():
        audio = voice(0.4) if people == 1 else two
        request = GenerationRequest(image=PICTURE, audio=audio, model=model, **FAST)
        result = pipeline.generate(
            request, tmp_path / "out.mp4", on_clip=lambda clip: latents.append(clip.latents)
        )
        assert result.model == name
        with av.open(str(tmp_path / "out.mp4")) as file:
            comment = json.loads(file.metadata["comment"])
        assert (comment["model"], comment["motion_frames"]) == (model, 25 if model == "multitalk" else 9)
    assert len({float(each.sum()) for each in latents}) == 4
    again = next(
        pipeline.stream(GenerationRequest(image=PICTURE, audio=voice(0.4), model="multitalk", **FAST))
    )
    assert torch.equal(again.latents, latents[0])


def test_without_a_model_the_length_of_spoken_text_decides(pipeline, monkeypatch) -> None:
    monkeypatch.setattr("multitalk.request.model_kinds.LONG_SECONDS", 1.0)
    for text, name in (("Hi.", "multitalk"), ("This sentence takes quite a while to say.", "infinitetalk")):
        request = GenerationRequest(image=PICTURE, speech=text, **FAST)
        monitor = pipeline_monitor()
        job = pipeline._prepare(request, monitor)
        assert job.outline.model.name == name


def pipeline_monitor() -> Any:
    from multitalk.pipeline.progress import JobMonitor

    return JobMonitor(None, None)


@pytest.mark.parametrize("cache", [{"teacache": 3e5}, {"cache": "magcache"}, {"apg": True}])
def test_caches_and_guidance_work_as_for_multitalk(cache, pipeline) -> None:
    settings = {**FAST, **SHORT, "steps": 8}
    request = GenerationRequest(image=PICTURE, audio=voice(0.8), model="infinitetalk", **settings, **cache)
    plain = GenerationRequest(image=PICTURE, audio=voice(0.8), model="infinitetalk", **settings)
    ours, without = (list(pipeline.stream(each)) for each in (request, plain))
    assert len(ours) == len(without) == 2
    assert all(torch.isfinite(clip.latents).all() for clip in ours)
    assert not torch.equal(ours[0].latents, without[0].latents)
    assert torch.equal(ours[0].latents[:, :1], without[0].latents[:, :1]), (
        "the input's frame, clean to the bit"
    )


def test_the_reader_of_the_video_ends_with_the_job(pipeline, source) -> None:
    def decoders() -> int:
        children = psutil.Process().children()
        return sum("multitalk.media.decoder" in child.cmdline() for child in children)

    from multitalk.media import decoding

    request = GenerationRequest(video=source, audio=voice(1.0), **FAST, **SHORT)
    decoding.pool.close()
    clips = pipeline.stream(request)
    next(clips)
    next(clips)
    assert decoders() == 1
    clips.close()
    assert decoders() == 0

    class AfterTheFirstClip:
        steps = 0

        def is_set(self) -> bool:
            self.steps += 1
            return self.steps > 40

    with pytest.raises(Cancelled):
        list(pipeline.stream(request, cancel=AfterTheFirstClip()))
    assert decoders() == 0


def test_a_video_needs_infinitetalk(published, tmp_path, source) -> None:
    from multitalk.bake.bake import bake

    bake(published, tmp_path / "baked", precision="float32", models=["multitalk"])
    pipeline = MultiTalkPipeline.from_pretrained(tmp_path / "baked", device="cpu", dtype=torch.float32)
    request = GenerationRequest(video=source, audio=voice(0.4), **FAST)
    with pytest.raises(
        InvalidInput, match=r"^video needs InfiniteTalk, .* lack infinitetalk-single"
    ) as caught:
        pipeline.generate(request, tmp_path / "out.mp4")
    assert caught.value.field == "video"
