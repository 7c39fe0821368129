"""Writing videos, and reading them back."""

from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from multitalk.errors import InvalidInput
from multitalk.media.sound import Sound
from multitalk.media.sound_reading import read_sound
from multitalk.media.video import VideoWriter, check_target

WIDTH, HEIGHT = 112, 64


def voice(seconds: float, rate: int, channels: int) -> Sound:
    time = np.arange(round(seconds * rate)) / rate
    wave = 0.4 * np.sin(2 * np.pi * (250 + 100 * time) * time) * np.sin(3 * time) ** 2
    return Sound((wave[:, None] * np.linspace(1, 0.6, channels)).astype(np.float32), rate)


def gradient(frames: int) -> np.ndarray:
    """A smooth moving gradient, uint8 ``[T, H, W, 3]``."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    base = np.stack([rows * 2 + 40, columns + 60, (rows + columns) // 2 + 50], axis=-1)
    return np.stack([base + index % 40 for index in range(frames)]).clip(0, 255).astype(np.uint8)


def write(path: Path, frames: np.ndarray, sound: Sound | None, **options: object) -> None:
    with VideoWriter(path, WIDTH, HEIGHT, sound=sound, **options) as writer:  # type: ignore[arg-type]
        for start in range(0, len(frames), 20):
            writer.write(frames[start : start + 20])


@pytest.mark.parametrize(
    ("rate", "channels", "expected_rate", "expected_channels"),
    [
        (16000, 1, 16000, 1),
        (44100, 2, 44100, 2),
        (48000, 6, 48000, 6),
        (48000, 8, 48000, 8),
        (22050, 10, 22050, 2),
        (37800, 1, 32000, 1),
        (192000, 2, 96000, 2),
        (7000, 1, 7350, 1),
    ],
)
def test_streams_and_metadata(
    tmp_path: Path, rate: int, channels: int, expected_rate: int, expected_channels: int
) -> None:
    path, sound = tmp_path / "out.mp4", voice(3.3, rate, channels)
    frames = gradient(82)
    write(path, frames, sound, metadata={"title": "Zwölf", "comment": '{"seed": 42}'})
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, video.pix_fmt, video.average_rate) == ("h264", "yuv420p", 25)
        assert (video.width, video.height) == (WIDTH, HEIGHT)
        assert (audio.codec_context.name, audio.rate, audio.channels) == (
            "aac",
            expected_rate,
            expected_channels,
        )
        assert float(container.duration / av.time_base) == pytest.approx(3.3, abs=0.04)
        assert container.metadata["title"] == "Zwölf"
        assert container.metadata["comment"] == '{"seed": 42}'
        decoded = list(container.decode(video))
    assert len(decoded) == len(frames)
    assert (decoded[0].colorspace, decoded[0].color_range, decoded[0].color_primaries) == (1, 1, 1)
    back = read_sound(path)
    if back.rate == rate:
        length = min(len(back.samples), len(sound.samples))
        assert np.corrcoef(back.mono()[:length], sound.mono()[:length])[0, 1] > 0.99
    assert os.listdir(tmp_path) == ["out.mp4"]


def test_colors_are_bt709(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    frames = np.zeros((5, HEIGHT, WIDTH, 3), np.uint8)
    frames[..., 0] = 255
    write(path, frames, None)
    with av.open(str(path)) as container:
        planes = next(container.decode(video=0)).to_ndarray()
    assert abs(int(planes[0, 0]) - 63) <= 1  # pure red's luma: 63 in BT.709, 82 in BT.601


def test_decoded_frames_match(tmp_path: Path) -> None:
    path, frames = tmp_path / "out.mp4", gradient(30)
    write(path, frames, None, crf=10)
    with av.open(str(path)) as container:
        back = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert np.abs(np.stack(back).astype(int) - frames).mean() < 3


def test_frames_may_be_tensors(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "out.mp4", WIDTH, HEIGHT) as writer:
        writer.write(torch.zeros(3, HEIGHT, WIDTH, 3, dtype=torch.uint8))
    assert writer.frames == 3


def test_the_index_comes_first_and_the_streams_are_interleaved(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    write(path, gradient(250), voice(10, 16000, 1))
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    positions: dict[str, list[tuple[int, float]]] = {"video": [], "audio": []}
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.pos is not None and packet.dts is not None:
                positions[packet.stream.type].append((packet.pos, float(packet.dts * packet.time_base)))
    middle = len(content) // 2
    at_middle = {
        kind: max(time for pos, time in packets if pos < middle) for kind, packets in positions.items()
    }
    assert abs(at_middle["video"] - at_middle["audio"]) < 3


def test_sound_shorter_and_longer_than_the_video(tmp_path: Path) -> None:
    for seconds in (0.5, 2.0):
        path = tmp_path / f"{seconds}.mp4"
        write(path, gradient(25), voice(seconds, 16000, 1))
        assert read_sound(path).seconds == pytest.approx(seconds, abs=0.1)


def test_an_error_removes_the_new_file_and_keeps_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"before")

    def interrupted() -> None:
        with VideoWriter(path, WIDTH, HEIGHT, sound=voice(1, 16000, 1)) as writer:
            writer.write(gradient(10))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert os.listdir(tmp_path) == ["out.mp4"]
    assert path.read_bytes() == b"before"


def test_no_frames_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="no frame"), VideoWriter(tmp_path / "out.mp4", WIDTH, HEIGHT):
        pass
    assert os.listdir(tmp_path) == []


def test_wrong_frames_and_sizes_and_tags(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with pytest.raises(ValueError, match="even"):
        VideoWriter(path, 111, 64)
    with pytest.raises(ValueError, match="metadata must have tags"):
        VideoWriter(path, WIDTH, HEIGHT, metadata={"colour": "red"})
    with pytest.raises(ValueError, match="uint8"), VideoWriter(path, WIDTH, HEIGHT) as writer:
        writer.write(gradient(3)[:, :32])
    assert os.listdir(tmp_path) == []


def test_targets_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "pipe.mp4")
    for target, words in [
        (tmp_path / "missing" / "out.mp4", "does not exist"),
        (tmp_path, "is a folder"),
        (tmp_path / "file" / "out.mp4", "does not exist"),
        ("", "no file name"),
        (tmp_path / "pipe.mp4", "is not a regular file"),
        (tmp_path / "link.mp4", "is not a regular file"),
        (tmp_path / ("a" * 300 + ".mp4"), "cannot be used: File name too long"),
        (tmp_path / ("a" * 300) / "out.mp4", "File name too long"),
        (tmp_path / "a\0b.mp4", "cannot be used: embedded null byte"),
        (tmp_path / "out.webm", r"output must be an mp4 file, not '.*out\.webm'\. Use .* out\.mp4\."),
        (
            tmp_path / "none" / "out.mp4",
            r"^output folder '.*none' does not exist\. Create it, or choose another\.$",
        ),
        (tmp_path / "out.MOV", "must be an mp4 file"),
        (tmp_path / "out.mp4.gif", "must be an mp4 file"),
    ]:
        with pytest.raises(InvalidInput, match=words):
            check_target(target)
        with pytest.raises(InvalidInput, match=words):
            VideoWriter(target, WIDTH, HEIGHT)


def test_targets_with_long_names_and_links_to_files(tmp_path: Path) -> None:
    (tmp_path / "old.mp4").write_bytes(b"old")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "old.mp4")
    (tmp_path / "dangling.mp4").symlink_to(tmp_path / "nowhere.mp4")
    for name in (
        "link.mp4",
        "dangling.mp4",
        "OUT.MP4",
        "out",
        ".mp4",
        "ü" * 125 + ".mp4",
        "字" * 83 + ".mp4",
    ):
        write(tmp_path / name, gradient(2), None)
        assert len(av.open(str(tmp_path / name)).streams.video) == 1
