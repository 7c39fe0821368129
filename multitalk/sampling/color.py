"""Color correction: keeps the colors of the image over any number of clips."""

from __future__ import annotations

import warnings

import numpy as np
import torch


class ColorCorrection:
    """Moves the Lab statistics of each frame to those of a reference image (docs/MODEL.md, section 5).

    Args:
        reference: The image ``3 H W`` in [-1, 1].
        strength: 0 (no correction) to 1 (full correction).
    """

    def __init__(self, reference: torch.Tensor, strength: float) -> None:
        self.strength = strength
        # skipped without correction: computing them imports skimage and synchronizes with the device
        self.statistics = _statistics(_to_lab(_to_image(reference))) if strength else []

    def apply(self, frames: torch.Tensor) -> torch.Tensor:
        """Correct each frame of ``3 f H W`` in [-1, 1]; shape, device and dtype are kept."""
        if self.strength == 0:
            return frames
        corrected = [self._correct(_to_image(frame)) for frame in frames.unbind(1)]
        result = torch.from_numpy(np.stack(corrected)).permute(3, 0, 1, 2) * 2 - 1
        return result.to(device=frames.device, dtype=frames.dtype)

    def _correct(self, image: np.ndarray) -> np.ndarray:
        """Correct one image ``H W 3`` in [0, 1], float32."""
        from skimage import color

        lab = _to_lab(image)
        moved = np.empty_like(lab)
        for channel, (target, current) in enumerate(zip(self.statistics, _statistics(lab), strict=True)):
            scale = target[1] / current[1] if current[1] > 0 else 0.0  # a constant channel cannot be scaled
            moved[..., channel] = (lab[..., channel] - current[0]) * scale + target[0]
        with warnings.catch_warnings():  # out-of-gamut colors are expected, and clipped
            warnings.simplefilter("ignore", UserWarning)
            corrected = np.clip(color.lab2rgb(moved), 0, 1)
        return (1 - self.strength) * image + self.strength * corrected


def _to_image(frame: torch.Tensor) -> np.ndarray:
    return ((frame.float() + 1) / 2).permute(1, 2, 0).cpu().numpy()


def _to_lab(image: np.ndarray) -> np.ndarray:
    from skimage import color

    return color.rgb2lab(image)


def _statistics(lab: np.ndarray) -> list[tuple[np.float32, np.float32]]:
    """Return mean and population standard deviation of each channel, computed per channel as upstream."""
    return [(lab[..., channel].mean(), lab[..., channel].std()) for channel in range(3)]
