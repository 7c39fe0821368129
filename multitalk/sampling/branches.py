"""What the guidance branches of a clip show the transformer, and which of them share a model call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from .guidance import Branch


@dataclass(frozen=True)
class BranchConditions:
    """What one model call shows the transformer, projected already.

    Attributes:
        text_hidden_states: ``B text_len D``, B the branches that share the call.
        image_hidden_states: ``1 257 D``; one picture serves them all.
        audio_hidden_states: ``B T A C``.
        person_masks: ``3 S`` where two people speak in it, else None.
    """

    text_hidden_states: torch.Tensor
    image_hidden_states: torch.Tensor
    audio_hidden_states: torch.Tensor
    person_masks: torch.Tensor | None


@dataclass(frozen=True)
class ModelCall:
    """One call of the transformer in every step.

    Attributes:
        branches: Whose predictions it makes, in the order of its batch.
        conditions: What it shows the transformer.
    """

    branches: tuple[Branch, ...]
    conditions: BranchConditions

    @property
    def name(self) -> str:
        """The branches' names, as a key for what is kept from step to step."""
        return "+".join(branch.name for branch in self.branches)


def plan_calls(branches: Mapping[Branch, BranchConditions], batched: bool = False) -> tuple[ModelCall, ...]:
    """Decide which branches share a model call.

    Null audio is one person's, so beside two people it has fewer audio tokens and no masks: that branch is
    called apart, and the others share a call.

    Args:
        branches: Conditions of each branch, batches of 1, in the order they are to be called.
        batched: Whether branches may share a call; otherwise each has its own.
    """
    groups: list[list[Branch]] = []
    for branch, conditions in branches.items():
        fitting = (group for group in groups if batched and _fit(branches[group[0]], conditions))
        if (group := next(fitting, None)) is not None:
            group.append(branch)
        else:
            groups.append([branch])
    return tuple(ModelCall(tuple(group), _stack([branches[branch] for branch in group])) for group in groups)


def _fit(first: BranchConditions, second: BranchConditions) -> bool:
    """Whether two branches can be rows of one batch."""
    return (
        first.person_masks is second.person_masks
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
    )
