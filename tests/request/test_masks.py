"""Masks of people: by person, or as colored areas of one image."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from multitalk import GenerationRequest
from multitalk.conditioning.people import person_masks
from multitalk.errors import InvalidInput
from multitalk.request.build import build_request, read_json_fields
from multitalk.serverless.inputs import read_request
from multitalk.serverless.worker_settings import WorkerSettings
from multitalk.ui.api_request import request_from_call

SOUND = (np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32), 16000)


def painted(areas: dict[str, tuple[int, int, int, int]], size: tuple[int, int] = (160, 120)) -> Image.Image:
    image = Image.new("RGB", size)
    for color, box in areas.items():
        image.paste(color, box)
    return image


def request_of(**fields: Any) -> GenerationRequest:
    return build_request({"image": Image.new("RGB", (320, 240)), "audio": SOUND, **fields})


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def test_a_mask_gives_the_same_tokens_as_the_box_it_fills() -> None:
    boxes = {"person1": (32, 48, 128, 208), "person2": (192, 48, 288, 208)}
    white = {
        person: painted({"white": tuple(side // 2 for side in box)})  # type: ignore[dict-item]
        for person, box in boxes.items()
    }
    request = request_of(masks=white)
    assert (request.people, request.named_people) == (2, ("person1", "person2"))
    assert request.masks is not None
    by_box = person_masks(240, 320, 192, 256, boxes)  # type: ignore[arg-type]
    by_mask = person_masks(240, 320, 192, 256, None, request.named_people, request.masks)
    assert torch.equal(by_mask, by_box)


def test_colored_areas_are_people_from_left_to_right() -> None:
    image = painted({"blue": (120, 10, 150, 100), "red": (5, 10, 40, 100), "lime": (60, 10, 90, 100)})
    image.putpixel((80, 5), (250, 130, 10))  # an edge of two colors
    request = request_of(masks=png(image))
    assert request.named_people == ("person1", "person2", "person3")
    assert request.masks is not None
    starts = [int(np.flatnonzero(mask.any(axis=0))[0]) for mask in request.masks.values()]
    assert starts == [5, 60, 120]
    large = request_of(masks=image.resize((3200, 2400), Image.Resampling.NEAREST))
    assert large.masks is not None
    assert max(large.masks["person1"].shape) == 1024


def test_one_mask_and_one_voice() -> None:
    request = request_of(masks={"person1": painted({"white": (0, 0, 80, 120)})})
    assert (request.people, request.named_people) == (2, ("person1",))
    masks = person_masks(240, 320, 192, 256, None, request.named_people, request.masks)
    assert torch.equal(masks[1], 1 - masks[0]), "everything else is silent"


@pytest.mark.parametrize(
    ("masks", "words"),
    [
        ({"person1": Image.new("RGB", (160, 120))}, "masks.person1 is black"),
        ({"person1": painted({"white": (0, 0, 9, 9)}, (160, 160))}, "160x160, but the image is 320x240"),
        ({"person1": b"no image"}, "masks.person1"),
        ({"person9": painted({"white": (0, 0, 9, 9)})}, "not a person of masks"),
        (Image.new("RGB", (160, 120)), "masks has 0 colored areas"),
        (Image.effect_noise((160, 120), 90), "colored areas"),
        ("missing.png", "masks"),
        (7, "masks"),
    ],
)
def test_masks_that_cannot_be_used(masks: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        request_of(masks=masks)
    assert "mask" in str(caught.value.field) or caught.value.field == "person9"


def test_a_box_and_a_mask_of_one_person() -> None:
    mask = painted({"white": (0, 0, 80, 120)})
    with pytest.raises(InvalidInput, match="person1, who has a box too"):
        request_of(masks={"person1": mask}, boxes={"person1": (0, 0, 9, 9)})
    mixed = request_of(masks={"person1": mask}, boxes={"person2": (160, 0, 320, 240)})
    assert mixed.named_people == ("person1", "person2")


def test_a_request_file_and_the_worker_take_masks(tmp_path: Path) -> None:
    mask = png(painted({"white": (0, 0, 80, 120)}))
    (tmp_path / "mask.png").write_bytes(mask)
    (tmp_path / "job.json").write_text(json.dumps({"masks": {"person1": "mask.png"}}))
    fields = read_json_fields(tmp_path / "job.json")
    assert fields["masks"] == {"person1": str(tmp_path / "mask.png")}

    def encoded(data: bytes) -> str:
        return base64.b64encode(data).decode()

    sound = io.BytesIO()
    import soundfile

    soundfile.write(sound, *SOUND, format="WAV")
    job = {"image": encoded(png(Image.new("RGB", (320, 240)))), "audio": encoded(sound.getvalue())}
    settings = WorkerSettings.from_environment()
    by_person = asyncio.run(read_request(job | {"masks": {"person1": encoded(mask)}}, settings))
    colored = asyncio.run(read_request(job | {"masks": encoded(mask)}, settings))
    assert by_person.people == colored.people == 2
    with pytest.raises(InvalidInput, match=r"masks\.person1"):
        asyncio.run(read_request(job | {"masks": {"person1": "/etc/passwd"}}, settings))


@pytest.mark.parametrize("name", ["masks", "video"])
def test_the_pages_api_reads_no_files_of_the_server(name: str, tmp_path: Path) -> None:
    image = tmp_path / "image.png"
    image.write_bytes(png(Image.new("RGB", (320, 240))))
    with pytest.raises(InvalidInput, match=f"settings cannot contain {name}"):
        request_from_call(str(image), {}, {}, {name: str(image)}, lambda _: image)
