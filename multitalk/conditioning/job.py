"""A request's raw input as tensors: what is made once per job."""

from __future__ import annotations

import secrets
from collections.abc import Callable
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
from .job_settings import JobSettings, resolve_settings
from .people import person_masks, token_masks
from .text import encode_prompt
from .timeline import AudioTimeline, ClipSpan, clip_spans, count_frames

if TYPE_CHECKING:
    from ..pipeline.components import Components
    from ..pipeline.progress import JobMonitor
    from ..request.generation_request import GenerationRequest
    from ..speech.engine import SpeechEngine
    from ..speech.report import SpeechReport

MAX_DRAWN_SEED = 2**32


@dataclass(frozen=True)
class JobConditions:
    """What all clips of a job share.

    Attributes:
        settings: The request, completed.
        clips: How it is cut.
        seed: Of the random numbers, drawn if the request left it open.
        image: The picture as cropped, ``3 H W`` float32 in [-1, 1], on the model's device.
        person_masks: ``3 S`` for two people, None for one.
        text: Projected contexts ``1 text_len D``: True is the prompt, False the negative prompt where needed.
        timeline: The people's audio features.
        soundtrack: The user's own sound for the file.
        speech: Who speaks when, where words were given; None where all is the user's own sound.
    """

    settings: JobSettings
    clips: list[ClipSpan]
    seed: int
    image: torch.Tensor
    person_masks: torch.Tensor | None
    text: dict[bool, torch.Tensor]
    timeline: AudioTimeline
    soundtrack: Sound
    speech: SpeechReport | None

    @property
    def frames(self) -> int:
        """Frames of the whole video."""
        return sum(clip.new_frames for clip in self.clips)


def prepare_job(
    request: GenerationRequest,
    components: Components,
    preset: Preset,
    monitor: JobMonitor,
    engine: SpeechEngine | None = None,
) -> JobConditions:
    """Encode what is the same for every clip: text, picture, people and sound.

    Args:
        request: The job.
        components: The networks.
        preset: Where settings come from that the request leaves open.
        monitor: Times the stages.
        engine: Speaks the request's words; None: the embedded engine.

    Raises:
        InvalidInput: A person is cut out of the picture, or the engine can't speak; no model has run yet.
        Cancelled: The job was cancelled.
    """
    transformer = components.transformer
    settings = resolve_settings(request, preset)
    masks = _mask_people(request, settings.height, settings.width)
    with monitor.stage("speech"):
        voices, turns, spoken = gather_voices(request, engine, monitor.check_cancelled)
    text = _encode_prompts(request, settings.branches, components, monitor)
    embeddings = _encode_voices(voices, turns, components, monitor)
    sound = file_sound(voices, turns)
    frames = count_frames(sound.seconds, embeddings.shape[1], request.max_seconds)
    clips = clip_spans(frames, embeddings.shape[1], request.frames_per_clip, request.motion_frames)
    with monitor.stage("image"):
        image = prepare_image(request.image, settings.height, settings.width).to(transformer.device)
    return JobConditions(
        settings=settings,
        clips=clips,
        seed=secrets.randbelow(MAX_DRAWN_SEED) if request.seed == -1 else request.seed,
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
    """Each person's sound, uploaded or spoken, person 1 first, and how the sounds follow each other.

    Args:
        request: The job.
        engine: Speaks its words; None: the embedded engine.
        before_line: Called before every line that is spoken.

    Returns:
        The sounds, "together" or "in_order", and who speaks when if words were given.

    Raises:
        InvalidInput: The engine can't say what is asked, or it is too long, or too much beside the sounds.
    """
    sounds = dict(request.audio or {})
    turns = request.turns
    report = None
    if request.speech is not None:
        from ..speech.speak import check_length, speak

        spoken = speak(request.speech, request.spoken[0], engine, before_line)
        report = spoken.report
        if not sounds:
            turns = "together"  # a script's turns are in its tracks already
        sounds = {**spoken.tracks, **sounds}
        if turns == "in_order":
            check_length(sum(sound.seconds for sound in sounds.values()))
            if "person2" in spoken.tracks:
                report = report.later(sounds["person1"].seconds)
        check_mix(list(sounds.values()), turns)
    return [sounds[person] for person in sorted(sounds)], turns, report


def arrange_model_tracks(voices: list[Sound], turns: str) -> list[np.ndarray]:
    """What the audio encoder hears: mono, 16 kHz, -23 LUFS each, all of one length.

    Args:
        voices: One or two people's sounds.
        turns: "together" or "in_order".
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
    """Where two people are, ``3 S``; None for one, who may be anywhere.

    Raises:
        InvalidInput: One of them has no token, so that their voice would belong to nobody.
    """
    if request.people == 1:
        return None
    image = request.image
    masks = token_masks(person_masks(image.height, image.width, height, width, request.boxes))
    for person, mask in zip(PEOPLE, masks, strict=False):  # the last mask is the background's
        if not mask.any():
            raise InvalidInput(
                f"{person} isn't to be seen in the picture as it is cut to {width}x{height}: "
                "choose a size of the picture's shape, or a larger box.",
                "boxes",
            )
    return masks


def _encode_prompts(
    request: GenerationRequest, branches: tuple[Branch, ...], components: Components, monitor: JobMonitor
) -> dict[bool, torch.Tensor]:
    """Projected contexts that the branches need: True is the prompt's, False the negative prompt's."""
    with monitor.stage("text"):
        return {
            wanted: _project_prompt(request.prompt if wanted else request.negative_prompt, components)
            for wanted in sorted({branch.text for branch in branches}, reverse=True)
        }


def _project_prompt(prompt: str, components: Components) -> torch.Tensor:
    transformer = components.transformer
    with components.using("text_encoder"):
        context = encode_prompt(
            components.text_encoder, components.tokenizer, prompt, transformer.config.text_len
        )
    return transformer.project_text(context)


def _encode_voices(
    voices: list[Sound], turns: str, components: Components, monitor: JobMonitor
) -> torch.Tensor:
    """Audio features of everybody, ``P F L C``."""
    embeddings = []
    with monitor.stage("audio"):
        for track in arrange_model_tracks(voices, turns):
            monitor.check_cancelled()
            with components.using("audio_encoder"):
                embeddings.append(encode_audio(components.audio_encoder, components.feature_extractor, track))
    return torch.stack(embeddings)
