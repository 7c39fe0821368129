"""Jobs of InfiniteTalk through the pipeline, with small weights of both models."""

from __future__ import annotations

import json
from itertools import pairwise
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
from multitalk.conditioning.infinitetalk import InfiniteTalkConditioner
from multitalk.conditioning.source import VideoSource
from multitalk.errors import Cancelled, InvalidInput
from multitalk.media.sound_reading import read_sound
from multitalk.media.source_video import DAMAGED, FramePosition, Video, VideoReader, read_video
from multitalk.sampling.denoise import VelocityModel
from multitalk.sampling.schedule import make_timesteps
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


HELD = (
    "video: it ends after 1.3 of 2.0 seconds, then its last frame is held. "
    "Use a longer video or shorter audio."
)
CROPPED = (
    "video: 33% of its width is cropped, because the result is 64x64. "
    "Choose a size with the video's aspect ratio to keep all of it."
)


@pytest.mark.parametrize(
    ("fields", "notices"),
    [
        ({}, (HELD,)),
        ({"video_timing": "frame"}, (HELD.replace("1.3", "1.6"),)),
        ({"video_end": "loop"}, ()),
        ({"length": "shortest"}, ()),
        ({"max_seconds": 1.3}, ()),
        ({"size": (64, 64), "max_seconds": 1.3}, (CROPPED,)),
        ({"size": (64, 64)}, (HELD, CROPPED)),
        (
            {"size": (128, 64), "max_seconds": 0.2},
            (CROPPED.replace("33%", "67%").replace("64x64", "64x128"),),
        ),
        (
            {"size": (64, 144), "max_seconds": 0.2},
            (CROPPED.replace("width", "height").replace("64x", "144x"),),
        ),
    ],
)
def test_what_of_a_video_is_not_shown_is_said(
    pipeline, source, tmp_path, fields: dict[str, Any], notices: tuple[str, ...]
) -> None:
    request = GenerationRequest(video=source, audio=voice(2.0), **{**FAST, "steps": 1, **SHORT, **fields})
    assert pipeline.generate(request, tmp_path / "out.mp4").warnings == notices


def test_damage_of_a_video_is_in_the_result(pipeline, tmp_path) -> None:
    content = bytearray(video())
    middle = len(content) // 2
    content[middle - 400 : middle + 400] = bytes(800)
    fields = {**FAST, "steps": 1, **SHORT, "max_seconds": 1.3}
    request = GenerationRequest(video=bytes(content), audio=voice(2.0), **fields)
    assert pipeline.generate(request, tmp_path / "out.mp4").warnings == (f"video: {DAMAGED}",)
    content = video("matroska")
    request = GenerationRequest(video=content[: len(content) // 2], audio=voice(2.0), **fields)
    incomplete, held = pipeline.generate(request, tmp_path / "out.mp4").warnings
    assert incomplete.startswith("video: the end of the file is missing. Its first 0.")
    assert "its last frame is held" in held


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
    work = pipeline.work_of(request, read_sound(request.audio["person1"]).seconds)
    assert work.amounts["denoise"] == request.steps, "one clip"


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


def test_an_exact_dub_starts_from_the_videos_own_frames(pipeline, source, monkeypatch) -> None:
    starts: list[torch.Tensor] = []
    condition = InfiniteTalkConditioner.condition

    def record(*arguments: Any) -> Any:
        clip = condition(*arguments)
        if clip.start is not None:
            starts.append(clip.start)
        return clip

    monkeypatch.setattr(InfiniteTalkConditioner, "condition", record)
    settings = {**FAST, **SHORT, "steps": 10, "shift": 1.0}

    def sample(**fields: Any) -> list[torch.Tensor]:
        starts.clear()
        request = GenerationRequest(video=source, audio=voice(0.8), **settings, **fields)
        return [clip.latents for clip in pipeline.stream(request)]

    free = sample()
    assert starts == []
    whole = sample(dub="exact", strength=1)
    assert len(whole) == len(starts) == 2
    # pure noise at the first timestep: all that the source adds is multiplied by 0
    assert all(torch.equal(*pair) for pair in zip(free, whole, strict=True))
    distances = []
    for strength in (0.1, 0.3, 0.6):
        latents = sample(dub="exact", strength=strength)
        distances.append([float((x - start).norm()) for x, start in zip(latents, starts, strict=True)])
    for clip in range(2):
        assert distances[0][clip] < distances[1][clip] < distances[2][clip]


@pytest.mark.parametrize(("strength", "sampled"), [(None, 6), (0.01, 1), (0.25, 2), (1, 10)])
def test_an_exact_dub_samples_the_last_steps(strength, sampled, pipeline, source, monkeypatch) -> None:
    steps: list[tuple[int, float]] = []
    predict = VelocityModel.predict

    def record(model: Any, latents: torch.Tensor, timestep: torch.Tensor, step: int, call: Any) -> Any:
        steps.append((step, float(timestep)))
        return predict(model, latents, timestep, step, call)

    monkeypatch.setattr(VelocityModel, "predict", record)
    fields = {} if strength is None else {"strength": strength}
    settings = {**FAST, "preset": "quality", "steps": 10, "shift": 1.0, "audio_guidance": 1.0}
    request = GenerationRequest(video=source, audio=voice(0.4), dub="exact", **settings, **fields)
    reports: list[Any] = []
    list(pipeline.stream(request, on_progress=reports.append))
    assert [step for step, _ in steps] == list(range(sampled))
    schedule = make_timesteps(10, 1.0)
    assert [time for _, time in steps] == schedule[-sampled - 1 : -1].tolist()
    assert max(report.steps for report in reports) == sampled
    assert reports[-1].fraction == 1.0


@pytest.mark.parametrize("end", ["hold", "loop", "pingpong"])
def test_the_frames_of_an_exact_dub_are_read_once(end, source, monkeypatch) -> None:
    """Clips overlap, and the reader would start again for an earlier frame."""
    positions: list[int] = []
    read = VideoReader.read

    def record(reader: VideoReader, position: FramePosition, check: Any) -> Any:
        positions.append(position.number)
        return read(reader, position, check)

    monkeypatch.setattr(VideoReader, "read", record)
    first = torch.zeros(3, 64, 96)
    frames = VideoSource(source, first, "frame", end)
    try:
        shown = []
        for start in (0, 8, 16, 24, 32, 40):
            first_frame = frames.frame(start, lambda: None)
            clip = frames.frames(start, 13, None, lambda: None)
            assert clip.shape == (3, 13, 64, 96)
            assert start == 0 or torch.equal(first_frame, clip[:, 0])
            shown.append([number_of(frames._kept[index][1]) for index in range(start, start + 13)])
    finally:
        frames.close()
    expected = {
        "hold": lambda n: min(n, 39),
        "loop": lambda n: n % 40,
        "pingpong": lambda n: 39 - abs(39 - n),
    }
    assert shown == [[expected[end](start + i) for i in range(13)] for start in (0, 8, 16, 24, 32, 40)]
    backward = sum(b < a for a, b in pairwise(positions))
    assert backward == {"hold": 0, "loop": 2, "pingpong": 2}[end]
    assert len(positions) == 52, "all but the first, which is known"


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
