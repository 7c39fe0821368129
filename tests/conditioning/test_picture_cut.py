"""How a picture and its people are cut to the video's size: exact, and small whatever their shapes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from multitalk.conditioning.image import CoverCrop, prepare_image
from multitalk.conditioning.people import person_masks

# Memory in a fresh process: what a picture of the longest shape takes for the narrowest video across it.
PEAK_MEMORY = """
import json, resource
from PIL import Image
from multitalk.conditioning.image import prepare_image
from multitalk.conditioning.people import person_masks

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

prepare_image(Image.new("RGB", (64, 64)), 64, 64)
person_masks(64, 64, 64, 64)
picture = Image.new("RGB", (20_000, 1000), "teal")
before = peak()
prepare_image(picture, 2048, 64)
image = peak()
person_masks(1000, 20_000, 2048, 64)
print(json.dumps({"image": image - before, "masks": peak() - image}))
"""


def noise(height: int, width: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def covered_then_cut(picture: Image.Image, height: int, width: int) -> torch.Tensor:
    """The reference's way, whatever it takes."""
    crop = CoverCrop.of(picture.height, picture.width, height, width)
    whole = picture.resize((crop.resized_width, crop.resized_height), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(whole.crop(crop.box))).permute(2, 0, 1)


def masks_covered_then_cut(
    picture: tuple[int, int], size: tuple[int, int], boxes: dict[str, tuple[int, int, int, int]]
) -> torch.Tensor:
    """The reference's way, whatever it takes."""
    masks = torch.zeros(3, *picture)
    for index, (left, top, right, bottom) in enumerate(boxes.values()):
        masks[index, top:bottom, left:right] = 1.0
    masks[2] = (masks[0] + masks[1] == 0).float()
    crop = CoverCrop.of(*picture, *size)
    whole = F.interpolate(masks[None], size=(crop.resized_height, crop.resized_width), mode="nearest")
    left, top, right, bottom = crop.box
    return F.interpolate(whole[:, :, top:bottom, left:right], size=(size[0] // 8, size[1] // 8))[0]


@pytest.mark.parametrize("size", [(480, 832), (832, 480), (640, 640), (160, 240)])
@pytest.mark.parametrize("name", ["one_person", "two_people", (333, 500), (97, 31), (50, 199)])
def test_ordinary_pictures_are_cut_bit_by_bit_as_the_reference_does(name, size):
    if isinstance(name, str):
        picture = Image.open(Path(__file__).parents[2] / "examples" / f"{name}.png").convert("RGB")
    else:
        picture = noise(*name)
    expected = (covered_then_cut(picture, *size).float() / 255 - 0.5) * 2
    torch.testing.assert_close(prepare_image(picture, *size), expected, rtol=0, atol=0)


@pytest.mark.parametrize(("shape", "size"), [((60, 1200), (1024, 64)), ((900, 90), (64, 2048))])
def test_of_other_shapes_only_the_part_is_resized_which_rounds_a_little_differently(shape, size):
    picture = noise(*shape)
    levels = (prepare_image(picture, *size) / 2 + 0.5) * 255
    difference = (levels - covered_then_cut(picture, *size)).abs()
    assert difference.max() < 1.01
    assert (difference > 0.5).float().mean() < 0.05


def test_masks_are_exact_whatever_the_shapes():
    random = np.random.default_rng(0)
    for _ in range(60):
        height, width = (int(side) for side in random.integers(50, 700, 2))
        size = (16 * int(random.integers(4, 50)), 16 * int(random.integers(4, 50)))
        boxes = {}
        for person in ("person1", "person2"):
            (x0, x1), (y0, y1) = (sorted(random.integers(0, side + 1, 2)) for side in (width, height))
            boxes[person] = (int(x0), int(y0), int(x1), int(y1))
        expected = masks_covered_then_cut((height, width), size, boxes)
        assert torch.equal(person_masks(height, width, *size, boxes), expected), (height, width, size, boxes)


def test_no_shape_takes_more_than_its_own_and_the_videos_memory():
    """Covered, this picture would have 84 megapixels: 335 MB, and 1 GB for its masks."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK_MEMORY],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    grown = json.loads(done.stdout)
    assert max(grown.values()) < 40e6, grown
