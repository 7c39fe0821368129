"""Types of a request's fields: the value that each becomes, and how an input is read and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from PIL import Image
from pydantic import BeforeValidator, InstanceOf, ValidationInfo

from ..errors import InvalidInput
from ..media.picture import read_picture
from ..media.sound import Sound
from ..media.sound_reading import read_sound
from ..media.source_video import Video, read_video
from .checks import (
    check_audio_scale,
    check_boxes,
    check_choice,
    check_flag,
    check_mark,
    check_names,
    check_size,
    check_text,
)
from .masks import read_masks
from .model_kinds import MODELS
from .numbers import NUMBERS, shown
from .parts import CacheSpec, LabelSpec, LoraSpec, Speech, as_part
from .presets import PRESETS
from .prompts import check_prompt
from .script import PEOPLE
from .video_checks import CHOICES as VIDEO_CHOICES
from .voice_checks import check_audible

VAES = ("full", "fast")
TURNS = {"together": "together", "in_order": "in_order", "para": "together", "add": "in_order"}
CHOICES = {**VIDEO_CHOICES, "vae": VAES, "preset": PRESETS, "model": MODELS}


def _unless_none(read: Callable[[Any], Any]) -> BeforeValidator:
    return BeforeValidator(lambda value: None if value is None else read(value))


def _read_video(value: Any, info: ValidationInfo) -> Video | None:
    others = {name: info.data.get(name, False) for name in ("image", "continue_from")}  # False: invalid
    if value is None:
        if list(others.values()) == [None, None]:
            raise InvalidInput("image is missing. Provide an image in image, or a video in video.", "image")
        return None
    for name, other in others.items():
        if other:
            raise InvalidInput(f"{name} and video cannot be used together. Set one of them.", "video")
    return read_video(value)


def _read_audio(value: Any, info: ValidationInfo) -> dict[str, Sound] | None:
    if value is None:
        return None
    most = info.data.get("max_seconds")
    if not isinstance(value, Mapping):
        return {PEOPLE[0]: check_audible(read_sound(value, "audio", most), "audio")}
    check_names(value, PEOPLE, "person of audio")
    sources = {person: value[person] for person in PEOPLE if value.get(person) is not None}
    if not sources:
        raise InvalidInput("audio has no entry for person1.", "audio")
    fields = {person: f"audio.{person}" for person in sources}
    return {
        person: check_audible(read_sound(source, fields[person], most), fields[person])
        for person, source in sources.items()
    }


def _picture_size(info: ValidationInfo) -> tuple[int, int] | None:
    """Return (width, height) of the image or the video; None if it is invalid."""
    videos = [info.data.get(name) for name in ("video", "continue_from")]
    pictures = [info.data.get("image"), *(video.picture for video in videos if video is not None)]
    return next((picture.size for picture in pictures if picture is not None), None)


def _check_isolate_voice(value: Any) -> bool | str:
    if value != "auto" and not isinstance(value, bool):
        raise InvalidInput(
            f'isolate_voice must be "auto", true or false, not {shown(value)}.', "isolate_voice"
        )
    return value


def _check_choice(value: Any, info: ValidationInfo) -> str:
    return check_choice(value, str(info.field_name), CHOICES[str(info.field_name)])


def _read_label(value: Any) -> Any:
    if isinstance(value, bool):
        return {} if value else None
    return as_part(value, LabelSpec, "text", 'true, a text or {"text": "..."}')


def _read_loras(value: Any) -> Any:
    entries = value if isinstance(value, (list, tuple)) else [value]
    if not all(isinstance(entry, (str, Path, Mapping, LoraSpec)) for entry in entries):
        example = '[{"path": "file.safetensors", "scale": 1.0}]'
        raise InvalidInput(f"lora must be a list such as {example}, not {shown(value)}.", "lora")
    return tuple({"path": entry} if isinstance(entry, (str, Path)) else entry for entry in entries)


Picture = Annotated[InstanceOf[Image.Image] | None, _unless_none(read_picture)]
ContinuedVideo = Annotated[
    InstanceOf[Video] | None, _unless_none(lambda value: read_video(value, "continue_from"))
]
DubbedVideo = Annotated[InstanceOf[Video] | None, BeforeValidator(_read_video)]
Voices = Annotated[dict[str, InstanceOf[Sound]] | None, BeforeValidator(_read_audio)]
SpokenText = Annotated[
    Speech | None,
    BeforeValidator(lambda value: as_part(value, Speech, "text", 'text or {"text": "..."}')),
]
Turns = Annotated[str, BeforeValidator(lambda value: TURNS[check_choice(value, "turns", TURNS)])]
IsolateVoice = Annotated[bool | str, BeforeValidator(_check_isolate_voice)]
Boxes = Annotated[
    dict[str, tuple[float, float, float, float]] | None,
    BeforeValidator(lambda value, info: check_boxes(value, _picture_size(info))),
]
Masks = Annotated[
    dict[str, InstanceOf[np.ndarray]] | None,
    BeforeValidator(lambda value, info: read_masks(value, _picture_size(info))),
]
Prompt = Annotated[str, BeforeValidator(check_prompt)]
Text = Annotated[str, BeforeValidator(lambda value, info: check_text(value, str(info.field_name)))]
Choice = Annotated[str, BeforeValidator(_check_choice)]
OptionalChoice = Annotated[
    str | None, BeforeValidator(lambda value, info: None if value is None else _check_choice(value, info))
]
Size = Annotated[str | tuple[int, int], BeforeValidator(check_size)]
NUMBER = BeforeValidator(lambda value, info: NUMBERS[str(info.field_name)].check(value, str(info.field_name)))
AudioScale = Annotated[float | dict[str, float], BeforeValidator(check_audio_scale)]
Cache = Annotated[
    CacheSpec | None,
    BeforeValidator(lambda value: as_part(value, CacheSpec, "name", 'a name or {"name": "first_block"}')),
]
Flag = Annotated[bool, BeforeValidator(lambda value, info: check_flag(value, str(info.field_name)))]
Mark = Annotated[bool, BeforeValidator(check_mark)]
Label = Annotated[LabelSpec | None, BeforeValidator(_read_label)]
Loras = Annotated[tuple[LoraSpec, ...], BeforeValidator(_read_loras)]
