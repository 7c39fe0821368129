"""The models that a job can use, and the choice of one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import InvalidInput

if TYPE_CHECKING:
    from .generation_request import GenerationRequest
    from .presets import Preset

# Seconds of video from which a model that does not drift is the default.
LONG_SECONDS = 30.0


@dataclass(frozen=True)
class ModelKind:
    """A model: audio layers on the common base, and a way of conditioning clips.

    Attributes:
        name: Its name in a request.
        title: Its name in errors.
        audio_layers: Name of the audio layers in the weights, by number of people; the last for more.
        motion_frames: Default of the request's field.
        corrected_clips: Number of clips from which the default of color_correction is 1 instead of 0.
        takes_video: Whether the input may be a video. Each clip is then conditioned on a frame of the input,
            so that long videos do not drift.
        license: License of its published weights (NOTICE).
    """

    name: str
    title: str
    audio_layers: Mapping[int, str]
    motion_frames: int
    corrected_clips: int
    takes_video: bool
    license: str = "Apache-2.0"

    def layers_for(self, people: int) -> str:
        """Return the name of the audio layers for a number of people."""
        return self.audio_layers[min(people, max(self.audio_layers))]

    def motion_frames_of(self, request: GenerationRequest) -> int:
        """Return the motion frames of a request; the default is reduced if the clips are shorter."""
        if request.motion_frames is not None:
            return request.motion_frames
        return self.default_motion_frames(request.frames_per_clip)

    def default_motion_frames(self, frames_per_clip: int) -> int:
        """Return the default of the motion frames for a length of the clips."""
        return min(self.motion_frames, frames_per_clip - 4)

    def color_correction_of(self, request: GenerationRequest, preset: Preset, clips: int) -> float:
        """Return the strength of a request's color correction."""
        if request.color_correction is not None:
            return request.color_correction
        return self.default_color_correction(
            preset, clips, request.video is not None, request.continue_from is not None
        )

    def default_color_correction(self, preset: Preset, clips: int, dubs: bool, continues: bool) -> float:
        """Return the default strength of the color correction; that for a video to dub is 0.

        Each clip returns to a frame of the video, and the first frame, to which colors would be corrected,
        may be dark.

        Args:
            preset: Preset of the job.
            clips: Number of clips.
            dubs: Whether the job dubs a video.
            continues: Whether the job continues a video, which counts as a clip.
        """
        if dubs or not preset.corrects_colors:
            return 0.0
        return float(clips + continues >= self.corrected_clips)


# A new model is an entry here, and its conditioning in multitalk/conditioning/conditioners.py.
MODELS: dict[str, ModelKind] = {
    kind.name: kind
    for kind in (
        ModelKind(
            name="multitalk",
            title="MultiTalk",
            audio_layers={1: "multitalk", 2: "multitalk"},
            motion_frames=25,
            corrected_clips=2,
            takes_video=False,
        ),
        ModelKind(
            name="infinitetalk",
            title="InfiniteTalk",
            audio_layers={1: "infinitetalk-single", 2: "infinitetalk-multi"},
            motion_frames=9,
            corrected_clips=1,
            takes_video=True,
        ),
    )
}


def choose_model(request: GenerationRequest, seconds: float, audio_layers: Sequence[str]) -> ModelKind:
    """Choose the model of a job.

    Args:
        request: The job.
        seconds: Length of its video.
        audio_layers: Names of the audio layers in the weights, the default first.

    Returns:
        The request's model. If it sets none: a model that takes a video for a video or for more than
        ``LONG_SECONDS``, else the default of the weights.

    Raises:
        InvalidInput: The weights do not contain the model.
    """
    if request.model is not None:
        kind = MODELS[request.model]
        if kind not in _present(request.people, audio_layers):
            raise InvalidInput(_missing(kind, request.people, audio_layers, "model"), "model")
        return kind
    default = default_model(request.people, seconds, audio_layers, request.video is not None)
    if default is None and request.video is not None:
        kind = next(kind for kind in MODELS.values() if kind.takes_video)
        raise InvalidInput(_missing(kind, request.people, audio_layers, "video"), "video")
    if default is None:
        raise InvalidInput(
            f"These weights have no audio layers for {_voices(request.people)} ({', '.join(audio_layers)}). "
            "Bake weights with another model, or change the number of voices.",
            "audio",
        )
    return default


def default_model(
    people: int, seconds: float, audio_layers: Sequence[str], dubs: bool = False
) -> ModelKind | None:
    """Return the model of a job that sets none; None if the weights contain none that fits.

    Args:
        people: Number of voices.
        seconds: Length of the video.
        audio_layers: Names of the audio layers in the weights, the default first.
        dubs: Whether the job dubs a video.
    """
    present = _present(people, audio_layers)
    for_video = [kind for kind in present if kind.takes_video]
    if dubs or (for_video and seconds > LONG_SECONDS):
        present = for_video
    return next(iter(present), None)


def takes_video(audio_layers: Collection[str]) -> bool:
    """Return whether a model with some of these audio layers takes a video."""
    return any(
        kind.takes_video and not set(kind.audio_layers.values()).isdisjoint(audio_layers)
        for kind in MODELS.values()
    )


def _present(people: int, audio_layers: Sequence[str]) -> list[ModelKind]:
    """List the models in the weights for a number of voices, in the order of their audio layers."""
    kinds = [kind for kind in MODELS.values() if kind.layers_for(people) in audio_layers]
    return sorted(kinds, key=lambda kind: audio_layers.index(kind.layers_for(people)))


def _missing(kind: ModelKind, people: int, audio_layers: Collection[str], field: str) -> str:
    start, instead = f"video needs {kind.title}, but these weights", "Use image instead"
    if field == "model":
        start, instead = f"model '{kind.name}' cannot be used: these weights", "Choose another model"
    return (
        f"{start} lack {kind.layers_for(people)}, its audio layers for {_voices(people)} (they have "
        f"{', '.join(audio_layers)}). {instead}, or weights with them (./download_models.sh)."
    )


def _voices(people: int) -> str:
    return "one voice" if people == 1 else "several voices"
