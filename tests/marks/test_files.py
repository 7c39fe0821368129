"""The marks are in every file of a job and in none of its frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from multitalk import GenerationRequest, MultiTalkPipeline
from multitalk.errors import InvalidInput
from multitalk.marks.frames import FrameMarks
from multitalk.marks.label import Label
from multitalk.marks.reading import read_watermark
from multitalk.marks.tags import GENERATED
from multitalk.marks.watermark import Watermark, number_of
from multitalk.media.fragments import split_clip, write_clip
from multitalk.media.inspection import inspect_file
from multitalk.media.sound import Sound
from multitalk.media.xmp import read_picture_xmp, save_png
from multitalk.pipeline.results import Clip
from multitalk.weights.folders import EMBEDDED_FOLDER
from tests.marks.clips import EXAMPLES, decode, talking

NUMBER = 20
LABEL = Label("AI", "top-left")


@pytest.fixture(scope="module")
def pipeline(baked: Path) -> MultiTalkPipeline:
    return MultiTalkPipeline.from_pretrained(baked, device="cpu", dtype=torch.float32)


def small_request(**fields: Any) -> GenerationRequest:
    noise = np.random.default_rng(0)
    settings = {"size": (64, 64), "steps": 1, "text_guidance": 1.0, "audio_guidance": 1.0}
    return GenerationRequest(
        image=Image.fromarray(noise.integers(0, 255, (64, 64, 3), np.uint8)),
        audio=(noise.normal(0, 0.1, 8000).astype(np.float32), 16000),
        **(settings | fields),
    )


def clip(marks: FrameMarks | None) -> Clip:
    frames = torch.from_numpy(talking(24).copy())
    sound = Sound(np.full((15360, 1), 0.1, np.float32), 16000)
    return Clip(0, frames, torch.zeros(1), 5, 0, 24, sound, frame_marks=marks)


def has_label(frames: np.ndarray) -> bool:
    """Whether the corner has the dark plate, unlike the light background."""
    return bool((frames[:, 10:36, 10:36].min((1, 2, 3)) < 110).all())


@pytest.mark.parametrize("label", [None, LABEL])
@pytest.mark.parametrize("number", [None, NUMBER])
def test_files_of_a_clip(tmp_path: Path, label: Label | None, number: int | None) -> None:
    marks = FrameMarks(None if number is None else Watermark(number), label)
    write_clip(clip(marks), tmp_path / "clip.mp4", 25)
    assert read_watermark(tmp_path / "clip.mp4") == number
    assert has_label(decode(tmp_path / "clip.mp4")) == (label is not None)


def test_parts_of_a_clip(tmp_path: Path) -> None:
    parts = list(split_clip(clip(FrameMarks(Watermark(NUMBER), LABEL)), tmp_path, 25, 40_000))
    assert len(parts) > 1
    for part in parts:
        assert read_watermark(part.data) == NUMBER
        assert has_label(decode(part.data))


def test_frames_without_marks_are_encoded_as_they_are(tmp_path: Path) -> None:
    for name, marks in (("none", None), ("empty", FrameMarks())):
        write_clip(clip(marks), tmp_path / f"{name}.mp4", 25)
    assert np.array_equal(decode(tmp_path / "none.mp4"), decode(tmp_path / "empty.mp4"))


def test_a_job_has_one_number(pipeline: MultiTalkPipeline, tmp_path: Path, monkeypatch) -> None:
    small = pipeline.generate(small_request(), tmp_path / "small.mp4")
    assert (small.watermark, small.marks) == (None, ("c2pa",)), "it could not be read"
    monkeypatch.setattr("multitalk.marks.watermark.MIN_PIXELS", 0)
    clips: list[Clip] = []
    request = small_request(label={"text": "AI", "corner": "top-left"}, frames_per_clip=21, motion_frames=5)
    result = pipeline.generate(request, tmp_path / "a.mp4", on_clip=clips.append, job_id="job")
    assert result.watermark == number_of("job")
    assert result.marks == ("c2pa", "watermark")
    unmarked = pipeline.generate(small_request(mark=False), tmp_path / "unmarked.mp4")
    assert (unmarked.watermark, unmarked.marks) == (None, ())
    save_png(unmarked.last_frame, tmp_path / "unmarked.png")
    with (tmp_path / "unmarked.png").open("rb") as file:
        assert read_picture_xmp(file) == ""
    drawn = LABEL.draw(clips[-1].frames[-1].numpy())
    assert np.array_equal(result.last_frame, Watermark(number_of("job")).embed_frame(drawn)), (
        "as in the video"
    )
    save_png(result.last_frame, tmp_path / "last.png")
    with (tmp_path / "last.png").open("rb") as file:
        assert GENERATED in read_picture_xmp(file)
    assert {made.frame_marks.number for made in clips if made.frame_marks} == {number_of("job")}
    streamed = list(pipeline.stream(request, job_id="job"))
    plain = list(pipeline.stream(small_request(frames_per_clip=21, motion_frames=5)))
    for made, other in zip(streamed, plain, strict=True):
        assert torch.equal(made.frames, other.frames), "the frames have no marks"
        assert made.frame_marks is not None
        assert (made.frame_marks.number, made.frame_marks.label) == (number_of("job"), LABEL)
    shown = decode(tmp_path / "a.mp4").astype(int)
    expected = torch.cat([made.frames for made in streamed]).numpy().astype(int)
    corner = np.abs(shown - expected)[:, 3:15, 3:15].mean()
    assert corner > 3 * np.abs(shown - expected)[:, 32:, 32:].mean(), "the file has the label"


def test_jobs_without_an_id_are_reproducible(
    pipeline: MultiTalkPipeline, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr("multitalk.marks.watermark.MIN_PIXELS", 0)
    first, again, other = (
        pipeline.generate(small_request(seed=seed), tmp_path / f"{index}.mp4").watermark
        for index, seed in enumerate((1, 1, 2))
    )
    assert first == again != other
    assert np.array_equal(decode(tmp_path / "0.mp4"), decode(tmp_path / "1.mp4"))


def test_a_label_that_does_not_fit_is_refused(pipeline: MultiTalkPipeline, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="too long for a video of 64x64") as caught:
        pipeline.generate(small_request(label="x" * 60), tmp_path / "a.mp4")
    assert caught.value.field == "label"
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_a_video_of_the_demo_is_marked(tmp_path: Path) -> None:
    demo = MultiTalkPipeline.from_pretrained(EMBEDDED_FOLDER, device="cpu")
    request = GenerationRequest(
        image=EXAMPLES / "one_person.png", audio=EXAMPLES / "one_person.wav", max_seconds=1.0
    )
    demo.generate(request, tmp_path / "a.mp4", job_id="job")
    assert read_watermark(tmp_path / "a.mp4") == number_of("job")
    inspection = inspect_file(tmp_path / "a.mp4")
    assert inspection.marks == ("c2pa", "watermark")
    assert f"made with MultiTalk, number {number_of('job')}." in inspection.sentence
