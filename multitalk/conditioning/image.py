"""Image: cropping to the size of the video, CLIP features, and the VAE condition of a clip."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from ..models.video_vae import TEMPORAL_STRIDE, encode_condition, latent_frames

if TYPE_CHECKING:
    from diffusers import AutoencoderKLWan

    from ..models.image_encoder import CLIPVisionEncoder

# Maximum pixels of the resized image; beyond, only the visible part is resized. 4 times the largest video, 64
# MB.
MAX_RESIZED_PIXELS = 4 * 2048 * 2048
# Of the condition y: one for each video frame of a latent frame.
MASK_CHANNELS = TEMPORAL_STRIDE
CLIP_SIDE = 224
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class CoverCrop:
    """A resize that covers the target size, followed by a center crop.

    It is applied to the image and to the masks of the people. All values are in pixels.
    """

    height: int
    width: int
    resized_height: int
    resized_width: int
    top: int
    left: int

    @classmethod
    def of(cls, image_height: int, image_width: int, height: int, width: int) -> CoverCrop:
        """Compute resize and crop of an image for a target size (docs/MODEL.md, section 4)."""
        scale = max(height / image_height, width / image_width)
        resized_height, resized_width = math.ceil(scale * image_height), math.ceil(scale * image_width)
        top, left = round((resized_height - height) / 2), round((resized_width - width) / 2)
        return cls(height, width, resized_height, resized_width, top, left)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the crop in the resized image."""
        return self.left, self.top, self.left + self.width, self.top + self.height


def prepare_image(image: Image.Image, height: int, width: int) -> torch.Tensor:
    """Resize and crop an image to the size of the video (docs/MODEL.md, section 4).

    Args:
        image: 8-bit RGB, resized with PIL's bilinear filter as upstream; torch's differs by 5e-3.
        height: Height of the video.
        width: Width of the video.

    Returns:
        ``3 H W`` float32 in [-1, 1].
    """
    pixels = torch.from_numpy(fit_image(image, height, width)).permute(2, 0, 1)
    return (pixels.float() / 255 - 0.5) * 2


def fit_image(image: Image.Image, height: int, width: int) -> np.ndarray:
    """Resize and crop an image as :func:`prepare_image` does; ``H W 3`` uint8."""
    return np.array(_cover(image, CoverCrop.of(image.height, image.width, height, width)))


def _cover(image: Image.Image, crop: CoverCrop) -> Image.Image:
    """Resize an image and crop it.

    Upstream resizes the whole image, then crops. Resizing only the visible part is not bit-identical, because
    PIL rounds its corners to float32: a few percent of the values differ by one level of 255. It is used only
    when the whole would be very large: for an elongated image and a video of another aspect ratio.
    """
    if crop.resized_height * crop.resized_width <= MAX_RESIZED_PIXELS:
        whole = image.resize((crop.resized_width, crop.resized_height), Image.Resampling.BILINEAR)
        return whole.crop(crop.box)
    across, down = image.width / crop.resized_width, image.height / crop.resized_height
    left, top, right, bottom = crop.box
    part = (left * across, top * down, right * across, bottom * down)
    return image.resize((crop.width, crop.height), Image.Resampling.BILINEAR, box=part)


def encode_image(image_encoder: CLIPVisionEncoder, frame: torch.Tensor) -> torch.Tensor:
    """Compute CLIP features of a frame: the tokens after the encoder's last block, without the final norm.

    The published encoder's last block is not used, so baked encoders do not contain it (docs/MODEL.md,
    section 4).

    Args:
        image_encoder: CLIP's vision encoder, or transformers' class of it.
        frame: ``3 H W`` in [-1, 1].

    Returns:
        ``1 257 C`` in the encoder's dtype.
    """
    resized = F.interpolate(
        frame[None].float(), size=(CLIP_SIDE, CLIP_SIDE), mode="bicubic", align_corners=False
    )
    mean, std = (resized.new_tensor(values).view(1, 3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    pixels = ((resized * 0.5 + 0.5) - mean) / std
    pixels = pixels.to(device=image_encoder.device, dtype=image_encoder.dtype)
    return image_encoder(pixel_values=pixels).last_hidden_state


def make_condition(
    vae: AutoencoderKLWan,
    frames: torch.Tensor,
    length: int,
    check_cancelled: Callable[[], None] | None = None,
) -> torch.Tensor:
    """Create the condition y of a clip (docs/MODEL.md, section 4).

    Args:
        vae: The VAE.
        frames: Condition frames ``3 n H W`` in [-1, 1], n = 4m+1: the image, or the motion frames.
        length: Frames of the clip, 4k+1.
        check_cancelled: Called before every chunk; may raise.

    Returns:
        ``20 k+1 h w`` float32: 4 mask channels, one for each video frame of a latent frame (the first latent
        frame repeats its only one), then the latents of the frames and zeros.
    """
    latents = encode_condition(vae, frames, length, check_cancelled)
    mask = latents.new_zeros(MASK_CHANNELS, *latents.shape[1:])
    mask[:, : latent_frames(frames.shape[1])] = 1.0  # 4n+1 frames fill whole latent frames
    return torch.cat((mask, latents))
