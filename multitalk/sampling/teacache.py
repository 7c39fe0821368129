"""TeaCache: which steps run the blocks, and what the others use instead."""

from __future__ import annotations

import numpy as np
import torch

ALWAYS_COMPUTED = 5  # the first steps lay out the picture

# Polynomials from the change of the time modulation to that of the output, highest power first
# (docs/MODEL.md, section 5; fitted upstream for Wan2.1 image-to-video).
COEFFICIENTS = {
    "480p": (2.57151496e05, -3.54229917e04, 1.40286849e03, -1.35890334e01, 1.32517977e-01),
    "720p": (8.10705460e03, 2.13393892e03, -3.72934672e02, 1.66203073e01, -4.17769401e-02),
}


def computed_steps(modulations: torch.Tensor, threshold: float, resolution: str) -> list[bool]:
    """Decide for every step, before sampling, whether the blocks run.

    The signal is the change of the time modulation, which no picture or sound has a part in.

    Args:
        modulations: ``steps 6 D`` float32, the transformer's at each timestep.
        threshold: Accumulated change at which the blocks run again; 0.2 to 0.5 are usual.
        resolution: ``"480p"`` or ``"720p"``.

    Returns:
        One truth value per step.
    """
    rescale = np.poly1d(COEFFICIENTS[resolution])
    computed: list[bool] = []
    accumulated = 0.0
    modulations = modulations.cpu()  # one copy, instead of a wait at every step
    for step, modulation in enumerate(modulations):
        if step >= ALWAYS_COMPUTED:
            previous = modulations[step - 1]
            change = (modulation - previous).abs().mean() / previous.abs().mean()
            accumulated += float(rescale(change.item()))
        compute = step < ALWAYS_COMPUTED or accumulated >= threshold
        if compute:
            accumulated = 0.0
        computed.append(compute)
    return computed
