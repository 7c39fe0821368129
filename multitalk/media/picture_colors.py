"""Conversion of any image to sRGB without transparency."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms

BACKGROUND = (128, 128, 128)  # neutral, and neither dark nor bright hair gets a seam of the opposite
# A profile that changes no color by more than this is sRGB in other words.
SAME_COLOR = 2  # of 255
PROBE_STEPS = 9  # colors per channel
MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # of ICC's color spaces


def to_srgb(picture: Image.Image) -> Image.Image:
    """Convert a decoded image to RGB.

    Colors are converted with the image's profile, relative to white and with black point compensation.
    Without a profile, or with one of sRGB, RGB values stay as they are. Transparent parts get a plain gray.
    """
    alpha = picture.convert("RGBA").getchannel("A") if picture.has_transparency_data else None
    profile = picture.info.get("icc_profile")
    colors = _apply_profile(picture, profile) if profile else None
    if colors is None:
        colors = _plain(picture, "RGB")
    if alpha is None or alpha.getextrema()[0] == 255:
        return colors
    background = Image.new("RGB", picture.size, BACKGROUND)
    background.paste(colors, mask=alpha)
    return background


def _apply_profile(picture: Image.Image, profile: bytes) -> Image.Image | None:
    """Convert an image to sRGB; None if its values are sRGB, or the profile is invalid or of another kind."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = MODES.get(source.profile.xcolor_space.strip())
        is_gray, is_cmyk = picture.mode in ("1", "L", "LA", "La"), picture.mode == "CMYK"
        if mode is None or is_cmyk != (mode == "CMYK") or (mode == "L" and not is_gray):
            return None
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if mode != "CMYK":
            probe = _probe(mode)
            changed = np.asarray(ImageCms.applyTransform(probe, transform), np.int16)
            if np.abs(changed - np.asarray(probe.convert("RGB"), np.int16)).max() <= SAME_COLOR:
                return None
        return ImageCms.applyTransform(_plain(picture, mode), transform)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):  # browsers ignore such a profile too
        return None


def _probe(mode: str) -> Image.Image:
    """Create an image of colors from the whole range."""
    values = np.linspace(0, 255, PROBE_STEPS).round().astype(np.uint8)
    if mode == "L":
        return Image.fromarray(values[None])
    colors = np.stack(np.meshgrid(values, values, values, indexing="ij"), axis=-1)
    return Image.fromarray(colors.reshape(1, -1, 3))


def _plain(picture: Image.Image, mode: str) -> Image.Image:
    """Convert an image to a mode without transparency."""
    if picture.mode in ("La", "RGBa"):  # PIL converts these only to
        picture = picture.convert({"La": "LA", "RGBa": "RGBA"}[picture.mode])
    return picture.convert(mode)
