"""Color correction: keeps the colors of the image over any number of clips."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch

# from linear sRGB to XYZ, and the white point D65 (2 degrees): the values of scikit-image, as upstream
XYZ_FROM_RGB = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
RGB_FROM_XYZ = np.linalg.inv(XYZ_FROM_RGB).tolist()
WHITE = (0.95047, 1.0, 1.08883)
# Standard deviation of the lightness, of 100, below which a reference is a plain color, such as the black
# frame from which a video fades in: frames with its statistics would be plain, too.
PLAIN = 1.0


class ColorCorrection:
    """Moves the Lab statistics of each frame to those of a reference image (docs/MODEL.md, section 5).

    Args:
        reference: The image ``3 H W`` in [-1, 1], on the device of the frames; a plain one corrects nothing.
        strength: 0 (no correction) to 1 (full correction).
    """

    def __init__(self, reference: torch.Tensor, strength: float) -> None:
        self.strength = strength
        if strength:
            self._deviation, self._mean = _statistics(rgb_to_lab((reference[:, None].float() + 1) / 2))

    def apply(self, frames: torch.Tensor) -> torch.Tensor:
        """Correct each frame of ``3 f H W`` in [-1, 1], in float32; shape, device and dtype are kept."""
        if self.strength == 0:
            return frames
        rgb = (frames.float() + 1) / 2
        lab = rgb_to_lab(rgb)
        deviation, mean = _statistics(lab)
        # a constant channel cannot be scaled
        scale = torch.where(deviation > 0, self._deviation / deviation, 0)
        corrected = lab_to_rgb((lab - mean) * scale + self._mean)
        mixed = ((1 - self.strength) * rgb + self.strength * corrected) * 2 - 1
        return torch.where(self._deviation[0] > PLAIN, mixed.to(frames.dtype), frames)


def rgb_to_lab(rgb: torch.Tensor) -> torch.Tensor:
    """Convert sRGB ``3 ...`` in [0, 1] to Lab of the same shape, as ``skimage.color.rgb2lab``."""
    linear = torch.where(rgb > 0.04045, ((rgb.clamp(min=0) + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = _mix(XYZ_FROM_RGB, linear)
    relative = torch.stack([channel / white for channel, white in zip(xyz, WHITE, strict=True)])
    curved = relative.clamp(min=0) ** (1 / 3)
    x, y, z = torch.where(relative > 0.008856, curved, 7.787 * relative + 16 / 116)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def lab_to_rgb(lab: torch.Tensor) -> torch.Tensor:
    """Convert Lab ``3 ...`` to sRGB in [0, 1], as ``skimage.color.lab2rgb``; other colors are clipped."""
    y = (lab[0] + 16) / 116
    relative = torch.stack([lab[1] / 500 + y, y, (y - lab[2] / 200).clamp(min=0)])
    relative = torch.where(relative > 0.2068966, relative**3, (relative - 16 / 116) / 7.787)
    xyz = [channel * white for channel, white in zip(relative, WHITE, strict=True)]
    linear = torch.stack(_mix(RGB_FROM_XYZ, xyz))
    curved = 1.055 * linear.clamp(min=0) ** (1 / 2.4) - 0.055
    return torch.where(linear > 0.0031308, curved, linear * 12.92).clamp(0, 1)


def _mix(matrix: Sequence[Sequence[float]], channels: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """Multiply a matrix by three channels without a matrix product, which a GPU would round to TF32."""
    x, y, z = channels
    return [row[0] * x + row[1] * y + row[2] * z for row in matrix]


def _statistics(lab: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the population standard deviation and the mean of each channel of each frame: ``3 f 1 1``."""
    return torch.std_mean(lab, dim=(-2, -1), correction=0, keepdim=True)
