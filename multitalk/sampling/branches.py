"""Conditions of the guidance branches, and the model calls that compute them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from .guidance import Branch


@dataclass(frozen=True)
class BranchConditions:
    """Projected conditions of one model call.

    Attributes:
        text_hidden_states: ``B text_len D``, B being the number of branches in the call.
        image_hidden_states: ``1 257 D``, shared by all branches.
        audio_hidden_states: ``B T A C``.
        person_masks: ``3 S`` for two people, None for one person and for null audio.
    """

    text_hidden_states: torch.Tensor
    image_hidden_states: torch.Tensor
    audio_hidden_states: torch.Tensor
    person_masks: torch.Tensor | None


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
