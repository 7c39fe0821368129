"""The cuts of a video: found at their frames, in a process of its own, and only where they are needed."""

from __future__ import annotations

from typing import Any

import pytest

from multitalk.errors import Cancelled, InvalidInput
from multitalk.media.frame_position import Cut, FramePosition
from multitalk.media.source_video import Video, read_video
from tests.fresh_process import run_script
from tests.media.video_files import RATE, SIZE, frame_pixels, scenes_video, video

END = FramePosition(number=10**6)


def cuts(content: bytes, last: FramePosition = END) -> list[int]:
    source = read_video(content)
    source.find_cuts(last, lambda: None)
    return [cut.number for cut in source.cuts]


@pytest.mark.parametrize(
    "file",
    [
        {},
        {"matrix": (0, 1, -1, 0)},
        {"container": "mov", "codec": "prores_ks", "pixels": "yuv422p10le"},
        {"container": "webm", "codec": "libvpx-vp9", "pixels": "yuva420p"},
    ],
    ids=["mp4", "rotated", "prores", "transparent"],
)
def test_cuts_are_found_at_their_frames(file: dict[str, Any]) -> None:
    source = read_video(scenes_video([12, 20, 9], **file))
    assert source.cuts == []
    source.find_cuts(END, lambda: None)
    assert [cut.number for cut in source.cuts] == [12, 32]
    assert [cut.seconds for cut in source.cuts] == pytest.approx([12 / RATE, 32 / RATE], abs=0.002)


def test_cuts_of_a_variable_frame_rate_have_their_times() -> None:
    times = [n / 30 for n in range(12)] + [0.4 + n / 15 for n in range(20)]
    source = read_video(scenes_video([12, 20], times=times))
    source.find_cuts(FramePosition(seconds=9.0), lambda: None)
    (cut,) = source.cuts
    assert cut.number == 12
    assert cut.seconds == pytest.approx(0.4, abs=0.001)
    reached = [cut.is_reached(FramePosition(seconds=seconds)) for seconds in (0.0, 0.39, 0.4, 2.0)]
    assert reached == [False, False, True, True]
    assert [cut.is_reached(FramePosition(number=number)) for number in (0, 11, 12)] == [False, False, True]


def test_movement_and_frames_that_all_differ_are_no_cuts() -> None:
    assert cuts(scenes_video([40])) == []
    assert cuts(video()) == []
    assert cuts(video(frames=1)) == []


def test_the_first_and_last_scenes_may_be_short() -> None:
    assert cuts(scenes_video([1, 20, 8])) == [1, 21]


def test_a_flash_is_no_scene_and_no_clip_starts_with_it() -> None:
    assert cuts(scenes_video([20, 2, 20], (0, 1, 0))) == [22]
    assert cuts(scenes_video([20, 3], (0, 1))) == [], "shorter than 0.2 seconds at the end"


def test_the_video_is_searched_as_far_as_it_is_shown() -> None:
    content = scenes_video([12, 20, 9])
    assert cuts(content, FramePosition(number=11)) == []
    assert cuts(content, FramePosition(number=12)) == [12]
    assert cuts(content, FramePosition(seconds=0.9)) == [12]
    assert cuts(content, FramePosition(seconds=1.1)) == [12, 32]


def test_a_cancelled_search_ends_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    from multitalk.media import decoding

    ended: list[int] = []
    end = decoding.DecoderPool.take

    def take(pool: Any) -> Any:
        decoder = end(pool)
        ended.append(decoder._process.pid)
        take.decoder = decoder  # type: ignore[attr-defined]
        return decoder

    source = read_video(scenes_video([12, 20]))
    monkeypatch.setattr(decoding.DecoderPool, "take", take)

    def cancel() -> None:
        raise Cancelled("The job was cancelled.")

    with pytest.raises(Cancelled):
        source.find_cuts(END, cancel)
    assert take.decoder.has_ended  # type: ignore[attr-defined]
    assert len(ended) == 1
    source.find_cuts(END, lambda: None)
    assert take.decoder.has_ended, "it is not kept with what only this task imports"  # type: ignore[attr-defined]
    assert source.cuts == [Cut(12, pytest.approx(0.4))]


def test_a_video_that_cannot_be_decoded_within_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    from multitalk.media.decoder_process import Limits

    source = read_video(scenes_video([12, 20]))
    monkeypatch.setattr(Video, "decoding_limits", lambda video, seconds: Limits(60, 0.0, 2**31))
    with pytest.raises(InvalidInput, match=r"^video .* takes too long to decode"):
        source.find_cuts(END, lambda: None)


def test_only_the_search_imports_its_library() -> None:
    run_script(
        "import sys\n"
        "import multitalk.media.source_video\n"
        "from multitalk.media.decoder_tasks import import_libraries\n"
        "import_libraries('video')\n"
        "import_libraries('video_frame')\n"
        "assert not {'scenedetect', 'cv2'} & {*sys.modules}\n"
        "import_libraries('video_cuts')\n"
        "assert {'scenedetect', 'cv2'} <= {*sys.modules}\n"
        "assert 'torch' not in sys.modules\n"
    )


def test_frames_are_compared_at_a_small_size() -> None:
    from multitalk.media.decoder_messages import shared_file
    from multitalk.media.video_decoding import VideoFrames
    from multitalk.media.video_file import Source

    frames = VideoFrames(Source(shared_file(video(frames=2)), "", "video"))
    try:
        assert frames.small(48).shape == (32, 48, 3)
        assert frames.small(1000).shape == (*SIZE[::-1], 3)
        assert abs(frames.small(48)[-1, -1, ::-1].astype(int) - frame_pixels(0)[-1, -1]).max() < 8
        assert frames.advance()
        assert not frames.advance()
        assert frames.end == pytest.approx(2 / RATE, abs=0.001)
    finally:
        frames.close()
