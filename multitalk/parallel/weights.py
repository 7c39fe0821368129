"""The transformer's large matrices parted over processes: a block is whole while it runs."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import nn

from ..models.constants import SLOTS
from ..models.sequence import all_gather

if TYPE_CHECKING:
    from ..models.transformer import MultiTalkTransformer

# of a tensor's place, as kernels want it
_ALIGNMENT = 256


@dataclass(frozen=True)
class _Piece:
    """A matrix of a block, and the byte at which it lies among the others."""

    owner: nn.Module
    name: str
    tensor: torch.Tensor
    offset: int

    @property
    def end(self) -> int:
        return self.offset + self.tensor.numel() * self.tensor.itemsize

    def view(self, buffer: torch.Tensor) -> torch.Tensor:
        """It, of its own dtype and strides, in a buffer of bytes."""
        flat = buffer[self.offset : self.end].view(self.tensor.dtype)
        return flat.as_strided(self.tensor.shape, self.tensor.stride())


class SharedBlocks:
    """Keeps 1/processes of every block's matrices, and makes a block whole for the time it runs.

    As FSDP does, but by bytes, so that weights of any precision go: two buffers hold a block each, the one
    that runs and the next one, which arrives meanwhile. What isn't a matrix (norms, biases, factors) is in
    every process all the time, and so are LoRAs. All processes must run the same blocks.

    Args:
        transformer: Its matrices are replaced by views of the buffers; it must not be on the device yet.
        group: The processes.
        device: Where the parts and the buffers lie.
    """

    def __init__(
        self, transformer: MultiTalkTransformer, group: dist.ProcessGroup, device: torch.device
    ) -> None:
        self.group = group
        self.blocks = transformer.blocks
        ranks, rank = group.size(), group.rank()
        pieces = [_pieces(block) for block in transformer.blocks]
        step = ranks * _ALIGNMENT
        sizes = [-(-block[-1].end // step) * step for block in pieces]
        self._buffers = [
            torch.empty(max(sizes), dtype=torch.uint8, device=device) for _ in range(min(SLOTS, len(sizes)))
        ]
        self._parts: list[torch.Tensor] = []
        for index, (block, size) in enumerate(zip(pieces, sizes, strict=True)):
            whole = torch.zeros(size, dtype=torch.uint8)
            for piece in block:
                piece.view(whole).copy_(piece.tensor)
                _replace(piece, piece.view(self._buffers[index % SLOTS]))
            part = size // ranks
            self._parts.append(whole[rank * part : (rank + 1) * part].to(device, copy=True))
        self._held: list[int | None] = [None] * SLOTS
        self._arriving: list[dist.Work | None] = [None] * SLOTS
        transformer.block_streamer = self
        transformer.to(device)  # what isn't shared

    def run(self) -> Generator[nn.Module, None, None]:
        """The blocks in their order, each whole until the next is asked for."""
        for index, block in enumerate(self.blocks):
            self._fetch(index)
            yield block

    def _fetch(self, index: int) -> None:
        """Make a block whole, and begin with the next."""
        self._begin(index)
        work = self._arriving[index % SLOTS]
        if work is not None:
            work.wait()
            self._arriving[index % SLOTS] = None
        following = (index + 1) % len(self._parts)
        if following % SLOTS != index % SLOTS:
            self._begin(following)

    def _begin(self, index: int) -> None:
        slot = index % SLOTS
        if self._held[slot] == index:
            return
        part = self._parts[index]
        buffer = self._buffers[slot][: part.numel() * self.group.size()]
        self._held[slot] = index
        self._arriving[slot] = all_gather(buffer, part, group=self.group, async_op=True)

    @property
    def bytes_held(self) -> int:
        """Bytes of the matrices that this process keeps."""
        return sum(part.numel() for part in self._parts)

    def has_any(self, tensors: list[torch.Tensor]) -> bool:
        """Whether any of these is one of the shared matrices."""
        storages = {buffer.untyped_storage().data_ptr() for buffer in self._buffers}
        return any(tensor.untyped_storage().data_ptr() in storages for tensor in tensors)

    def forget(self) -> None:
        """Fetch every block anew: something has written into the buffers. All processes must forget."""
        for work in self._arriving:
            if work is not None:
                work.wait()
        self._held = [None] * SLOTS
        self._arriving = [None] * SLOTS


def _pieces(block: nn.Module) -> list[_Piece]:
    """A block's matrices, one after another."""
    pieces: list[_Piece] = []
    end = 0
    for owner in block.modules():
        for name, tensor in owner.named_parameters(recurse=False):
            if tensor.ndim == 2 and min(tensor.shape) > 1:
                offset = -(-end // _ALIGNMENT) * _ALIGNMENT
                pieces.append(_Piece(owner, name, tensor.detach(), offset))
                end = pieces[-1].end
    return pieces


def _replace(piece: _Piece, view: torch.Tensor) -> None:
    setattr(piece.owner, piece.name, nn.Parameter(view, requires_grad=False))
