"""What the options of ``generate`` say, as a request's fields."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..errors import InvalidInput


def request_fields(args: argparse.Namespace) -> dict[str, Any]:
    """The request's fields that the options of ``generate`` give, the file of ``--request`` beneath them."""
    from ..request.aliases import override
    from ..request.build import read_json_fields

    fields: dict[str, Any] = read_json_fields(args.request) if args.request else {}
    for name in ("image", "preset", "prompt"):
        if getattr(args, name) is not None:
            fields[name] = getattr(args, name)
    if args.audio2 is not None:
        first = args.audio if args.audio is not None else _first_sound(fields.get("audio"))
        fields["audio"] = {"person1": first, "person2": args.audio2}
    elif args.audio is not None:
        fields["audio"] = args.audio
    if speech := _speech_fields(args, fields.get("speech")):
        fields["speech"] = speech
    if args.boxes is not None:
        try:
            fields["boxes"] = json.loads(args.boxes)
        except ValueError:
            example = '{"person1": [x0, y0, x1, y1], ...}'
            raise InvalidInput(
                f"--boxes is {args.boxes[:80]!r}, but must be JSON such as {example}.", "boxes"
            ) from None
    settings: dict[str, Any] = {}
    for setting in args.set:
        name, equals, text = setting.partition("=")
        if not equals or not name.strip():
            raise InvalidInput(f"--set is {setting[:80]!r}, but must be FIELD=VALUE, such as --set steps=8.")
        settings[name.strip()] = _setting_value(name.strip(), text)
    return override(fields, settings)


def _speech_fields(args: argparse.Namespace, given: Any) -> dict[str, Any] | None:
    """The field ``speech`` that the options give, a request's own beneath them; None where they don't."""
    options = {"text": args.say, "language": args.language, "speed": args.speed}
    speech = {name: value for name, value in options.items() if value is not None}
    voices = {person: voice for person, voice in (("person1", args.voice), ("person2", args.voice2)) if voice}
    if not speech and not voices:
        return None
    beneath = dict(given) if isinstance(given, dict) else {} if given is None else {"text": given}
    if args.say is None and not beneath:
        raise InvalidInput(
            "--voice, --voice2, --language and --speed are about words: add --say TEXT.", "speech"
        )
    named = beneath.get("voices")
    if voices and (named is None or isinstance(named, dict)):  # else the request says what is wrong with it
        speech["voices"] = {**(named or {}), **voices}
    return {**beneath, **speech}


def _first_sound(audio: Any) -> Any:
    return audio.get("person1") if isinstance(audio, dict) else audio


def _setting_value(name: str, text: str) -> Any:
    """A setting's value: JSON, or the bare text where it isn't; a prompt is a text whatever it looks like."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if name in ("prompt", "negative_prompt") and not isinstance(value, str) else value
