"""Guidance: which predictions a step needs, and what becomes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch


@dataclass(frozen=True)
class Branch:
    """What one prediction is conditioned on.

    Attributes:
        name: Upstream's name of it.
        text: The prompt; otherwise the negative prompt.
        audio: The people's sound; otherwise one person's silence (null audio).
    """

    name: str
    text: bool
    audio: bool


COND = Branch("cond", text=True, audio=True)
DROP_TEXT = Branch("drop_text", text=False, audio=True)
UNCOND = Branch("uncond", text=False, audio=False)
DROP_AUDIO = Branch("drop_audio", text=True, audio=False)


def needed_branches(text_guidance: float, audio_guidance: float) -> tuple[Branch, ...]:
    """The predictions that don't cancel out: three, two or one (docs/MODEL.md, section 5: guidance)."""
    if text_guidance == 1:
        return (COND,) if audio_guidance == 1 else (COND, DROP_AUDIO)
    return (COND, DROP_TEXT) if audio_guidance == 1 else (COND, DROP_TEXT, UNCOND)


class Guidance(Protocol):
    """Combines a step's predictions; made anew for every clip."""

    branches: tuple[Branch, ...]

    def combine(self, predictions: dict[Branch, torch.Tensor]) -> torch.Tensor:
        """The guided velocity ``C T h w`` of the predictions of all branches, each ``C T h w`` float32."""
        ...


class ClassifierFreeGuidance:
    """Guidance along text and sound apart.

    Args:
        text_guidance: Scale of the text; 1 switches it off.
        audio_guidance: Scale of the sound; 1 switches it off.
    """

    def __init__(self, text_guidance: float, audio_guidance: float) -> None:
        self.text_guidance = text_guidance
        self.audio_guidance = audio_guidance
        self.branches = needed_branches(text_guidance, audio_guidance)

    def combine(self, predictions: dict[Branch, torch.Tensor]) -> torch.Tensor:
        """See :class:`Guidance`."""
        cond = predictions[COND]
        if DROP_AUDIO in predictions:
            drop_audio = predictions[DROP_AUDIO]
            return drop_audio + self.audio_guidance * (cond - drop_audio)
        if DROP_TEXT not in predictions:
            return cond
        drop_text = predictions[DROP_TEXT]
        if UNCOND not in predictions:
            return drop_text + self.text_guidance * (cond - drop_text)
        uncond = predictions[UNCOND]
        return uncond + self.text_guidance * (cond - drop_text) + self.audio_guidance * (drop_text - uncond)


class ProjectedDifference:
    """One direction of adaptive projected guidance (Sadat et al., arXiv 2410.02416, algorithm 1).

    Args:
        momentum: Share of the earlier steps' direction; negative pushes away from it.
        norm_threshold: Longest direction allowed, L2 over all elements.
        eta: Share of the part that is parallel to the prediction.
    """

    def __init__(self, momentum: float = -0.75, norm_threshold: float = 55.0, eta: float = 0.0) -> None:
        self.momentum = momentum
        self.norm_threshold = norm_threshold
        self.eta = eta
        self.average: torch.Tensor | float = 0.0

    def update(self, difference: torch.Tensor, prediction: torch.Tensor) -> torch.Tensor:
        """Add a step's difference to the average and return it shortened and projected; both ``C T h w``."""
        self.average = difference + self.momentum * self.average
        direction = self.average
        norm = direction.norm(p=2)
        direction = direction * torch.minimum(torch.ones_like(norm), self.norm_threshold / norm)
        exact = direction.double()
        unit = torch.nn.functional.normalize(prediction.double().flatten(), dim=0).view_as(exact)
        parallel = (exact * unit).sum() * unit
        return (exact - parallel).type_as(direction) + self.eta * parallel.type_as(direction)


class AdaptiveProjectedGuidance:
    """Guidance whose directions lose what is parallel to the prediction: strong scales don't burn colours.

    Args:
        text_guidance: Scale of the text; 1 switches it off.
        audio_guidance: Scale of the sound; 1 switches it off.
    """

    def __init__(self, text_guidance: float, audio_guidance: float) -> None:
        self.text_guidance = text_guidance
        self.audio_guidance = audio_guidance
        self.branches = needed_branches(text_guidance, audio_guidance)
        self.text_direction = ProjectedDifference()
        self.audio_direction = ProjectedDifference()

    def combine(self, predictions: dict[Branch, torch.Tensor]) -> torch.Tensor:
        """See :class:`Guidance`."""
        cond = predictions[COND]
        velocity = cond
        if DROP_TEXT in predictions:
            direction = self.text_direction.update(cond - predictions[DROP_TEXT], cond)
            velocity = velocity + (self.text_guidance - 1) * direction
        without_audio = predictions.get(UNCOND, predictions.get(DROP_AUDIO))
        if without_audio is not None:
            with_audio = predictions.get(DROP_TEXT, cond)
            direction = self.audio_direction.update(with_audio - without_audio, cond)
            velocity = velocity + (self.audio_guidance - 1) * direction
        return velocity


def make_guidance(text_guidance: float, audio_guidance: float, apg: bool) -> Guidance:
    """The guidance a request asks for, fresh for a clip."""
    guidance = AdaptiveProjectedGuidance if apg else ClassifierFreeGuidance
    return guidance(text_guidance, audio_guidance)
