"""Loads a private copy of espeak-ng's C library, and unloads it with a private function of ctypes."""

from __future__ import annotations

import _ctypes
import atexit
import ctypes
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import espeakng_loader

from ..runtime.temporary_folders import create_locked_folder

PINNED = {"espeakng-loader": ("0.2.4",)}


@contextmanager
def fresh_library() -> Iterator[ctypes.CDLL]:
    """Load the library in its initial state, and unload it afterwards.

    espeak-ng keeps phases and noise from one text to the next and has no function to reset them, so the same
    text would sound different every time. Loading takes about a millisecond.
    """
    library = ctypes.CDLL(str(_private_copy()))
    try:
        yield library
    finally:
        _ctypes.dlclose(library._handle)  # ctypes has no public function to unload a library


@cache
def _private_copy() -> Path:
    """Copy the library's file.

    While another user in the process holds the packaged file (phonemizer does, once Kokoro has read French),
    loading that file would return the loaded library with its state.
    """
    folder, _ = create_locked_folder("espeak")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(shutil.copy(espeakng_loader.get_library_path(), folder))
