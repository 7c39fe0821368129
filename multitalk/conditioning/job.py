"""Encoding of a request's input to tensors, once per job."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..errors import InvalidInput
from ..media.mix import check_mix, file_sound, trim
from ..media.sound import Sound
from ..models.constants import FPS
from ..request.presets import Preset
from ..request.script import PEOPLE
from ..sampling.guidance import Branch
from .audio import encode_audio, normalize_loudness, to_model_rate
from .image import prepare_image
from .people import person_masks, token_masks
from .resolve import ResolvedSettings, resolve_settings
from .text import encode_prompts
from .timeline import AudioTimeline, ClipSpan, clip_spans, count_frames

if TYPE_CHECKING:
    from ..request.generation_request import GenerationRequest
    from ..speech.engine import SpeechEngine
    from ..speech.tracks import SpeechReport
    from .protocols import Encoders, Monitor

RANDOM_SEEDS = 2**32  # a random seed is below this


@dataclass(frozen=True)
class JobConditions:
    """Conditions that all clips of a job share.

    Attributes:
        settings: Settings of the request, completed by its preset.
        spans: Frames of each clip.
        seed: Seed of the random numbers.
        image: The cropped image, ``3 H W`` float32 in [-1, 1], on the model's device.
        person_masks: ``3 S`` for two people, None for one.
        text: Projected contexts ``1 text_len D``: the prompt (True) and, if needed, the negative prompt
            (False).
        timeline: Audio features of all people.
        soundtrack: Sound of the video file.
        speech: Voices and times of spoken text; None without text to speech.
    """

    settings: ResolvedSettings
    spans: list[ClipSpan]
    seed: int
    image: torch.Tensor
    person_masks: torch.Tensor | None
    text: dict[bool, torch.Tensor]
    timeline: AudioTimeline
    soundtrack: Sound
    speech: SpeechReport | None

    @property
    def frames(self) -> int:
        """Number of frames of the video."""
        return sum(span.new_frames for span in self.spans)


def prepare_job(
    request: GenerationRequest,
    encoders: Encoders,
    preset: Preset,
    monitor: Monitor,
    engine: SpeechEngine | None = None,
) -> JobConditions:
    """Encode what all clips share: text, image, people and audio (docs/MODEL.md, section 4).

    Args:
        request: The job.
        encoders: The networks.
        preset: Supplies the settings that the request does not set.
        monitor: Times the stages.
        engine: Text-to-speech engine; None uses the embedded one.

    Raises:
        InvalidInput: A person is outside the cropped image, or the engine cannot speak the text. No model has
            run.
        Cancelled: The job was cancelled.
    """
    transformer = encoders.transformer
    settings = resolve_settings(request, preset)
    masks = _mask_people(request, settings.height, settings.width)
    with monitor.stage("speech") if request.speech is not None else nullcontext():
        voices, turns, spoken = gather_voices(request, engine, monitor.check_cancelled)
    text = _encode_prompts(request, settings.branches, encoders, monitor)
    embeddings = _encode_voices(voices, turns, encoders, monitor)
    sound = file_sound(voices, turns)
    frames = count_frames(sound.seconds, embeddings.shape[1], request.max_seconds)
    spans = clip_spans(frames, embeddings.shape[1], request.frames_per_clip, request.motion_frames)
    with monitor.stage("image"):
        image = prepare_image(request.image, settings.height, settings.width).to(transformer.device)
    return JobConditions(
        settings=settings,
        spans=spans,
        seed=secrets.randbelow(RANDOM_SEEDS) if request.seed == -1 else request.seed,
        image=image,
        person_masks=None if masks is None else masks.to(transformer.device),
        text=text,
        timeline=AudioTimeline(embeddings, request.frames_per_clip, transformer.config.audio_window),
        soundtrack=sound if request.max_seconds is None else trim(sound, request.max_seconds),
        speech=None if spoken is None else spoken.until(frames / FPS),
    )


def gather_voices(
    request: GenerationRequest,
    engine: SpeechEngine | None = None,
    before_line: Callable[[], None] | None = None,
) -> tuple[list[Sound], str, SpeechReport | None]:
    """Collect the audio of each person, uploaded or spoken.

    Args:
        request: The job.
        engine: Text-to-speech engine; None uses the embedded one.
        before_line: Called before every spoken line; may raise.

    Returns:
        The sounds, person 1 first; their order, "together" or "in_order"; and the report of spoken text or
        None.

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
            if "person2" in spoken.tracks:
                report = report.later(sounds["person1"].seconds)
        check_mix(list(sounds.values()), turns)
    return [sounds[person] for person in sorted(sounds)], turns, report


def arrange_model_tracks(voices: list[Sound], turns: str) -> list[np.ndarray]:
    """Prepare tracks for the audio encoder (docs/MODEL.md, section 4).

    Args:
        voices: Sounds of one or two people.
        turns: "together" or "in_order".

    Returns:
        One float32 track per person: mono, 16 kHz, -23 LUFS, all of the same length.
    """
    tracks = [normalize_loudness(to_model_rate(voice.mono(), voice.rate)) for voice in voices]
    if len(tracks) == 1:
        return tracks
    first, second = tracks
    if turns == "in_order":
        return [np.pad(first, (0, len(second))), np.pad(second, (len(first), 0))]
    length = max(len(first), len(second))
    return [np.pad(track, (0, length - len(track))) for track in tracks]


def _mask_people(request: GenerationRequest, height: int, width: int) -> torch.Tensor | None:
    """Create the token masks ``3 S`` of two people; None for one person.

    Raises:
        InvalidInput: A person has no token, so that nobody would speak with their voice.
    """
    if request.people == 1:
        return None
    image = request.image
    masks = token_masks(person_masks(image.height, image.width, height, width, request.boxes))
    for person, mask in zip(PEOPLE, masks, strict=False):  # the last mask is the background
        if not mask.any():
            cropped = f"cropping to {width}x{height}"
            raise InvalidInput(
                f"{person} is outside the picture after {cropped}, or the box is too small. "
                "Choose a size with the picture's aspect ratio, or a larger box.",
                "boxes",
            )
    return masks


def _encode_prompts(
    request: GenerationRequest, branches: tuple[Branch, ...], encoders: Encoders, monitor: Monitor
) -> dict[bool, torch.Tensor]:
    """Encode and project the prompts that the branches use: True is the prompt, False the negative prompt."""
    positives = sorted({branch.text for branch in branches}, reverse=True)
    prompts = [request.prompt if positive else request.negative_prompt for positive in positives]
    transformer = encoders.transformer
    with monitor.stage("text"):
        with encoders.using("text_encoder"):
            contexts = encode_prompts(
                encoders.text_encoder, encoders.tokenizer, prompts, transformer.config.text_len
            )
        return dict(zip(positives, map(transformer.project_text, contexts), strict=True))


def _encode_voices(voices: list[Sound], turns: str, encoders: Encoders, monitor: Monitor) -> torch.Tensor:
    """Encode the audio of all people, ``P F L C``."""
    embeddings = []
    with monitor.stage("audio"):
        for track in arrange_model_tracks(voices, turns):
            monitor.check_cancelled()
            with encoders.using("audio_encoder"):
                embeddings.append(encode_audio(encoders.audio_encoder, track))
    return torch.stack(embeddings)
