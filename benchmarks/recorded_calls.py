"""What the networks are given in real jobs, kept to be given to them again in another precision."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from multitalk import GenerationRequest, MultiTalkPipeline
from multitalk.models.transformer import MultiTalkTransformer

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
STEPS = 8
KEPT_STEPS = (0, 4, 7)


@dataclass(frozen=True)
class Call:
    """A model call with its conditions as they were before they were projected."""

    name: str
    hidden_states: torch.Tensor
    timestep: torch.Tensor
    person_masks: torch.Tensor | None
    conditions: dict[str, torch.Tensor]

    @property
    def tokens(self) -> int:
        """Video tokens."""
        return math.prod(self.hidden_states.shape[2:]) // 4

    def run(self, transformer: MultiTalkTransformer) -> torch.Tensor:
        """Make the call; the result is float32."""
        projected = (getattr(transformer, name)(condition) for name, condition in self.conditions.items())
        output = transformer(self.hidden_states, self.timestep, *projected, person_masks=self.person_masks)
        return output.float()


@dataclass(frozen=True)
class Prompt:
    """What the text encoder was given."""

    arguments: dict[str, Any]

    def run(self, text_encoder: nn.Module) -> torch.Tensor:
        """Encode it; the result is float32."""
        return text_encoder(**self.arguments).last_hidden_state.float()


@dataclass(frozen=True)
class Recording:
    """The calls and a prompt."""

    calls: list[Call]
    prompt: Prompt


def jobs(size: tuple[int, int] | str) -> dict[str, GenerationRequest]:
    """One person, and two at once; a single guidance branch, so that every step is one model call."""
    settings = {"size": size, "steps": STEPS, "max_seconds": 2.0, "text_guidance": 1.0, "audio_guidance": 1.0}
    pair = {"person1": EXAMPLES / "left.wav", "person2": EXAMPLES / "right.wav"}
    one = {"image": EXAMPLES / "one_person.png", "audio": EXAMPLES / "one_person.wav"}
    two = {"image": EXAMPLES / "two_people.png", "audio": pair}
    return {
        "one person": GenerationRequest(**one, **settings),
        "two people": GenerationRequest(**two, **settings),
    }


def record(pipeline: MultiTalkPipeline, size: tuple[int, int] | str) -> Recording:
    """Run the first clip of each job and keep what the transformer and the text encoder are given."""
    transformer, text_encoder = pipeline.components.transformer, pipeline.components.text_encoder
    calls: list[Call] = []
    prompts: list[Prompt] = []
    conditions: dict[str, torch.Tensor] = {}
    label, step = "", 0

    def keep_condition(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
        method = getattr(transformer, name)

        def project(condition: torch.Tensor) -> torch.Tensor:
            conditions[name] = condition
            return method(condition)

        return project

    def keep_call(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal step
        if step in KEPT_STEPS:
            named = f"{label}, step {step + 1} of {STEPS}"
            calls.append(Call(named, args[0], args[1], kwargs["person_masks"], dict(conditions)))
        step += 1

    def keep_prompt(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        prompts.append(Prompt(kwargs))

    names = ("project_text", "project_image", "project_audio")
    hooks = [
        transformer.register_forward_pre_hook(keep_call, with_kwargs=True),
        text_encoder.register_forward_pre_hook(keep_prompt, with_kwargs=True),
    ]
    for name in names:
        setattr(transformer, name, keep_condition(name))
    for name_of_job, request in jobs(size).items():
        label, step = name_of_job, 0
        next(iter(pipeline.stream(request)))
    for name in names:
        delattr(transformer, name)
    for hook in hooks:
        hook.remove()
    return Recording(calls, prompts[0])
