"""Reading images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from multitalk.errors import InvalidInput
from multitalk.media.picture import read_picture
from tests.media.hostile import png_header, saved

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_formats_as_path_bytes_and_image(tmp_path: Path, kind: str) -> None:
    picture = Image.fromarray(PIXELS)
    if kind == "GIF":
        picture = picture.quantize()
    expected = picture.convert("RGB")
    content = saved(picture, kind, **({"lossless": True} if kind == "WEBP" else {}))
    path = tmp_path / "picture.dat"
    path.write_bytes(content)
    for source in (content, path, str(path), picture):
        read = read_picture(source)
        assert (read.mode, read.size) == ("RGB", (60, 40))
        np.testing.assert_array_equal(np.asarray(read), np.asarray(expected))
    assert read_picture(picture) is not picture


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    read = read_picture(saved(Image.fromarray(PIXELS), "PNG", exif=exif))
    np.testing.assert_array_equal(np.asarray(read), np.rot90(PIXELS, -1))


def test_damaged_exif_data_is_ignored() -> None:
    read = read_picture(saved(Image.fromarray(PIXELS), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01"))
    assert read.size == (60, 40)


def test_largest_aspect_ratio() -> None:
    assert read_picture(Image.new("RGB", (16, 320))).size == (16, 320)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA"])
def test_modes_become_rgb(mode: str) -> None:
    assert read_picture(Image.fromarray(PIXELS).convert(mode)).mode == "RGB"


GREY = np.full((32, 32), 40000, np.uint16)


@pytest.mark.parametrize(
    "source",
    [
        saved(Image.fromarray(GREY), "PNG"),
        saved(Image.fromarray(GREY), "TIFF"),
        Image.fromarray(GREY),
    ],
)
def test_16_bit_gray_is_scaled(source: object) -> None:
    assert np.asarray(read_picture(source))[0, 0].tolist() == [156, 156, 156]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nowhere.png", "file not found"),
        (".", "folder"),
        (b"", "empty"),
        (b"not a picture", "cannot be read"),
        (
            b"P5 32 32 255\n" + bytes(1024),
            "Use an undamaged PNG, JPEG, WebP, AVIF, HEIC, GIF, BMP or TIFF file.",
        ),
        (saved(Image.fromarray(PIXELS), "JPEG2000"), "cannot be read"),
        (saved(Image.fromarray(PIXELS), "ICO"), "cannot be read"),
        (saved(Image.fromarray(PIXELS), "TGA"), "cannot be read"),
        (saved(Image.fromarray(PIXELS), "PNG")[:400], "cannot be read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n", "cannot be read"),
        (png_header(9000, 9000), "64 megapixels"),
        (png_header(12000, 12000), "64 megapixels"),
        (png_header(100000, 100000), "64 megapixels"),
        (saved(Image.new("RGB", (1, 400)), "PNG"), "1x400"),
        (png_header(20_000, 16), "20000x16 pixels, but the longer side must be at most 20 times"),
        (png_header(16, 4_000_000), "16x4000000 pixels, but the longer side"),
        (Image.new("1", (336, 16)), "336x16"),
        (saved(Image.fromarray(np.full((32, 32), 30000, np.int32)), "TIFF"), "Save it with 8 or 16 bits"),
        (saved(Image.fromarray(np.full((32, 32), 0.5, np.float32)), "TIFF"), "Save it with 8 or 16 bits"),
        (Image.fromarray(np.full((32, 32), 0.5, np.float32)), "Save it with 8 or 16 bits"),
        (None, "must be a path"),
        (Image.new("1", (9000, 9000)), "64 megapixels"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_invalid_images_give_a_one_line_error(source: object, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_picture(source)
    message = str(caught.value)
    assert words in message
    assert message.startswith("image")
    assert message.endswith(".")
    assert "\n" not in message
    assert caught.value.field == "image"
