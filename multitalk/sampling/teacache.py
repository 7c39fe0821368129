"""TeaCache: which steps run the blocks and which reuse their residual."""

from __future__ import annotations

import numpy as np
import torch

ALWAYS_COMPUTED = 5  # the first steps determine the composition

# Polynomials that map the change of the timestep modulation to that of the output, highest power first
# (docs/MODEL.md, section 5; fitted upstream for Wan2.1 image-to-video).
COEFFICIENTS = {
    "480p": (2.57151496e05, -3.54229917e04, 1.40286849e03, -1.35890334e01, 1.32517977e-01),
    "720p": (8.10705460e03, 2.13393892e03, -3.72934672e02, 1.66203073e01, -4.17769401e-02),
}


def computed_steps(modulations: torch.Tensor, threshold: float, resolution: str) -> list[bool]:
    """Decide before sampling which steps run the blocks.

    The decision depends on the timestep modulation only, not on the inputs.

    Args:
        modulations: Modulation of the transformer at each timestep, ``steps 6 D`` float32.
        threshold: Accumulated change at which the blocks run again; usually 0.2 to 0.5.
        resolution: "480p" or "720p".

    Returns:
        For each step, whether the blocks run.
    """
    rescale = np.poly1d(COEFFICIENTS[resolution])
    computed: list[bool] = []
    accumulated = 0.0
    modulations = modulations.cpu()  # one copy instead of a synchronization per step
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
