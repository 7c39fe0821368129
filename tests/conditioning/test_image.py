"""Cropping of image and masks: equal to upstream, in bounded memory for any aspect ratio."""

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

# Peak memory in a new process, for the longest image and the narrowest video.
PEAK_MEMORY = """
import json
from PIL import Image
from multitalk.patches.imports import narrow_diffusers
with narrow_diffusers():  # as the commands do
    from multitalk.conditioning.image import prepare_image
    from multitalk.conditioning.people import person_masks
from multitalk.runtime.process_memory import peak_memory

prepare_image(Image.new("RGB", (64, 64)), 64, 64)
person_masks(64, 64, 64, 64)
picture = Image.new("RGB", (20_000, 1000), "teal")
before = peak_memory()
prepare_image(picture, 2048, 64)
image = peak_memory()
person_masks(1000, 20_000, 2048, 64)
print(json.dumps({"image": image - before, "masks": peak_memory() - image}))
"""


def noise(height: int, width: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def resized_then_cropped(picture: Image.Image, height: int, width: int) -> torch.Tensor:
    """Resize everything, then crop, as upstream."""
    crop = CoverCrop.of(picture.height, picture.width, height, width)
    whole = picture.resize((crop.resized_width, crop.resized_height), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(whole.crop(crop.box))).permute(2, 0, 1)


def masks_resized_then_cropped(
    picture: tuple[int, int], size: tuple[int, int], boxes: dict[str, tuple[int, int, int, int]]
) -> torch.Tensor:
    """Resize everything, then crop, as upstream."""
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
def test_ordinary_images_are_bit_identical_to_upstream(name, size):
    if isinstance(name, str):
        picture = Image.open(Path(__file__).parents[2] / "examples" / f"{name}.png").convert("RGB")
    else:
        picture = noise(*name)
    expected = (resized_then_cropped(picture, *size).float() / 255 - 0.5) * 2
    torch.testing.assert_close(prepare_image(picture, *size), expected, rtol=0, atol=0)


@pytest.mark.parametrize(("shape", "size"), [((60, 1200), (1024, 64)), ((900, 90), (64, 2048))])
def test_very_long_images_differ_by_one_level_at_most(shape, size):
    picture = noise(*shape)
    levels = (prepare_image(picture, *size) / 2 + 0.5) * 255
    difference = (levels - resized_then_cropped(picture, *size)).abs()
    assert difference.max() < 1.01
    assert (difference > 0.5).float().mean() < 0.05


def test_masks_are_identical_to_upstream_for_any_size():
    random = np.random.default_rng(0)
    for _ in range(60):
        height, width = (int(side) for side in random.integers(50, 700, 2))
        size = (16 * int(random.integers(4, 50)), 16 * int(random.integers(4, 50)))
        boxes = {}
        for person in ("person1", "person2"):
            (x0, x1), (y0, y1) = (sorted(random.integers(0, side + 1, 2)) for side in (width, height))
            boxes[person] = (int(x0), int(y0), int(x1), int(y1))
        expected = masks_resized_then_cropped((height, width), size, boxes)
        assert torch.equal(person_masks(height, width, *size, boxes), expected), (height, width, size, boxes)


def test_memory_does_not_depend_on_the_resized_image():
    """The resized image would have 84 megapixels: 335 MB, and 1 GB for its masks."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK_MEMORY],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    grown = json.loads(done.stdout)
    assert max(grown.values()) < 40e6, grown
