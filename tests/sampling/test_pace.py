"""The host queues one model call ahead of the device; the device here works only while it is waited for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from multitalk.errors import Cancelled
from multitalk.sampling.denoise import denoise
from multitalk.sampling.guidance import Branch, make_guidance, needed_branches
from multitalk.sampling.pace import DeviceEvent

STEPS = 3


class Queue:
    """A device with a queue that works only while the host waits for it."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.waiting: list[str] = []

    def add(self, name: str) -> None:
        self.waiting.append(name)
        self.events.append(f"queue {name}")

    def record(self, device: torch.device) -> DeviceEvent:
        return _Event(self, self.waiting[-1])


class _Event:
    def __init__(self, queue: Queue, name: str) -> None:
        self.queue, self.name = queue, name

    def synchronize(self) -> None:
        while self.name in self.queue.waiting:
            self.queue.events.append(f"{self.queue.waiting.pop(0)} done")


class Model:
    """A model whose calls are queued on the device."""

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
    record: Callable[[torch.device], DeviceEvent | None] | None = None,
) -> None:
    denoise(
        Model(queue, needed_branches(5.0, 4.0)),
        torch.zeros(16, 1, 2, 2),
        torch.linspace(1000, 0, STEPS + 1),
        make_guidance(5.0, 4.0, apg=False),
        None,
        before_call,
        lambda step: queue.events.append(f"step {step} done"),
        record=record or queue.record,
    )


def test_at_most_one_call_is_queued_ahead() -> None:
    queue = Queue()
    most = 0

    def before_call() -> None:
        nonlocal most
        most = max(most, len(queue.waiting))

    sample(queue, before_call)
    assert most == 1, "the device has one call while the host checks for cancellation"
    assert queue.events[:9] == [
        *("queue cond 1", "queue drop_text 1", "cond 1 done", "queue uncond 1", "drop_text 1 done"),
        *("queue cond 2", "uncond 1 done", "step 1 done", "queue drop_text 2"),
    ]
    assert queue.events[-2:] == ["uncond 3 done", "step 3 done"]
    assert queue.waiting == []


@pytest.mark.parametrize("call", range(2, 8))
def test_cancelling_stops_after_one_more_call(call: int) -> None:
    queue = Queue()

    def stop_when_done() -> None:
        if sum(event.endswith(" done") and not event.startswith("step") for event in queue.events) >= call:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        sample(queue, stop_when_done)
    assert sum(event.startswith("queue") for event in queue.events) == call + 1
    assert len(queue.waiting) == 1


def test_on_a_synchronous_device_a_step_is_done_with_its_last_call() -> None:
    queue = Queue()
    sample(queue, record=lambda device: None)
    assert queue.events[2:5] == ["queue uncond 1", "step 1 done", "queue cond 2"]
    assert queue.events[-1] == f"step {STEPS} done"
