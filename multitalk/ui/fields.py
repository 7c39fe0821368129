"""From what the page's fields hold to a GenerationRequest, and from an error to the field it is about."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import InvalidInput, MultiTalkError
from ..media.sound import Sound
from ..request.generation_request import DEFAULT_PROMPT, GenerationRequest, Speech
from ..request.script import PEOPLE
from ..speech.speak import SpokenScript
from .options import IN_TURNS, ONE, OWN_SIZE, SCRIPT, TEXT, TOGETHER

NAMES = {"person1": "person 1", "person2": "person 2"}
# Fields that go into the request as they are, where they hold something.
PLAIN = (
    *("prompt", "negative_prompt", "seed", "steps", "shift", "text_guidance", "audio_guidance"),
    *("teacache", "cache", "color_correction", "frames_per_clip", "motion_frames", "max_seconds"),
)
# Empty number fields come as 0, which leaves these to the preset, or off.
EMPTY_AT_ZERO = ("steps", "shift", "text_guidance", "audio_guidance", "teacache", "max_seconds")
WHOLE = ("seed", "steps", "frames_per_clip", "motion_frames")

Form = Mapping[str, Any]
Say = Callable[[Speech], SpokenScript]


def people_of(form: Form) -> tuple[str, ...]:
    """Who speaks."""
    return PEOPLE[:1] if form["mode"] == ONE else PEOPLE


def speakers(form: Form) -> tuple[str, ...]:
    """Who of them has words instead of a sound."""
    if form["mode"] == SCRIPT:
        return PEOPLE
    return tuple(person for person in people_of(form) if form[f"{person}_source"] == TEXT)


def build_request(form: Form, say: Say) -> GenerationRequest:
    """The job that a form describes.

    Args:
        form: The fields' values by name.
        say: Speaks; needed where two people say their words at the same time.

    Raises:
        InvalidInput: Something is missing or can't be used; its ``field`` tells where.
    """
    if not form["picture"]:
        raise InvalidInput("Add a picture first: of the face, or the two faces, that will speak.", "image")
    fields: dict[str, Any] = {"image": form["picture"], "turns": "together"}
    if form["mode"] == IN_TURNS:
        fields["turns"] = "in_order"
    fields |= _voices(form, say)
    if form["mode"] != ONE and form.get("boxes"):
        fields["boxes"] = form["boxes"]
    fields |= settings(form)
    try:
        return GenerationRequest.checked(fields)
    except InvalidInput as error:
        raise readable(error, form) from None


def settings(form: Form) -> dict[str, Any]:
    """The request's fields beside picture and voices."""
    fields: dict[str, Any] = {}
    for name in PLAIN:
        value = form.get(name)
        if value not in (None, "") and not (value == 0 and name in EMPTY_AT_ZERO):
            fields[name] = int(value) if name in WHOLE and float(value).is_integer() else value
    if form.get("apg"):
        fields["apg"] = True
    if form.get("preset"):
        fields["preset"] = form["preset"]
    if size := size_of(form):
        fields["size"] = size
    return fields


def size_of(form: Form) -> Any:
    """The request's ``size``, unchecked; None where the preset's is taken."""
    if form.get("size") == OWN_SIZE:
        return [_whole(form.get("height")), _whole(form.get("width"))]
    return form.get("size") or None


def speech_for(form: Form, text: str, people: tuple[str, ...]) -> Speech:
    """Words with the voices and languages that the form has for those people.

    Raises:
        InvalidInput: There are no words, or a field of it can't be used.
    """
    speech: dict[str, Any] = {"text": text}
    speech["voices"] = {p: form[f"{p}_voice"] for p in people if form.get(f"{p}_voice")}
    speech["language"] = {p: form[f"{p}_language"] for p in people if form.get(f"{p}_language")}
    for name in ("speed", "pause"):
        if form.get(name) is not None:
            speech[name] = form[name]
    return Speech.checked({key: value for key, value in speech.items() if value != {}})


def words_of(form: Form) -> tuple[str, tuple[str, ...]]:
    """The words as one script, and who says them.

    Raises:
        InvalidInput: Somebody has none.
    """
    who = speakers(form)
    if form["mode"] == SCRIPT:
        if not (form["script"] or "").strip():
            raise InvalidInput("Write what the two say: (s1) for person 1, (s2) for person 2.", "script")
        return form["script"], who
    texts = {person: (form[f"{person}_text"] or "").strip() for person in who}
    for person, text in texts.items():
        if not text:
            raise InvalidInput(f"Type what {NAMES[person]} says, or give a sound.", person)
    if len(who) == 2:
        return f"(s1) {texts['person1']}\n(s2) {texts['person2']}", who
    return "".join(texts.values()), who


def said_apart(form: Form) -> dict[str, Speech]:
    """What each of two people says at the same time as the other; empty where they don't.

    A script gives people turns, so these are spoken one by one, and the request has them as sounds.
    """
    if form["mode"] != TOGETHER or len(speakers(form)) < 2:
        return {}
    return {person: speech_for(form, form[f"{person}_text"], (person,)) for person in PEOPLE}


def _voices(form: Form, say: Say) -> dict[str, Any]:
    """The request's audio and speech."""
    audio: dict[str, str | Sound] = {}
    who = speakers(form)
    for person in people_of(form):
        if person not in who:
            if not form[f"{person}_sound"]:
                message = f"Add a sound for {NAMES[person]}, or choose words to say."
                raise InvalidInput(message, person)
            audio[person] = form[f"{person}_sound"]
    fields: dict[str, Any] = {}
    if who:
        text, who = words_of(form)
        apart = said_apart(form)
        for person, speech in apart.items():
            audio[person] = next(iter(say(speech).tracks.values()))
        if not apart:
            fields["speech"] = speech_for(form, text, who)
    return fields | ({"audio": audio} if audio else {})


def title_of(form: Form) -> str:
    """What a video is called after: its words, else what its prompt says, else its sound."""
    if speakers(form):
        return words_of(form)[0]
    prompt = (form.get("prompt") or "").strip()
    if prompt and prompt != DEFAULT_PROMPT:
        return prompt
    return " and ".join(Path(form[f"{person}_sound"]).stem for person in people_of(form))


def readable(error: MultiTalkError, form: Form) -> InvalidInput:
    """An error without the server's paths: a file is called by its own name."""
    message = str(error)
    for value in form.values():
        if isinstance(value, str) and value.startswith("/"):
            message = message.replace(repr(value), Path(value).name).replace(value, Path(value).name)
    message = re.sub(r"(?<![\w/])/(?:[\w.-]+/)+", "", message)
    message = re.sub(r"^image \(([^)]*)\)", r"The picture \1", message)
    message = re.sub(r"^audio\.person([12]) \(([^)]*)\)", r"The sound of person \1, \2,", message)
    return InvalidInput(message, error.field if isinstance(error, InvalidInput) else None)


def place_of(error: InvalidInput, form: Form) -> str:
    """Which of the page's places an error belongs to: picture, person1, person2, script or settings."""
    field = error.field or ""
    if field in ("image", "boxes") or field.startswith("boxes"):
        return "picture"
    for person in PEOPLE:
        if field == person or field.endswith(f".{person}"):
            return person
    if field == "audio":
        return "person1"
    if field in ("speech", "script") or field.startswith("speech"):
        if form["mode"] == SCRIPT:
            return "script"
        who = speakers(form)
        return who[0] if who else "person1"
    return "settings"


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value
