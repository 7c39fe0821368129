"""Reading audio files and arrays, and mixing voices."""

from __future__ import annotations

import io
from pathlib import Path

import av
import librosa
import numpy as np
import pytest
import soundfile

from multitalk.errors import InvalidInput
from multitalk.media.mix import file_sound, in_order, joined, soundtrack, together, trim
from multitalk.media.sound import Sound, resample, silence
from multitalk.media.sound_reading import read_sound
from tests.media.sound_files import tone


def encode(
    path: Path, codec: str, samples: np.ndarray, rate: int, with_video: bool = False, title: str = ""
) -> Path:
    """Write a compressed file with FFmpeg's encoders, optionally with a gray video track."""
    with av.open(str(path), "w") as container:
        container.metadata["title"] = title
        stream = container.add_stream(codec, rate=rate, layout="mono" if samples.shape[1] == 1 else "stereo")
        if with_video:
            video = container.add_stream("libx264" if path.suffix == ".mp4" else "libvpx", rate=25)
            video.width = video.height = 64
            video.pix_fmt = "yuv420p"
            for index in range(5):
                picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 128, np.uint8), format="rgb24")
                picture.pts = index
                container.mux(video.encode(picture))
            container.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="flt", layout=stream.layout.name)
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("channels", [1, 2])
def test_wav_equals_librosa(tmp_path: Path, subtype: str, channels: int) -> None:
    path = tmp_path / "sound.wav"
    soundfile.write(path, tone(channels=channels, rate=22050), 22050, subtype=subtype)
    sound = read_sound(path)
    expected, rate = librosa.load(path, sr=None, mono=False)
    assert sound.rate == rate == 22050
    np.testing.assert_array_equal(sound.samples.T, np.atleast_2d(expected))
    np.testing.assert_array_equal(sound.mono(), librosa.load(path, sr=None)[0])
    assert sound.seconds == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("name", "codec", "rate", "with_video"),
    [
        ("sound.mp3", "libmp3lame", 44100, False),
        ("sound.m4a", "aac", 44100, False),
        ("sound.ogg", "libopus", 48000, False),
        ("sound.webm", "libopus", 48000, False),
        ("video.mp4", "aac", 32000, True),
        ("video.webm", "libopus", 48000, True),
    ],
)
@pytest.mark.parametrize("as_bytes", [False, True])
def test_compressed_audio_and_audio_tracks_of_videos(
    tmp_path: Path, name: str, codec: str, rate: int, with_video: bool, as_bytes: bool
) -> None:
    samples = tone(rate=rate, channels=2)
    path = encode(tmp_path / name, codec, samples, rate, with_video)
    sound = read_sound(path.read_bytes() if as_bytes else str(path))
    assert (sound.rate, sound.channels, sound.samples.dtype) == (rate, 2, np.float32)
    assert sound.seconds == pytest.approx(1.0, abs=0.08)
    # Encoders delay the audio, so compare at the best alignment.
    shifts = [
        np.corrcoef(sound.samples[s : s + rate // 2, 0], samples[: rate // 2, 0])[0, 1] for s in range(2500)
    ]
    assert max(shifts) > 0.98


@pytest.mark.parametrize("name", ["sound.m4a", "sound.avi", "sound.mkv"])
def test_a_title_that_is_not_utf_8_is_ignored(tmp_path: Path, name: str) -> None:
    path = encode(tmp_path / name, "aac", tone(1.0, 48000), 48000, title="XYZWAA")
    content = path.read_bytes()
    assert b"XYZWAA" in content
    read = read_sound(content.replace(b"XYZWAA", b"M\xfcller"))
    assert (read.rate, read.channels) == (48000, 1)
    assert read.seconds == pytest.approx(1.0, abs=0.05)


def test_the_content_determines_the_format(tmp_path: Path) -> None:
    path = tmp_path / "sound.raw"
    soundfile.write(path, tone(), 16000, format="WAV", subtype="FLOAT")
    np.testing.assert_array_equal(read_sound(path).samples, tone())


def test_a_stream_without_a_length_in_the_header() -> None:
    file = io.BytesIO()
    soundfile.write(file, tone(), 16000, format="FLAC")
    content = bytearray(file.getvalue())
    content[21] &= 0xF0  # FLAC's number of samples: 36 bits from here
    content[22:26] = bytes(4)
    np.testing.assert_allclose(read_sound(bytes(content)).samples, tone(), atol=2**-15)


def test_arrays() -> None:
    samples = tone(channels=2)
    np.testing.assert_array_equal(read_sound((samples, 16000)).samples, samples)
    assert read_sound((samples[:, 0], 16000)).samples.shape == (16000, 1)
    whole = np.array([-32768, 0, 16384], np.int16)
    np.testing.assert_array_equal(read_sound((whole, 16000)).samples[:, 0], np.float32([-1, 0, 0.5]))
    np.testing.assert_array_equal(read_sound((np.array([0, 128], np.uint8), 8000)).samples[:, 0], [-1.0, 0.0])


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nowhere.wav", "file not found"),
        (".", "folder"),
        (b"", "empty"),
        (b"this is not an audio file" * 100, "cannot be read"),
        (7, "must be a path"),
        ((np.zeros((2, 3, 4), np.float32), 16000), "(samples, rate)"),
        ((np.zeros(100, np.int64), 16000), "int16"),
        ((np.zeros(100, np.float32), "fast"), "(samples, rate)"),
        ((np.zeros(100, np.float32), 10), "sample rate"),
        ((np.zeros((2, 100), np.float32), 16000), "channels"),
        ((np.full(8000, np.nan, np.float32), 16000), "finite"),
        ((np.full(8000, np.inf, np.float32), 16000), "finite"),
        ((np.zeros(1), 16000, 1), "(samples, rate)"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/hostname\n", "cannot be read"),
        (b"ffconcat version 1.0\nfile /etc/hostname\n", "cannot be read"),
    ],
)
def test_invalid_audio_gives_a_one_line_error(source: object, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_sound(source, "audio.person1")
    message = str(caught.value)
    assert words in message
    assert message.startswith("audio.person1")
    assert message.endswith(".")
    assert "\n" not in message
    assert caught.value.field == "audio.person1"


def test_empty_and_damaged_files(tmp_path: Path) -> None:
    empty = tmp_path / "empty.wav"
    soundfile.write(empty, np.zeros((0, 1), np.float32), 16000)
    with pytest.raises(InvalidInput, match="contains no audio"):
        read_sound(empty)
    damaged = encode(tmp_path / "sound.m4a", "aac", tone(), 16000).read_bytes()[:300]
    with pytest.raises(InvalidInput, match="has no index"):
        read_sound(damaged)
    picture_only = io.BytesIO()
    with av.open(picture_only, "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        container.mux(
            video.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24"))
        )
        container.mux(video.encode(None))
    with pytest.raises(InvalidInput, match="no audio track"):
        read_sound(picture_only.getvalue())


@pytest.mark.parametrize("name", ["sound.wav", "sound.m4a"])
def test_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = tmp_path / name
    if path.suffix == ".wav":
        soundfile.write(path, tone(3), 16000)
    else:
        encode(path, "aac", tone(3), 16000)
    assert read_sound(path).seconds == pytest.approx(3, abs=0.1)
    monkeypatch.setenv("MAX_AUDIO_SECONDS", "2")
    with pytest.raises(InvalidInput, match="longer than 2 seconds"):
        read_sound(path)
    monkeypatch.setenv("MAX_AUDIO_SECONDS", "long")
    with pytest.raises(InvalidInput, match="MAX_AUDIO_SECONDS"):
        read_sound(path)


def test_a_small_file_with_huge_content_is_not_decoded(tmp_path: Path) -> None:
    path = tmp_path / "bomb.flac"
    with soundfile.SoundFile(path, "w", 192000, 8, format="FLAC") as file:
        for _ in range(20):
            file.write(np.zeros((192000 * 10, 8), np.float32))
    assert path.stat().st_size < 5e6
    with pytest.raises(InvalidInput, match="too much data"):
        read_sound(path)


def test_together_and_in_order() -> None:
    first, second = Sound(tone(1.0), 16000), Sound(tone(0.5, 44100, 2), 44100)
    a, b = together([first, second])
    assert a.seconds == b.seconds == 1.0
    assert not b.samples[22050:].any()
    np.testing.assert_array_equal(b.samples[:22050], second.samples)
    a, b = in_order([first, second])
    assert a.seconds == b.seconds == 1.5
    np.testing.assert_array_equal(a.samples[:16000], first.samples)
    np.testing.assert_array_equal(b.samples[44100:], second.samples)
    assert not a.samples[16000:].any()
    assert not b.samples[:44100].any()


def test_soundtrack_keeps_a_single_track_unchanged() -> None:
    sound = Sound(tone(1, 44100, 2), 44100)
    mixed = soundtrack([sound])
    assert mixed.rate == 44100
    np.testing.assert_array_equal(mixed.samples, sound.samples)


def test_soundtrack_of_two_rates_and_channel_counts() -> None:
    mono, stereo = Sound(tone(1, 16000, 1, 0.3), 16000), Sound(tone(0.5, 48000, 2, 0.3), 48000)
    mixed = soundtrack([mono, stereo])
    assert (mixed.rate, mixed.channels, len(mixed.samples)) == (48000, 2, 48000)
    tail = mixed.samples[24000:]
    np.testing.assert_array_equal(tail[:, 0], tail[:, 1])
    np.testing.assert_allclose(
        mixed.samples[:24000] - stereo.samples,
        np.repeat(resample(mono, 48000).samples[:24000], 2, 1),
        atol=1e-6,
    )


@pytest.mark.parametrize(("turns", "seconds"), [("together", 0.5), ("in_order", 0.8)])
def test_a_mix_is_limited_to_what_aac_supports(turns: str, seconds: float) -> None:
    high, wide = Sound(tone(0.5, 655350), 655350), Sound(tone(0.3, 8000, 12), 8000)
    mixed = file_sound([high, wide], turns)
    assert (mixed.rate, mixed.channels) == (96000, 2)
    assert mixed.seconds == pytest.approx(seconds, abs=1e-3)
    assert file_sound([high], turns) is high


def test_soundtrack_is_scaled_down_only_when_it_clips() -> None:
    quiet, loud = Sound(tone(peak=0.4), 16000), Sound(tone(peak=0.9), 16000)
    np.testing.assert_allclose(soundtrack([quiet, quiet]).samples, quiet.samples * 2)
    clipped = soundtrack([loud, loud])
    assert np.abs(clipped.samples).max() == pytest.approx(1.0)
    np.testing.assert_allclose(clipped.samples, loud.samples / np.abs(loud.samples).max(), rtol=1e-5)


def test_silence_and_trim() -> None:
    assert silence(0.5, 16000, 2).samples.shape == (8000, 2)
    assert silence(0.5, 16000).is_silent()
    assert not Sound(tone(), 16000).is_silent()
    assert trim(Sound(tone(), 16000), 0.25).seconds == 0.25
    assert trim(Sound(tone(), 16000), 5).seconds == 1.0


def test_two_parts_of_a_sound_join_as_they_were() -> None:
    whole = tone(1.0, 44100, 2)
    first, second = Sound(whole[:20_000], 44100), Sound(whole[20_000:], 44100)
    result = joined(first, second)
    assert (result.rate, result.samples.shape) == (44100, whole.shape)
    assert np.array_equal(result.samples[:20_000], first.samples)
    assert np.array_equal(result.samples[20_221:], whole[20_221:])
    step = float(np.abs(whole[20_000] - whole[19_999]).max())
    assert np.abs(result.samples - whole).max() <= step + 1e-6, "the step between two samples"


def test_other_sounds_join_without_a_click() -> None:
    first, second = Sound(np.full((4000, 1), 0.5, np.float32), 8000), Sound(tone(0.5, 16000, 2), 16000)
    result = joined(first, second)
    assert (result.rate, result.channels, result.seconds) == (16000, 2, 1.0)
    assert np.abs(np.diff(result.samples[7900:8100], axis=0)).max() < 0.1
    assert np.array_equal(result.samples[8080:], second.samples[80:])
