"""Text to speech: a script in, one track per person out. An engine is one file and a line in ``ENGINES``."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInput
from ..media.sound import Sound
from ..request.script import PEOPLE, Turn, read_script
from ..runtime.limits import max_audio_seconds
from .engine import SpeechEngine, Utterance, Word
from .espeak import EspeakEngine
from .kokoro import KokoroEngine
from .tracks import SpokenTurn, arrange_turns, join_lines

if TYPE_CHECKING:
    from ..request.generation_request import Speech

__all__ = [
    "ENGINES",
    "SpeechEngine",
    "SpeechReport",
    "SpokenScript",
    "SpokenTurn",
    "Word",
    "check_length",
    "choose_engine",
    "speak",
]

logger = logging.getLogger(__name__)

# The first that can speak does. Each makes an engine of a weights folder, or None where it can't speak there.
ENGINES: tuple[Callable[[Path | None, Any], SpeechEngine | None], ...] = (
    KokoroEngine.from_folder,
    EspeakEngine.from_folder,
)
LINE_PAUSE = 0.25  # seconds between two lines of a turn


@dataclass(frozen=True)
class SpeechReport:
    """What a result tells about its speech.

    Attributes:
        engine: Name of the engine.
        voices: The voice that is heard, by person.
        turns: Who speaks when, in seconds of the video.
    """

    engine: str
    voices: dict[str, str]
    turns: tuple[SpokenTurn, ...]

    def later(self, seconds: float) -> SpeechReport:
        """The same speech, so many seconds later."""
        return replace(self, turns=tuple(turn.later(seconds) for turn in self.turns))

    def until(self, seconds: float) -> SpeechReport:
        """What of it is heard in a video of so many seconds."""
        heard = [part for turn in self.turns if (part := turn.until(seconds)) is not None]
        return replace(self, turns=tuple(heard))


@dataclass(frozen=True)
class SpokenScript:
    """A script, spoken.

    Attributes:
        tracks: By person, mono, of equal lengths; each is silent while the other speaks.
        turns: Who speaks when.
        engine: Name of the engine.
        voices: The voice that was heard, by person.
    """

    tracks: dict[str, Sound]
    turns: tuple[SpokenTurn, ...]
    engine: str
    voices: dict[str, str]

    def report(self) -> SpeechReport:
        """All but the sound."""
        return SpeechReport(self.engine, self.voices, self.turns)


def choose_engine(folder: Path | None = None, device: Any = "cpu") -> SpeechEngine:
    """The best engine that can speak here; it loads nothing before it does.

    Args:
        folder: Baked weights; None: an engine that needs none.
        device: Where its network goes, if it has one.
    """
    engine = next(engine for make in ENGINES if (engine := make(folder, device)) is not None)
    logger.info("Words are spoken by %s.", engine.name)
    return engine


def speak(
    speech: Speech,
    untagged: str = "person1",
    engine: SpeechEngine | None = None,
    before_line: Callable[[], None] | None = None,
) -> SpokenScript:
    """Say a script.

    Args:
        speech: Text, voices, languages, speed and pause.
        untagged: Who says a text without ``(s1)`` and ``(s2)``.
        engine: Who speaks; None: the embedded engine.
        before_line: Called before every line, for a caller that may want to stop by raising.

    Raises:
        InvalidInput: The script, a voice, a language or the speed can't be used, or it would be longer than
            ``MAX_AUDIO_SECONDS``; the sentence says which.
    """
    engine = engine or choose_engine()
    turns = read_script(speech.text, untagged)
    seconds = _pauses(turns, speech.pause)
    check_length(seconds)  # before anything is spoken: they alone may be hours
    languages = {person: speech.language_of(person) for person in PEOPLE}
    speakers = sorted({turn.person for turn in turns})
    asked = {**engine.default_voices(_known(engine, languages, speakers)), **speech.voices}
    voices = {person: engine.resolve_voice(asked[person]) for person in speakers}
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
    logger.info("%s spoke %.1f seconds with %s.", engine.name, seconds, ", ".join(voices.values()))
    return SpokenScript(tracks, tuple(spoken), engine.name, voices)


def _pauses(turns: list[Turn], pause: float) -> float:
    """Seconds of silence between turns, and between the lines of a turn."""
    lines = sum(len(turn.lines()) for turn in turns)
    return pause * (len(turns) - 1) + LINE_PAUSE * (lines - len(turns))


def _known(engine: SpeechEngine, languages: dict[str, str], speakers: list[str]) -> dict[str, str]:
    """The languages by person, each of them the engine's; who doesn't speak needn't have one of them."""
    known = engine.languages()
    for person in speakers:
        if languages[person] not in known:
            raise InvalidInput(
                f"The language {languages[person]!r} is unknown; {engine.name} has {', '.join(known)}.",
                "speech",
            )
    return {person: code if code in known else known[0] for person, code in languages.items()}


def check_length(seconds: float) -> None:
    """Refuse speech that is longer than ``MAX_AUDIO_SECONDS``."""
    limit = max_audio_seconds()
    if seconds > limit:
        raise InvalidInput(
            f"speech is longer than {limit:g} seconds, the most that is accepted: shorten the text, or raise "
            "MAX_AUDIO_SECONDS.",
            "speech",
        )
