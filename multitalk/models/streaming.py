"""Blocks that wait in host memory and are copied to the device while the blocks before them compute."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from .host_copy import HostCopy, allocate

# Pieces of device memory that streamed blocks take turns in: one computes while the next is copied.
SLOTS = 2


def streamed_indices(blocks: int, count: int) -> list[int]:
    """Which blocks are streamed: evenly spread, so that each copy has the blocks between to hide behind.

    Args:
        blocks: How many there are.
        count: How many are streamed.
    """
    return [(number + 1) * blocks // count - 1 for number in range(count)]


class BlockStreamer:
    """Runs a stack of blocks of which some are in host memory.

    On a CUDA device copies run on a stream of their own from page-locked memory; on a CPU, where nothing is
    gained, they are plain copies, and the results are those of resident blocks to the bit on both.

    Args:
        blocks: The stack; what isn't streamed is moved to the device.
        device: Where it computes.
        count: How many blocks are streamed.
    """

    def __init__(self, blocks: Sequence[nn.Module], device: torch.device, count: int) -> None:
        if not 0 <= count <= len(blocks):
            raise ValueError(f"{count} of {len(blocks)} blocks can't be streamed")
        self.blocks = blocks
        self.device = device
        self._copy_stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._order = streamed_indices(len(blocks), count) if count else []
        self._copies = {index: HostCopy(blocks[index], device.type == "cuda") for index in self._order}
        for index, block in enumerate(blocks):
            if index not in self._copies:
                block.to(device)
        largest = max((copy.size for copy in self._copies.values()), default=0)
        self._slots = [allocate(largest, device) for _ in range(min(SLOTS, count))]
        # made once: views made in inference mode couldn't be written to outside it
        self._views = {
            index: copy.views(self._slots[turn % SLOTS])
            for turn, (index, copy) in enumerate(self._copies.items())
        }
        self._copied: dict[int, Any] = {}  # turns whose copy has begun: an event that marks its end
        self._placed: int | None = None

    @property
    def streamed(self) -> tuple[int, ...]:
        """Indices of the streamed blocks."""
        return tuple(self._order)

    def run(self) -> Iterator[nn.Module]:
        """The blocks in their order, each ready to compute until the next is asked for."""
        self.begin()
        try:
            for index, block in enumerate(self.blocks):
                self.ready(index)
                yield block
                self.done(index)
        finally:
            self.end()

    def begin(self) -> None:
        """Start the first copies; what an interrupted run has left is cleared."""
        self.end()
        for turn in range(min(SLOTS, len(self._order))):
            self._start_copy(turn)

    def ready(self, index: int) -> None:
        """Let the device wait for a block's weights before what it is given next."""
        if index not in self._copies:
            return
        turn = self._order.index(index)
        event = self._copied.pop(turn)
        if event is not None:
            torch.cuda.current_stream(self.device).wait_event(event)
        self._copies[index].place(self._views[index])
        self._placed = index

    def done(self, index: int) -> None:
        """A block has been given its work: its memory is filled anew as soon as the device has done it."""
        if index not in self._copies:
            return
        self._copies[index].rest()
        self._placed = None
        following = self._order.index(index) + SLOTS
        if following < len(self._order):
            self._start_copy(following)

    def end(self) -> None:
        """All blocks point to host memory, and no copy from it is under way."""
        if self._placed is not None:
            self._copies[self._placed].rest()
            self._placed = None
        if self._copied and self._copy_stream is not None:  # interrupted: weights may be written to next
            self._copy_stream.synchronize()
        self._copied.clear()

    @torch.no_grad()
    def resident(self) -> None:
        """Bring every streamed block to the device for good; the streamer isn't used afterwards."""
        self.end()
        for index, copy in self._copies.items():
            memory = allocate(copy.size, self.device)
            copy.fill(memory)
            copy.place(copy.views(memory))
            del self._views[index]
        if self._copy_stream is not None:
            torch.cuda.synchronize(self.device)  # host memory is given back next
        self._copies, self._order, self._slots = {}, [], []

    def _start_copy(self, turn: int) -> None:
        index = self._order[turn]
        context: AbstractContextManager = nullcontext()
        if self._copy_stream is not None:
            # the slot's last block must have been computed
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
    """A stack inside a model of another library, streamed by hooks around its layers.

    Args:
        layers: The stack, all of it streamed; run in its order.
        device: Where it computes.
    """

    def __init__(self, layers: Sequence[nn.Module], device: torch.device) -> None:
        self._streamer = BlockStreamer(layers, device, len(layers))
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

    def resident(self) -> None:
        """Bring the layers to the device for good."""
        for hook in self._hooks:
            hook.remove()
        self._streamer.resident()
