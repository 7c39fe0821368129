"""The model calls of a clip, shared by several processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from ..errors import InvalidInput
from ..models.sequence import all_gather, empty_to_receive
from ..sampling.cache import use_cache
from ..sampling.denoise import VelocityModel
from ..sampling.guidance import Branch, make_calls
from .messages import ClipEnd, ClipStart, Predict
from .team import Place, Team

if TYPE_CHECKING:
    from ..models.transformer import MultiTalkTransformer


class SharedVelocityModel:
    """This process's part of predicting the velocity of a clip's guidance branches.

    The branches are assigned to the branch groups in turn: of three branches and two groups, the first group
    computes the first and the third branch. A round is one model call in every group that has a branch left.

    Args:
        place: Place of this process.
        transformer: The model; it already shares its tokens.
        clip: The clip.
    """

    def __init__(self, place: Place, transformer: MultiTalkTransformer, clip: ClipStart) -> None:
        groups = place.layout.branch_groups
        self.place = place
        self.branches = tuple(clip.branches)
        assigned = {branch: clip.branches[branch] for branch in self.branches[place.row :: groups]}
        # with several groups, each makes one prediction per round
        calls = make_calls(assigned, clip.batched and groups == 1)
        self.model = VelocityModel(transformer, clip.condition, calls, clip.computed)
        self.calls = range(len(calls) if groups == 1 else place.layout.rounds(len(self.branches)))

    def predict(
        self, latents: torch.Tensor, timestep: torch.Tensor, step: int, call: int
    ) -> dict[Branch, torch.Tensor]:
        """Predict one round; each prediction is ``C T h w`` float32, as the latents.

        Returns:
            The predictions of all groups in the first process of each branch group; those of its own group in
            the other processes.
        """
        predictions: dict[Branch, torch.Tensor] = {}
        if call < len(self.model.calls):
            predictions = self.model.predict(latents, timestep, step, self.model.calls[call])
        if self.place.branches is None:
            return predictions
        sent = next(iter(predictions.values()), torch.zeros_like(latents)).contiguous()
        groups = self.place.layout.branch_groups
        received = empty_to_receive((groups, *sent.shape), sent)
        all_gather(received.flatten(0, 1), sent, group=self.place.branches)
        first = call * groups
        return dict(zip(self.branches[first : first + groups], received, strict=False))


class LeadingVelocityModel(SharedVelocityModel):
    """The shared model in process 0, which starts each round in the other processes.

    Args:
        team: The processes.
        place, transformer, clip: See :class:`SharedVelocityModel`.
    """

    def __init__(self, team: Team, place: Place, transformer: MultiTalkTransformer, clip: ClipStart) -> None:
        super().__init__(place, transformer, clip)
        self.team = team

    def predict(
        self, latents: torch.Tensor, timestep: torch.Tensor, step: int, call: int
    ) -> dict[Branch, torch.Tensor]:
        """See :meth:`SharedVelocityModel.predict`."""
        with self.team.together():
            self.team.channel.send(Predict(step, call, latents, timestep))
            return super().predict(latents, timestep, step, call)


@contextmanager
def leading_clip(
    team: Team, transformer: MultiTalkTransformer, clip: ClipStart
) -> Iterator[LeadingVelocityModel]:
    """Share the sampling of a clip, in process 0.

    Raises:
        InvalidInput: The cache is not supported in several processes.
    """
    _check_cache(clip)
    with use_cache(transformer, clip.cache, clip.steps, clip.resolution):
        with team.together():
            team.channel.send(clip)
            place = team.place(clip.layout)
        try:
            transformer.share_tokens(place.tokens)
            yield LeadingVelocityModel(team, place, transformer, clip)
        finally:
            transformer.share_tokens(None)
            if not team.broken:
                with team.together():
                    team.channel.send(ClipEnd())


def follow_clip(team: Team, transformer: MultiTalkTransformer, clip: ClipStart) -> None:
    """Take part in the sampling of a clip, in a process other than 0."""
    place = team.place(clip.layout)
    transformer.share_tokens(place.tokens)
    try:
        with use_cache(transformer, clip.cache, clip.steps, clip.resolution):
            model = SharedVelocityModel(place, transformer, clip)
            while isinstance(message := team.channel.receive(), Predict):
                model.predict(message.latents, message.timestep, message.step, message.round)
    finally:
        transformer.share_tokens(None)
    assert isinstance(message, ClipEnd), message


def _check_cache(clip: ClipStart) -> None:
    """Refuse a cache that decides by a process's own tokens: the processes would decide differently."""
    if clip.cache is not None and clip.cache.name == "first_block" and clip.layout.token_ranks > 1:
        raise InvalidInput(
            "cache first_block is not supported if several GPUs share the video's tokens. "
            "Use magcache or teacache.",
            "cache",
        )
