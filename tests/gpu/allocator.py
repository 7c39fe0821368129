"""The caching allocator of a GPU, simulated: sizes and fragmentation, no memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

UNIT = 512  # sizes are multiples of it
SMALL = 1 << 20  # up to this size, allocations come from segments of their own
SMALL_SEGMENT = 2 << 20
LARGE_SEGMENT = 20 << 20
LARGE = 10 << 20  # from this size on, a segment is as large as its allocation
ROUND_LARGE = 2 << 20


@dataclass(eq=False)
class Block:
    """A range of a segment: `size` bytes, in use or free, between its neighbors."""

    small: bool
    size: int
    free: bool = False
    before: Block | None = None
    after: Block | None = None


@dataclass
class CachingAllocator:
    """PyTorch's allocator with its default settings, for one stream (c10/cuda/CUDACachingAllocator.cpp).

    Attributes:
        allocated, reserved: Bytes in use, and bytes of all segments.
        peak_allocated, peak_reserved: Their largest values since :meth:`reset_peaks`.
        limit: Largest value of `reserved`; None for no limit.
    """

    allocated: int = 0
    reserved: int = 0
    peak_allocated: int = 0
    peak_reserved: int = 0
    limit: int | None = None
    _free: list[Block] = field(default_factory=list)

    def allocate(self, size: int) -> Block:
        """Take the smallest free block that is large enough, or a new segment."""
        size = max(UNIT, -(-size // UNIT) * UNIT)
        small = size <= SMALL
        fitting = [block for block in self._free if block.small == small and block.size >= size]
        block = min(fitting, key=lambda block: block.size, default=None)
        if block is None:
            block = Block(small, _segment_size(size))
            self._make_room(block.size)
            self.reserved += block.size
            self.peak_reserved = max(self.peak_reserved, self.reserved)
        else:
            self._free.remove(block)
        block.free = False
        if block.size - size >= (UNIT if small else SMALL + 1):
            self._split(block, size)
        self.allocated += block.size
        self.peak_allocated = max(self.peak_allocated, self.allocated)
        return block

    def release(self, block: Block) -> None:
        """Free a block and join it with free neighbors."""
        self.allocated -= block.size
        for neighbor in (block.before, block.after):
            if neighbor is not None and neighbor.free:
                self._free.remove(neighbor)
                block.size += neighbor.size
                if neighbor is block.before:
                    block.before = neighbor.before
                else:
                    block.after = neighbor.after
        _link(block.before, block)
        _link(block, block.after)
        block.free = True
        self._free.append(block)

    def empty_cache(self) -> None:
        """Return the segments that are free as a whole."""
        for block in [block for block in self._free if block.before is None and block.after is None]:
            self._free.remove(block)
            self.reserved -= block.size

    def reset_peaks(self) -> None:
        """Start to look for new peaks."""
        self.peak_allocated, self.peak_reserved = self.allocated, self.reserved

    def _make_room(self, size: int) -> None:
        """Free segments for a new one if the limit would be exceeded."""
        if self.limit is None or self.reserved + size <= self.limit:
            return
        self.empty_cache()
        if self.reserved + size > self.limit:
            message = f"{size} bytes do not fit: {self.allocated} in use, {self.reserved} reserved"
            raise torch.OutOfMemoryError(message)

    def _split(self, block: Block, size: int) -> None:
        rest = Block(block.small, block.size - size, True, block, block.after)
        _link(rest, block.after)
        block.size, block.after = size, rest
        self._free.append(rest)


def _link(before: Block | None, after: Block | None) -> None:
    if before is not None:
        before.after = after
    if after is not None:
        after.before = before


def _segment_size(size: int) -> int:
    if size <= SMALL:
        return SMALL_SEGMENT
    return LARGE_SEGMENT if size < LARGE else -(-size // ROUND_LARGE) * ROUND_LARGE
