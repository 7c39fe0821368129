"""The faces in an image, and the boxes that are proposed for speakers."""

from __future__ import annotations

import itertools

from PIL import Image

from multitalk.ui.faces import find_people
from tests.ui.app import EXAMPLES
from tests.ui.groups import five_people


def test_people_are_detected_from_left_to_right():
    found = find_people(Image.open(EXAMPLES / "two_people.png"))
    assert len(found.faces) == 2
    left, right = found.boxes_of(2).values()
    assert left[0] < left[2] <= right[0] < right[2]
    assert "Two faces found." in found.note_for(1)
    nobody = find_people(Image.new("RGB", (300, 200), "teal"))
    assert nobody.faces == ()
    left, right = nobody.boxes_of(2).values()
    assert left[2] < 150 < right[0]
    assert nobody.note_for(3) == "No faces found. Drag the boxes over the three people."


def test_every_face_is_found_and_the_largest_are_proposed():
    found = find_people(five_people())
    assert len(found.faces) == 5
    assert [box[0] for box in found.boxes] == sorted(box[0] for box in found.boxes)
    assert all(one[2] <= other[0] for one, other in itertools.pairwise(found.boxes)), "no overlap"
    for speakers in (2, 3, 4):
        boxes = list(found.boxes_of(speakers).values())
        assert boxes == sorted(boxes)
        assert set(boxes) <= set(found.boxes)
    largest = max(range(5), key=lambda index: found.faces[index][2] - found.faces[index][0])
    assert found.boxes[largest] in found.boxes_of(2).values()


def test_speakers_without_a_face_get_a_column():
    found = find_people(Image.open(EXAMPLES / "two_people.png"))
    boxes = found.boxes_of(3)
    assert set(found.boxes) < set(boxes.values())
    assert len(set(boxes.values())) == 3
    assert "Drag the other boxes" in found.note_for(3)


def test_boxes_of_people_above_each_other_end_between_them():
    with Image.open(EXAMPLES / "one_person.png") as picture:
        head = picture.convert("RGB")
    both = Image.new("RGB", (head.width, 2 * head.height))
    for row in (0, 1):
        both.paste(head, (0, row * head.height))
    upper, lower = find_people(both).boxes
    if upper[1] > lower[1]:
        upper, lower = lower, upper
    assert upper[3] <= lower[1]
    assert min(box[2] - box[0] for box in (upper, lower)) > head.width / 3
