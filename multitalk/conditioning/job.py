"""Encoding of a request's input to tensors, once per job."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..errors import InvalidInput
from ..media.mix import file_sound
from ..media.sound import Sound
from ..models.constants import FPS
from ..request.continued import check_motion_frames
from ..request.model_kinds import ModelKind, choose_model
from ..request.presets import Preset
from ..request.prompts import PromptSchedule
from ..sampling.guidance import Branch
from .audio import SAMPLE_RATE, encode_audio
from .continued import last_frames, last_picture
from .image import prepare_image
from .isolation import check_separator, isolate_voices, may_isolate
from .length import expected_seconds, limit_seconds, padded_seconds
from .people import person_masks, token_masks
from .resolve import ResolvedSettings, resolve_settings
from .scenes import find_scenes, plan_clips
from .source import FrameSource, PictureSource, VideoSource
from .text import encode_prompts
from .timeline import AudioTimeline, ClipSpan, count_frames
from .voices import arrange_model_tracks, gather_voices, lead_track, make_soundtrack

if TYPE_CHECKING:
    from ..request.generation_request import GenerationRequest
    from ..speech.engine import SpeechEngine
    from ..speech.tracks import SpeechReport
    from .protocols import Encoders, Monitor
    from .voice_separator import VoiceSeparator

RANDOM_SEEDS = 2**32  # a random seed is below this


@dataclass(frozen=True)
class JobOutline:
    """What is known about a job before its inputs are encoded.

    Attributes:
        preset: Preset of the request.
        settings: Settings of the request, completed by its preset.
        model: The model.
        motion_frames: See the request; the model's default is applied.
        person_masks: ``P+1 S`` for P people, None for one without a box.
        strength: Share of the steps that are sampled, from the video's own frames (dub "exact"); None: all,
            from noise.
        voices: Audio of each person as the model hears it, uploaded or spoken; None for those who are silent.
        turns: "together" or "in_order".
        sound: The voices as they are heard in the video file.
        speech: Voices and times of spoken text; None without text to speech.
        notices: What a user should know about the voices, one sentence each.
    """

    preset: Preset
    settings: ResolvedSettings
    model: ModelKind
    motion_frames: int
    strength: float | None
    person_masks: torch.Tensor | None
    voices: list[Sound | None]
    turns: str
    sound: Sound
    speech: SpeechReport | None
    notices: tuple[str, ...] = ()

    @property
    def audio_layers(self) -> str:
        """Name of the audio layers in the weights."""
        return self.model.layers_for(len(self.voices))


@dataclass(frozen=True)
class JobConditions:
    """Conditions that all clips of a job share.

    Attributes:
        outline: Settings, model and voices.
        spans: Frames of each clip.
        color_correction: See the request; the model's default is applied.
        seed: Seed of the random numbers.
        image: The cropped image or first frame of the video, ``3 H W`` float32 in [-1, 1], on the model's
            device.
        source: The image, or the frames of the video.
        person_masks: ``P+1 S`` for P people, None for one without a box, on the model's device.
        prompts: The prompt of each clip.
        negative_prompt: See the request.
        text: Projected contexts ``1 text_len D`` of the prompts and, if needed, the negative prompt.
        timeline: Audio features of all people.
        soundtrack: Sound of the video file.
        speech: Voices and times of spoken text, up to the end of the video; None without text to speech.
        previous: The last frames of the video that the job continues, ``3 m H W`` in [-1, 1], on the model's
            device: the first ones of `spans` and `timeline`. None if there is none.
        frames_before: Frames of that video in the file, before the first clip.
        audio_scales: Factors of the audio attention's output on the model's device, float32: ``P+1`` for P
            people and the background, ``1`` for one person; None: all are 1.
    """

    outline: JobOutline
    spans: list[ClipSpan]
    color_correction: float
    seed: int
    image: torch.Tensor
    source: FrameSource
    person_masks: torch.Tensor | None
    prompts: PromptSchedule
    negative_prompt: str
    text: dict[str, torch.Tensor]
    timeline: AudioTimeline
    soundtrack: Sound
    speech: SpeechReport | None
    previous: torch.Tensor | None = None
    frames_before: int = 0
    audio_scales: torch.Tensor | None = None

    @property
    def settings(self) -> ResolvedSettings:
        """Settings of the request, completed by its preset."""
        return self.outline.settings

    @property
    def frames(self) -> int:
        """Number of frames of the video file."""
        return self.frames_before + sum(span.new_frames for span in self.spans)

    def first_new_frame(self, span: ClipSpan) -> int:
        """Return the index of a clip's first new frame, from 0 for the job's first one."""
        return span.start + span.skip - self.spans[0].skip

    def text_of(self, positive: bool, span: ClipSpan) -> torch.Tensor:
        """Return the projected prompt of a clip, or the negative prompt."""
        if not positive:
            return self.text[self.negative_prompt]
        return self.text[self.prompts.text_at(span.index, self.first_new_frame(span) / FPS)]


def outline_job(
    request: GenerationRequest,
    preset: Preset,
    audio_layers: Sequence[str],
    monitor: Monitor,
    engine: SpeechEngine | None = None,
    separator: VoiceSeparator | None = None,
    device: torch.device | None = None,
) -> JobOutline:
    """Complete the settings of a job, speak its text, and choose its model.

    Args:
        request: The job.
        preset: Supplies the settings that the request does not set.
        audio_layers: Names of the audio layers in the weights, the default first.
        monitor: Times the stages.
        engine: Text-to-speech engine; None uses the embedded one.
        separator: Isolates voices; None leaves them as they are.
        device: Device of the separator; None is the CPU.

    Raises:
        InvalidInput: A person is outside the cropped image, the label does not fit, the engine cannot speak
            the text, the weights lack the model or a separator, or the video is too short to be continued. No
            model of the video has run.
        Cancelled: The job was cancelled.
    """
    settings = resolve_settings(request, preset)
    if request.label is not None:
        request.label.drawable().check_size(settings.width, settings.height)
    if separator is not None:
        check_separator(request, separator)
    masks = _mask_people(request, settings.height, settings.width)
    with monitor.stage("speech") if request.speech is not None else nullcontext():
        voices, turns, spoken = gather_voices(request, engine, monitor.check_cancelled)
    sound = file_sound([voice for voice in voices if voice is not None], turns)
    kind = choose_model(request, expected_seconds(request, sound.seconds), audio_layers)
    check_motion_frames(request, kind)
    found: list[str] = []
    if separator is not None and may_isolate(request, separator):
        with monitor.stage("isolate"):
            place = device or torch.device("cpu")
            voices, found = isolate_voices(request, voices, separator, place, monitor.check_cancelled)
    return JobOutline(
        preset=preset,
        settings=settings,
        model=kind,
        motion_frames=kind.motion_frames_of(request),
        strength=request.strength if request.dub == "exact" else None,
        person_masks=masks,
        voices=voices,
        turns=turns,
        sound=sound,
        speech=spoken,
        notices=tuple(found),
    )


def prepare_job(
    request: GenerationRequest, outline: JobOutline, encoders: Encoders, monitor: Monitor
) -> JobConditions:
    """Encode what all clips share: text, image and audio (docs/MODEL.md, section 4).

    Args:
        request: The job.
        outline: Its settings and voices.
        encoders: The networks.
        monitor: Times the stages.

    Raises:
        InvalidInput: The video's scenes cannot be found, because it cannot be decoded.
        Cancelled: The job was cancelled.
    """
    device = encoders.transformer.device
    settings, masks = outline.settings, outline.person_masks
    text = _encode_prompts(request, settings.branches, encoders, monitor)
    seconds = padded_seconds(request, outline.sound.seconds)
    continued = request.continue_from
    lead = 0 if continued is None else outline.motion_frames
    embeddings = _encode_voices(outline, seconds, lead_track(request, lead), encoders, monitor)
    features = embeddings.shape[1] - lead
    frames = count_frames(seconds, features, limit_seconds(request))
    if request.scenes:
        with monitor.stage("scenes"):
            find_scenes(request, frames, monitor.check_cancelled)
    with monitor.stage("image"):
        size = settings.height, settings.width
        if continued is None or request.image is not None:
            picture = request.picture
        else:
            picture = last_picture(continued)
        image = prepare_image(picture, *size).to(device)
        previous = None
        if continued is not None:
            previous = last_frames(continued, lead, *size, monitor.check_cancelled).to(device)
    before = continued.frames_at(FPS) if continued is not None and request.join else 0
    spans = plan_clips(request, frames, features, outline.motion_frames)
    return JobConditions(
        outline=outline,
        spans=spans,
        color_correction=outline.model.color_correction_of(request, outline.preset, len(spans)),
        seed=secrets.randbelow(RANDOM_SEEDS) if request.seed == -1 else request.seed,
        image=image,
        source=_frame_source(request, image),
        person_masks=None if masks is None else masks.to(device),
        prompts=request.prompts,
        negative_prompt=request.negative_prompt,
        text=text,
        timeline=AudioTimeline(embeddings, request.frames_per_clip, encoders.transformer.config.audio_window),
        soundtrack=make_soundtrack(request, outline.sound, frames / FPS, before / FPS),
        speech=None if outline.speech is None else outline.speech.until(frames / FPS).later(before / FPS),
        previous=previous,
        frames_before=before,
        audio_scales=_audio_scales(request, device),
    )


def _audio_scales(request: GenerationRequest, device: torch.device) -> torch.Tensor | None:
    """Return ``JobConditions.audio_scales``."""
    scales = request.audio_scales
    if all(scale == 1 for scale in scales):
        return None
    background = [] if len(scales) == 1 else [1.0]
    return torch.tensor([*scales, *background], device=device)


def _frame_source(request: GenerationRequest, image: torch.Tensor) -> FrameSource:
    if request.video is None:
        return PictureSource(image)
    return VideoSource(request.video, image, request.video_timing, request.video_end)


def _mask_people(request: GenerationRequest, height: int, width: int) -> torch.Tensor | None:
    """Create the token masks ``P+1 S`` of P people; None for one person without a box.

    Raises:
        InvalidInput: A person has no token, so that nobody would speak with their voice.
    """
    if request.people == 1:
        return None
    image = request.picture
    named = request.named_people
    areas = request.masks
    masks = token_masks(person_masks(image.height, image.width, height, width, request.boxes, named, areas))
    for person, mask in zip(named, masks, strict=False):  # the last mask is the background
        if not mask.any():
            cropped = f"cropping to {width}x{height}"
            raise InvalidInput(
                f"{person} is outside the picture after {cropped}, or the box or mask is too small. "
                "Choose a size with the picture's aspect ratio, or a larger one.",
                "boxes",
            )
    return masks


def _encode_prompts(
    request: GenerationRequest, branches: tuple[Branch, ...], encoders: Encoders, monitor: Monitor
) -> dict[str, torch.Tensor]:
    """Encode and project the prompts that the branches use, each once."""
    prompts = list(request.prompts.texts)
    if not all(branch.text for branch in branches):
        prompts.append(request.negative_prompt)
    prompts = list(dict.fromkeys(prompts))
    transformer = encoders.transformer
    with monitor.stage("text"):
        with encoders.using("text_encoder"):
            contexts = encode_prompts(
                encoders.text_encoder, encoders.tokenizer, prompts, transformer.config.text_len
            )
        return dict(zip(prompts, map(transformer.project_text, contexts), strict=True))


def _encode_voices(
    outline: JobOutline, seconds: float, lead: np.ndarray, encoders: Encoders, monitor: Monitor
) -> torch.Tensor:
    """Encode the audio of all people, ``P F L C``.

    Args:
        outline: The voices.
        seconds: Length up to which silence is appended.
        lead: What is heard before the voices; see :func:`lead_track`.
        encoders: The networks.
        monitor: Times the stage.
    """
    embeddings = []
    before = len(lead) / SAMPLE_RATE
    seconds += before
    with monitor.stage("audio"):
        for track in arrange_model_tracks(outline.voices, outline.turns, lead):
            monitor.check_cancelled()
            missing = max(0, round(seconds * SAMPLE_RATE) - len(track))
            is_longer = seconds > outline.sound.seconds + before
            padded = np.pad(track, (0, missing)) if is_longer else track
            with encoders.using("audio_encoder"):
                embeddings.append(encode_audio(encoders.audio_encoder, padded))
    return torch.stack(embeddings)
