"""Build a GenerationRequest from the form's fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import InvalidInput
from ..media.sound import Sound
from ..request.build import build_request
from ..request.generation_request import DEFAULT_PROMPT, GenerationRequest
from ..request.parts import Speech
from ..request.script import PAIR, PEOPLE, check_dialogue, dialogue_people, tag_names
from ..speech.speak import SpokenScript
from .loras import FindLora, chosen_loras
from .options import CUSTOM_SIZE, IN_TURNS, ISOLATION, ONE, SCRIPT, TAYLORSEER, TEACACHE, TEXT, TOGETHER

NAMES = {person: f"person {person[-1]}" for person in PEOPLE}
# Fields that are copied to the request unless they are empty.
PLAIN = (
    *("prompt", "negative_prompt", "seed", "steps", "shift", "text_guidance", "audio_guidance"),
    *("frames_per_clip", "motion_frames", "max_seconds", "model", "vae"),
)
# Gradio returns 0 for an empty number field: the default of the preset or the model, or off.
EMPTY_AT_ZERO = ("steps", "shift", "text_guidance", "audio_guidance", "max_seconds", "motion_frames")
DUBBING = ("video", "dub", "length", "source_volume", "scenes")
CONTINUING = ("continue_from", "join")
WHOLE = ("seed", "steps", "frames_per_clip", "motion_frames")

TEACACHE_THRESHOLD = 0.2  # mild

Form = Mapping[str, Any]
Synthesize = Callable[[Speech], SpokenScript]


def each(*names: str, people: tuple[str, ...] = PAIR) -> tuple[str, ...]:
    """Return the form's fields of people with these names."""
    return tuple(f"{person}_{name}" for person in people for name in names)


def speakers(form: Form) -> tuple[str, ...]:
    """Return the people who speak."""
    if form["mode"] == SCRIPT:
        return dialogue_people(form["script"] or "")
    return PAIR[:1] if form["mode"] == ONE else PAIR


def text_speakers(form: Form) -> tuple[str, ...]:
    """Return the people whose audio is made from text."""
    if form["mode"] == SCRIPT:
        return speakers(form)
    return tuple(person for person in speakers(form) if form[f"{person}_source"] == TEXT)


def request_from_form(form: Form, synthesize: Synthesize, find_lora: FindLora) -> GenerationRequest:
    """Build the request that a form describes.

    Args:
        form: Values by field name.
        synthesize: Text to speech, used if two people speak text at the same time.
        find_lora: Returns the file of a LoRA of the weights folder by its name.

    Raises:
        InvalidInput: A field is missing or invalid; the error's ``field`` names it.
    """
    fields: dict[str, Any] = {"turns": "together", **dubbing_fields(form), **continuing_fields(form)}
    if not fields.keys() & {"video", "continue_from"}:
        if not form["picture"]:
            raise InvalidInput("image is missing. Add an image with one or more faces.", "image")
        fields["image"] = form["picture"]
    if form["mode"] == IN_TURNS:
        fields["turns"] = "in_order"
    fields |= _voice_fields(form, synthesize)
    if scales := {p: form[f"{p}_scale"] for p in speakers(form) if form.get(f"{p}_scale", 1) != 1}:
        fields["audio_scale"] = scales
    placed = form.get("boxes") or {}
    if boxes := {person: placed[person] for person in speakers(form) if person in placed}:
        fields["boxes"] = boxes
    if loras := chosen_loras(form.get("loras"), find_lora):
        fields["lora"] = loras
    return build_request(fields | setting_fields(form))


def dubbing_fields(form: Form) -> dict[str, Any]:
    """Return the request's fields of a form with a video to dub; empty without one."""
    if not form.get("video"):
        return {}
    return {name: form[name] for name in DUBBING if form.get(name) is not None}


def continuing_fields(form: Form) -> dict[str, Any]:
    """Return the request's fields of a form with a video to continue; empty without one."""
    if not form.get("continue_from"):
        return {}
    return {"continue_from": form["continue_from"], "join": form["join"]}


def setting_fields(form: Form) -> dict[str, Any]:
    """Return the request's fields apart from the image, the voices and the LoRAs."""
    fields: dict[str, Any] = {}
    for name in PLAIN:
        value = form.get(name)
        if value not in (None, "") and not (value == 0 and name in EMPTY_AT_ZERO):
            fields[name] = _whole(value) if name in WHOLE else value
    if correction := form.get("color_correction"):
        fields["color_correction"] = _number(correction)
    fields |= cache_fields(form)
    fields |= {name: True for name in ("apg", "preview") if form.get(name)}
    if (isolation := ISOLATION.get(form.get("isolate_voice") or "", "auto")) != "auto":
        fields["isolate_voice"] = isolation
    if form.get("mark") is not None:
        fields["mark"] = form["mark"]
    if form.get("label"):
        fields["label"] = {"text": form.get("label_text") or "", "corner": form["label_corner"]}
    if form.get("preset"):
        fields["preset"] = form["preset"]
    if size := size_of(form):
        fields["size"] = size
    return fields


def cache_fields(form: Form) -> dict[str, Any]:
    """Return the request's ``teacache`` or ``cache``."""
    name, threshold = form.get("cache"), form.get("threshold")
    if not name:
        return {}
    if name == TEACACHE:
        return {"teacache": threshold or TEACACHE_THRESHOLD}
    if not threshold or name == TAYLORSEER:  # which has none
        return {"cache": {"name": name}}
    return {"cache": {"name": name, "threshold": threshold}}


def size_of(form: Form) -> Any:
    """Return the request's ``size``, unchecked; None for the preset's."""
    if form.get("size") == CUSTOM_SIZE:
        return [_whole(form.get("height")), _whole(form.get("width"))]
    return form.get("size") or None


def speech_of(form: Form, text: str, people: tuple[str, ...]) -> Speech:
    """Return a text with the form's voices and languages of these people.

    Raises:
        InvalidInput: The text has no words, or a field is invalid.
    """
    speech: dict[str, Any] = {"text": text}
    speech["voices"] = {p: form[f"{p}_voice"] for p in people if form.get(f"{p}_voice")}
    speech["language"] = {p: form[f"{p}_language"] for p in people if form.get(f"{p}_language")}
    for name in ("speed", "pause"):
        if form.get(name) is not None:
            speech[name] = form[name]
    return Speech.checked({key: value for key, value in speech.items() if value != {}})


def script_of(form: Form) -> tuple[str, tuple[str, ...]]:
    """Return the form's text as one script, and its speakers.

    Raises:
        InvalidInput: A person's text is missing, or a dialogue has fewer than two speakers.
    """
    people = text_speakers(form)
    if form["mode"] == SCRIPT:
        if not (form["script"] or "").strip():
            raise InvalidInput("Dialogue is missing. Enter text such as (s1) Hello. (s2) Hi!", "script")
        script = tag_names(form["script"])
        check_dialogue(script)
        return script, people
    texts = {person: (form[f"{person}_text"] or "").strip() for person in people}
    for person, text in texts.items():
        if not text:
            message = f"Text of {NAMES[person]} is missing. Enter text, or choose Audio."
            raise InvalidInput(message + _if_alone(form), person)
    if len(people) == 2:
        return f"(s1) {texts['person1']}\n(s2) {texts['person2']}", people
    return "".join(texts.values()), people


def separate_scripts(form: Form) -> dict[str, Speech]:
    """Return the text of each of two people who speak text at the same time, else an empty dict.

    A script gives people turns, so these texts are synthesized one by one and passed as audio.
    """
    if form["mode"] != TOGETHER or len(text_speakers(form)) < 2:
        return {}
    return {person: speech_of(form, form[f"{person}_text"], (person,)) for person in PAIR}


def _voice_fields(form: Form, synthesize: Synthesize) -> dict[str, Any]:
    """Return the request's ``audio`` and ``speech``."""
    audio: dict[str, str | Sound] = {}
    people = text_speakers(form)
    for person in speakers(form):
        if person not in people:
            if not form[f"{person}_sound"]:
                message = f"Audio of {NAMES[person]} is missing. Add audio, or choose Text to speech."
                raise InvalidInput(message + _if_alone(form), person)
            audio[person] = form[f"{person}_sound"]
    fields: dict[str, Any] = {}
    if people:
        text, people = script_of(form)
        scripts = separate_scripts(form)
        for person, speech in scripts.items():
            audio[person] = next(iter(synthesize(speech).tracks.values()))
        if not scripts:
            fields["speech"] = speech_of(form, text, people)
    return fields | ({"audio": audio} if audio else {})


def _if_alone(form: Form) -> str:
    return "" if form["mode"] == ONE else " If only one person speaks, choose One person."


def title_of(form: Form) -> str:
    """Return a video's title: what is said, and whether it dubs or continues another video."""
    if form.get("video"):
        return f"{_words_of(form) or Path(form['video']).stem} (dubbed)"
    title = _words_of(form) or " and ".join(Path(form[f"{person}_sound"]).stem for person in speakers(form))
    return f"{title} (continued)" if form.get("continue_from") else title


def _words_of(form: Form) -> str:
    """Return the spoken text, else the user's prompt; empty without both."""
    if text_speakers(form):
        return script_of(form)[0]
    prompt = (form.get("prompt") or "").strip()
    return "" if prompt == DEFAULT_PROMPT else prompt


def _number(text: Any) -> Any:
    """Return the number that is written in a field; other text is refused by the request."""
    try:
        return float(text)
    except (TypeError, ValueError):
        return text


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value
