"""The cuts of a video that is dubbed, as frames of the result."""

from __future__ import annotations

from typing import Any

import pytest

from multitalk import GenerationRequest
from multitalk.conditioning.scenes import find_scenes, plan_clips
from multitalk.media.source_video import Video, read_video
from tests.media.sound_files import tone
from tests.media.video_files import scenes_video

CLIPS = {"frames_per_clip": 13, "motion_frames": 5}


@pytest.fixture(scope="module")
def source() -> Video:
    """Scenes of 0.5, 0.4 and 0.53 seconds, at 30 frames per second."""
    return read_video(scenes_video([15, 12, 16]))


def starts(source: Video, frames: int, **fields: Any) -> list[int]:
    request = GenerationRequest(video=source, audio=(tone(2.0), 16000), **CLIPS, **fields)
    source.cuts.clear()
    find_scenes(request, frames, lambda: None)
    spans = plan_clips(request, frames, frames, 5)
    assert sum(span.new_frames for span in spans) == frames
    return [span.start for span in spans if span.starts_scene]


def test_clips_start_at_the_first_frame_that_shows_the_scene(source: Video) -> None:
    """0.5 s is between the frames 12 and 13 of the result, 0.9 s between 22 and 23."""
    assert starts(source, 50, scenes=True) == [0, 13, 23]
    assert starts(source, 50, scenes=True, video_timing="frame") == [0, 15, 27]
    assert starts(source, 50, scenes=False) == [0]


def test_a_video_that_starts_again_or_runs_backward_changes_its_scenes(source: Video) -> None:
    frame = {"scenes": True, "video_timing": "frame"}
    assert starts(source, 90, **frame, video_end="loop") == [0, 15, 27, 43, 58, 70, 86]
    assert starts(source, 90, **frame, video_end="pingpong") == [0, 15, 27, 58, 70]
    assert starts(source, 60, scenes=True, video_end="loop") == [0, 13, 23, 36, 49, 59]


def test_the_start_of_a_loop_of_one_scene_is_no_cut() -> None:
    assert starts(read_video(scenes_video([20])), 50, scenes=True, video_end="loop") == [0]


def test_only_what_the_result_shows_is_searched(source: Video) -> None:
    assert starts(source, 20, scenes=True) == [0, 13]
    assert [cut.number for cut in source.cuts] == [15]
