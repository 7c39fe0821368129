"""Encoding of what all clips of a job share, once per job."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..media.sound import Sound
from ..models.constants import FPS
from ..request.prompts import PromptSchedule
from ..sampling.guidance import Branch
from .audio import SAMPLE_RATE, encode_audio
from .continued import last_frames, last_picture
from .image import prepare_image
from .length import limit_seconds, padded_seconds
from .outline import JobOutline
from .resolve import ResolvedSettings
from .scenes import find_scenes, plan_clips
from .source import FrameSource, PictureSource, VideoSource
from .text import encode_prompts
from .timeline import AudioTimeline, ClipSpan, count_frames
from .voices import arrange_model_tracks, lead_track, make_soundtrack

if TYPE_CHECKING:
    from ..request.generation_request import GenerationRequest
    from ..speech.tracks import SpeechReport
    from .protocols import Encoders, Monitor

RANDOM_SEEDS = 2**32  # a random seed is below this


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
