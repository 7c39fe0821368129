"""Audio files as people have them: wrong headers, joined, damaged, cut; some are in ``../shared/cases``."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import av
import librosa
import numpy as np
import pytest
import soundfile

from multitalk.errors import InvalidInput
from multitalk.media.sound import Sound
from multitalk.media.sound_decoding import decode_sound
from multitalk.media.sound_reading import read_sound
from tests.media.sound_files import chord, encoded, pitches, tone, written

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases" / "sound"
STEREO = tone(3.0, 44100, 2)


def decode(content: bytes, max_seconds: float | None = None) -> Sound:
    return decode_sound(io.BytesIO(content), "a file", "audio", max_seconds=max_seconds)


def similarity(sound: Sound, expected: np.ndarray, channel: int = 0) -> float:
    """Correlation with what was encoded, over the length of both."""
    length = min(len(sound.samples), len(expected))
    return float(np.corrcoef(sound.samples[:length, channel], expected[:length, channel])[0, 1])


@pytest.mark.skipif(not CASES.is_dir(), reason="the case files are beside a development checkout only")
@pytest.mark.parametrize(
    ("name", "rate", "samples", "tolerance", "channels", "warning"),
    [
        ("vbr_noxing.mp3", 44100, 242_000, 1152, 2, None),
        ("tts_chunks.mp3", 24000, 133_680, 576, 1, None),
        ("chain.opus", 48000, 288_000, 0, 1, None),
        ("truncfs.m4a", 44100, 142_336, 1024, 2, "the end of the file is missing"),
        ("ms.aac", 44100, 375_808, 1024, 2, "different sample rates or channel counts"),
        ("o6.ogg", 44100, 88_200, 0, 6, None),
    ],
)
def test_case_files(
    name: str, rate: int, samples: int, tolerance: int, channels: int, warning: str | None
) -> None:
    sound = read_sound(CASES / name)
    assert (sound.rate, sound.channels) == (rate, channels)
    assert abs(len(sound.samples) - samples) <= tolerance
    assert len(sound.warnings) == (warning is not None)
    assert warning is None or warning in sound.warnings[0]


@pytest.mark.skipif(not CASES.is_dir(), reason="the case files are beside a development checkout only")
def test_the_center_of_the_case_with_six_channels_is_not_the_right() -> None:
    in_file, _ = soundfile.read(CASES / "o6.ogg", always_2d=True)  # FL FC FR BL BR LFE
    samples = read_sound(CASES / "o6.ogg").samples
    np.testing.assert_allclose(samples, in_file[:, [0, 2, 1, 5, 3, 4]], atol=1e-4)


# MP3


def test_an_mp3_without_a_length_is_read_completely() -> None:
    quiet_first = np.concatenate([np.zeros((44100, 2), np.float32), STEREO])  # few bits, then many
    content = encoded("libmp3lame", "mp3", quiet_first, 44100, write_xing="0")
    assert decode(content).seconds == pytest.approx(4.0, abs=2 * 1152 / 44100)


def test_an_mp3_with_a_length_is_read_to_the_sample() -> None:
    sound = decode(encoded("libmp3lame", "mp3", STEREO, 44100))
    assert len(sound.samples) == len(STEREO)
    assert similarity(sound, STEREO) > 0.999
    assert not sound.warnings


def test_an_mp3_whose_header_announces_less_is_read_completely() -> None:
    content = bytearray(encoded("libmp3lame", "mp3", STEREO, 44100))
    position = content.index(b"Info") if b"Info" in content else content.index(b"Xing")
    struct.pack_into(">I", content, position + 8, 20)  # frames
    assert decode(bytes(content)).seconds == pytest.approx(3.0, abs=2 * 1152 / 44100)


def test_joined_mp3_files_with_tags() -> None:
    part = encoded("libmp3lame", "mp3", tone(1.0, 24000), 24000)
    sound = decode(part + b"TAG" + bytes(125) + part + part)
    # the encoder's delay and padding between the parts is kept
    assert 3.0 <= sound.seconds < 3.0 + 3 * 4 * 576 / 24000
    assert not sound.warnings


def test_joined_mp3_files_of_other_rates_and_channels_are_converted() -> None:
    low, high = tone(1.0, 16000), tone(1.5, 44100, 2)
    sound = decode(
        encoded("libmp3lame", "mp3", low, 16000) + encoded("libmp3lame", "mp3", high, 44100),
    )
    assert (sound.rate, sound.channels) == (44100, 2)
    assert sound.seconds == pytest.approx(2.5, abs=0.15)
    assert sound.warnings == (
        "audio: parts of the file have different sample rates or channel counts. They are converted to 44100 "
        "Hz and 2 channels.",
    )
    np.testing.assert_array_equal(sound.samples[:40000, 0], sound.samples[:40000, 1])


# Ogg


@pytest.mark.parametrize(("kind", "rate"), [("vorbis", 44100), ("opus", 48000)])
def test_chained_ogg_files(kind: str, rate: int) -> None:
    def link(samples: np.ndarray) -> bytes:
        if kind == "vorbis":
            return written(samples, rate, "OGG", "VORBIS")
        return encoded("libopus", "ogg", samples, rate)

    first, second = tone(1.0, rate, 2), tone(2.0, rate, 2)
    sound = decode(link(first) + link(second))
    assert len(sound.samples) == 3 * rate
    assert not sound.warnings
    assert similarity(sound, np.concatenate([first, second])) > 0.99
    assert decode(link(first) + link(tone(2.0, rate, 1))).seconds == 3.0


@pytest.mark.parametrize("samples", [3000, 44100, 50_001, 200_000])
def test_vorbis_is_read_to_the_sample(samples: int) -> None:
    content = written(tone(5.0, 44100, 2)[:samples], 44100, "OGG", "VORBIS")
    np.testing.assert_allclose(decode(content).samples, soundfile.read(io.BytesIO(content))[0], atol=1e-6)


@pytest.mark.parametrize(
    ("channels", "order"),
    # of Vorbis: FL FC FR ..., LFE last; of WAV files: FL FR FC LFE BL BR SL SR
    [(3, [0, 2, 1]), (5, [0, 2, 1, 3, 4]), (6, [0, 2, 1, 5, 3, 4]), (8, [0, 2, 1, 7, 5, 6, 3, 4])],
)
def test_channel_order_of_vorbis(channels: int, order: list[int]) -> None:
    sound = decode(written(chord(channels), 48000, "OGG", "VORBIS"))
    expected = [200 + 100 * channel for channel in order]
    heard = pitches(sound.samples, 48000)
    if channels == 6:  # libvorbis filters the channel for low frequencies
        expected[3] = heard[3] = 0
    assert heard == expected


@pytest.mark.parametrize("channels", [6, 8])
def test_channel_order_of_opus(channels: int) -> None:
    sound = decode(encoded("libopus", "ogg", chord(channels), 48000))
    heard = pitches(sound.samples, 48000)
    heard[3] = 500  # Opus filters the channel for low frequencies
    assert heard == [200 + 100 * channel for channel in range(channels)]


# damage in the middle, and a missing end

FILES = {
    "mp3": lambda: encoded("libmp3lame", "mp3", STEREO, 44100),
    "aac": lambda: encoded("aac", "adts", STEREO, 44100),
    "flac": lambda: encoded("flac", "flac", STEREO, 44100),
    "opus": lambda: encoded("libopus", "ogg", tone(3.0, 48000, 2), 48000),
    "vorbis": lambda: written(STEREO, 44100, "OGG", "VORBIS"),
    "webm": lambda: encoded("libopus", "webm", tone(3.0, 48000, 2), 48000),
    "m4a": lambda: encoded("aac", "mp4", STEREO, 44100),
    "mka": lambda: encoded("aac", "matroska", STEREO, 44100),
}


@pytest.mark.parametrize("kind", [*FILES, "wav", "aiff"])
def test_an_undamaged_file_has_no_warning(kind: str) -> None:
    content = FILES[kind]() if kind in FILES else written(STEREO, 44100, kind.upper())
    sound = decode(content)
    assert sound.warnings == ()
    assert 3.0 <= sound.seconds < 3.1


@pytest.mark.parametrize("kind", ["mp3", "aac", "flac", "opus", "vorbis", "m4a"])
def test_a_damaged_part_is_skipped_with_a_warning(kind: str) -> None:
    content = FILES[kind]()
    middle = len(content) * 2 // 3
    sound = decode(content[:middle] + bytes(600) + content[middle + 600 :])
    assert 2.6 < sound.seconds < 3.1
    assert len(sound.warnings) == 1
    assert sound.warnings[0].startswith(
        "audio: the file is damaged. The parts that cannot be decoded are skip"
    )
    if kind in ("mp3", "flac", "opus", "vorbis"):  # the others are delayed by the encoder
        start = sound.samples[: sound.rate]
        assert similarity(Sound(start, sound.rate), tone(3.0, sound.rate, 2)) > 0.95


@pytest.mark.parametrize("kind", [*FILES, "wav", "aiff", "au", "w64", "rf64"])
def test_a_file_whose_end_is_missing_is_read_up_to_there(kind: str) -> None:
    if kind == "m4a":
        content = with_index_first(FILES[kind]())
    else:
        content = FILES[kind]() if kind in FILES else written(STEREO, 44100, kind.upper())
    sound = decode(content[: len(content) * 3 // 5])
    assert 1.0 < sound.seconds < 2.2
    assert sound.warnings == (
        f"audio: the end of the file is missing. Its first {sound.seconds:.1f} seconds are used.",
    )


def with_index_first(content: bytes) -> bytes:
    """Move the index of an MP4 file before its audio, as for streaming."""
    boxes, position = {}, 0
    while position < len(content):
        size, kind = struct.unpack_from(">I4s", content, position)
        boxes[kind] = content[position : position + size]
        position += size
    index = bytearray(boxes[b"moov"])
    position = index.index(b"stco") + 12
    for chunk in range(struct.unpack_from(">I", index, position - 4)[0]):
        (offset,) = struct.unpack_from(">I", index, position + 4 * chunk)
        struct.pack_into(">I", index, position + 4 * chunk, offset + len(index))
    return boxes[b"ftyp"] + bytes(index) + boxes.get(b"free", b"") + boxes[b"mdat"]


def test_a_damaged_frame_of_flac_becomes_silence_instead_of_noise() -> None:
    content = bytearray(FILES["flac"]())
    content[len(content) // 2] ^= 0xFF
    sound = decode(bytes(content))
    assert len(sound.samples) == len(STEREO)
    differs = np.abs(sound.samples - STEREO).max(axis=1) > 1e-4
    assert 0 < differs.sum() <= 4608
    assert not sound.samples[differs].any()
    assert "(about 0.10 seconds)" in sound.warnings[0]


def test_one_wrong_bit_does_not_remove_a_page_of_ogg() -> None:
    content = bytearray(FILES["opus"]())
    content[len(content) // 2] ^= 1
    sound = decode(bytes(content))
    assert len(sound.samples) == 3 * 48000
    assert similarity(sound, tone(3.0, 48000, 2)) > 0.95
    assert "damaged" in sound.warnings[0]


def test_what_is_damaged_from_the_start_is_refused() -> None:
    with pytest.raises(InvalidInput, match="cannot be read as audio"):
        decode(b"fLaC" + bytes(5000))
    with pytest.raises(InvalidInput, match="cannot be read as audio"):
        decode(b"OggS" + bytes(range(256)) * 20)


# WAV


def with_sizes(content: bytes, data: int, riff: int | None = None) -> bytes:
    """Write other sizes into the header of a WAV file."""
    changed = bytearray(content)
    struct.pack_into("<I", changed, content.index(b"data") + 4, data)
    if riff is not None:
        struct.pack_into("<I", changed, 4, riff)
    return bytes(changed)


WAV = written(STEREO, 44100)
INTERRUPTED = (
    "audio: the header of the file has a wrong length, as after an interrupted recording. "
    "All 3.0 seconds are used.",
)


@pytest.mark.parametrize(
    ("content", "warnings"),
    [
        (with_sizes(WAV, 0), INTERRUPTED),
        (with_sizes(WAV, 0, 0), INTERRUPTED),
        (with_sizes(WAV, 0, 8), INTERRUPTED),
        (with_sizes(WAV, 100_000), INTERRUPTED),
        (with_sizes(WAV, 0xFFFFFFFF, 0xFFFFFFFF), ()),  # written to a pipe
        (with_sizes(WAV, 0x7FFFFFFF, 0x7FFFFFFF), ()),
        (WAV + b"LIST" + struct.pack("<I", 6) + b"INFOab", ()),
        (WAV + b"LIST" + struct.pack("<I", 9_000) + b"INFO" + bytes(range(1, 256)) * 20, ()),  # cut
        (WAV + b"TAG" + bytes(125), ()),
        (WAV + bytes(10_000), ()),
        (b"ID3\4\0\0\0\0\2\0" + bytes(256) + WAV, ()),
    ],
)
def test_all_of_a_wav_file_is_read_to_the_sample(content: bytes, warnings: tuple[str, ...]) -> None:
    sound = decode(content)
    np.testing.assert_array_equal(sound.samples, decode(WAV).samples)
    assert sound.warnings == warnings


def test_an_empty_wav_file_with_other_chunks_is_empty() -> None:
    content = written(np.zeros((0, 2), np.float32), 44100) + b"LIST" + struct.pack("<I", 6) + b"INFOab"
    with pytest.raises(InvalidInput, match="contains no audio"):
        decode(content)


def test_joined_wav_files() -> None:
    sound = decode(WAV + written(tone(1.0, 22050), 22050))
    assert (sound.rate, sound.channels, len(sound.samples)) == (44100, 2, 4 * 44100)
    np.testing.assert_array_equal(sound.samples[: 3 * 44100], decode(WAV).samples)
    assert "converted to 44100 Hz" in sound.warnings[0]


@pytest.mark.parametrize(
    "subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "MS_ADPCM"]
)
def test_wav_equals_librosa_in_every_encoding(tmp_path: Path, subtype: str) -> None:
    path = tmp_path / "sound.wav"
    path.write_bytes(written(tone(1.0, 22050, 2), 22050, "WAV", subtype))
    np.testing.assert_array_equal(read_sound(path).samples.T, librosa.load(path, sr=None, mono=False)[0])


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_flac_equals_librosa(tmp_path: Path, subtype: str) -> None:
    path = tmp_path / "sound.flac"
    path.write_bytes(written(STEREO, 44100, "FLAC", subtype))
    np.testing.assert_array_equal(read_sound(path).samples.T, librosa.load(path, sr=None, mono=False)[0])


# other containers


@pytest.mark.parametrize(("container", "codec"), [("webm", "libopus"), ("matroska", "aac"), ("mp4", "aac")])
def test_a_gap_in_the_timestamps_is_kept_as_silence(container: str, codec: str) -> None:
    samples = tone(2.0, 48000)
    file = io.BytesIO()
    with av.open(file, "w", format=container) as writer:
        stream = writer.add_stream(codec, rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="flt", layout="mono")
        frame.sample_rate, frame.pts = 48000, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            if packet.pts * packet.time_base >= 1:
                packet.pts += round(1.5 / packet.time_base)
                packet.dts = packet.pts
            writer.mux(packet)
    sound = decode(file.getvalue())
    assert sound.seconds == pytest.approx(3.5, abs=0.06)
    assert not sound.warnings
    assert np.abs(sound.samples[int(1.2 * 48000) : int(2.3 * 48000)]).max() < 1e-3
    assert np.abs(sound.samples[int(2.7 * 48000) : int(3.3 * 48000)]).max() > 0.3


def test_joined_mp4_files() -> None:
    part = FILES["m4a"]()
    sound = decode(part + part)
    assert len(sound.samples) == 2 * len(decode(part).samples)
    assert not sound.warnings


def test_a_stream_of_aac_whose_channel_count_changes() -> None:
    parts = [tone(1.0, 44100, channels) for channels in (1, 2, 6)]
    sound = decode(b"".join(encoded("aac", "adts", part, 44100) for part in parts))
    assert (sound.rate, sound.channels) == (44100, 2)
    assert sound.seconds == pytest.approx(3.0, abs=0.15)
    assert "converted to 44100 Hz and 2 channels" in sound.warnings[0]


# length


@pytest.mark.parametrize("kind", ["wav", "mp3", "flac", "opus", "m4a"])
def test_audio_that_is_too_long_is_cut_if_only_its_start_is_used(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    content = WAV if kind == "wav" else FILES[kind]()
    whole = decode(content)
    monkeypatch.setenv("MAX_AUDIO_SECONDS", "2")
    sound = decode(content, max_seconds=0.5)
    assert len(sound.samples) == 2 * sound.rate
    np.testing.assert_array_equal(sound.samples, whole.samples[: len(sound.samples)])
    assert not sound.warnings
    with pytest.raises(InvalidInput, match=r"longer than 2 seconds\. Shorten it, set max_seconds"):
        decode(content)
    with pytest.raises(InvalidInput, match="longer than 2 seconds"):
        decode(content, max_seconds=2.5)


def test_warnings_of_a_sound_in_memory_are_kept() -> None:
    sound = decode(with_sizes(WAV, 0))
    assert read_sound(sound).warnings == sound.warnings == INTERRUPTED


def test_an_hour_of_audio_is_taken_for_a_short_video() -> None:
    hour = np.zeros((3600 * 16000, 1), np.float32)
    hour[: 5 * 16000] = tone(5.0)
    assert decode(written(hour, 16000), max_seconds=5).seconds == 600
    assert read_sound((hour[:, 0], 16000), max_seconds=5).seconds == 600


def test_an_mp4_without_its_index() -> None:
    """As of a recording that was interrupted: the index is at the end."""
    whole = encoded("aac", "mp4", tone(2, 44100), 44100)
    cut = whole[: whole.index(b"moov") - 4]
    with pytest.raises(
        InvalidInput, match=r"has no index \(moov\): the recording .* was interrupted\. Record"
    ):
        read_sound(cut)
    joined = read_sound(whole + cut)
    assert joined.seconds == pytest.approx(2, abs=0.1)
    assert len(joined.warnings) == 1


@pytest.mark.parametrize("codec", [0, 0x4242, 0xFFFE])
def test_an_unknown_codec_is_named_as_that(codec: int) -> None:
    content = bytearray(written(tone(1), 16000))
    content[20:22] = codec.to_bytes(2, "little")
    with pytest.raises(InvalidInput, match=r"audio format that is not supported\. Convert it to WAV"):
        read_sound(bytes(content))


def test_a_track_of_an_unknown_codec_is_passed_over() -> None:
    """Phones record a second track in a format of their own; here it is the first one."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as writer:
        for _ in range(2):
            writer.add_stream("aac", rate=44100, layout="mono")
        for stream in writer.streams:
            frame = av.AudioFrame.from_ndarray(tone(1, 44100).reshape(1, -1), format="flt", layout="mono")
            frame.sample_rate = 44100
            writer.mux(stream.encode(frame))
            writer.mux(stream.encode(None))
    content = file.getvalue()
    assert content.count(b"mp4a") == 2
    sound = read_sound(content.replace(b"mp4a", b"zzzz", 1))
    assert sound.seconds == pytest.approx(1, abs=0.1)
    assert not sound.is_silent()
