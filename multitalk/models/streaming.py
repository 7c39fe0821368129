"""Blocks that wait in host memory and are copied to the device while the blocks before them compute."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from .constants import SLOTS
from .host_copy import HostCopy, allocate, give_back


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
        self.blocks = blocks
        self.device = device
        self._copy_stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._copies: dict[int, HostCopy] = {}
        self._slots: list[torch.Tensor] = []
        self._views: dict[int, list[torch.Tensor]] = {}
        self._copied: dict[int, Any] = {}  # turns whose copy has begun: an event that marks its end
        self._placed: int | None = None
        self._run = 0  # number of the run that the blocks are at
        self._order = streamed_indices(len(blocks), self._checked(count))
        for index in self._order:
            self._copies[index] = self._copy_to_host(index)
        for index, block in enumerate(blocks):
            if index not in self._copies:
                block.to(device)

    @property
    def streamed(self) -> tuple[int, ...]:
        """Indices of the streamed blocks."""
        return tuple(self._order)

    @torch.no_grad()
    def change(self, count: int) -> None:
        """Stream another number of blocks.

        At no moment is more on the device than before or afterwards, whichever is more: first goes what
        leaves, then comes what stays, block by block. Where memory ends in the middle of it, every block is
        on one side or the other, so that the stack still runs, and the next change goes on from there.

        Args:
            count: How many blocks are streamed from now on.
        """
        wanted = streamed_indices(len(self.blocks), self._checked(count))
        self.end()
        self.release()
        try:
            for index in wanted:
                if index not in self._copies:
                    self._copies[index] = self._copy_to_host(index)
            give_back(self.device)
            for index in self._order:
                if index not in wanted:
                    self._bring(index)
        finally:
            self._order = sorted(self._copies)

    def release(self) -> None:
        """Give back the device memory that streamed blocks take turns in; the next run takes it anew."""
        self._slots, self._views = [], {}

    def run(self) -> Generator[nn.Module, None, None]:
        """The blocks in their order, each ready to compute until the next is asked for.

        Close it when a block fails: it may be kept alive by the error's traceback.
        """
        number = self.begin()
        try:
            for index, block in enumerate(self.blocks):
                self.ready(index)
                yield block
                self.done(index)
        finally:
            if number == self._run:  # one that was forgotten mustn't end the run that has come after it
                self.end()

    def begin(self) -> int:
        """Start the first copies; what an interrupted run has left is cleared. Returns the run's number."""
        self.end()
        self._take_slots()
        for turn in range(len(self._slots)):
            self._start_copy(turn)
        self._run += 1
        return self._run

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

    def _checked(self, count: int) -> int:
        if not 0 <= count <= len(self.blocks):
            raise ValueError(f"{count} of {len(self.blocks)} blocks can't be streamed")
        return count

    def _copy_to_host(self, index: int) -> HostCopy:
        return HostCopy(self.blocks[index], self.device.type == "cuda")

    def _bring(self, index: int) -> None:
        """Bring a block to the device for good."""
        copy = self._copies[index]
        memory = allocate(copy.size, self.device)
        copy.fill(memory)
        copy.place(copy.views(memory))
        if self._copy_stream is not None:
            torch.cuda.synchronize(self.device)  # host memory is given back next
        del self._copies[index]

    def _take_slots(self) -> None:
        """Have the memory that streamed blocks take turns in."""
        if self._slots:
            return
        largest = max((copy.size for copy in self._copies.values()), default=0)
        slots = [allocate(largest, self.device) for _ in range(min(SLOTS, len(self._order)))]
        # made once: views made in inference mode couldn't be written to outside it
        self._views = {
            index: self._copies[index].views(slots[turn % SLOTS]) for turn, index in enumerate(self._order)
        }
        self._slots = slots

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

    def release(self) -> None:
        """Give back the device memory that the layers take turns in, until they run again."""
        self._streamer.end()
        self._streamer.release()

    def resident(self) -> None:
        """Bring the layers to the device for good."""
        self._streamer.change(0)
        for hook in self._hooks:
            hook.remove()
