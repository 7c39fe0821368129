"""The functions of espeak-ng's C library (speak_lib.h) that the engine uses."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np

from ..errors import InvalidInput

RATE = 22050  # sample rate of all voices

_lock = threading.Lock()  # the library has one global state

# from speak_lib.h
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_RATE_PARAMETER = 1
_CHARS_UTF8 = 1
_POSITION_CHARACTER = 1
_EVENT_LIST_END, _EVENT_WORD = 0, 1


class _Voice(ctypes.Structure):
    """The first fields of espeak_VOICE."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("languages", ctypes.POINTER(ctypes.c_char)),
        ("identifier", ctypes.c_char_p),
    ]


class _EventId(ctypes.Union):
    """The last field of espeak_EVENT; unused."""

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


def data_folder() -> Path:
    """Return the folder with espeak-ng's voices and languages."""
    import espeakng_loader

    return Path(espeakng_loader.get_data_path())


def synthesize(text: str, voice: str, words_per_minute: int) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Synthesize a text; the same text always gives the same samples.

    Args:
        text: The text.
        voice: Language and variant, such as ``en-us+f2``.
        words_per_minute: 80 to 450.

    Returns:
        ``n`` int16 samples; and for each word, its first character in the text and its first sample.

    Raises:
        InvalidInput: The voice does not exist.
    """
    pieces: list[np.ndarray] = [np.zeros(0, np.int16)]
    words: list[tuple[int, int]] = []

    def receive(samples: object, count: int, events: ctypes.Array[_Event]) -> int:
        if samples and count > 0:
            pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events and events[index].type != _EVENT_LIST_END:
            if events[index].type == _EVENT_WORD:
                words.append((events[index].text_position - 1, events[index].sample))
            index += 1
        return 0

    callback = _Callback(receive)  # referenced until the library is closed, which holds a bare pointer to it
    with _open_library() as library:
        library.espeak_SetSynthCallback(callback)
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise InvalidInput(f"speech voice {voice!r} cannot be loaded by espeak-ng.", "speech")
        library.espeak_SetParameter(_RATE_PARAMETER, words_per_minute, 0)
        encoded = text.replace("\0", " ").encode() + b"\0"
        library.espeak_Synth(
            encoded, ctypes.c_size_t(len(encoded)), 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None
        )
        library.espeak_Synchronize()
    return np.concatenate(pieces), words


@cache
def language_names() -> dict[str, str]:
    """Return the name under which espeak-ng loads each language, by language code."""
    return {code: name for code, (name, _) in _languages().items()}


def language_titles() -> dict[str, str]:
    """Return the English name of each language, by language code."""
    return {code: title for code, (_, title) in _languages().items()}


@cache
def _languages() -> dict[str, tuple[str, str]]:
    names: dict[str, tuple[str, str]] = {}
    with _open_library() as library:
        library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
        voices = library.espeak_ListVoices(None)
        index = 0
        while voices[index]:
            voice = voices[index].contents
            # a priority byte, then the zero-terminated code
            address = ctypes.cast(voice.languages, ctypes.c_void_p).value
            if address and voice.identifier:
                code = ctypes.string_at(address + 1).decode()
                name = voice.identifier.decode().rpartition("/")[2]
                names.setdefault(code, (name, voice.name.decode().replace("_", " ")))
            index += 1
    return dict(sorted(names.items()))


@contextmanager
def _open_library() -> Iterator[ctypes.CDLL]:
    """Open the library in its initial state, for one user at a time."""
    from ..patches.espeakng import fresh_library

    with _lock, fresh_library() as library:
        path = str(data_folder().parent).encode()
        if library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, path, 0) != RATE:
            raise RuntimeError(f"espeak-ng cannot be started with the data in {data_folder()}.")
        # some voices contain noise, whose default seed is the time in seconds
        library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        try:
            yield library
        finally:
            library.espeak_Terminate()
