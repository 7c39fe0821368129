"""Text to speech: from a script to one audio track per speaker.

A new engine is one file and one entry in ``ENGINES``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInput
from ..media.sound import Sound
from ..request.script import PEOPLE, Turn, read_script
from ..runtime.environment import max_audio_seconds
from .engine import SpeechEngine, Utterance, check_available
from .espeak import EspeakEngine
from .kokoro import KokoroEngine
from .tracks import SpeechReport, arrange_turns, join_lines
from .writing import check_readable

if TYPE_CHECKING:
    from ..request.parts import Speech

logger = logging.getLogger(__name__)

# In order of preference. Each creates its engine from a weights folder and a device, or returns None if the
# folder or the installation lacks something.
ENGINES: tuple[Callable[[Path | None, Any], SpeechEngine | None], ...] = (
    KokoroEngine.from_folder,
    EspeakEngine.from_folder,
)
LINE_PAUSE = 0.25  # seconds between two lines of a turn


@dataclass(frozen=True)
class SpokenScript:
    """A synthesized script.

    Attributes:
        tracks: Mono audio by person, all of the same length; each is silent during the other's turns.
        report: The engine, the voices, and the times of turns and words.
    """

    tracks: dict[str, Sound]
    report: SpeechReport


def choose_engine(folder: Path | None = None, device: Any = "cpu") -> SpeechEngine:
    """Choose the best available engine, without loading its models.

    Args:
        folder: Baked weights; None: an engine that needs none.
        device: Device of the engine's network, if it has one.
    """
    engine = next(engine for create in ENGINES if (engine := create(folder, device)) is not None)
    logger.info("Speech engine: %s.", engine.name)
    return engine


def speak(
    speech: Speech,
    untagged: str = "person1",
    engine: SpeechEngine | None = None,
    before_line: Callable[[], None] | None = None,
) -> SpokenScript:
    """Synthesize a script.

    Args:
        speech: Text, voices, languages, speed and pause.
        untagged: Speaker of text without tags such as ``(s1)``.
        engine: The speech engine; None: the embedded one.
        before_line: Called before every line; it may raise to cancel.

    Raises:
        InvalidInput: The script, a voice, a language or the speed is invalid, a language does not read the
            text's writing system, or the speech is longer than ``MAX_AUDIO_SECONDS``.
    """
    engine = engine or choose_engine()
    turns = check_speech(speech, untagged, engine)
    seconds = _pauses(turns, speech.pause)
    languages = {person: speech.language_of(person) for person in PEOPLE}
    speakers = sorted({turn.person for turn in turns})
    requested = {**engine.default_voices(_valid_languages(engine, languages)), **speech.voices}
    voices = {person: engine.resolve_voice(requested[person]) for person in speakers}
    utterances: list[tuple[str, str, Utterance]] = []
    for turn in turns:
        lines = []
        for line in turn.lines():
            if before_line is not None:
                before_line()
            lines.append(engine.say(line, voices[turn.person], languages[turn.person], speech.speed))
            seconds += lines[-1].sound.seconds
            check_length(seconds)
        utterances.append((turn.person, turn.text, join_lines(lines, LINE_PAUSE)))
    tracks, spoken = arrange_turns(utterances, speech.pause)
    logger.info("%s synthesized %.1f seconds with %s.", engine.name, seconds, ", ".join(voices.values()))
    return SpokenScript(tracks, SpeechReport(engine.name, voices, tuple(spoken)))


def check_speech(speech: Speech, untagged: str, engine: SpeechEngine) -> list[Turn]:
    """Check what can be checked of a script before it is synthesized; see :func:`speak`.

    Returns:
        Its turns.
    """
    turns = read_script(speech.text, untagged)
    check_length(_pauses(turns, speech.pause))  # the pauses alone may last hours
    several = len({turn.person for turn in turns}) > 1
    for turn in turns:
        language = speech.language_of(turn.person)
        check_available("language", language, engine.languages(), engine.name)
        for line in turn.lines():
            check_readable(line, language, engine, turn.person if several else "")
    return turns


def check_length(seconds: float) -> None:
    """Refuse speech that is longer than ``MAX_AUDIO_SECONDS``."""
    limit = max_audio_seconds()
    if seconds > limit:
        raise InvalidInput(
            f"speech is longer than {limit:g} seconds. Shorten the text, or raise MAX_AUDIO_SECONDS.",
            "speech",
        )


def _pauses(turns: list[Turn], pause: float) -> float:
    """Sum the pauses between turns, and between the lines of a turn, in seconds."""
    lines = sum(len(turn.lines()) for turn in turns)
    return pause * (len(turns) - 1) + LINE_PAUSE * (lines - len(turns))


def _valid_languages(engine: SpeechEngine, languages: dict[str, str]) -> dict[str, str]:
    """Replace the languages of silent speakers if they are invalid."""
    available = engine.languages()
    return {person: code if code in available else available[0] for person, code in languages.items()}
