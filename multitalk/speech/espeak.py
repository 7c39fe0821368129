"""espeak-ng, the embedded speech engine: intelligible speech on any machine, from a library pip installs."""

from __future__ import annotations

import ctypes
import threading
from functools import cache
from pathlib import Path

import numpy as np

from ..errors import InvalidInput
from ..media.sound import Sound

# Kokoro's codes, so that a request means the same with either engine; espeak's own codes work as well.
LANGUAGES = {
    "a": "en-us", "b": "en-gb", "e": "es", "f": "fr-fr", "h": "hi",
    "i": "it", "j": "ja", "p": "pt-br", "z": "cmn",
}  # fmt: skip
DEFAULT_VOICES = {"person1": "f2", "person2": "m3"}
WORDS_PER_MINUTE = 165  # at speed 1
SLOWEST, FASTEST = 80, 450  # espeak's range in words per minute
_LEVEL = 0.8  # of full scale, the loudest sample
_SILENCE = 2e-3  # what is quieter at the ends is cut

# of speak_lib.h
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_RATE_PARAMETER = 1
_CHARS_UTF8 = 1
_POSITION_CHARACTER = 1

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class _Voice(ctypes.Structure):
    """The head of espeak_VOICE."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("languages", ctypes.POINTER(ctypes.c_char)),
        ("identifier", ctypes.c_char_p),
    ]


class _Library:
    """espeak-ng has one state for the whole process, so there is one of these, and one lock."""

    def __init__(self) -> None:
        import espeakng_loader

        self.lock = threading.Lock()
        self.data = Path(espeakng_loader.get_data_path())
        self.library = ctypes.CDLL(espeakng_loader.get_library_path())
        self.library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
        path = str(self.data.parent).encode()
        self.rate = self.library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, path, 0)
        if self.rate <= 0:
            raise RuntimeError(f"espeak-ng can't be started with the data in {self.data}")
        self.pieces: list[np.ndarray] = []
        self.callback = _Callback(self._receive)  # kept: the library holds a bare pointer to it
        self.library.espeak_SetSynthCallback(self.callback)

    def _receive(self, samples: object, count: int, events: object) -> int:
        if samples and count > 0:
            self.pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def languages(self) -> dict[str, str]:
        """The name to load a language by, for each language's code."""
        voices = self.library.espeak_ListVoices(None)
        names: dict[str, str] = {}
        index = 0
        while voices[index]:
            voice = voices[index].contents
            # a priority byte, then the code, ended by a zero
            address = ctypes.cast(voice.languages, ctypes.c_void_p).value
            if address and voice.identifier:
                code = ctypes.string_at(address + 1).decode()
                names.setdefault(code, voice.identifier.decode().rpartition("/")[2])
            index += 1
        return dict(sorted(names.items()))

    def synthesize(self, text: str, voice: str, words_per_minute: int) -> np.ndarray:
        """Speak with a voice such as ``en-us+f2``; int16 samples."""
        with self.lock:
            if self.library.espeak_SetVoiceByName(voice.encode()) != 0:
                raise InvalidInput(f"The voice {voice!r} can't be loaded by espeak-ng.", "speech")
            self.library.espeak_SetParameter(_RATE_PARAMETER, words_per_minute, 0)
            self.pieces = []
            encoded = text.replace("\0", " ").encode() + b"\0"
            self.library.espeak_Synth(
                encoded, ctypes.c_size_t(len(encoded)), 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None
            )
            self.library.espeak_Synchronize()
            return np.concatenate(self.pieces) if self.pieces else np.zeros(0, np.int16)


@cache
def _library() -> _Library:
    return _Library()


@cache
def voices() -> tuple[str, ...]:
    """Names of the voices, each of which speaks every language."""
    return tuple(sorted(path.name for path in (_library().data / "voices" / "!v").iterdir()))


@cache
def _language_names() -> dict[str, str]:
    return _library().languages()


def languages() -> tuple[str, ...]:
    """Codes of the languages: Kokoro's letters, then espeak's own."""
    return (*LANGUAGES, *_language_names())


def synthesize(text: str, voice: str, language: str = "a", speed: float = 1.0) -> Sound:
    """Say a text.

    Args:
        text: The words.
        voice: One of :func:`voices`.
        language: One of :func:`languages`.
        speed: 1 is the voice's own.

    Returns:
        One channel of float32 at espeak's rate (22050), without silence at its ends.

    Raises:
        InvalidInput: The voice, language or speed doesn't exist, or nothing of the text can be spoken.
    """
    if voice not in voices():
        raise InvalidInput(f"The voice {voice!r} is unknown; espeak-ng has {', '.join(voices())}.", "speech")
    if language not in languages():
        raise InvalidInput(
            f"The language {language!r} is unknown; espeak-ng has {', '.join(languages())}.", "speech"
        )
    words_per_minute = round(WORDS_PER_MINUTE * speed)
    if not SLOWEST <= words_per_minute <= FASTEST:
        slowest, fastest = SLOWEST / WORDS_PER_MINUTE, FASTEST / WORDS_PER_MINUTE
        raise InvalidInput(
            f"speech.speed is {speed:g}, but must be {slowest:.2f} to {fastest:.2f}.", "speech"
        )
    name = f"{_language_names()[LANGUAGES.get(language, language)]}+{voice}"
    raw = _library().synthesize(text, name, words_per_minute)
    samples = _trim(raw.astype(np.float32) / 32768)
    if not len(samples):
        raise InvalidInput(f"espeak-ng finds nothing to say in {text!r}.", "speech")
    samples *= _LEVEL / float(np.max(np.abs(samples)))
    return Sound(samples[:, None], _library().rate)


def _trim(samples: np.ndarray) -> np.ndarray:
    loud = np.flatnonzero(np.abs(samples) > _SILENCE)
    return samples[loud[0] : loud[-1] + 1] if len(loud) else samples[:0]
