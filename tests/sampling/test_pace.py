"""Keeping step with a device that works behind the host's back, here one that works only when waited for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from multitalk.errors import Cancelled
from multitalk.sampling.denoise import denoise
from multitalk.sampling.guidance import Branch, make_guidance, needed_branches
from multitalk.sampling.pace import Mark

STEPS = 3


class Queue:
    """A device with a queue: it works only while somebody waits for it, so that nothing is done too early."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.waiting: list[str] = []

    def add(self, name: str) -> None:
        self.waiting.append(name)
        self.events.append(f"queue {name}")

    def mark(self, device: torch.device) -> Mark:
        return _Place(self, self.waiting[-1])


class _Place:
    def __init__(self, queue: Queue, name: str) -> None:
        self.queue, self.name = queue, name

    def synchronize(self) -> None:
        while self.name in self.queue.waiting:
            self.queue.events.append(f"{self.queue.waiting.pop(0)} done")


class Model:
    """Queues its calls."""

    def __init__(self, queue: Queue, branches: tuple[Branch, ...]) -> None:
        self.queue, self.calls = queue, branches

    def predict(
        self, latents: torch.Tensor, timestep: torch.Tensor, step: int, call: Branch
    ) -> dict[Branch, torch.Tensor]:
        self.queue.add(f"{call.name} {step + 1}")
        return {call: latents}


def sample(
    queue: Queue,
    before_call: Callable[[], None] = lambda: None,
    mark: Callable[[torch.device], Mark | None] | None = None,
) -> None:
    denoise(
        Model(queue, needed_branches(5.0, 4.0)),
        torch.zeros(16, 1, 2, 2),
        torch.linspace(1000, 0, STEPS + 1),
        make_guidance(5.0, 4.0, apg=False),
        None,
        before_call,
        lambda step: queue.events.append(f"step {step} done"),
        mark or queue.mark,
    )


def test_one_call_is_queued_ahead_and_no_more() -> None:
    queue = Queue()
    most = 0

    def before_call() -> None:
        nonlocal most
        most = max(most, len(queue.waiting))

    sample(queue, before_call)
    assert most == 1, "while it is asked whether to stop, the device has one call"
    assert queue.events[:9] == [
        *("queue cond 1", "queue drop_text 1", "cond 1 done", "queue uncond 1", "drop_text 1 done"),
        *("queue cond 2", "uncond 1 done", "step 1 done", "queue drop_text 2"),
    ]
    assert queue.events[-2:] == ["uncond 3 done", "step 3 done"]
    assert queue.waiting == []


@pytest.mark.parametrize("call", range(2, 8))
def test_cancelling_takes_one_call_and_leaves_one(call: int) -> None:
    queue = Queue()

    def stop_when_done() -> None:
        if sum(event.endswith(" done") and not event.startswith("step") for event in queue.events) >= call:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        sample(queue, stop_when_done)
    assert sum(event.startswith("queue") for event in queue.events) == call + 1
    assert len(queue.waiting) == 1


def test_where_the_device_works_at_once_a_step_is_done_with_its_last_call() -> None:
    queue = Queue()
    sample(queue, mark=lambda device: None)
    assert queue.events[2:5] == ["queue uncond 1", "step 1 done", "queue cond 2"]
    assert queue.events[-1] == f"step {STEPS} done"
