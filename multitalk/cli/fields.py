"""The options of ``generate`` that describe the video, as fields of a request."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import InvalidInput
from ..request.presets import PRESETS

# options whose values are those of fields
PLAIN = ("image", "continue_from", "join", "video", "scenes", "preset", "prompt", "label", "mark")
BYTE_ORDER_MARK = "\ufeff"  # of a file whose text is passed as an option


def add_request_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that :func:`request_fields` reads."""
    add = parser.add_argument
    add("--image", metavar="FILE", help="image of one or two people")
    add("--video", metavar="FILE", help="video to dub, instead of an image (needs weights of InfiniteTalk)")
    add(
        "--scenes",
        action=argparse.BooleanOptionalAction,
        help="find the cuts of the video and start a clip at each",
    )
    add("--continue-from", metavar="FILE", help="video to continue, instead of an image, or beside one")
    add(
        "--join",
        action=argparse.BooleanOptionalAction,
        help="with --continue-from: start the file with that video (default), or write the new part alone",
    )
    add("--audio", metavar="FILE", help="person 1's audio: an audio file, or a video file with sound")
    add("--audio2", metavar="FILE", help="person 2's audio")
    add("--say", metavar="TEXT", help='text to speak instead of audio; for two people "(s1) Hello. (s2) Hi!"')
    add("--voice", metavar="NAME", help="person 1's voice; mixed voices: af_heart:0.6+af_bella:0.4")
    add("--voice2", metavar="NAME", help="person 2's voice")
    add("--language", metavar="CODE", help="speech language code (default: a, American English)")
    add("--speed", metavar="NUMBER", type=float, help="speech speed (default: 1)")
    add("--boxes", metavar="JSON", help='where people are: {"person1": [x0, y0, x1, y1], ...} in pixels')
    add(
        "--preset",
        metavar="NAME",
        help=f"{', '.join(PRESETS)} (default: that of the weights, or fast on a slow device)",
    )
    add("--prompt", metavar="TEXT", help="description of the video")
    add(
        "--mark",
        action=argparse.BooleanOptionalAction,
        help="say in the file that it was made by AI, signed (default: yes, unless MARK=off)",
    )
    add(
        "--label",
        metavar="TEXT",
        nargs="?",
        const=True,
        help="show a text in a corner of the video (without TEXT: AI-generated)",
    )
    add(
        "--set",
        metavar="FIELD=VALUE",
        action="append",
        default=[],
        help="set any field of the request; the value is JSON or plain text (repeatable)",
    )
    add("--request", metavar="JOB.json", help="JSON file with request fields; other options override it")


def request_fields(args: argparse.Namespace) -> dict[str, Any]:
    """Combine the options of ``generate`` with the file of ``--request``; options take precedence.

    Raises:
        InvalidInput: An option or the file cannot be read.
    """
    from ..request.aliases import override
    from ..request.build import read_json_fields

    fields: dict[str, Any] = read_json_fields(args.request) if args.request else {}
    for name in PLAIN:
        if getattr(args, name) is not None:
            fields[name] = getattr(args, name)
    for name, other in (("image", "video"), ("video", "image")):
        if getattr(args, name) is not None and getattr(args, other) is None:
            fields.pop(other, None)  # of the file: a job has one of them
    if args.audio2 is not None:
        first = args.audio if args.audio is not None else _first_audio(fields.get("audio"))
        fields["audio"] = {"person1": first, "person2": args.audio2}
    elif args.audio is not None:
        fields["audio"] = args.audio
    if speech := _speech_fields(args, fields.get("speech")):
        fields["speech"] = speech
    if args.boxes is not None:
        try:
            fields["boxes"] = json.loads(args.boxes.removeprefix(BYTE_ORDER_MARK))
        except (ValueError, RecursionError):
            example = '{"person1": [x0, y0, x1, y1], ...}'
            raise InvalidInput(
                f"--boxes must be JSON such as {example}, not {args.boxes[:80]!r}.", "boxes"
            ) from None
    settings: dict[str, Any] = {}
    for setting in args.set:
        name, equals, text = setting.partition("=")
        if not equals or not name.strip():
            raise InvalidInput(f"--set must be FIELD=VALUE, such as --set steps=8, not {setting[:80]!r}.")
        settings[name.strip()] = _setting_value(name.strip(), text)
    return override(fields, settings)


@contextmanager
def options_in_errors(args: argparse.Namespace) -> Iterator[None]:
    """Enclose work on the request: an error about a field names the option that set it.

    Raises:
        InvalidInput: The error.
    """
    from ..request.aliases import ALIASES
    from ..request.caller_names import with_names

    options = {name: f"--{name.replace('_', '-')}" for name in (*PLAIN, "boxes")}
    names = {name: option for name, option in options.items() if getattr(args, name) is not None}
    if args.audio2 is not None:
        names["audio.person2"] = "--audio2"
    if args.audio is not None:
        names["audio.person1"] = "--audio"
        if args.audio2 is None:
            names["audio"] = "--audio"
    for setting in args.set:
        name = setting.partition("=")[0].strip()
        names[ALIASES.get(name, name)] = f"--set {name}"
    try:
        yield
    except InvalidInput as error:
        raise with_names(error, names, separator=" ") from error


def check_complete(fields: dict[str, Any]) -> None:
    """Check that there are an image or video and a voice, with an error that names the options.

    Raises:
        InvalidInput: One of them is missing.
    """
    if all(fields.get(name) is None for name in ("image", "video", "continue_from")):
        raise InvalidInput("the image is missing. Add --image FILE, or --video FILE.", "image")
    if fields.get("audio") is None and fields.get("speech") is None:
        raise InvalidInput("the audio is missing. Add --audio FILE, or text with --say TEXT.", "audio")


def _speech_fields(args: argparse.Namespace, request_speech: Any) -> dict[str, Any] | None:
    """Combine the speech options with the request file's field ``speech``; None without speech options."""
    options = {"text": args.say, "language": args.language, "speed": args.speed}
    speech = {name: value for name, value in options.items() if value is not None}
    voices = {person: voice for person, voice in (("person1", args.voice), ("person2", args.voice2)) if voice}
    if not speech and not voices:
        return None
    if isinstance(request_speech, dict):
        base = dict(request_speech)
    else:
        base = {} if request_speech is None else {"text": request_speech}
    if args.say is None and not base:
        raise InvalidInput("--voice, --voice2, --language and --speed need a text. Add --say TEXT.", "speech")
    base_voices = base.get("voices")
    if voices and (base_voices is None or isinstance(base_voices, dict)):  # the request refuses other types
        speech["voices"] = {**(base_voices or {}), **voices}
    return {**base, **speech}


def _first_audio(audio: Any) -> Any:
    return audio.get("person1") if isinstance(audio, dict) else audio


def _setting_value(name: str, text: str) -> Any:
    """Parse a value as JSON, or return it as plain text if it is not JSON.

    A prompt is text even if it is JSON, except for a list of objects.
    """
    try:
        value = json.loads(text.removeprefix(BYTE_ORDER_MARK))
    except (ValueError, RecursionError):
        return text
    if (
        name == "prompt"
        and isinstance(value, list)
        and value
        and all(isinstance(each, dict) for each in value)
    ):
        return value
    return text if name in ("prompt", "negative_prompt") and not isinstance(value, str) else value
