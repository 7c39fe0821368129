"""espeak-ng's C library (speak_lib.h), as far as speech needs it."""

from __future__ import annotations

import ctypes
import threading
from functools import cache
from pathlib import Path

import numpy as np

from ..errors import InvalidInput

# of speak_lib.h
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_RATE_PARAMETER = 1
_CHARS_UTF8 = 1
_POSITION_CHARACTER = 1
_EVENT_LIST_END, _EVENT_WORD = 0, 1


class _Voice(ctypes.Structure):
    """The head of espeak_VOICE."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("languages", ctypes.POINTER(ctypes.c_char)),
        ("identifier", ctypes.c_char_p),
    ]


class _EventId(ctypes.Union):
    """The last field of espeak_EVENT, unused here."""

    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    """espeak_EVENT."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),  # character, from 1
        ("length", ctypes.c_int),  # characters
        ("audio_position", ctypes.c_int),  # milliseconds
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class EspeakLibrary:
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
        self._pieces: list[np.ndarray] = []
        self._words: list[tuple[int, int]] = []
        self._callback = _Callback(self._receive)  # kept: the library holds a bare pointer to it
        self.library.espeak_SetSynthCallback(self._callback)

    def _receive(self, samples: object, count: int, events: ctypes.Array[_Event]) -> int:
        if samples and count > 0:
            self._pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events and events[index].type != _EVENT_LIST_END:
            event = events[index]
            if event.type == _EVENT_WORD:
                self._words.append((event.text_position - 1, event.sample))
            index += 1
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

    def synthesize(
        self, text: str, voice: str, words_per_minute: int
    ) -> tuple[np.ndarray, list[tuple[int, int]]]:
        """Speak.

        Args:
            text: The words.
            voice: Language and variant, such as ``en-us+f2``.
            words_per_minute: 80 to 450.

        Returns:
            ``n`` int16 samples, and for each word its first character in the text and its first sample.
        """
        with self.lock:
            if self.library.espeak_SetVoiceByName(voice.encode()) != 0:
                raise InvalidInput(f"The voice {voice!r} can't be loaded by espeak-ng.", "speech")
            self.library.espeak_SetParameter(_RATE_PARAMETER, words_per_minute, 0)
            self._pieces, self._words = [], []
            encoded = text.replace("\0", " ").encode() + b"\0"
            self.library.espeak_Synth(
                encoded, ctypes.c_size_t(len(encoded)), 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None
            )
            self.library.espeak_Synchronize()
            samples = np.concatenate(self._pieces) if self._pieces else np.zeros(0, np.int16)
            return samples, self._words


@cache
def library() -> EspeakLibrary:
    """The process's one library, started at the first call."""
    return EspeakLibrary()
