"""Decoding audio files and the audio tracks of videos."""

from __future__ import annotations

import io
from typing import BinaryIO

from ..errors import InvalidInput
from .ffmpeg_decoding import decode_with_ffmpeg
from .file_range import BinaryFile, FileRange, without_id3
from .media_parts import is_shorter_than_header, lacks_index, split_media
from .mp3_file import is_mp3, scan_mp3
from .ogg_file import LONGEST_BLOCK, MAGIC, split_ogg
from .sound import Sound
from .sound_builder import SoundBuilder
from .wav_file import is_wav, split_wav

COMPRESSED = ("MP3", "OGG", "FLAC")  # libsndfile's names of formats of which it reads what a header announces
START = 2**16  # bytes that are searched for the first frame of an MP3 file


def decode_sound(file: BinaryIO, name: str, field: str, *, max_seconds: float | None = None) -> Sound:
    """Decode all audio of an open file, whatever its header says about the length.

    Parts with another sample rate or channel count are converted. What cannot be decoded is skipped, and
    reported in the sound's warnings.

    Args:
        file: A seekable binary file.
        name: What the file is called in errors.
        field: The request's field, for errors and warnings.
        max_seconds: How much of the audio is used at least; None: all of it. If it is set, audio that is too
            long is cut to ``MAX_AUDIO_SECONDS`` instead of refused.

    Raises:
        InvalidInput: The file cannot be read as audio, has no audio, or is too long.
    """
    import av

    sound = SoundBuilder(name, field, max_seconds)
    try:
        _decode(without_id3(file), sound)
    except InvalidInput:
        raise
    except (av.error.FFmpegError, OSError, ValueError, RuntimeError, MemoryError):
        raise _unreadable(name, field) from None
    if sound.seconds == 0:
        if sound.is_damaged or sound.is_incomplete:
            raise _unreadable(name, field)
        raise InvalidInput(f"{field} ({name}) contains no audio. Provide another file.", field)
    return sound.sound()


def _decode(file: FileRange, sound: SoundBuilder) -> None:
    """Decode a file with libsndfile if that reads all of its format exactly, else with FFmpeg."""
    start = file.read_at(0, START)
    if is_wav(start):
        _decode_wav(file, sound)
    elif start.startswith(MAGIC):
        _decode_ogg(file.read_at(0, file.length), sound)
    elif is_mp3(start, anywhere=file.start > 0):
        _decode_mp3(file.read_at(0, file.length), sound)
    elif not start.startswith(b"fLaC") and _decode_with_soundfile(file, sound):
        sound.is_incomplete |= is_shorter_than_header(file)
    else:
        _decode_parts(file, sound)


def _decode_parts(file: FileRange, sound: SoundBuilder) -> None:
    import av

    for part, is_cut in split_media(file):
        part.seek(0)
        try:
            decode_with_ffmpeg(part, sound, is_cut=is_cut)
        except av.error.FFmpegError:
            if not lacks_index(part):
                raise
            if not sound.seconds:
                raise InvalidInput(
                    f"{sound.field} ({sound.name}) has no index (moov): the recording or the download was "
                    "interrupted. Record or download it again, or repair it.",
                    sound.field,
                ) from None
            sound.is_incomplete = True


def _decode_wav(file: FileRange, sound: SoundBuilder) -> None:
    for part in split_wav(file):
        before = sound.seconds
        if not _decode_with_soundfile(part.file, sound):
            part.file.seek(0)
            decode_with_ffmpeg(part.file, sound, container_format="wav")
        sound.has_wrong_length |= part.has_wrong_length and sound.seconds > before
        sound.is_incomplete |= part.missing > 0
        if sound.is_full:
            return


def _decode_ogg(data: bytes, sound: SoundBuilder) -> None:
    file = split_ogg(data)
    sound.is_damaged |= file.is_damaged
    sound.is_incomplete |= file.is_incomplete
    for link in file.links:
        before = sound.seconds
        decode_with_ffmpeg(io.BytesIO(link.data), sound, container_format="ogg")
        if sound.is_full:
            return
        if link.samples is not None:  # the last packet has more samples than the encoder got
            padding = round((sound.seconds - before) * sound.rate) - link.samples
            sound.remove_end(padding if padding < LONGEST_BLOCK else 0)


def _decode_mp3(data: bytes, sound: SoundBuilder) -> None:
    file = scan_mp3(data)
    sound.skipped += file.skipped
    sound.is_damaged |= file.has_other_data
    sound.is_incomplete |= file.is_incomplete
    for index, part in enumerate(file.parts):
        delay = 0 if index else file.delay
        decode_with_ffmpeg(io.BytesIO(part.data), sound, container_format="mp3", delay=delay)
        if sound.is_full:
            return
    sound.remove_end(file.padding)


def _decode_with_soundfile(file: BinaryFile, sound: SoundBuilder) -> bool:
    """Decode with libsndfile; return whether it can read the file."""
    import soundfile

    try:
        with soundfile.SoundFile(file) as reader:
            # without a length in the header, or by a header that need not be true
            if reader.frames >= 2**62 or reader.format in COMPRESSED:
                return False
            used = sound.room(reader.frames, reader.samplerate, reader.channels)
            sound.add(reader.read(used, dtype="float32", always_2d=True), reader.samplerate)
            sound.is_full |= used < reader.frames
            return True
    except InvalidInput:
        raise
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError, OSError, MemoryError):
        return False


def _unreadable(name: str, field: str) -> InvalidInput:
    return InvalidInput(
        f"{field} ({name}) cannot be read as audio. Use an undamaged WAV, FLAC, MP3, OGG or M4A file, or "
        "a video with an audio track.",
        field,
    )
