"""Checks of a request's voices: who speaks, and with which audio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import InvalidInput
from ..media.mix import check_mix, trim
from ..media.sound import Sound
from ..runtime.environment import max_audio_seconds
from .script import PEOPLE

if TYPE_CHECKING:
    from .generation_request import GenerationRequest

MIN_SECONDS = 0.2


def check_people(request: GenerationRequest) -> None:
    """Check who speaks.

    Raises:
        InvalidInput: Nobody does, somebody has two voices, or a person before another is missing.
    """
    sounds = request.audio or {}
    if not sounds and request.speech is None:
        raise InvalidInput("audio is missing. Provide an audio file in audio, or text in speech.", "audio")
    if both := [person for person in request.spoken if person in sounds]:
        raise InvalidInput(
            f"speech has text for {both[0]}, who already has audio. Provide only one of them.",
            "speech",
        )
    if placed := sorted({*(request.boxes or {})} & {*(request.masks or {})}):
        raise InvalidInput(f"masks has {placed[0]}, who has a box too. Set one of them.", "masks")
    named = request.named_people
    if named != PEOPLE[: len(named)]:
        last, missing = named[-1], next(person for person in PEOPLE if person not in named)
        fields = [name for name in ("audio", "boxes", "masks") if last in (getattr(request, name) or {})]
        field = f"{fields[0]}.{last}" if fields else "speech"
        raise InvalidInput(
            f"{field} {'is set' if fields else f'has text for {last}'}, but {missing} is missing. Add a "
            f"voice for {missing}, or a box or mask if {missing} is silent. A single speaker is person1.",
            field,
        )
    scales = request.audio_scale if isinstance(request.audio_scale, dict) else {}
    if absent := [person for person in scales if person not in named]:
        raise InvalidInput(
            f"audio_scale.{absent[0]} is set, but {absent[0]} is missing. Use {', '.join(named)}.",
            f"audio_scale.{absent[0]}",
        )
    if request.turns == "in_order" and sounds and len(request.spoken) > 1:
        raise InvalidInput(
            "turns in_order cannot be used with audio beside a script of several speakers. Use together.",
            "turns",
        )


def check_sounds(request: GenerationRequest) -> None:
    """Check the audio of all speakers together; turns are cut to the limit where the video ends before it.

    Raises:
        InvalidInput: It is silent, too long, or has too much data.
    """
    sounds = request.audio or {}
    if not request.spoken and all(sound.is_silent() for sound in sounds.values()):
        raise InvalidInput("audio is silent. Provide audio with a voice.", "audio")
    limit = max_audio_seconds()
    if request.turns == "in_order" and len(sounds) > 1 and request.max_seconds is not None:
        _cut_turns(sounds, limit, request.max_seconds)
    total = sum(sound.seconds for sound in sounds.values())
    if request.turns == "in_order" and total > limit:
        raise InvalidInput(
            f"audio is {total:.1f} seconds long in total, but the limit is {limit:g} seconds. Shorten "
            "it, or raise MAX_AUDIO_SECONDS.",
            "audio",
        )
    if sounds:
        check_mix(list(sounds.values()), request.turns)


def _cut_turns(sounds: dict[str, Sound], limit: float, used: float) -> None:
    """Cut audio that is spoken in order to the limit, after the seconds that the video uses."""
    left = limit
    later = sum(sound.seconds for sound in sounds.values())
    for number, (person, sound) in enumerate(sounds.items(), 1):
        later -= sound.seconds
        kept = max(left - later, min(used, left - MIN_SECONDS * (len(sounds) - number)))
        sounds[person] = trim(sound, min(sound.seconds, kept))
        left, used = left - sounds[person].seconds, max(0.0, used - sounds[person].seconds)


def check_audible(sound: Sound, field: str) -> Sound:
    """Check that audio is long enough, and that its channels do not cancel each other out.

    Raises:
        InvalidInput: It is not, or they do.
    """
    if sound.seconds < MIN_SECONDS:
        raise InvalidInput(
            f"{field} must be at least {MIN_SECONDS} seconds long, not {sound.seconds:.3f} seconds.", field
        )
    if sound.channels > 1 and not sound.is_silent() and Sound(sound.mono()[:, None], sound.rate).is_silent():
        raise InvalidInput(
            f"{field} has {sound.channels} channels that cancel each other out when mixed to mono. "
            "Provide a single channel.",
            field,
        )
    return sound
