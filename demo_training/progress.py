"""Runs with checkpoints and loss logs: one that is stopped goes on where it was."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any, Protocol

import torch

CHECKPOINT_EVERY = 250  # steps
WORK = Path(__file__).parent / "work"
BACKUP = os.environ.get(
    "DEMO_TRAINING_BACKUP"
)  # a second place for checkpoints, where the first is short-lived


def save(name: str, state: dict[str, Any]) -> None:
    """Write a checkpoint whole or not at all."""
    WORK.mkdir(exist_ok=True)
    path = WORK / f"{name}.pt"
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)
    if BACKUP:
        shutil.copy2(path, BACKUP)


def load(name: str) -> dict[str, Any] | None:
    """The last checkpoint of that name, or None."""
    path = WORK / f"{name}.pt"
    return torch.load(path, map_location="cpu", weights_only=False) if path.exists() else None


class Part(Protocol):
    """What a checkpoint keeps: a module, an optimizer."""

    def state_dict(self) -> Any:
        """What it is now."""
        ...

    def load_state_dict(self, state: Any, /) -> Any:
        """Become that again."""
        ...


class Run:
    """A training that goes on from its last checkpoint.

    Args:
        name: Of its checkpoint and its log.
        steps: Of the whole training.
        parts: What a checkpoint keeps, each by its name there; what the last one has is loaded now.

    Attributes:
        left: The steps that are still to be done.
        log: Of its losses.
    """

    def __init__(self, name: str, steps: int, **parts: Part) -> None:
        self.name = name
        self.steps = steps
        self.parts = parts
        done = 0
        if state := load(name):
            for key, part in parts.items():
                part.load_state_dict(state[key])
            done = state["step"]
        self.left = range(done, steps)
        self.log = Log(name)

    def checkpoint(self, step: int) -> bool:
        """Write a checkpoint after this step if it is time for one; whether it was."""
        due = (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == self.steps
        if due:
            save(self.name, {key: part.state_dict() for key, part in self.parts.items()} | {"step": step + 1})
        return due


class Values:
    """Plain tensors as a part of a run: an average of weights, statistics.

    Args:
        tensors: By name; a checkpoint's values are copied into them.
    """

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        self.tensors = tensors

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The tensors themselves."""
        return self.tensors

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Take up values."""
        for name, tensor in self.tensors.items():
            tensor.copy_(state[name])


class Log:
    """Mean losses, printed and appended to a file every so many steps."""

    def __init__(self, name: str, every: int = 50) -> None:
        WORK.mkdir(exist_ok=True)
        self.path = WORK / f"{name}.log"
        self.every = every
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self.started = time.monotonic()

    def add(self, step: int, **values: float) -> None:
        """Count a step's values."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1
        if step % self.every == 0:
            line = {name: round(self.sums[name] / self.counts[name], 5) for name in self.sums}
            line = {"step": step, "seconds": round(time.monotonic() - self.started), **line}
            with self.path.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)
            self.sums, self.counts = {}, {}


def learning_rate(share: float, peak: float, warm_up: float = 0.02, floor: float = 0.03) -> float:
    """Warm up, stay, then fall linearly over the last half; `share` of the run is done."""
    if share < warm_up:
        return peak * (share / warm_up + 0.02)
    return peak * max(floor, min(1.0, (1.0 - share) / 0.5))
