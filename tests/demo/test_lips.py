"""Audio drives the right mouth: held-out faces and voices, with the pipeline's defaults.

``python -m demo_training.evaluate --trials`` runs many more cases.
"""

from __future__ import annotations

import numpy as np
import pytest

from demo_training.cases import dark_area, make_case, run, score
from demo_training.trials import continuation, movement_by_guidance, movement_by_voice
from multitalk import GenerationRequest
from multitalk.conditioning.audio import SAMPLE_RATE

SECONDS = 3.2
MOVING = 1.64  # long enough to see whether a mouth moves

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("index", [0, 9, 17])
def test_the_mouth_of_one_person_follows_the_audio(index, demo):
    case = make_case(index, "one", SECONDS)
    [face] = score(case, run(demo, case))
    assert face.r >= 0.75
    assert face.amplitude >= 0.5


@pytest.mark.parametrize("kind", ["turns", "both"])
def test_the_mouths_of_two_people_follow_their_own_voices(kind, demo):
    case = make_case(30, kind, SECONDS)
    for face in score(case, run(demo, case)):
        assert face.r >= 0.6
        assert face.other < 0.2
        assert face.amplitude >= 0.5


def test_with_swapped_voices_the_other_mouth_moves(demo):
    speaking, swapped = movement_by_voice(demo, make_case(31, "first", MOVING))
    assert speaking[1] < 0.15 * speaking[0]
    assert swapped[0] < 0.15 * swapped[1]


@pytest.mark.parametrize("named", [("person1", "person2"), ("person1",)])
def test_one_voice_moves_one_mouth_in_a_picture_of_two(named, demo):
    """Person 2 has a box alone, or is outside the only box."""
    case = make_case(31, "first", MOVING)
    width, height = case.picture.size
    halves = {"person1": (0, 0, width // 2, height), "person2": (width // 2, 0, width, height)}
    request = GenerationRequest(
        image=case.picture,
        audio=(case.tracks[0].samples[:, None], SAMPLE_RATE),
        boxes={person: halves[person] for person in named},
        size=(case.scene.height, case.scene.width),
    )
    frames = np.concatenate([clip.frames.numpy() for clip in demo.stream(request)])
    first, second = (float(dark_area(frames, face).std()) for face in case.scene.faces)
    assert second < 0.15 * first


def test_guidance_increases_movement_and_null_audio_has_none(demo):
    null, one, two = movement_by_guidance(demo, make_case(32, "one", MOVING)).values()
    assert null < 0.15 * one
    assert one < two


def test_later_clips_are_as_good_as_the_first(demo):
    result = continuation(demo, 33)
    assert min(result.r) >= 0.5
    assert np.all(np.abs(np.array(result.r[1:]) - result.r[0]) <= 0.1)
    assert result.seam <= 1.5
    assert result.colors <= 0.05
