"""Images as people have them: profiles, transparency, HEIC, cut ends; some are in ``../shared/cases``."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo
from skimage.color import lab2xyz

from multitalk.errors import InvalidInput
from multitalk.media.picture import read_picture
from multitalk.media.picture_colors import BACKGROUND
from multitalk.media.picture_decoding import decode_picture
from multitalk.media.picture_formats import picture_format
from tests.media.color_profiles import (
    ADOBE_RGB,
    DISPLAY_P3,
    PROPHOTO,
    SRGB,
    as_srgb,
    cmyk_profile,
    gray_profile,
    linear_to_srgb,
    rgb_profile,
)
from tests.media.heic_files import heic
from tests.media.hostile import saved

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases" / "picture"
PIXELS = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
SMOOTH = np.asarray(Image.fromarray(PIXELS[:3, :4]).resize((64, 48), Image.Resampling.BICUBIC))


def read(source: object) -> np.ndarray:
    return np.asarray(read_picture(source))


@pytest.mark.skipif(not CASES.is_dir(), reason="the case files are beside a development checkout only")
@pytest.mark.parametrize("name", ["p3.jpg", "jpeg_without_eoi.jpg"])
def test_case_files_of_a_color(name: str) -> None:
    assert np.abs(read(CASES / name)[80, 37] - np.array([200.0, 40, 40])).max() <= 2


@pytest.mark.skipif(not CASES.is_dir(), reason="the case files are beside a development checkout only")
def test_other_case_files() -> None:
    with Image.open(CASES / "alpha_garbage.png") as picture:
        hidden = np.asarray(picture)[..., 3] == 0
    assert hidden.any()
    assert (read(CASES / "alpha_garbage.png")[hidden] == BACKGROUND).all()
    assert read_picture(CASES / "photo.heic").size == (200, 160)


# color


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize(
    ("primaries", "gamma"), [(DISPLAY_P3, None), (ADOBE_RGB, 2.19921875), (PROPHOTO, 1.80078125)]
)
@pytest.mark.parametrize("color", [(182, 59, 52), (128, 128, 128), (20, 180, 90)])
def test_color_profiles_are_converted_to_srgb(
    kind: str, primaries: tuple, gamma: float | None, color: tuple[int, int, int]
) -> None:
    picture = Image.new("RGB", (32, 32), color)
    options = {"lossless": True} if kind == "WEBP" else {}
    content = saved(picture, kind, icc_profile=rgb_profile(primaries, gamma), **options)
    assert np.abs(read(content)[5, 5] - as_srgb(color, primaries, gamma)).max() <= 2


def test_a_profile_of_an_image_in_memory_is_used() -> None:
    picture = Image.new("RGB", (32, 32), (182, 59, 52))
    picture.info["icc_profile"] = rgb_profile(DISPLAY_P3, None)
    assert np.abs(read(picture)[5, 5] - as_srgb((182, 59, 52), DISPLAY_P3, None)).max() <= 2


@pytest.mark.parametrize(
    "profile",
    [
        None,
        rgb_profile(SRGB, None),
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        b"not a profile",
        gray_profile(1.8),
        cmyk_profile((128, 128, 128)),
    ],
)
def test_without_a_profile_or_with_srgb_values_stay_as_they_are(profile: bytes | None) -> None:
    picture = Image.fromarray(PIXELS)
    np.testing.assert_array_equal(read(saved(picture, "PNG", icc_profile=profile)), PIXELS)
    gray = picture.convert("L")
    if profile != gray_profile(1.8):
        content = saved(gray, "PNG", icc_profile=profile)
        np.testing.assert_array_equal(read(content), np.asarray(gray.convert("RGB")))


def test_cmyk_with_its_profile() -> None:
    lab = (140, 91, 78)  # 8 bits
    picture = Image.new("CMYK", (32, 32), (255, 0, 0, 0))
    content = saved(picture, "TIFF", icc_profile=cmyk_profile(lab))
    xyz = lab2xyz([lab[0] / 2.55, lab[1] - 128, lab[2] - 128], illuminant="D50")
    color = 255 * linear_to_srgb(np.linalg.solve(np.array(SRGB).T, xyz))
    assert np.abs(read(content)[5, 5] - color).max() <= 4
    without = read(saved(picture, "TIFF"))
    np.testing.assert_array_equal(without, np.asarray(picture.convert("RGB")))


def test_gray_with_a_profile() -> None:
    value = 100
    picture = Image.new("L", (32, 32), value)
    expected = 255 * linear_to_srgb((value / 255) ** 1.8)
    for content in (
        saved(picture, "PNG", icc_profile=gray_profile(1.8)),
        saved(picture.convert("LA"), "PNG", icc_profile=gray_profile(1.8)),
        saved(
            Image.fromarray(np.full((32, 32), value * 257, np.uint16)), "PNG", icc_profile=gray_profile(1.8)
        ),
    ):
        assert np.abs(read(content)[5, 5] - expected).max() <= 2


# transparency


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF"])
def test_transparent_parts_are_a_plain_color(kind: str) -> None:
    alpha = np.full((48, 64), 255, np.uint8)
    alpha[:, 32:] = 0
    options = {"WEBP": {"lossless": True, "exact": True}, "AVIF": {"quality": 100}}.get(kind, {})
    content = saved(Image.fromarray(np.dstack([PIXELS, alpha])), kind, **options)
    pixels = read(content)
    if kind != "AVIF":
        np.testing.assert_array_equal(pixels[:, :32], PIXELS[:, :32])
    assert (pixels[:, 32:] == BACKGROUND).all()


def test_other_kinds_of_transparency() -> None:
    palette = Image.fromarray(PIXELS).quantize(8)
    palette.info["transparency"] = 3
    hidden = np.asarray(palette) == 3
    for kind in ("PNG", "GIF"):
        assert (read(saved(palette, kind))[hidden] == BACKGROUND).all()
    color = tuple(int(value) for value in PIXELS[0, 0])
    pixels = read(saved(Image.fromarray(PIXELS), "PNG", transparency=color))
    assert (pixels[0, 0] == BACKGROUND).all()
    np.testing.assert_array_equal(pixels[1:], PIXELS[1:])
    premultiplied = Image.fromarray(np.dstack([SMOOTH, np.full((48, 64), 255, np.uint8)])).convert("RGBa")
    np.testing.assert_array_equal(read(premultiplied), SMOOTH)


def test_half_transparent_parts_are_mixed_after_the_profile_is_applied() -> None:
    picture = Image.new("RGBA", (32, 32), (182, 59, 52, 128))
    content = saved(picture, "PNG", icc_profile=rgb_profile(DISPLAY_P3, None))
    expected = (as_srgb((182, 59, 52), DISPLAY_P3, None) + 128) / 2
    assert np.abs(read(content)[5, 5] - expected).max() <= 2


def test_opaque_images_with_an_alpha_channel_stay_as_they_are() -> None:
    np.testing.assert_array_equal(read(saved(Image.fromarray(PIXELS).convert("RGBA"), "PNG")), PIXELS)


# HEIC


@pytest.mark.parametrize("turns", [0, 1, 3])
def test_heic(turns: int) -> None:
    pixels = read(heic(SMOOTH, quarter_turns=turns))
    expected = np.rot90(SMOOTH, turns).astype(float)
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected).mean() < 4


def test_heic_with_a_profile() -> None:
    pixels = np.full((32, 32, 3), (182, 59, 52), np.uint8)
    content = heic(pixels, rgb_profile(DISPLAY_P3, None))
    assert np.abs(read(content)[9, 9] - as_srgb((182, 59, 52), DISPLAY_P3, None)).max() <= 5


P3_CODES = (12, 13)


def with_codes(kind: str, pixels: np.ndarray, codes: tuple[int, int]) -> bytes:
    if kind == "HEIC":
        return heic(pixels, codes=codes)
    picture = Image.fromarray(pixels)
    if kind == "PNG":
        chunk = PngInfo()
        chunk.add(b"cICP", bytes([*codes, 0, 1]))
        return saved(picture, "PNG", pnginfo=chunk)
    content = saved(picture, "AVIF", quality=100)
    at = content.index(b"colrnclx") + 8
    return content[:at] + b"".join(code.to_bytes(2, "big") for code in codes) + content[at + 4 :]


@pytest.mark.parametrize("kind", ["HEIC", "AVIF", "PNG"])
def test_a_color_space_by_codes_alone(kind: str) -> None:
    pixels = np.full((64, 64, 3), (182, 59, 52), np.uint8)
    expected = as_srgb((182, 59, 52), DISPLAY_P3, None)
    assert np.abs(read(with_codes(kind, pixels, P3_CODES))[9, 9] - expected).max() <= 5
    for codes in ((1, 13), (2, 2), (12, 16)):
        assert np.abs(read(with_codes(kind, pixels, codes))[9, 9] - (182, 59, 52)).max() <= 5, codes


def test_the_primaries_of_bt_2020() -> None:
    """The red of sRGB is (0.6274, 0.0691, 0.0164) there, in linear values (ITU-R BT.2087)."""
    pixels = np.full((64, 64, 3), (207, 74, 34), np.uint8)
    assert np.abs(read(with_codes("PNG", pixels, (9, 13)))[9, 9] - (255, 0, 0)).max() <= 6


def test_damaged_heic() -> None:
    content = heic(SMOOTH)
    for damaged in (content[: len(content) // 2], content[:40]):
        with pytest.raises(InvalidInput, match="cannot be read as an image"):
            read_picture(damaged)


# JPEG


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_without_its_last_two_bytes_is_read(progressive: bool, mode: str) -> None:
    content = saved(Image.fromarray(SMOOTH).convert(mode), "JPEG", progressive=progressive, quality=95)
    np.testing.assert_array_equal(read(content[:-2]), read(content))
    np.testing.assert_array_equal(read(content[:-1]), read(content))


@pytest.mark.parametrize("missing", [0.05, 0.3, 0.6])
def test_a_jpeg_without_a_part_of_the_image_is_refused(missing: float) -> None:
    content = saved(Image.fromarray(PIXELS).resize((640, 480)), "JPEG", quality=95)
    with pytest.raises(InvalidInput, match="cannot be read as an image"):
        read_picture(content[: round(len(content) * (1 - missing))])


# formats


@pytest.mark.parametrize("turn", [3, 6, 8])
def test_webp_is_turned_by_its_exif_data(turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    content = saved(Image.fromarray(PIXELS), "WEBP", lossless=True, exif=exif)
    np.testing.assert_array_equal(read(content), np.rot90(PIXELS, {3: 2, 6: -1, 8: 1}[turn]))


def test_other_formats_are_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr(Image, "open", lambda *arguments, **options: opened.append(options))
    for content in (
        b"P6 64 64 255\n#",
        b"\0\0\1\0",
        b"8BPS",
        b"%!PS-Adobe",
        b"\0\0\0\x0cjP  \r\n\x87\n",
        b"RIFF",
    ):
        with pytest.raises(InvalidInput, match="cannot be read as an image"):
            decode_picture(io.BytesIO(content + bytes(200)), "a file", "image")
    assert not opened


def test_formats_by_content() -> None:
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"):
        assert picture_format(saved(Image.fromarray(PIXELS), kind)[:64]) == kind
    assert picture_format(heic(SMOOTH)[:64]) == "HEIF"
    assert picture_format(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif" + bytes(40)) == "AVIF"
    assert picture_format(b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(40)) is None
