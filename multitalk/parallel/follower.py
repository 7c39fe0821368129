"""The processes other than 0: they hold the transformer and take part in its calls."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NoReturn

import torch

from ..pipeline.executor import JobOutcome
from ..pipeline.results import Clip, GenerationResult
from .failures import attempt, sentence_of
from .messages import ClipStart, PrepareJob
from .shared_model import follow_clip
from .team import Team
from .weights import TransformerShare


class Follower:
    """A process other than 0. It has the transformer only and follows the jobs of process 0.

    Args:
        team: The processes.
        share: This process's transformer.
    """

    def __init__(self, team: Team, share: TransformerShare) -> None:
        self.team = team
        self.share = share

    def __getattr__(self, name: str) -> NoReturn:
        """Explain why an attribute of a pipeline is missing."""
        raise AttributeError(f"This process follows process 0: it has the transformer only, but no {name}.")

    def generate(self, *args: Any, **kwargs: Any) -> GenerationResult | None:
        """Take part in one job of process 0. The arguments are ignored.

        Returns:
            The result of process 0; None if it has closed its pipeline.

        Raises:
            MultiTalkError: The error of process 0.
        """
        return self.follow_job().result

    def stream(self, *args: Any, **kwargs: Any) -> Iterator[Clip]:
        """Take part in one job of process 0, which alone yields clips: nothing is yielded here."""
        self.follow_job()
        yield from ()

    def serve(self) -> None:
        """Take part in jobs until process 0 closes its pipeline."""
        while self._follow() is not None:
            pass

    def follow_job(self) -> JobOutcome:
        """Take part in one job of process 0.

        Raises:
            MultiTalkError: The error of process 0.
        """
        outcome = self._follow() or JobOutcome()
        if outcome.error is not None:
            raise outcome.error
        return outcome

    @torch.inference_mode()
    def _follow(self) -> JobOutcome | None:
        """Follow process 0 until its job ends; None if there are no more jobs."""
        with self.team.together():
            while True:
                message = self.team.channel.receive()
                if isinstance(message, ClipStart):
                    follow_clip(self.team, self.share.transformer, message)
                elif isinstance(message, PrepareJob):
                    _, error = attempt(partial(self.share.prepare, message))
                    self.team.channel.gather(None if error is None else sentence_of(error))
                elif isinstance(message, JobOutcome):
                    return message
                else:
                    self.team.watch.stop()
                    return None
