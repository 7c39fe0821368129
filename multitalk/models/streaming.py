"""Block offloading: blocks in host memory are prefetched while the blocks before them compute."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from .constants import SLOTS
from .host_copy import HostCopy, allocate, release_cached_memory


def streamed_indices(blocks: int, count: int) -> list[int]:
    """Choose which blocks are streamed: evenly spread, so that each copy overlaps with the blocks between.

    Args:
        blocks: Number of blocks.
        count: Number of streamed blocks.
    """
    return [(number + 1) * blocks // count - 1 for number in range(count)]


class BlockStreamer:
    """Runs a stack of blocks, some of which are offloaded to host memory.

    On a CUDA device, copies are made from page-locked memory on a separate stream. On a CPU they are plain
    copies. Results are bit-identical to those of resident blocks.

    Args:
        blocks: The stack. Blocks that are not streamed are moved to the device.
        device: Device that the blocks run on.
        count: Number of streamed blocks.
        memory: By index: host memory that already contains a streamed block (:class:`HostCopy`).
        mapped: Whether offloaded blocks stay where they are in host memory (:class:`HostCopy`).
    """

    def __init__(
        self,
        blocks: Sequence[nn.Module],
        device: torch.device,
        count: int,
        memory: Mapping[int, torch.Tensor] | None = None,
        mapped: bool = False,
    ) -> None:
        self.blocks = blocks
        self._mapped = mapped
        self.device = device
        self._copy_stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._copies: dict[int, HostCopy] = {}
        self._slots: list[torch.Tensor] = []
        self._views: dict[int, list[torch.Tensor]] = {}
        self._copied: dict[int, Any] = {}  # by position in the order: CUDA event after the copy
        self._placed: int | None = None  # index of the block that is in a slot and may compute
        self._run = 0  # number of the latest run
        self._order = streamed_indices(len(blocks), self._checked(count))
        for index in self._order:
            self._copies[index] = HostCopy(blocks[index], device, (memory or {}).get(index), mapped)
        for index, block in enumerate(blocks):
            if index not in self._copies:
                block.to(device)

    @property
    def streamed(self) -> tuple[int, ...]:
        """Indices of the streamed blocks."""
        return tuple(self._order)

    @torch.no_grad()
    def set_count(self, count: int) -> None:
        """Change the number of streamed blocks.

        Blocks are offloaded first and loaded afterwards, one by one, so that device memory never exceeds the
        larger of the two states. If it runs out, every block is still either offloaded or resident: the stack
        runs, and the next change continues from there.

        Args:
            count: New number of streamed blocks.
        """
        order = streamed_indices(len(self.blocks), self._checked(count))
        self.end()
        self.release()
        try:
            for index in order:
                if index not in self._copies:
                    self._copies[index] = HostCopy(self.blocks[index], self.device, mapped=self._mapped)
            release_cached_memory(self.device)
            for index in self._order:
                if index not in order:
                    self._make_resident(index)
        finally:
            self._order = sorted(self._copies)

    def release(self) -> None:
        """Free the device memory of the slots; the next run allocates them again."""
        self._slots, self._views = [], {}

    def run(self) -> Generator[nn.Module, None, None]:
        """Yield the blocks in order; each can compute until the next one is requested.

        Close the generator when a block fails, because the error's traceback may keep it alive.
        """
        number = self.begin()
        try:
            for index, block in enumerate(self.blocks):
                self.ready(index)
                yield block
                self.done(index)
        finally:
            if number == self._run:  # an abandoned generator must not end a later run
                self.end()

    def begin(self) -> int:
        """Start a run and its first copies, after clearing an interrupted one. Returns the run's number."""
        self.end()
        self._allocate_slots()
        for turn in range(len(self._slots)):
            self._start_copy(turn)
        self._run += 1
        return self._run

    def ready(self, index: int) -> None:
        """Make the device's current stream wait for a block's weights, and point the block to them."""
        if index not in self._copies:
            return
        turn = self._order.index(index)
        event = self._copied.pop(turn)
        if event is not None:
            torch.cuda.current_stream(self.device).wait_event(event)
        self._copies[index].place(self._views[index])
        self._placed = index

    def done(self, index: int) -> None:
        """Offload a block whose work is queued; its slot is refilled once the device has computed it."""
        if index not in self._copies:
            return
        self._copies[index].offload()
        self._placed = None
        following = self._order.index(index) + SLOTS
        if following < len(self._order):
            self._start_copy(following)

    def end(self) -> None:
        """End a run: point all streamed blocks to host memory and wait for pending copies."""
        if self._placed is not None:
            self._copies[self._placed].offload()
            self._placed = None
        if self._copied and self._copy_stream is not None:  # interrupted: host weights may be written next
            self._copy_stream.synchronize()
        self._copied.clear()

    def _checked(self, count: int) -> int:
        if not 0 <= count <= len(self.blocks):
            raise ValueError(f"number of streamed blocks must be 0 to {len(self.blocks)}, not {count}.")
        return count

    def _make_resident(self, index: int) -> None:
        """Load a block onto the device permanently."""
        copy = self._copies[index]
        memory = allocate(copy.size, self.device)
        copy.fill(memory)
        copy.place(copy.views(memory))
        if self._copy_stream is not None:
            torch.cuda.synchronize(self.device)  # before the host memory is freed
        del self._copies[index]

    def _allocate_slots(self) -> None:
        """Allocate the device memory that streamed blocks share."""
        if self._slots:
            return
        largest = max((copy.size for copy in self._copies.values()), default=0)
        slots = [allocate(largest, self.device) for _ in range(min(SLOTS, len(self._order)))]
        # created once: views created in inference mode cannot be written outside it
        self._views = {
            index: self._copies[index].views(slots[turn % SLOTS]) for turn, index in enumerate(self._order)
        }
        self._slots = slots

    def _start_copy(self, turn: int) -> None:
        index = self._order[turn]
        context: AbstractContextManager = nullcontext()
        if self._copy_stream is not None:
            # wait until the previous block in this slot has computed
            self._copy_stream.wait_stream(torch.cuda.current_stream(self.device))
            context = torch.cuda.stream(self._copy_stream)
        with context, torch.no_grad():
            self._copies[index].fill(self._slots[turn % SLOTS])
            event = None
            if self._copy_stream is not None:
                event = torch.cuda.Event()
                event.record(self._copy_stream)
        self._copied[turn] = event


class StreamedStack:
    """Streams all layers of a stack inside another library's model, with hooks on the layers.

    Args:
        layers: The stack, in the order in which the model runs it.
        device: Device that the layers run on.
        mapped: Whether the layers stay where they are in host memory (:class:`HostCopy`).
    """

    def __init__(self, layers: Sequence[nn.Module], device: torch.device, mapped: bool = False) -> None:
        self._streamer = BlockStreamer(layers, device, len(layers), mapped=mapped)
        self._hooks = []
        for index, layer in enumerate(layers):
            self._hooks.append(layer.register_forward_pre_hook(self._before(index)))
            self._hooks.append(layer.register_forward_hook(self._after(index)))

    def _before(self, index: int) -> Any:
        def hook(module: nn.Module, inputs: Any) -> None:
            if index == 0:
                self._streamer.begin()
            self._streamer.ready(index)

        return hook

    def _after(self, index: int) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            self._streamer.done(index)

        return hook

    def release(self) -> None:
        """Free the device memory of the slots until the layers run again."""
        self._streamer.end()
        self._streamer.release()

    def keep_on_device(self) -> None:
        """Load all layers onto the device permanently."""
        self._streamer.set_count(0)
        for hook in self._hooks:
            hook.remove()
