"""The speakers' audio, for the audio encoder and for the video file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..media.mix import check_mix, pad, repeated, trim, with_background
from ..media.sound import Sound
from .audio import normalize_loudness, to_model_rate
from .length import limit_seconds, padded_seconds

if TYPE_CHECKING:
    from ..request.generation_request import GenerationRequest
    from ..speech.engine import SpeechEngine
    from ..speech.tracks import SpeechReport


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


def arrange_model_tracks(voices: Sequence[Sound | None], turns: str) -> list[np.ndarray]:
    """Prepare tracks for the audio encoder (docs/MODEL.md, section 4).

    Args:
        voices: Sounds by person; None for who is silent.
        turns: "together" or "in_order".

    Returns:
        One float32 track per person: mono, 16 kHz, -23 LUFS, all of the same length.
    """
    tracks = [
        np.zeros(0, np.float32)
        if voice is None
        else normalize_loudness(to_model_rate(voice.mono(), voice.rate))
        for voice in voices
    ]
    lengths = [len(track) for track in tracks]
    length = sum(lengths) if turns == "in_order" else max(lengths)
    starts = [sum(lengths[:person]) if turns == "in_order" else 0 for person in range(len(tracks))]
    return [
        np.pad(track, (start, length - start - len(track)))
        for track, start in zip(tracks, starts, strict=True)
    ]


def make_soundtrack(request: GenerationRequest, sound: Sound, seconds: float) -> Sound:
    """Return the sound of the video file, with the sound of the input video under the voices if requested.

    Args:
        request: The job.
        sound: The voices.
        seconds: Length of the video.
    """
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
