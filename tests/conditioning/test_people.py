"""Who speaks: people by voices and boxes, their masks and their tracks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from multitalk import GenerationRequest
from multitalk.conditioning.people import person_masks
from multitalk.conditioning.voices import arrange_model_tracks, gather_voices
from multitalk.errors import InvalidInput
from multitalk.media.mix import file_sound
from multitalk.media.sound import Sound
from multitalk.request.boxes import default_boxes
from multitalk.request.build import build_request
from multitalk.request.script import PEOPLE

LEFT, RIGHT = (0, 0, 30, 60), (40, 0, 80, 60)


def noise(seconds: float, seed: int = 0) -> tuple[np.ndarray, int]:
    samples = np.random.default_rng(seed).normal(0, 0.1, round(seconds * 16000))
    return samples.astype(np.float32), 16000


def request_of(**fields: Any) -> GenerationRequest:
    return build_request({"image": Image.new("RGB", (80, 60)), "audio": noise(1.0), **fields})


def test_a_box_without_a_voice_is_a_silent_person() -> None:
    request = request_of(boxes={"person1": LEFT, "person2": RIGHT})
    assert (request.people, request.named_people) == (2, ("person1", "person2"))
    voices, turns, _ = gather_voices(request)
    assert voices[1] is None
    first, second = arrange_model_tracks(voices, turns)
    assert len(second) == len(first)
    assert not second.any()
    other = request_of(audio={"person2": noise(1.0)}, boxes={"person1": LEFT, "person2": RIGHT})
    assert [voice is None for voice in gather_voices(other)[0]] == [True, False]


def test_with_one_box_everything_else_is_a_silent_person() -> None:
    request = request_of(boxes={"person1": LEFT})
    assert (request.people, request.named_people) == (2, ("person1",))
    assert gather_voices(request)[0][1] is None
    masks = person_masks(60, 80, 64, 80, request.boxes, request.named_people)
    assert masks.shape[0] == 3
    assert torch.equal(masks[1], 1 - masks[0])
    assert masks[0].any()
    assert not masks[2].any()
    assert request_of().people == 1, "without a box, nobody is told apart"


def test_up_to_four_people_speak() -> None:
    audio = {person: noise(0.5, seed) for seed, person in enumerate(PEOPLE)}
    request = request_of(audio=audio)
    assert request.people == 4
    masks = person_masks(60, 80, 64, 96, None, request.named_people)
    assert masks.shape[0] == 5
    assert [int(mask.argmax(dim=1).max()) for mask in masks[:4]] == sorted(
        {int(mask.argmax(dim=1).max()) for mask in masks[:4]}
    ), "columns from left to right"
    assert list(default_boxes(60, 80, PEOPLE)) == list(PEOPLE)
    assert default_boxes(60, 81, PEOPLE[:2]) == {"person1": (2, 3, 38, 57), "person2": (42, 3, 78, 57)}


def test_turns_of_three_people() -> None:
    audio = {person: noise(0.4 + seed / 10, seed) for seed, person in enumerate(PEOPLE[:3])}
    request = request_of(audio=audio, turns="in_order", boxes={"person4": RIGHT})
    voices, turns, _ = gather_voices(request)
    tracks = arrange_model_tracks(voices, turns)
    speaking = [(int(np.flatnonzero(track)[0]), len(np.flatnonzero(track))) for track in tracks[:3]]
    assert speaking == [(0, 6400), (6400, 8000), (14400, 9600)]
    assert [len(track) for track in tracks] == [24000] * 4
    assert not tracks[3].any()
    heard = file_sound([voice for voice in voices if voice is not None], turns)
    assert heard.seconds == pytest.approx(1.5, abs=0.01)


def test_a_script_of_four_speakers() -> None:
    script = "(s1) One. (s2) Two. (s3) Three. (s4) Four."
    request = request_of(audio=None, speech=script)
    voices, _, report = gather_voices(request)
    assert report is not None
    assert len(set(report.voices.values())) == 4
    assert [turn.person for turn in report.turns] == list(PEOPLE)
    assert len({sound.seconds for sound in voices if isinstance(sound, Sound)}) == 1


def test_audio_and_speech_in_order() -> None:
    audio = {"person1": noise(0.5), "person2": noise(0.7, 1)}
    request = request_of(audio=audio, speech="(s3) Three.", turns="in_order")
    assert request.spoken == ("person3",)
    report = gather_voices(request)[2]
    assert report is not None
    assert report.turns[0].start == pytest.approx(1.2, abs=0.01)


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"audio": {"person2": noise(1.0)}}, "audio.person2", "person1 is missing"),
        ({"audio": {"person1": noise(1.0), "person3": noise(1.0)}}, "audio.person3", "person2 is missing"),
        ({"boxes": {"person3": [0, 0, 9, 9]}}, "boxes.person3", "boxes.person3 is set"),
        ({"audio": {"person1": noise(1.0), "person5": noise(1.0)}}, "person5", "not a person of audio"),
        ({"audio": None, "speech": "(s1) One. (s5) Five."}, "speech", r"Use only \(s1\) to \(s4\)"),
        ({"speech": "(s2) One. (s3) Two.", "turns": "in_order"}, "turns", "script of several speakers"),
    ],
)
def test_who_cannot_speak_is_refused(fields: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        request_of(**fields)
    assert str(caught.value.field).endswith(field)


@pytest.mark.parametrize("people", [2, 3])
def test_turns_are_cut_to_the_limit(people: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_AUDIO_SECONDS", "2")
    audio = {person: noise(1.5, seed) for seed, person in enumerate(PEOPLE[:people])}
    request = request_of(audio=audio, turns="in_order", max_seconds=1.8)
    lengths = [sound.seconds for sound in (request.audio or {}).values()]
    assert sum(lengths) == pytest.approx(2.0, abs=1e-3)
    assert min(lengths) >= 0.2 - 1e-3
    assert lengths[0] == pytest.approx(1.5, abs=1e-3)
