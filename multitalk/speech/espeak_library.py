"""espeak-ng's C library (speak_lib.h), as far as speech needs it."""

from __future__ import annotations

import _ctypes
import atexit
import ctypes
import shutil
import tempfile
import threading
from functools import cache
from pathlib import Path

import numpy as np

from ..errors import InvalidInput

RATE = 22050  # samples per second of everything it says

_lock = threading.Lock()  # the library has one state for the whole process

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
    """One loaded copy of the library, to be used in a ``with``.

    espeak-ng keeps its phases and its noise from one text to the next, so that the same text never sounds the
    same again, and nothing in its interface sets them back. A copy that is loaded anew does: a request then
    gives the same video every time. Loading takes about a millisecond.
    """

    def __init__(self) -> None:
        self.library = ctypes.CDLL(str(_own_file()))
        self.library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
        path = str(data_folder().parent).encode()
        if self.library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, path, 0) != RATE:
            raise RuntimeError(f"espeak-ng can't be started with the data in {data_folder()}")
        # the breath of some voices is noise, whose seed is the second of the start
        self.library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        self._pieces: list[np.ndarray] = []
        self._words: list[tuple[int, int]] = []
        self._callback = _Callback(self._receive)  # kept: the library holds a bare pointer to it
        self.library.espeak_SetSynthCallback(self._callback)

    def __enter__(self) -> EspeakLibrary:
        return self

    def __exit__(self, *_: object) -> None:
        self.library.espeak_Terminate()
        _ctypes.dlclose(self.library._handle)  # ctypes itself loads, but never unloads

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
        """Speak; see :func:`synthesize`."""
        if self.library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise InvalidInput(f"The voice {voice!r} can't be loaded by espeak-ng.", "speech")
        self.library.espeak_SetParameter(_RATE_PARAMETER, words_per_minute, 0)
        encoded = text.replace("\0", " ").encode() + b"\0"
        self.library.espeak_Synth(
            encoded, ctypes.c_size_t(len(encoded)), 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None
        )
        self.library.espeak_Synchronize()
        samples = np.concatenate(self._pieces) if self._pieces else np.zeros(0, np.int16)
        return samples, self._words


@cache
def _own_file() -> Path:
    """A copy of the library's file that nobody else loads.

    While anyone in the process holds the packaged file, as phonemizer does once Kokoro has read French, what
    is loaded from it is the copy that is there already, with its state.
    """
    import espeakng_loader

    folder = tempfile.mkdtemp(prefix="multitalk-espeak-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(shutil.copy(espeakng_loader.get_library_path(), folder))


def data_folder() -> Path:
    """Where espeak-ng's voices and languages lie."""
    import espeakng_loader

    return Path(espeakng_loader.get_data_path())


def synthesize(text: str, voice: str, words_per_minute: int) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Speak; the same text sounds the same every time.

    Args:
        text: The words.
        voice: Language and variant, such as ``en-us+f2``.
        words_per_minute: 80 to 450.

    Returns:
        ``n`` int16 samples, and for each word its first character in the text and its first sample.

    Raises:
        InvalidInput: There is no such voice.
    """
    with _lock, EspeakLibrary() as library:
        return library.synthesize(text, voice, words_per_minute)


@cache
def language_names() -> dict[str, str]:
    """The name to load a language by, for each language's code."""
    with _lock, EspeakLibrary() as library:
        return library.languages()
