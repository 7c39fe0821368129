"""Guidance: the branches that a step predicts, and their combination."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch


@dataclass(frozen=True)
class Branch:
    """A guidance branch: the conditions of one prediction.

    Attributes:
        name: Name of the branch upstream.
        text: True for the prompt, False for the negative prompt.
        audio: True for the voices, False for null audio (one silent person).
    """

    name: str
    text: bool
    audio: bool


COND = Branch("cond", text=True, audio=True)
DROP_TEXT = Branch("drop_text", text=False, audio=True)
UNCOND = Branch("uncond", text=False, audio=False)
DROP_AUDIO = Branch("drop_audio", text=True, audio=False)


def needed_branches(text_guidance: float, audio_guidance: float) -> tuple[Branch, ...]:
    """Return the one to three branches that affect the result (docs/MODEL.md, section 5)."""
    if text_guidance == 1:
        return (COND,) if audio_guidance == 1 else (COND, DROP_AUDIO)
    return (COND, DROP_TEXT) if audio_guidance == 1 else (COND, DROP_TEXT, UNCOND)


class Guidance(Protocol):
    """Combines the predictions of a step; created for every clip."""

    branches: tuple[Branch, ...]

    def combine(self, predictions: dict[Branch, torch.Tensor]) -> torch.Tensor:
        """Return the guided velocity ``C T h w`` from predictions ``C T h w`` float32 of all branches."""
        ...


class ClassifierFreeGuidance:
    """Classifier-free guidance with separate scales for text and audio.

    Args:
        text_guidance: Text guidance scale; 1 disables it.
        audio_guidance: Audio guidance scale; 1 disables it.
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
    """A direction of adaptive projected guidance (Sadat et al., arXiv 2410.02416, algorithm 1).

    Args:
        momentum: Weight of the direction of earlier steps; negative values push away from it.
        norm_threshold: Maximum L2 norm of the direction over all elements.
        eta: Weight of the component parallel to the prediction.
    """

    def __init__(self, momentum: float = -0.75, norm_threshold: float = 55.0, eta: float = 0.0) -> None:
        self.momentum = momentum
        self.norm_threshold = norm_threshold
        self.eta = eta
        self.average: torch.Tensor | float = 0.0

    def update(self, difference: torch.Tensor, prediction: torch.Tensor) -> torch.Tensor:
        """Update the running average with a difference ``C T h w``; return it clipped and projected."""
        self.average = difference + self.momentum * self.average
        direction = self.average
        norm = direction.norm(p=2)
        direction = direction * torch.minimum(torch.ones_like(norm), self.norm_threshold / norm)
        exact = direction.double()
        unit = torch.nn.functional.normalize(prediction.double().flatten(), dim=0).view_as(exact)
        parallel = (exact * unit).sum() * unit
        return (exact - parallel).type_as(direction) + self.eta * parallel.type_as(direction)


class AdaptiveProjectedGuidance(ClassifierFreeGuidance):
    """Guidance without the component parallel to the prediction, which avoids oversaturation at large scales.

    Args:
        text_guidance, audio_guidance: See :class:`ClassifierFreeGuidance`.
    """

    def __init__(self, text_guidance: float, audio_guidance: float) -> None:
        super().__init__(text_guidance, audio_guidance)
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
    """Create the guidance of a clip; `apg` selects adaptive projected guidance."""
    guidance = AdaptiveProjectedGuidance if apg else ClassifierFreeGuidance
    return guidance(text_guidance, audio_guidance)


@dataclass(frozen=True)
class BranchConditions:
    """Projected conditions of one model call.

    Attributes:
        text_hidden_states: ``B text_len D``, B being the number of branches in the call.
        image_hidden_states: ``1 257 D``, shared by all branches.
        audio_hidden_states: ``B T A C``.
        person_masks: ``P+1 S`` for P people, None for one person and for null audio.
        audio_scales: Factors of the audio attention's output: ``P+1`` for P people and the background, ``1``
            for one person; None for none.
    """

    text_hidden_states: torch.Tensor
    image_hidden_states: torch.Tensor
    audio_hidden_states: torch.Tensor
    person_masks: torch.Tensor | None
    audio_scales: torch.Tensor | None = None


@dataclass(frozen=True)
class ModelCall:
    """A call of the transformer, made in every step.

    Attributes:
        branches: Guidance branches that the call predicts, in the order of its batch.
        conditions: Conditions of these branches.
    """

    branches: tuple[Branch, ...]
    conditions: BranchConditions

    @property
    def name(self) -> str:
        """Names of the branches: the key of cached values."""
        return "+".join(branch.name for branch in self.branches)


def make_calls(branches: Mapping[Branch, BranchConditions], batched: bool = False) -> tuple[ModelCall, ...]:
    """Group branches into model calls.

    Null audio is always one person's. With two people its branch therefore has fewer audio tokens and no
    masks and needs a separate call; the other branches can share one.

    Args:
        branches: Conditions of each branch (batch size 1), in the order of the calls.
        batched: Whether branches with conditions of equal shapes share a call.
    """
    groups: list[list[Branch]] = []
    for branch, conditions in branches.items():
        matching = (group for group in groups if batched and _match(branches[group[0]], conditions))
        if (group := next(matching, None)) is not None:
            group.append(branch)
        else:
            groups.append([branch])
    return tuple(ModelCall(tuple(group), _stack([branches[branch] for branch in group])) for group in groups)


def _match(first: BranchConditions, second: BranchConditions) -> bool:
    """Return whether two branches can be rows of one batch."""
    return (
        first.person_masks is second.person_masks
        and first.audio_scales is second.audio_scales
        and first.image_hidden_states is second.image_hidden_states
        and first.audio_hidden_states.shape == second.audio_hidden_states.shape
    )


def _stack(parts: list[BranchConditions]) -> BranchConditions:
    first = parts[0]
    if len(parts) == 1:
        return first
    return BranchConditions(
        text_hidden_states=torch.cat([part.text_hidden_states for part in parts]),
        image_hidden_states=first.image_hidden_states,
        audio_hidden_states=torch.cat([part.audio_hidden_states for part in parts]),
        person_masks=first.person_masks,
        audio_scales=first.audio_scales,
    )
