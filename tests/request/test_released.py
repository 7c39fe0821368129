"""A refused request's files leave the memory before the next request's files are admitted."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from multitalk.errors import InvalidInput
from multitalk.media.admission import Admission
from multitalk.media.sound import Sound
from multitalk.media.sound_reading import read_sound
from multitalk.request import fields, generation_request
from multitalk.request.build import build_request


def test_a_refused_request_is_released_before_its_room_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    sounds: list[weakref.ref[Sound]] = []
    left: list[
        int
    ] = []  # sounds in memory whenever a request's reading ends; the last one gives the room back

    def read(source: object, field: str, most: float | None) -> Sound:
        sound = read_sound(source, field, most)
        sounds.append(weakref.ref(sound))
        return sound

    class Watched(Admission):
        @contextmanager
        def request(self) -> Iterator[None]:
            try:
                with super().request():
                    yield
            finally:
                left.append(sum(sound() is not None for sound in sounds))

    monkeypatch.setattr(fields, "read_sound", read)
    monkeypatch.setattr(generation_request, "admission", Watched())
    with pytest.raises(InvalidInput, match="audio is silent"):
        build_request({"image": Image.new("RGB", (64, 64)), "audio": (np.zeros(16000, np.float32), 16000)})
    assert len(sounds) == 1
    assert left[-1] == 0
