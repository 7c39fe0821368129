"""Which voices are separated from the other sounds around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..errors import InvalidInput
from ..media.sound import Sound
from .voice_separator import VoiceSeparator

if TYPE_CHECKING:
    from ..request.generation_request import GenerationRequest

NOTICEABLE = 0.1  # amplitude of other sounds relative to the voice: 20 dB below
SILENT = 0.01  # amplitude of a voice relative to the audio: 40 dB below
ISOLATED = (
    "The audio contains music or noise: lip sync follows the voice alone, and the video plays all of it. "
    "Set isolate_voice to false to change that."
)
NO_VOICE = "No voice was found in the audio, so lip sync follows all of it."


def check_separator(request: GenerationRequest, separator: VoiceSeparator) -> None:
    """Check that a request that isolates the voice can be served.

    Raises:
        InvalidInput: The weights have no separator.
    """
    if request.isolate_voice is True and not separator.is_available:
        raise InvalidInput(
            "isolate_voice is not supported: these weights have no voice separator, or the package demucs is "
            'not installed. Set it to automatic ("auto"), or fetch and bake the weights again.',
            "isolate_voice",
        )


def may_isolate(request: GenerationRequest, separator: VoiceSeparator) -> bool:
    """Return whether a request's audio is separated, to use the voice or to find other sounds."""
    return request.isolate_voice is not False and bool(request.audio) and separator.is_available


def isolate_voices(
    request: GenerationRequest,
    voices: list[Sound | None],
    separator: VoiceSeparator,
    device: torch.device,
    check_cancelled: Callable[[], None],
) -> tuple[list[Sound | None], list[str]]:
    """Replace uploaded audio by the voice in it.

    With "auto", audio stays as it is unless other sounds in it are noticeable.

    Args:
        request: The job.
        voices: Sounds by person, person 1 first; None for who is silent.
        separator: Of the weights.
        device: Device that computes.
        check_cancelled: Called for every few seconds of sound; may raise.

    Returns:
        The sounds that the model hears, of the same lengths, and one sentence about what was found.
    """
    if not may_isolate(request, separator):
        return voices, []
    heard, found = list(voices), dict[str, None]()
    for index, (person, sound) in enumerate(zip(request.named_people, voices, strict=False)):
        if sound is None or person in request.spoken:
            continue
        voice = separator.isolate(sound, device, check_cancelled)
        audio = sound.mono()
        whole, alone = np.linalg.norm(audio), np.linalg.norm(voice.samples)
        rest = np.linalg.norm(audio - voice.samples[:, 0])
        if alone < SILENT * whole:
            found[NO_VOICE] = None
        elif request.isolate_voice is True or rest > NOTICEABLE * alone:
            heard[index] = voice
            if request.isolate_voice == "auto":
                found[ISOLATED] = None
    return heard, list(found)
