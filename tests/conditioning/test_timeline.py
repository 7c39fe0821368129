"""Clips and their audio windows against docs/MODEL.md, section 5."""

from __future__ import annotations

import pytest
import torch

from multitalk.conditioning.audio import feature_count, normalize_loudness
from multitalk.conditioning.timeline import AudioTimeline, clip_spans, count_frames, scene_spans


def test_features_are_counted_in_floating_point_as_upstream():
    assert feature_count(18560) == 28
    assert feature_count(96000) == 150


@pytest.mark.parametrize("seconds", [0.2, 0.5, 3.2, 3.24, 3.25, 6.0, 40.0, 61.7, 599.99])
def test_the_video_is_as_long_as_its_sound_within_a_frame(seconds):
    features = int(seconds * 25)
    frames = count_frames(seconds, features, None)
    spans = clip_spans(frames, features, 81, 25)
    shown = sum(span.new_frames for span in spans)
    assert abs(shown / 25 - seconds) <= 1 / 25
    assert all(span.new_frames > 0 for span in spans)


def test_clips_overlap_by_the_motion_frames():
    spans = clip_spans(150, 150, 81, 25)
    assert [span.start for span in spans] == [0, 56, 112]
    assert [span.skip for span in spans] == [0, 25, 25]
    assert [span.new_frames for span in spans] == [81, 56, 13]


def test_a_frame_from_rounding_up_gets_no_clip_of_its_own():
    assert sum(span.new_frames for span in clip_spans(83, 82, 81, 25)) == 83
    only = clip_spans(82, 81, 81, 25)
    assert len(only) == 1
    assert only[0].new_frames == 81


def test_max_seconds_shortens_the_video_but_not_the_features():
    frames = count_frames(6.0, 150, 81 / 25)
    assert frames == 81
    assert len(clip_spans(frames, 150, 81, 25)) == 1
    assert [span.new_frames for span in clip_spans(100, 150, 81, 25)] == [81, 19]


def test_a_clip_starts_at_each_cut_and_no_frame_is_lost():
    spans = scene_spans(clip_spans(150, 150, 81, 25), [30, 140], 81, 25)
    assert [(span.index, span.start, span.skip, span.new_frames) for span in spans] == [
        *((0, 0, 0, 30), (1, 30, 0, 81), (2, 86, 25, 29), (3, 140, 0, 10))
    ]
    assert [span.scene_end for span in spans] == [30, 140, 140, None]
    assert [span.starts_scene for span in spans] == [True, True, False, True]


@pytest.mark.parametrize(("frames", "features"), [(150, 150), (83, 82), (82, 81), (81, 150), (1, 1)])
@pytest.mark.parametrize("cuts", [[], [1], [40], [80, 81, 82], [5, 30, 57, 149], [150, 400]])
def test_scenes_keep_the_frames_of_the_video(frames, features, cuts):
    spans = clip_spans(frames, features, 81, 25)
    total = sum(span.new_frames for span in spans)
    scenes = scene_spans(spans, cuts, 81, 25)
    shown = [
        frame
        for span in scenes
        for frame in range(span.start + span.skip, span.start + span.skip + span.new_frames)
    ]
    assert shown == [*range(total)]
    assert [span.start for span in scenes if span.starts_scene] == [0, *(cut for cut in cuts if cut < total)]
    if not any(cut < total for cut in cuts):
        assert scenes == spans


def mirrored(embeddings: torch.Tensor, start: int, frames: int = 81) -> torch.Tensor:
    """Upstream's rule: cat(e, flip(e[-miss:])), then a window of 5, clamped at the ends."""
    count, end = embeddings.shape[1], start + frames
    if end >= count:
        missing = end - count + 3
        while embeddings.shape[1] < end + 3:
            tail = embeddings[:, -missing:].flip(1)
            embeddings = torch.cat((embeddings, tail), dim=1)
            missing = end + 3 - embeddings.shape[1]
    centers = torch.arange(start, end)[:, None] + torch.arange(-2, 3)
    return embeddings[:, centers.clamp(0, embeddings.shape[1] - 1)]


@pytest.mark.parametrize(("features", "start"), [(150, 0), (150, 56), (150, 112), (81, 0), (82, 0), (60, 0)])
def test_windows_extend_the_features_by_their_mirror_image(features, start):
    embeddings = torch.arange(2.0 * features).reshape(2, features, 1, 1)
    windows = AudioTimeline(embeddings, 81, 5).windows(start)
    assert windows.shape == (2, 81, 5, 1, 1)
    torch.testing.assert_close(windows, mirrored(embeddings, start), rtol=0, atol=0)


def test_a_very_short_sound_is_mirrored_repeatedly():
    windows = AudioTimeline(torch.arange(3.0).reshape(1, 3, 1, 1), 81, 5).windows(0)
    centers = windows[0, :, 2, 0, 0].tolist()
    assert centers[:9] == [0, 1, 2, 2, 1, 0, 0, 1, 2]


def test_loudness_of_silence_and_of_very_short_sounds():
    silence = torch.zeros(16000).numpy()
    assert (normalize_loudness(silence) == 0).all()
    short = torch.randn(3200, generator=torch.Generator().manual_seed(0)).numpy() * 0.01
    assert abs(normalize_loudness(short)).max() > abs(short).max()
