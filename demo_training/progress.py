"""Training runs with checkpoints and loss logs; an interrupted run resumes from its last checkpoint."""

from __future__ import annotations

import argparse
import inspect
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch

CHECKPOINT_EVERY = 250  # steps
WORK = Path(__file__).parent / "work"
# a second folder for checkpoints, if the work folder may be lost
BACKUP = os.environ.get("DEMO_TRAINING_BACKUP")


def save(name: str, state: dict[str, Any]) -> None:
    """Write a checkpoint atomically."""
    WORK.mkdir(exist_ok=True)
    path = WORK / f"{name}.pt"
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)
    if BACKUP:
        shutil.copy2(path, BACKUP)


def load(name: str) -> dict[str, Any] | None:
    """Load the last checkpoint of a run, or return None."""
    path = WORK / f"{name}.pt"
    return torch.load(path, map_location="cpu", weights_only=False) if path.exists() else None


def require(name: str) -> dict[str, Any]:
    """Load the last checkpoint of a run that must exist."""
    if (state := load(name)) is None:
        raise SystemExit(f"{WORK / name}.pt does not exist. Run python -m demo_training.{name} first.")
    return state


class Part(Protocol):
    """A part of a checkpoint, such as a module or an optimizer."""

    def state_dict(self) -> Any:
        """Return the state."""
        ...

    def load_state_dict(self, state: Any, /) -> Any:
        """Restore a state."""
        ...


class Run:
    """A training run that resumes from its last checkpoint.

    Args:
        name: Name of the checkpoint and the log.
        steps: Total number of steps.
        parts: Parts of the checkpoint by name; they are loaded from the last one.

    Attributes:
        left: The remaining steps.
        log: Log of the losses.
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
        """Write a checkpoint if one is due after this step; return whether it was."""
        due = (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == self.steps
        if due:
            save(self.name, {key: part.state_dict() for key, part in self.parts.items()} | {"step": step + 1})
        return due


class Values:
    """Plain tensors as a part of a checkpoint, such as averaged weights or statistics.

    Args:
        tensors: Tensors by name; values are restored in place.
    """

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        self.tensors = tensors

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the tensors."""
        return self.tensors

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Copy values into the tensors."""
        for name, tensor in self.tensors.items():
            tensor.copy_(state[name])


class Log:
    """Mean losses, printed and appended to a file every few steps."""

    def __init__(self, name: str, every: int = 50) -> None:
        WORK.mkdir(exist_ok=True)
        self.path = WORK / f"{name}.log"
        self.every = every
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self.started = time.monotonic()

    def add(self, step: int, **values: float) -> None:
        """Add the values of a step."""
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


def scheduled(share: float, peak: float, warm_up: float = 0.02, floor: float = 0.03) -> float:
    """Return the learning rate after a share of a run: warm-up, constant, linear decay in the second half."""
    if share < warm_up:
        return peak * (share / warm_up + 0.02)
    return peak * max(floor, min(1.0, (1.0 - share) / 0.5))


def command_line(function: Callable[..., Any]) -> None:
    """Call a function with its arguments from the command line; all of them have defaults."""
    parser = argparse.ArgumentParser(description=inspect.getdoc(inspect.getmodule(function)))
    for name, parameter in inspect.signature(function).parameters.items():
        default = parameter.default
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    function(**vars(parser.parse_args()))
