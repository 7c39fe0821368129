"""The video that a request dubs: what is read of it, and which frame is shown when."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest
from av.video.reformatter import VideoReformatter
from PIL import Image

from multitalk.errors import Cancelled, InvalidInput
from multitalk.media.source_video import DAMAGED, FramePosition, Video, VideoReader, read_video
from tests.media.hostile import saved
from tests.media.sound_files import tone
from tests.media.video_files import RATE, frame_pixels, gray_hdr_video, number_of, video, with_edit_list
from tests.waiting import wait_until

WHITE, GRAY = [255, 255, 255], [128, 128, 128]


@pytest.fixture
def reading() -> Iterator[Callable[[Video], Callable[..., int]]]:
    """A function that opens a video; it returns one that reads the number of the frame at a position."""
    readers: list[VideoReader] = []

    def open_video(source: Video) -> Callable[..., int]:
        reader = source.open()
        readers.append(reader)
        return lambda **position: number_of(reader.read(FramePosition(**position), lambda: None)[1])

    yield open_video
    for reader in readers:
        reader.close()


def corner(picture: Any, row: int, column: int) -> list[int]:
    return [int(value) for value in np.asarray(picture)[row, column]]


@pytest.mark.parametrize(
    "file",
    [
        {},
        {"container": "mov", "codec": "libx265", "pixels": "yuv420p10le", "x265-params": "log-level=none"},
        {"container": "matroska", "codec": "libsvtav1"},
        {"container": "webm", "codec": "libvpx-vp9"},
        {"container": "avi", "codec": "mpeg4"},
        {"container": "flv", "codec": "flv"},
        {"container": "mpegts"},
        {"container": "mpeg", "codec": "mpeg2video"},
        {"container": "mov", "codec": "prores_ks", "pixels": "yuv422p10le"},
    ],
    ids=lambda file: "-".join(map(str, list(file.values())[:2])) or "mp4",
)
def test_formats(file: dict[str, Any], reading) -> None:
    source = read_video(video(**file))
    assert (source.picture.size, source.frames) == ((96, 64), 40)
    assert source.seconds == pytest.approx(40 / RATE, abs=0.002)
    assert number_of(source.picture) == 0
    number_at = reading(source)
    assert [number_at(number=n) for n in (0, 7, 8, 30, 39, 400)] == [0, 7, 8, 30, 39, 39]
    assert [number_at(seconds=s) for s in (0.0, 0.2, 0.51, 0.52, 9.0)] == [0, 6, 15, 15, 39]


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9", "qtrle", "prores_ks"])
def test_transparent_parts_become_gray(codec: str) -> None:
    container = "webm" if "vpx" in codec else "mov"
    pixels = {"qtrle": "argb", "prores_ks": "yuva444p10le"}.get(codec, "yuva420p")
    options = {"auto-alt-ref": "0"} if codec == "libvpx" else {}
    picture = read_video(video(container, codec, pixels, frames=3, **options)).picture
    assert corner(picture, 1, 60) == GRAY
    assert number_of(picture) == 0


@pytest.mark.parametrize(
    ("matrix", "size", "white"),
    [
        ((1, 0, 0, 1), (96, 64), (0, 0)),
        ((0, 1, -1, 0), (64, 96), (0, -1)),  # a phone held upright: a quarter turn clockwise
        ((-1, 0, 0, -1), (96, 64), (-1, -1)),
        ((0, -1, 1, 0), (64, 96), (-1, 0)),
        ((-1, 0, 0, 1), (96, 64), (0, -1)),  # the mirror of a front camera
        ((1, 0, 0, -1), (96, 64), (-1, 0)),
        ((0, 1, 1, 0), (64, 96), (0, 0)),
        ((0, -1, -1, 0), (64, 96), (-1, -1)),
    ],
)
def test_frames_are_turned_upright(matrix, size, white) -> None:
    picture = read_video(video(frames=3, matrix=matrix)).picture
    assert picture.size == size
    corners = [(row, column) for row in (0, -1) for column in (0, -1)]
    shown = [each for each in corners if min(corner(picture, *each)) > 245]
    assert shown == [white]


@pytest.mark.parametrize(("transfer", "white"), [(18, 0.75), (16, 0.581)], ids=["HLG", "PQ"])
def test_high_dynamic_range_is_converted(transfer: int, white: float) -> None:
    """BT.2408: reference white, 203 cd/m2, is at 75 % of HLG's signal and at 58 % of PQ's."""
    picture = read_video(gray_hdr_video([0.0, 0.25, white, 1.0], transfer)).picture
    black, dark, reference, brightest = np.asarray(picture)[16, 8::16, 0].astype(int)
    assert black < 5
    assert 5 < dark < 110
    assert reference > 215
    assert brightest == 255


def test_pixels_that_are_not_square_are_stretched() -> None:
    assert read_video(video(frames=3, ratio=Fraction(3, 2))).picture.size == (144, 64)


def test_a_variable_frame_rate_is_read_by_time(reading) -> None:
    times = [0, 0.1, 0.15, 0.5, 0.52, 0.9, 2.0]
    source = read_video(video(frames=7, times=times))
    number_at = reading(source)
    moments = (0.0, 0.04, 0.12, 0.2, 0.48, 0.52, 1.96, 2.0, 5.0)
    assert [number_at(seconds=moment) for moment in moments] == [0, 0, 1, 2, 2, 4, 5, 6, 6]


def test_at_25_frames_per_second_time_and_number_are_the_same(reading) -> None:
    by_time, by_number = (reading(read_video(video("matroska", rate=25))) for _ in range(2))
    numbers = [by_time(seconds=n / 25) for n in range(40)]
    assert numbers == [by_number(number=n) for n in range(40)] == list(range(40))


def test_frames_outside_the_edit_list_are_not_shown(reading) -> None:
    source = read_video(with_edit_list(video(), 5, 28))
    assert source.frames == 24
    number_at = reading(source)
    assert [number_at(number=n) for n in (0, 1, 23, 24)] == [5, 6, 28, 28]
    assert number_at(seconds=0.0) == 5


def test_going_back_starts_again(reading) -> None:
    number_at = reading(read_video(video()))
    assert [number_at(number=n) for n in (30, 10, 11, 0, 39)] == [30, 10, 11, 0, 39]
    assert [number_at(seconds=s) for s in (1.0, 0.2, 0.0)] == [30, 6, 0]


def test_a_damaged_packet_leaves_the_rest(reading) -> None:
    content = bytearray(video("mpegts", codec="mpeg2video", g="5"))
    middle = len(content) // 2 // 188 * 188
    content[middle + 20 : middle + 160] = os.urandom(140)
    source = read_video(bytes(content))
    assert source.frames > 30
    number_at = reading(source)
    assert number_at(number=0) == 0
    number_at_end = reading(source)
    assert number_at_end(seconds=9.0) == 39


def test_damage_is_reported_when_it_is_decoded() -> None:
    content = bytearray(video())
    middle = len(content) // 2
    content[middle - 400 : middle + 400] = bytes(800)
    source = read_video(bytes(content))
    assert source.warnings == ()
    reader = source.open()
    try:
        reader.read(FramePosition(number=0), lambda: None)
        assert reader.warnings == ()
        reader.read(FramePosition(number=39), lambda: None)
        assert reader.warnings == (f"video: {DAMAGED}",)
    finally:
        reader.close()


@pytest.mark.parametrize("codec", [{}, {"container": "webm", "codec": "libvpx-vp9"}])
def test_damage_that_the_reader_jumps_over_is_reported(codec: dict[str, Any]) -> None:
    content = bytearray(video(**{"container": "matroska"} | codec))
    middle = len(content) // 2
    content[middle - 400 : middle + 400] = bytes(800)
    source = read_video(bytes(content))
    assert source.seconds < 0.6
    assert "the end of the file is missing" in source.warnings[0]


def faststart(content: bytes, path: Path) -> bytes:
    """An MP4 whose index precedes the frames, as of a web site."""
    target: Any
    with (
        av.open(io.BytesIO(content)) as source,
        av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return path.read_bytes()


@pytest.mark.parametrize("share", [0.5, 0.75, 0.9])
@pytest.mark.parametrize("container", ["mp4", "matroska", "webm", "avi", "flv"])
def test_a_cut_video_is_used_with_a_warning(container: str, share: float, tmp_path: Path, reading) -> None:
    codecs = {"webm": {"codec": "libvpx-vp9"}, "avi": {"codec": "mpeg4"}, "flv": {"codec": "flv"}}
    content = video(container, **codecs.get(container, {}))
    if container == "mp4":
        content = faststart(content, tmp_path / "x.mp4")
    whole, cut = read_video(content), read_video(content[: int(len(content) * share)])
    assert whole.warnings == ()
    assert 0 < cut.seconds < whole.seconds
    (warning,) = cut.warnings
    assert warning == f"video: the end of the file is missing. Its first {cut.seconds:.1f} seconds are used."
    assert reading(cut)(seconds=9.0) in (cut.frames - 1, cut.frames - 2)


@pytest.mark.parametrize("share", [0.4, 0.7])
@pytest.mark.parametrize("container", ["mp4", "avi", "flv"])
def test_a_cut_recording_with_sound(container: str, share: float, tmp_path: Path, reading) -> None:
    """The file ends in the audio, or in a fragment, so that no packet of the video is damaged."""
    codecs = {"mp4": "libx264", "avi": "mpeg4", "flv": "flv"}
    path = tmp_path / f"x.{container}"
    options = {"movflags": "frag_every_frame+empty_moov"} if container == "mp4" else {}
    target: Any
    with av.open(str(path), "w", format=container, options=options) as target:
        stream = target.add_stream(codecs[container], rate=RATE)
        (stream.width, stream.height), stream.pix_fmt = (96, 64), "yuv420p"
        track = target.add_stream("pcm_s16le" if container != "mp4" else "aac", rate=44100, layout="mono")
        for number in range(40):
            frame = av.VideoFrame.from_ndarray(frame_pixels(number), format="rgb24")
            target.mux(stream.encode(frame))
            samples = np.zeros((1, 44100 // RATE), np.float32 if container == "mp4" else np.int16)
            sound = av.AudioFrame.from_ndarray(
                samples, format="fltp" if container == "mp4" else "s16", layout="mono"
            )
            sound.sample_rate = 44100
            target.mux(track.encode(sound))
        for each in (stream, track):
            target.mux(each.encode())
    content = path.read_bytes()
    assert read_video(content).warnings == ()
    source = read_video(content[: int(len(content) * share)])
    assert source.seconds < 1.1
    assert source.warnings[0].startswith("video: the end of the file is missing.")


def test_a_cut_mp4_without_an_index_is_refused() -> None:
    content = video()
    with pytest.raises(InvalidInput, match=r"has no index \(moov\): .*Record or download it again"):
        read_video(content[: len(content) // 2])


def test_joined_videos_are_reported() -> None:
    source = read_video(video() + video(frames=20))
    assert source.frames == 40
    assert source.warnings == ("video: the file contains 2 videos that were joined. The first one is used.",)


def test_one_process_reads_the_frames_of_a_video_and_ends(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(video())
    source = read_video(path)
    path.unlink()  # it stays open
    reader = source.open()
    seen = set()
    for number in (3, 9, 30):
        reader.read(FramePosition(number=number), lambda: None)
        assert reader._decoder is not None
        seen.add(reader._decoder._process.pid)
    (process,) = seen
    reader.close()
    assert not psutil.pid_exists(process)


def test_a_process_that_was_ended_is_replaced() -> None:
    reader = read_video(video()).open()
    reader.read(FramePosition(number=3), lambda: None)
    assert reader._decoder is not None
    decoder = reader._decoder
    decoder._process.kill()
    wait_until(lambda: decoder.has_ended)
    assert number_of(reader.read(FramePosition(number=5), lambda: None)[1]) == 5
    reader.close()


def test_reading_can_be_cancelled() -> None:
    reader = read_video(video()).open()

    def cancel() -> None:
        raise Cancelled("The job was cancelled.")

    with pytest.raises(Cancelled):
        reader.read(FramePosition(number=3), cancel)
    assert reader._decoder is None
    assert number_of(reader.read(FramePosition(number=3), lambda: None)[1]) == 3
    reader.close()


def test_the_sound_starts_with_the_first_frame() -> None:
    samples = tone(1.0)[:, 0]
    early = read_video(video(sound=samples, times=[0.5 + n / RATE for n in range(40)]))
    late = read_video(video("matroska", sound=samples, sound_start=0.3))
    silent = read_video(video())
    assert (early.has_sound, late.has_sound, silent.has_sound) == (True, True, False)
    assert early.read_sound().seconds == pytest.approx(0.5, abs=0.1)
    sound = late.read_sound()
    assert sound.seconds == pytest.approx(1.3, abs=0.1)
    assert np.abs(sound.samples[: int(0.25 * sound.rate)]).max() == 0


@pytest.mark.parametrize("container", ["mp4", "mov", "matroska", "mpegts"])
@pytest.mark.parametrize("start", [0.0, 0.3])
def test_the_sound_is_in_time_with_the_frames(container: str, start: float) -> None:
    click = np.zeros(48000, np.float32)
    click[16000:16080] = 0.9
    sound = read_video(video(container, sound=click, sound_start=start, frames=60)).read_sound()
    assert np.abs(sound.samples[:, 0]).argmax() / sound.rate == pytest.approx(1.0 + start, abs=0.01)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"nonsense" * 100, "cannot be read as a video"),
        (b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/x.ts\n", "cannot be read as a video"),
        (b"ffconcat version 1.0\nfile /etc/hostname\n", "cannot be read as a video"),
        (video()[:300], "has no index"),
        (saved(Image.new("RGB", (64, 64)), "PNG"), "is an image. Provide it as image"),
        (3, "must be a path or the bytes of a file"),
        ("nowhere.mp4", "file not found"),
    ],
    ids=["empty", "nonsense", "playlist", "list", "cut", "image", "number", "missing"],
)
def test_files_that_are_refused(content: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        read_video(content)
    assert caught.value.field == "video"


def test_sound_alone_is_refused() -> None:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, tone(1.0), 16000, format="OGG")
    with pytest.raises(InvalidInput, match=r"has no video track\. Use a video file\.$"):
        read_video(file.getvalue())


def test_large_and_long_videos_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from multitalk.media import video_file, video_length
    from multitalk.media.decoder_tasks import video as check

    content = video(frames=3)
    monkeypatch.setattr(video_file, "MAX_PIXELS", 96 * 64 - 1)
    with pytest.raises(InvalidInput, match="is 96x64 pixels, but a video may have at most 6143 pixels"):
        _in_process(check, content)
    monkeypatch.setattr(video_file, "MAX_PIXELS", 96 * 64)
    monkeypatch.setattr(video_length, "MAX_VALUES", 3 * 96 * 64 - 1)
    with pytest.raises(InvalidInput, match="has 3 frames of 6144 pixels"):
        _in_process(check, content)


def _in_process(task: Callable[..., Any], content: bytes) -> Any:
    from multitalk.media.decoder_messages import shared_file

    with shared_file(content) as file:
        return task(file, "x", "video")


def test_making_a_file_leaves_this_process_as_it_was() -> None:
    """Real-time processes of the tests would stop all others."""
    before = os.sched_getscheduler(0)
    video("matroska", "libsvtav1", frames=2)
    assert os.sched_getscheduler(0) == before == os.SCHED_OTHER


def test_one_conversion_serves_all_frames(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A table for wide-gamut colors takes seconds, and belongs to the reformatter."""
    from multitalk.media import video_decoding
    from multitalk.media.video_file import Source

    made: list[VideoReformatter] = []

    def make() -> VideoReformatter:
        made.append(VideoReformatter())
        return made[-1]

    monkeypatch.setattr(video_decoding, "VideoReformatter", make)
    path = tmp_path / "a.mp4"
    path.write_bytes(gray_hdr_video([0.0, 0.25, 0.5, 1.0], 16))
    frames = video_decoding.VideoFrames(Source(path.open("rb"), "a.mp4", "video"))
    first = np.asarray(frames.picture())
    assert np.array_equal(np.asarray(frames.picture()), first)
    assert len(made) == 1
    frames.close()
