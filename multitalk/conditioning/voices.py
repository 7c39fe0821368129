"""The speakers' audio, for the audio encoder and for the video file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..media.mix import check_mix, joined, pad, repeated, trim, with_background
from ..media.sound import Sound, silence
from ..models.constants import FPS
from .audio import SAMPLE_RATE, normalize_loudness, to_model_rate
from .length import limit_seconds, padded_seconds

if TYPE_CHECKING:
    from ..request.generation_request import GenerationRequest
    from ..speech.engine import SpeechEngine
    from ..speech.tracks import SpeechReport

NO_SOUND = np.zeros(0, np.float32)


def gather_voices(
    request: GenerationRequest,
    engine: SpeechEngine | None = None,
    before_line: Callable[[], None] | None = None,
) -> tuple[list[Sound | None], str, SpeechReport | None]:
    """Collect the audio of each person, uploaded or spoken.

    Args:
        request: The job.
        engine: Text-to-speech engine; None uses the embedded one.
        before_line: Called before every spoken line; may raise.

    Returns:
        The sounds, person 1 first, None for who is silent; their order, "together" or "in_order"; and the
        report of spoken text or None.

    Raises:
        InvalidInput: The engine cannot speak the text, or the audio is too long or too large.
    """
    sounds = dict(request.audio or {})
    turns = request.turns
    report = None
    if request.speech is not None:
        from ..speech.speak import check_length, speak

        spoken = speak(request.speech, request.spoken[0], engine, before_line)
        report = spoken.report
        if not sounds:
            turns = "together"  # the tracks of a script already contain its turns
        sounds = {**spoken.tracks, **sounds}
        if turns == "in_order":
            check_length(sum(sound.seconds for sound in sounds.values()))
            first = min(spoken.tracks)
            report = report.later(sum(sounds[person].seconds for person in sounds if person < first))
        check_mix(list(sounds.values()), turns)
    silent = [None] * (request.people - len(request.named_people))  # everybody outside the only box
    return [*map(sounds.get, request.named_people), *silent], turns, report


def arrange_model_tracks(
    voices: Sequence[Sound | None], turns: str, lead: np.ndarray = NO_SOUND
) -> list[np.ndarray]:
    """Prepare tracks for the audio encoder (docs/MODEL.md, section 4).

    Args:
        voices: Sounds by person; None for who is silent.
        turns: "together" or "in_order".
        lead: What a single speaker is heard saying before; several are silent there. See :func:`lead_track`.

    Returns:
        One float32 track per person: mono, 16 kHz, -23 LUFS, all of the same length.
    """
    is_alone = sum(voice is not None for voice in voices) == 1
    leads = [lead if is_alone and voice is not None else np.zeros_like(lead) for voice in voices]
    tracks = [NO_SOUND if voice is None else _model_track(voice) for voice in voices]
    lengths = [len(track) for track in tracks]
    length = sum(lengths) if turns == "in_order" else max(lengths)
    starts = [sum(lengths[:person]) if turns == "in_order" else 0 for person in range(len(tracks))]
    return [
        np.concatenate([before, np.pad(track, (start, length - start - len(track)))])
        for before, track, start in zip(leads, tracks, starts, strict=True)
    ]


def lead_track(request: GenerationRequest, frames: int) -> np.ndarray:
    """Return what the model hears during the last frames of the video that a job continues.

    Args:
        request: The job.
        frames: Number of frames.

    Returns:
        Mono, 16 kHz, float32; silence without sound. The whole sound of the video has -23 LUFS.
    """
    samples = frames * SAMPLE_RATE // FPS
    if request.continue_from is None or request.sound_before is None or not frames:
        return np.zeros(samples, np.float32)
    whole = pad(request.sound_before, request.continue_from.frames_at(FPS) / FPS)
    end = request.continue_from.frames_at(FPS) * SAMPLE_RATE // FPS
    return _model_track(whole)[end - samples : end]


def _model_track(sound: Sound) -> np.ndarray:
    return normalize_loudness(to_model_rate(sound.mono(), sound.rate))


def make_soundtrack(
    request: GenerationRequest, sound: Sound, seconds: float, seconds_before: float = 0.0
) -> Sound:
    """Return the sound of the video file, with the sound of the input video under the voices if requested.

    Args:
        request: The job.
        sound: The voices.
        seconds: Length of the video.
        seconds_before: Length of the continued video in front of it, with its own sound.
    """
    if seconds_before:
        before = request.sound_before
        if before is None:
            before = silence(seconds_before, sound.rate, sound.channels)
        before = pad(trim(before, seconds_before), seconds_before)
        return joined(before, make_soundtrack(request, sound, seconds))
    sound = pad(sound, padded_seconds(request, sound.seconds))
    limit = limit_seconds(request)
    if limit is not None:
        sound = trim(sound, limit)
    if request.video is None or request.source_sound is None:
        return sound
    background = request.source_sound
    if request.video_end == "loop":
        background = repeated(background, request.video.seconds, seconds)
    return with_background(sound, background, request.source_volume, seconds)
