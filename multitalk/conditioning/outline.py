"""What is known about a job before its inputs are encoded."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..errors import InvalidInput
from ..media.mix import file_sound
from ..media.sound import Sound
from ..request.continued import check_motion_frames
from ..request.model_kinds import ModelKind, choose_model
from ..request.presets import Preset
from .isolation import check_separator, isolate_voices, may_isolate
from .length import expected_seconds
from .people import person_masks, token_masks
from .resolve import ResolvedSettings, resolve_settings
from .voices import gather_voices

if TYPE_CHECKING:
    from ..request.generation_request import GenerationRequest
    from ..speech.engine import SpeechEngine
    from ..speech.tracks import SpeechReport
    from .protocols import Monitor
    from .voice_separator import VoiceSeparator


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
