"""A picture and voices through a bake of the parity weights: the file that a person gets to play.

``../shared/examples`` holds photographs and recorded voices. If it does not exist, the project's own
``examples`` are used.
"""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from multitalk import GenerationRequest, MultiTalkPipeline
from multitalk.media.sound_reading import read_sound

REPOSITORY = Path(__file__).resolve().parents[2]
PHOTOGRAPHS = REPOSITORY.parent / "shared" / "examples"
EXAMPLES = PHOTOGRAPHS if PHOTOGRAPHS.is_dir() else REPOSITORY / "examples"
AREA_480P = 480 * 832
BOXES = (
    {"person1": [120, 160, 1080, 1280], "person2": [1320, 160, 2280, 1280]}
    if EXAMPLES == PHOTOGRAPHS
    else {"person1": [16, 16, 272, 376], "person2": [304, 16, 560, 376]}
)
# the beginning of the voices, in short clips: a clip of 81 frames takes minutes on a CPU at this size
SHORT_CLIPS = {"frames_per_clip": 5, "motion_frames": 1}

pytestmark = pytest.mark.slow


def make(pipeline: MultiTalkPipeline, target: Path, **fields: object) -> Path:
    """The video of a request, at its default size, with as few steps as can be."""
    request = GenerationRequest(steps=1, text_guidance=1, audio_guidance=1, **fields)
    pipeline.generate(request, target)
    return target


def check_video(path: Path, picture: Path, seconds: float) -> None:
    with Image.open(picture) as image:
        ratio = image.width / image.height
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.average_rate == 25
        assert stream.width % 16 == stream.height % 16 == 0
        assert abs(stream.width * stream.height / AREA_480P - 1) < 0.06
        assert abs(stream.width / stream.height / ratio - 1) < 0.04
        shown = sum(1 for _ in file.decode(stream))
    assert abs(shown / 25 - seconds) <= 1 / 25


def check_sound(path: Path, samples: np.ndarray, rate: int) -> None:
    """The file's sound is the user's: rate, channels and, but for AAC's loss, the samples."""
    sound = read_sound(path)
    assert (sound.rate, sound.channels) == (rate, samples.shape[1])
    length = min(len(sound.samples), len(samples))
    assert abs(len(sound.samples) - len(samples)) < 0.04 * rate
    for channel in range(samples.shape[1]):
        assert np.corrcoef(sound.samples[:length, channel], samples[:length, channel])[0, 1] > 0.99


def test_one_person_in_one_clip(pipeline, tmp_path):
    picture, voice, seconds = EXAMPLES / "one_person.png", EXAMPLES / "one_person.wav", 0.2
    samples, rate = soundfile.read(voice, always_2d=True)
    samples = samples[: round(seconds * rate)]
    path = make(
        pipeline, tmp_path / "one.mp4", image=picture, audio=voice, max_seconds=seconds, **SHORT_CLIPS
    )
    check_video(path, picture, seconds)
    check_sound(path, samples, rate)


def test_two_people_in_two_clips(pipeline, tmp_path):
    picture, left, right = (EXAMPLES / name for name in ("two_people.png", "left.wav", "right.wav"))
    seconds = 0.36
    path = make(
        pipeline,
        tmp_path / "two.mp4",
        image=picture,
        audio={"person1": left, "person2": right},
        boxes=BOXES,
        max_seconds=seconds,
        **SHORT_CLIPS,
    )
    (first, rate), (second, _) = (soundfile.read(file, always_2d=True) for file in (left, right))
    length = round(seconds * rate)
    check_video(path, picture, seconds)
    check_sound(path, first[:length] + second[:length], rate)
