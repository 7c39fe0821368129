"""Shared weights: each process stores a part of every block, and gathers a block while it runs."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import nn

from ..errors import WeightsError
from ..models.constants import SLOTS
from ..models.sequence import all_gather
from ..runtime.placement import Placement
from ..runtime.plan import HardwarePlan
from ..weights.audio_layers import AudioLayerSwitcher
from ..weights.lora_switch import activate_for_job
from ..weights.store import WeightsFolder
from .messages import PrepareJob

if TYPE_CHECKING:
    from ..models.transformer import MultiTalkTransformer

# bytes; kernels need aligned tensors
_ALIGNMENT = 256


@dataclass(frozen=True)
class _Piece:
    """A matrix of a block and its offset in bytes among the block's matrices."""

    owner: nn.Module
    name: str
    tensor: torch.Tensor
    offset: int

    @property
    def end(self) -> int:
        return self.offset + self.tensor.numel() * self.tensor.itemsize

    def view(self, buffer: torch.Tensor) -> torch.Tensor:
        """Return the matrix, with its dtype and strides, as a view of a buffer of bytes."""
        flat = buffer[self.offset : self.end].view(self.tensor.dtype)
        return flat.as_strided(self.tensor.shape, self.tensor.stride())


class SharedBlocks:
    """Stores 1/processes of every block's matrices and gathers each block while it runs.

    It works like FSDP, but on bytes, and therefore with weights of any precision. Two buffers hold the block
    that runs and the next block, which is gathered meanwhile. Norms, biases, scales and LoRAs are stored in
    every process. All processes must run the same blocks.

    Args:
        transformer: Its matrices are replaced by views of the buffers; it must still be in host memory.
        group: The processes.
        device: Device of the parts and the buffers.
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
        self._pieces: dict[int, tuple[int, _Piece]] = {}  # by the parameter's id: index of the block
        for index, (block, size) in enumerate(zip(pieces, sizes, strict=True)):
            whole = torch.zeros(size, dtype=torch.uint8)
            for piece in block:
                piece.view(whole).copy_(piece.tensor)
                parameter = _replace(piece, piece.view(self._buffers[index % SLOTS]))
                self._pieces[id(parameter)] = index, replace(piece, tensor=parameter.detach())
            part = size // ranks
            self._parts.append(whole[rank * part : (rank + 1) * part].to(device, copy=True))
        self._buffered: list[int | None] = [None] * SLOTS
        self._pending: list[dist.Work | None] = [None] * SLOTS
        transformer.block_streamer = self
        transformer.to(device)  # the tensors that are not shared

    def run(self) -> Generator[nn.Module, None, None]:
        """Yield the blocks in order; a block is complete until the next one is requested."""
        for index, block in enumerate(self.blocks):
            self._complete(index)
            yield block

    def _complete(self, index: int) -> None:
        """Complete a block and start gathering the next one."""
        self._start(index)
        work = self._pending[index % SLOTS]
        if work is not None:
            work.wait()
            self._pending[index % SLOTS] = None
        following = (index + 1) % len(self._parts)
        if following % SLOTS != index % SLOTS:
            self._start(following)

    def _start(self, index: int) -> None:
        slot = index % SLOTS
        if self._buffered[slot] == index:
            return
        part = self._parts[index]
        buffer = self._buffers[slot][: part.numel() * self.group.size()]
        self._buffered[slot] = index
        self._pending[slot] = all_gather(buffer, part, group=self.group, async_op=True)

    @property
    def bytes_held(self) -> int:
        """Bytes of the matrices that this process stores."""
        return sum(part.numel() for part in self._parts)

    def has_any(self, tensors: list[torch.Tensor]) -> bool:
        """Return whether any of these tensors is a shared matrix."""
        storages = {buffer.untyped_storage().data_ptr() for buffer in self._buffers}
        return any(tensor.untyped_storage().data_ptr() in storages for tensor in tensors)

    def write(self, parameter: nn.Parameter, value: torch.Tensor) -> bool:
        """Replace a shared matrix in all processes. The buffers must be discarded before the next block runs.

        Args:
            parameter: A parameter of the transformer.
            value: Its new value, the same in all processes.

        Returns:
            Whether the parameter is a shared matrix; others are not written.
        """
        if id(parameter) not in self._pieces:
            return False
        index, piece = self._pieces[id(parameter)]
        part = self._parts[index]
        begin = self.group.rank() * part.numel()
        start, end = max(piece.offset, begin), min(piece.end, begin + part.numel())
        if start < end:
            data = value.to(piece.tensor.dtype).contiguous().reshape(-1).view(torch.uint8)
            part[start - begin : end - begin].copy_(data[start - piece.offset : end - piece.offset])
        return True

    def forget(self) -> None:
        """Discard the buffers before or after something is written; all processes must call it."""
        for work in self._pending:
            if work is not None:
                work.wait()
        self._buffered = [None] * SLOTS
        self._pending = [None] * SLOTS


def _pieces(block: nn.Module) -> list[_Piece]:
    """Return the matrices of a block, one after another."""
    pieces: list[_Piece] = []
    end = 0
    for owner in block.modules():
        for name, tensor in owner.named_parameters(recurse=False):
            if tensor.ndim == 2 and min(tensor.shape) > 1:
                offset = -(-end // _ALIGNMENT) * _ALIGNMENT
                pieces.append(_Piece(owner, name, tensor.detach(), offset))
                end = pieces[-1].end
    return pieces


def _replace(piece: _Piece, view: torch.Tensor) -> nn.Parameter:
    parameter = nn.Parameter(view, requires_grad=False)
    setattr(piece.owner, piece.name, parameter)
    return parameter


@dataclass(frozen=True)
class TransformerShare:
    """A process's transformer, and the means to prepare it for a job.

    Attributes:
        transformer: The model.
        folder: The weights folder that it was loaded from.
        plan: The plan that it was loaded with.
        audio_layers: Switches its audio layers and its LoRAs.
        placement: Moves its weights between host and device; None if the processes share the weights.
        blocks: Gathers its weights if the processes share them, else None.
    """

    transformer: MultiTalkTransformer
    folder: WeightsFolder
    plan: HardwarePlan
    audio_layers: AudioLayerSwitcher
    placement: Placement | None
    blocks: SharedBlocks | None

    def prepare(self, job: PrepareJob) -> None:
        """Place the weights, and activate the audio layers and the LoRAs of a job.

        Raises:
            InvalidInput: A LoRA of the request cannot be used, or the weights lack the audio layers.
            WeightsError: A LoRA of the weights folder cannot be used, or shared weights do not support it.
        """
        if self.placement is not None:
            self.placement.apply(replace(self.plan, streamed_blocks=job.streamed_blocks))
        if self.blocks is not None and len(self.audio_layers.names) > 1:
            self.blocks.forget()  # in every job, since all processes must do so even if one failed before
        self.audio_layers.use(job.audio_layers)
        loras = self.audio_layers.loras
        activate_for_job(loras, job.loras, self.folder.path)
        if self.blocks is not None and self.blocks.has_any(loras.written):
            loras.activate([])
            self.blocks.forget()
            raise WeightsError(
                "lora: a LoRA that replaces whole matrices is not supported with shared weights. "
                "Merge it when baking, or use --no-share-weights."
            )
