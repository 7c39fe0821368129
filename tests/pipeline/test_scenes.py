"""Dubbing a video of several scenes: every scene is a run of clips of its own, in one result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from multitalk import GenerationRequest, MultiTalkPipeline
from multitalk.conditioning.infinitetalk import InfiniteTalkConditioner
from multitalk.errors import Cancelled
from multitalk.media.sound_reading import read_sound
from multitalk.media.source_video import Video, read_video
from multitalk.models.video_vae import encode_condition
from tests.media.sound_files import tone
from tests.media.video_files import SCENE_COLORS, scene_of, scenes_video

FAST: dict[str, Any] = {"size": (64, 96), "steps": 2, "text_guidance": 1.0, "audio_guidance": 2.0}
SHORT = {"frames_per_clip": 13, "motion_frames": 5}  # 8 new frames per clip
SECONDS = 1.6  # 40 frames


def scene_at(frame: int) -> int:
    """The scene that a frame of the result belongs to, by time."""
    return sum(frame / 25 * 30 + 0.01 >= cut for cut in (18, 30))


def dub(source: Video, **fields: Any) -> GenerationRequest:
    audio = (tone(SECONDS), 16000)
    return GenerationRequest(**{"video": source, "audio": audio, "scenes": True, **FAST, **SHORT, **fields})


@pytest.fixture(scope="module")
def pipeline(baked: Path) -> MultiTalkPipeline:
    return MultiTalkPipeline.from_pretrained(baked, device="cpu", dtype=torch.float32)


@pytest.fixture(scope="module")
def source() -> Video:
    """Cuts after 18 and 30 frames, at 30 frames per second: at the frames 15 and 25 of the result."""
    return read_video(scenes_video([18, 12, 20]))


def test_a_video_without_cuts_is_composite_as_without_the_search(pipeline) -> None:
    whole = read_video(scenes_video([50]))
    searched, plain = (list(pipeline.stream(dub(whole, scenes=scenes))) for scenes in (True, False))
    assert len(searched) == len(plain) == 5
    for ours, theirs in zip(searched, plain, strict=True):
        assert torch.equal(ours.latents, theirs.latents)
        assert torch.equal(ours.frames, theirs.frames)


def test_a_clip_starts_at_each_cut_and_nothing_is_lost(pipeline, source, tmp_path) -> None:
    reports: list[Any] = []
    clips: list[Any] = []
    result = pipeline.generate(
        dub(source), tmp_path / "out.mp4", on_progress=reports.append, on_clip=clips.append
    )
    plain = pipeline.generate(dub(source, scenes=False), tmp_path / "plain.mp4")
    assert result.frames == plain.frames == 40
    assert [clip.start for clip in clips] == [0, 13, 15, 25, 38]
    assert [len(clip.frames) for clip in clips] == [13, 2, 10, 13, 2]
    assert read_sound(tmp_path / "out.mp4").seconds == read_sound(tmp_path / "plain.mp4").seconds
    parts = [clip.sound.samples for clip in clips]
    assert sum(map(len, parts)) == pytest.approx(SECONDS * clips[0].sound.rate, abs=1)
    assert np.array_equal(np.concatenate(parts)[:, 0], tone(SECONDS)[: sum(map(len, parts)), 0])
    stages = [report.stage for report in reports]
    assert stages.index("audio") < stages.index("scenes") < stages.index("encode")
    assert {report.clips for report in reports if report.stage == "denoise"} == {5}
    assert reports[-1].fraction == 1.0
    fractions = [report.fraction for report in reports]
    assert fractions == sorted(fractions)
    work = pipeline.work_of(dub(source), SECONDS)
    assert work.amounts["denoise"] == 5 * 2, "the cuts are known now"


@pytest.mark.parametrize("dubbing", ["free", "exact"])
def test_every_clip_sees_its_own_scene_only(dubbing, pipeline, source, monkeypatch) -> None:
    seen: list[tuple[int, bool, int, torch.Tensor]] = []
    starts: list[torch.Tensor | None] = []
    condition = InfiniteTalkConditioner.condition

    def record(conditioner: Any, span: Any, previous: Any) -> Any:
        clip = condition(conditioner, span, previous)
        picture = (conditioner._frame.permute(1, 2, 0) + 1) * 127.5
        seen.append((span.start, previous is None, scene_of(picture), conditioner._frame))
        starts.append(clip.start)
        return clip

    exact: list[torch.Tensor] = []

    def keep_frames(vae: Any, frames: torch.Tensor, *rest: Any) -> torch.Tensor:
        exact.append(frames)
        return encode_condition(vae, frames, *rest)

    monkeypatch.setattr(InfiniteTalkConditioner, "condition", record)
    monkeypatch.setattr("multitalk.conditioning.infinitetalk.encode_condition", keep_frames)
    clips = list(pipeline.stream(dub(source, dub=dubbing)))
    assert [(start, first) for start, first, _, _ in seen] == [
        *((0, True), (8, False), (15, True), (25, True), (33, False))
    ]
    assert [scene for _, _, scene, _ in seen] == [0, 0, 1, 2, 2]
    assert [scene_at(start) for start, *_ in seen] == [0, 0, 1, 2, 2]
    for clip, (_, first, _, frame) in zip(clips, seen, strict=True):
        if first:  # the first latent of a scene is that of its own frame, as in the first clip of a job
            with torch.inference_mode():
                latents = encode_condition(pipeline.components.vae, frame[:, None], 1, lambda: None)
            assert torch.equal(clip.latents[:, :1], latents)
    if dubbing == "exact":
        whole = [frames for frames in exact if frames.shape[1] == 13]
        scenes = [
            {scene_of((frame.permute(1, 2, 0) + 1) * 127.5) for frame in each.unbind(1)} for each in whole
        ]
        assert scenes == [{0}, {0}, {1}, {2}, {2}]


def test_the_frames_on_both_sides_of_a_cut_have_the_colors_of_their_scene(pipeline, source, tmp_path) -> None:
    pipeline.generate(dub(source, color_correction=1), tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as file:
        means = [frame.to_ndarray(format="rgb24").mean((0, 1)) for frame in file.decode(video=0)]
    assert len(means) == 40
    nearest = [int(np.argmin([np.abs(mean - color).sum() for color in SCENE_COLORS])) for mean in means]
    assert nearest == [scene_at(frame) for frame in range(40)]


def test_a_job_is_cancelled_while_its_cuts_are_searched(pipeline, source) -> None:
    class DuringTheSearch:
        stage = ""

        def note(self, report: Any) -> None:
            self.stage = report.stage

        def is_set(self) -> bool:
            return self.stage == "scenes"

    cancel = DuringTheSearch()
    with pytest.raises(Cancelled):
        list(pipeline.stream(dub(source), on_progress=cancel.note, cancel=cancel))
    assert cancel.stage == "scenes"
    assert len(list(pipeline.stream(dub(source)))) == 5
