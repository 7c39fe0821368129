"""Pictures of groups, composed of the examples' drawn faces."""

from __future__ import annotations

from PIL import Image

from tests.ui.app import EXAMPLES


def three_people() -> Image.Image:
    """Return an image of three people: their faces are at about 17, 50 and 83 % of its width."""
    pair = _example("two_people.png")
    return _row(pair, pair.crop((0, 0, pair.width // 2, pair.height)))


def five_people() -> Image.Image:
    """Return an image of five people; the one in the middle has the largest face."""
    pair = _example("two_people.png")
    return _row(pair, _example("one_person.png"), pair)


def _example(name: str) -> Image.Image:
    with Image.open(EXAMPLES / name) as picture:
        return picture.convert("RGB")


def _row(*pictures: Image.Image) -> Image.Image:
    row = Image.new("RGB", (sum(picture.width for picture in pictures), pictures[0].height))
    left = 0
    for picture in pictures:
        row.paste(picture, (left, 0))
        left += picture.width
    return row
