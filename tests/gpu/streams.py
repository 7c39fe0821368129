"""Streams and events of a GPU, simulated: who waits for whom, and accesses that nothing orders."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

HOST = "host"
MAIN = "main"


class Timeline:
    """What happened before what, by vector clocks: one number of finished operations per stream.

    Attributes:
        streams: The clock of each stream, and of the host: what its next operation comes after.
        current: The streams of the surrounding contexts, innermost last.
        waits: Called with a sentence each time the host waits for the device.
    """

    def __init__(self, waits: Any) -> None:
        self.waits = waits
        self.main = Stream(self, MAIN)
        self.streams: dict[str, dict[str, int]] = {HOST: {}, MAIN: {}}
        self.current = [self.main]

    def tick(self, stream: str) -> int:
        """Queue an operation; returns its number in the stream."""
        clock = self.streams[stream]
        clock[stream] = clock.get(stream, 0) + 1
        return clock[stream]

    def order(self, before: dict[str, int], after: str) -> None:
        """Let a stream, or the host, go on after operations of others."""
        clock = self.streams[after]
        for stream, number in before.items():
            clock[stream] = max(clock.get(stream, 0), number)

    def follows(self, stream: str, other: str, number: int) -> bool:
        """Return whether the next operation of a stream comes after one of another stream."""
        host = self.streams[HOST].get(other, 0)
        return stream == other or number <= max(host, self.streams[stream].get(other, 0))

    @contextmanager
    def use(self, stream: Stream) -> Iterator[None]:
        """Make a stream the current one."""
        self.current.append(stream)
        try:
            yield
        finally:
            self.current.pop()

    def synchronize(self) -> None:
        """Let the host wait for all streams."""
        self.waits("torch.cuda.synchronize")
        for clock in list(self.streams.values()):
            self.order(clock, HOST)


class Stream:
    """A CUDA stream."""

    def __init__(self, timeline: Timeline, name: str) -> None:
        self.timeline, self.name = timeline, name

    @property
    def clock(self) -> dict[str, int]:
        """What the stream's next operation comes after."""
        return self.timeline.streams[self.name]

    def wait_stream(self, other: Stream) -> None:
        """Wait for what is queued on another stream."""
        self.timeline.order(other.clock, self.name)

    def wait_event(self, event: Event) -> None:
        """Wait for an event."""
        self.timeline.order(event.clock, self.name)

    def synchronize(self) -> None:
        """Let the host wait for the stream."""
        self.timeline.waits(f"synchronization of stream {self.name}")
        self.timeline.order(self.clock, HOST)


class Event:
    """A CUDA event."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.stream: Stream | None = None
        self.clock: dict[str, int] = {}

    def record(self, stream: Stream | None = None) -> None:
        """Stand for what is queued on a stream."""
        self.stream = stream or self.timeline.current[-1]
        self.clock = dict(self.stream.clock)

    def synchronize(self) -> None:
        """Let the host wait; an event behind which the device has more work leaves it busy."""
        assert self.stream is not None, "an event that was never recorded"
        name = self.stream.name
        if self.clock.get(name) == self.stream.clock.get(name):
            self.timeline.waits(f"an event at the end of stream {name}")
        self.timeline.order(self.clock, HOST)

    def elapsed_time(self, end: Event) -> float:
        """Return milliseconds: all kernels are equally fast."""
        return 1.0


@dataclass
class _Accesses:
    main: int = 0  # number of the main stream's last access to any of the bytes
    others: list[tuple[int, int, str, int, bool]] = field(default_factory=list)


class Accesses:
    """Accesses to memory, and whether those of several streams are ordered."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self._by_storage: dict[int, _Accesses] = {}

    def created(self, key: int) -> None:
        """Register memory of the main stream; another stream may not write it before what is queued."""
        self._by_storage[key] = _Accesses(self.timeline.main.clock.get(MAIN, 0))

    def access(
        self, tensor: torch.Tensor, stream: str, number: int, writes: bool, on_host: bool = False
    ) -> str | None:
        """Register an access; returns what it is not ordered with.

        Args:
            tensor: What is accessed.
            stream: Stream of the operation, or the host.
            number: Number of the operation.
            writes: Whether it writes.
            on_host: Whether it is page-locked host memory.
        """
        seen = self._by_storage.setdefault(tensor.untyped_storage()._cdata, _Accesses())
        if stream == MAIN and not on_host:
            seen.main = number
            if not seen.others:
                return None
        elif stream not in (MAIN, HOST) and not self.timeline.follows(stream, MAIN, seen.main):
            return "the main stream"
        first, last = _extent(tensor)
        for start, end, other, its_number, wrote in seen.others:
            overlaps = first < end and start < last
            if overlaps and (writes or wrote) and not self.timeline.follows(stream, other, its_number):
                return f"stream {other}"
        if stream != HOST and (stream != MAIN or on_host):
            mine = (first, last, stream, number, writes)
            kept = [known for known in seen.others if not (known[:3] == mine[:3] and known[4] == writes)]
            seen.others = [*kept, mine]
        return None

    def released(self, key: int) -> str | None:
        """Forget memory that is freed; returns the stream that may still use it when it is reused."""
        seen = self._by_storage.pop(key, _Accesses())
        for _, _, stream, number, _ in seen.others:
            if not self.timeline.follows(MAIN, stream, number):
                return f"stream {stream}"
        return None


def _extent(tensor: torch.Tensor) -> tuple[int, int]:
    """Return the first byte of a tensor in its storage, and the one after its last."""
    size = tensor.element_size()
    first = tensor.storage_offset() * size
    if not tensor.numel():
        return first, first
    span = sum((length - 1) * stride for length, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return first, first + (span + 1) * size
