"""Checkpoints and loss logs: a run that is stopped goes on where it was."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

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
