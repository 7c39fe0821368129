"""The watermark cannot be seen, survives what happens to videos, and is not found where there is none."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from multitalk.errors import InvalidInput
from multitalk.marks.reading import read_watermark
from multitalk.marks.watermark import Watermark, number_of
from multitalk.media.video import VideoWriter
from tests.marks.clips import EXAMPLES, decode, encode_again, talking

NUMBER = 0xC0FFEE42


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example video, marked and encoded by the product."""
    path = tmp_path_factory.mktemp("marked") / "video.mp4"
    with VideoWriter(path, 384, 384) as writer:
        writer.write(Watermark(NUMBER).embed(talking()))
    return path


@pytest.fixture(scope="module")
def frames(video: Path) -> np.ndarray:
    return decode(video)


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((first.astype(np.float64) - second) ** 2)))


def texture(height: int, width: int) -> np.ndarray:
    """Texture everywhere, where the mark is strongest."""
    return np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)


@pytest.mark.parametrize(
    "clip",
    [
        talking(3),
        texture(480, 832),
        texture(97, 61),
        texture(3, 2),
        np.zeros((1, 64, 112, 3), np.uint8),
        np.full((1, 720, 1280, 3), 255, np.uint8),
    ],
    ids=["video", "texture", "small", "tiny", "black", "white"],
)
def test_the_mark_is_faint(clip: np.ndarray) -> None:
    before = clip.copy()
    marked = Watermark(NUMBER).embed(clip)
    assert (marked.dtype, marked.shape) == (np.uint8, clip.shape)
    assert np.array_equal(clip, before), "the given frames stay as they are"
    assert psnr(clip, marked) >= 42
    assert np.abs(marked.astype(int) - clip).max() <= 16


def test_the_encoded_video_has_the_number(frames: np.ndarray) -> None:
    assert Watermark.detect(frames) == NUMBER


@pytest.mark.parametrize("number", [0, 1, 2**32 - 1, number_of("a job"), number_of("another job")])
def test_every_number_is_read(number: int) -> None:
    assert Watermark.detect(Watermark(number).embed(talking(2))) == number


@pytest.mark.parametrize("number", [-1, 2**32])
def test_a_number_has_32_bits(number: int) -> None:
    with pytest.raises(ValueError, match="32 bits"):
        Watermark(number)


def test_encoding_again(frames: np.ndarray) -> None:
    assert Watermark.detect(encode_again(frames, crf="28")) == NUMBER
    assert Watermark.detect(encode_again(frames, bit_rate=1_000_000)) == NUMBER


def test_other_sizes(frames: np.ndarray) -> None:
    half = encode_again(np.stack([cv2.resize(frame, (192, 192)) for frame in frames]))
    assert Watermark.detect(half) == NUMBER
    assert Watermark.detect(np.stack([cv2.resize(frame, (384, 384)) for frame in half])) == NUMBER


def test_cropping(frames: np.ndarray) -> None:
    assert Watermark.detect(encode_again(frames[:, 13:357, 30:374])) == NUMBER, "10 %"
    assert Watermark.detect(encode_again(frames[:, 100:, :300])) == NUMBER, "more"


def test_dropped_frames(frames: np.ndarray) -> None:
    assert Watermark.detect(encode_again(np.delete(frames, slice(5, None, 6), 0))) == NUMBER, "30 to 25 fps"


def test_a_part_of_the_video(frames: np.ndarray) -> None:
    assert Watermark.detect(frames[7:8]) == NUMBER
    assert Watermark.detect(iter(frames[3:5])) == NUMBER, "frames may come one by one"


def test_brightness_and_contrast(frames: np.ndarray) -> None:
    changed = np.clip(frames.astype(np.float32) * 0.7 + 30, 0, 255).astype(np.uint8)
    assert Watermark.detect(changed) == NUMBER
    gray = np.repeat(frames.mean(-1, keepdims=True), 3, -1).astype(np.uint8)
    assert Watermark.detect(gray) == NUMBER


def test_frames_without_a_mark() -> None:
    rng = np.random.default_rng(0)
    clips = [
        talking(),
        rng.integers(0, 256, (3, 200, 300, 3), np.uint8),
        np.zeros((2, 96, 64, 3), np.uint8),
        np.zeros((2, 2, 2, 3), np.uint8),
        np.indices((1, 240, 320, 3)).sum(0).astype(np.uint8) % 8 * 30,  # stripes
    ]
    assert [Watermark.detect(clip) for clip in clips] == [None] * len(clips)
    assert Watermark.detect([]) is None


def test_a_mark_of_another_project_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise of the same strength and frequencies."""
    marked = Watermark(NUMBER).embed(talking(4))
    change = marked.astype(np.int16) - talking(4)
    other = np.clip(talking(4) + change[:, ::-1, ::-1], 0, 255).astype(np.uint8)
    assert Watermark.detect(other) is None


def test_the_pattern_stays_the_same() -> None:
    """Videos that were marked earlier are read by every later version."""
    assert read_watermark(Path(__file__).with_name("marked_12345678.png")) == 0x12345678
    assert number_of("job-1") == 0x026AB639


def test_clips_have_the_mark_of_the_whole(tmp_path: Path) -> None:
    """Frames are marked one by one, however they are grouped."""
    whole = Watermark(NUMBER).embed(talking(6))
    mark = Watermark(NUMBER)
    assert np.array_equal(whole, np.concatenate([mark.embed(talking(6)[:1]), mark.embed(talking(6)[1:])]))


def test_files_are_read(video: Path, frames: np.ndarray, tmp_path: Path) -> None:
    assert read_watermark(video) == NUMBER
    assert read_watermark(video.read_bytes()) == NUMBER
    Image.fromarray(frames[10]).save(tmp_path / "screenshot.png")
    assert read_watermark(tmp_path / "screenshot.png") == NUMBER
    buffer = io.BytesIO()
    Image.fromarray(frames[10]).resize((500, 500)).save(buffer, "JPEG", quality=85)
    assert read_watermark(buffer.getvalue()) == NUMBER, "as displayed at another size"
    for name in ("talking.mp4", "two_people.png"):
        assert read_watermark(EXAMPLES / name) is None
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(InvalidInput):
        read_watermark(tmp_path / "text.mp4")
