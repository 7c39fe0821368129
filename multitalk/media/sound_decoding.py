"""Decoding audio files and the audio tracks of videos."""

from __future__ import annotations

import contextlib
from typing import BinaryIO

import numpy as np

from ..errors import InvalidInput
from .sound import MIN_RATE, Sound, check_extent

# FFmpeg's names of formats that contain their audio. Playlists, for example, are excluded: they would make
# the decoder open other files.
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,asf,mpegts,mpeg,mp3,mp2,aac,ac3,eac3,flac,ogg,wav,w64,aiff,"
    "caf,amr,amrnb,amrwb,au,wv,ape,tta"
)


def decode_sound(file: BinaryIO, name: str, field: str) -> Sound:
    """Decode an open file with libsndfile if it supports the format, else with FFmpeg.

    Args:
        file: A seekable binary file.
        name: What the file is called in errors.
        field: The request's field, for errors.

    Raises:
        InvalidInput: The file cannot be read as audio, has no audio, or is too long.
    """
    sound = _decode_with_soundfile(file, field)
    if sound is None:
        file.seek(0)
        sound = _decode_with_ffmpeg(file, name, field)
    if not len(sound.samples):
        raise InvalidInput(f"{field} ({name}) contains no audio. Provide another file.", field)
    return sound


def _decode_with_soundfile(file: BinaryIO, field: str) -> Sound | None:
    """Decode with libsndfile; None if it cannot read the file."""
    import soundfile

    try:
        # Without the file's name, so that only its content determines the format.
        with soundfile.SoundFile(_Nameless(file)) as reader:
            if reader.frames >= 2**62:  # the header has no length; FFmpeg can read the file
                return None
            check_extent(reader.frames, reader.samplerate, reader.channels, field)
            samples = reader.read(dtype="float32", always_2d=True)
            return Sound(samples, reader.samplerate)
    except InvalidInput:
        raise
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError, OSError, MemoryError):
        return None


class _Nameless:
    """A binary file for libsndfile, without a name."""

    def __init__(self, file: BinaryIO) -> None:
        self.read = file.read
        self.readinto = getattr(file, "readinto", None)
        self.tell = file.tell
        self.write = file.write
        self._seek = file.seek

    def seek(self, offset: int, whence: int = 0) -> int:
        """Seek; an invalid offset in a damaged file is ignored, which libsndfile detects."""
        with contextlib.suppress(OSError, ValueError):
            self._seek(offset, whence)
        return self.tell()


def _decode_with_ffmpeg(file: BinaryIO, name: str, field: str) -> Sound:
    """Decode the first audio track with FFmpeg."""
    import av

    try:
        # tags may be in another encoding than UTF-8
        options = {"format_whitelist": CONTAINERS}
        with av.open(file, "r", options=options, metadata_errors="replace") as container:
            if not container.streams.audio:
                raise InvalidInput(f"{field} ({name}) has no audio track.", field)
            parts: list[np.ndarray] = []
            rate = count = 0
            # Interleaved float for every codec, with the file's rate and channels.
            to_float = av.AudioResampler(format="flt")
            for decoded in container.decode(container.streams.audio[0]):
                for frame in to_float.resample(decoded):
                    channels, rate = frame.layout.nb_channels, frame.sample_rate
                    count += frame.samples
                    check_extent(count, rate, channels, field)
                    parts.append(frame.to_ndarray().reshape(-1, channels))
    except InvalidInput:
        raise
    except (av.error.FFmpegError, OSError, ValueError, RuntimeError, MemoryError):
        raise InvalidInput(
            f"{field} ({name}) cannot be read as audio. Use an undamaged WAV, FLAC, MP3, OGG or M4A file, or "
            "a video with an audio track.",
            field,
        ) from None
    return Sound(np.concatenate(parts) if parts else np.zeros((0, 1), np.float32), rate or MIN_RATE)
