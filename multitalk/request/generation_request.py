"""GenerationRequest: the one validated description of a job.

Every front end builds one; nothing behind it checks again, except what only the loaded weights can tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import (
    InstanceOf,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ..errors import InvalidInput
from ..media.mix import check_mix
from ..media.picture import read_picture
from ..media.sound import Sound, read_sound
from ..runtime.limits import max_audio_seconds
from .checks import (
    PEOPLE,
    Range,
    check_boxes,
    check_choice,
    check_flag,
    check_names,
    check_size,
    check_text,
    read_json_fields,
    shown,
)
from .parts import CacheSpec, LoraSpec, Speech, Strict
from .presets import PRESETS, Preset
from .script import tagged_people

DEFAULT_PROMPT = "A person is talking, in a calm and natural way."
# The reference's default (docs/MODEL.md, section 5).
DEFAULT_NEGATIVE_PROMPT = (
    "bright tones, overexposed, static, blurred details, subtitles, style, works, paintings, images, static, "
    "overall gray, worst quality, low quality, JPEG compression residue, ugly, incomplete, extra fingers, "
    "poorly drawn hands, poorly drawn faces, deformed, disfigured, misshapen limbs, fused fingers, "
    "still picture, messy background, three legs, many people in the background, walking backwards"
)
MIN_SECONDS = 0.2
TURNS = {"together": "together", "in_order": "in_order", "para": "together", "add": "in_order"}
NUMBERS = {
    "steps": Range(1, 200, whole=True, optional=True),
    "shift": Range(0, 1000, above=True, optional=True),
    "text_guidance": Range(0, 1000, optional=True),
    "audio_guidance": Range(0, 1000, optional=True),
    "seed": Range(-1, 2**63 - 1, whole=True),
    "teacache": Range(0, optional=True),
    "color_correction": Range(0, 1),
    "frames_per_clip": Range(5, 1001, whole=True, step=4),
    "motion_frames": Range(1, 997, whole=True, step=4),
    "max_seconds": Range(0.04, optional=True),
}


class GenerationRequest(Strict):
    """A job, checked: a picture, who says what, and how the video is to be made.

    Give it plain values (paths, bytes, numbers, lists, or what JSON has); the attributes are what it makes
    of them.

    Attributes:
        image: RGB, upright. Given as a path, a file's bytes or a PIL image.
        audio: Sound by person, "person1" and "person2". Given as one sound or by person: a path, a file's
            bytes, or (samples, rate); a video's sound track counts.
        speech: Words for the people who have no sound. Given as a dict, or as the text alone.
        turns: "together" or "in_order" (also "para", "add").
        boxes: Where each person is, (x0, y0, x1, y1) in pixels of the image; without one: a half.
        prompt: What the video shows.
        negative_prompt: What it should not look like.
        preset: A name of ``multitalk.request.presets``; None: what the weights are best at.
        size: "480p", "720p" (the image's aspect ratio), "480p-bucket", "720p-bucket" (the reference's table),
            "160p" (what the embedded demo weights are trained at), or (height, width), multiples of 16.
            Where a request names none, the preset's counts.
        steps: Overrides the preset's, as do shift, text_guidance and audio_guidance.
        shift: Of the timesteps.
        text_guidance: Scale; 1 is off.
        audio_guidance: Scale; 1 is off.
        seed: -1 draws one.
        teacache: Threshold; None computes every step.
        cache: One of diffusers' caches, instead of TeaCache. Given as a dict, or as its name alone.
        apg: Adaptive projected guidance.
        color_correction: 0 to 1, towards the image's colours.
        frames_per_clip: 4n+1.
        motion_frames: Frames a clip shares with the one before, 4n+1.
        max_seconds: Where the video and its sound end; None: with the sound.
        lora: LoRAs on top of the preset's.

    Raises:
        pydantic.ValidationError: ``checked`` raises one sentence about it instead.
    """

    image: InstanceOf[Image.Image]
    audio: dict[str, InstanceOf[Sound]] | None = None
    speech: Speech | None = None
    turns: str = "together"
    boxes: dict[str, tuple[float, float, float, float]] | None = None
    prompt: str = DEFAULT_PROMPT
    negative_prompt: str = DEFAULT_NEGATIVE_PROMPT
    preset: str | None = None
    size: str | tuple[int, int] = "480p"
    steps: int | None = None
    shift: float | None = None
    text_guidance: float | None = None
    audio_guidance: float | None = None
    seed: int = 42
    teacache: float | None = None
    cache: CacheSpec | None = None
    apg: bool = False
    color_correction: float = 0.0
    frames_per_clip: int = 81
    motion_frames: int = 25
    max_seconds: float | None = None
    lora: tuple[LoraSpec, ...] = ()

    def size_with(self, preset: Preset) -> str | tuple[int, int]:
        """The size that was asked for, else the preset's."""
        return self.size if "size" in self.model_fields_set else preset.size

    @property
    def people(self) -> int:
        """How many people speak, 1 or 2."""
        return 2 if "person2" in (self.audio or {}) or "person2" in self.spoken else 1

    @property
    def spoken(self) -> tuple[str, ...]:
        """The people whose words come from ``speech``: those it tags, else the first one without a sound."""
        if self.speech is None:
            return ()
        tagged = tagged_people(self.speech.text)
        return tagged or (PEOPLE[1] if PEOPLE[0] in (self.audio or {}) else PEOPLE[0],)

    @field_validator("image", mode="before")
    @classmethod
    def _read_image(cls, value: Any) -> Image.Image:
        return read_picture(value)

    @field_validator("audio", mode="before")
    @classmethod
    def _read_audio(cls, value: Any) -> dict[str, Sound] | None:
        if value is None:
            return None
        if not isinstance(value, Mapping):
            return {PEOPLE[0]: _usable(read_sound(value, "audio"), "audio")}
        check_names(value, PEOPLE, "person of audio")
        given = {person: value[person] for person in PEOPLE if value.get(person) is not None}
        if not given:
            raise InvalidInput("audio names nobody, but must have a sound for person1.", "audio")
        fields = {person: f"audio.{person}" for person in given}
        return {p: _usable(read_sound(source, fields[p]), fields[p]) for p, source in given.items()}

    @field_validator("speech", mode="before")
    @classmethod
    def _accept_speech(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"text": value}
        if value is not None and not isinstance(value, (Mapping, Speech)):
            raise InvalidInput(f'speech is {shown(value)}, but must be {{"text": "..."}}.', "speech")
        return value

    @field_validator("turns", mode="before")
    @classmethod
    def _check_turns(cls, value: Any) -> str:
        return TURNS[check_choice(value, "turns", TURNS)]

    @field_validator("boxes", mode="before")
    @classmethod
    def _check_boxes(cls, value: Any, info: ValidationInfo) -> Any:
        image = info.data.get("image")
        return check_boxes(value, None if image is None else image.size)

    @field_validator("prompt", "negative_prompt", mode="before")
    @classmethod
    def _check_prompts(cls, value: Any, info: ValidationInfo) -> str:
        return check_text(value, str(info.field_name))

    @field_validator("preset", mode="before")
    @classmethod
    def _check_preset(cls, value: Any) -> str | None:
        return None if value is None else check_choice(value, "preset", PRESETS)

    @field_validator("size", mode="before")
    @classmethod
    def _check_size(cls, value: Any) -> str | tuple[int, int]:
        return check_size(value)

    @field_validator(*NUMBERS, mode="before")
    @classmethod
    def _check_number(cls, value: Any, info: ValidationInfo) -> Any:
        return NUMBERS[str(info.field_name)].check(value, str(info.field_name))

    @field_validator("cache", mode="before")
    @classmethod
    def _accept_cache(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if value is not None and not isinstance(value, (Mapping, CacheSpec)):
            raise InvalidInput(f'cache is {shown(value)}, but must be {{"name": "first_block"}}.', "cache")
        return value

    @field_validator("apg", mode="before")
    @classmethod
    def _check_apg(cls, value: Any) -> bool:
        return check_flag(value, "apg")

    @field_validator("lora", mode="before")
    @classmethod
    def _accept_lora(cls, value: Any) -> Any:
        entries = value if isinstance(value, (list, tuple)) else [value]
        if not all(isinstance(entry, (str, Path, Mapping, LoraSpec)) for entry in entries):
            example = '[{"path": "file.safetensors", "scale": 1.0}]'
            raise InvalidInput(f"lora is {shown(value)}, but must be a list like {example}.", "lora")
        return tuple({"path": entry} if isinstance(entry, (str, Path)) else entry for entry in entries)

    @model_validator(mode="after")
    def _check_together(self) -> GenerationRequest:
        if self.motion_frames >= self.frames_per_clip:
            raise InvalidInput(
                f"motion_frames is {self.motion_frames}, but must be below frames_per_clip "
                f"({self.frames_per_clip}), so that a clip adds frames.",
                "motion_frames",
            )
        if self.cache is not None and self.teacache is not None:
            raise InvalidInput("cache and teacache both skip blocks: give one of them.", "cache")
        self._check_people()
        self._check_sound()
        return self

    def _check_people(self) -> None:
        sounds = self.audio or {}
        if not sounds and self.speech is None:
            raise InvalidInput("audio is missing: give a sound in audio, or words in speech.", "audio")
        if both := [person for person in self.spoken if person in sounds]:
            raise InvalidInput(
                f"speech has words for {both[0]}, who has a sound in audio already: give each one of them.",
                "speech",
            )
        present = {*sounds, *self.spoken}
        if PEOPLE[0] not in present:
            field = "audio" if sounds else "speech"
            raise InvalidInput(f"{field} has person2 without person1: one person alone is person1.", field)
        for person in self.boxes or {}:
            if person not in present:
                raise InvalidInput(f"boxes has {person}, who neither has a sound nor words.", "boxes")

    def _check_sound(self) -> None:
        sounds = self.audio or {}
        if not self.spoken and all(sound.is_silent() for sound in sounds.values()):
            raise InvalidInput("audio is silent: nobody in it says anything.", "audio")
        total = sum(sound.seconds for sound in sounds.values())
        limit = max_audio_seconds()
        if self.turns == "in_order" and total > limit:
            raise InvalidInput(
                f"audio is {total:.1f} seconds long in all, but at most {limit:g} are accepted "
                "(MAX_AUDIO_SECONDS).",
                "audio",
            )
        if sounds:
            check_mix(list(sounds.values()), self.turns)

    @classmethod
    def from_json_file(cls, path: str | Path) -> GenerationRequest:
        """A request from a JSON file with the fields' names.

        Relative paths in it are looked for beside the file first, then in the working directory.

        Raises:
            InvalidInput: The file can't be read or isn't a JSON object.
            pydantic.ValidationError: Its content can't be used.
        """
        return cls.model_validate(read_json_fields(path))


def _usable(sound: Sound, field: str) -> Sound:
    """The sound, where it is long enough, and where the model hears something if people do."""
    if sound.seconds < MIN_SECONDS:
        raise InvalidInput(
            f"{field} is {sound.seconds:.3f} seconds long, but must have at least {MIN_SECONDS} seconds.",
            field,
        )
    if sound.channels > 1 and not sound.is_silent() and Sound(sound.mono()[:, None], sound.rate).is_silent():
        raise InvalidInput(
            f"{field} has {sound.channels} channels that cancel each other out when they are mixed to one, "
            "which is what the model hears: give one of them.",
            field,
        )
    return sound
