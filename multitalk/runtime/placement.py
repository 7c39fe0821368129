"""Carrying out a plan: which weights are on the device, for how long, and what is streamed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..models.host_copy import HostCopy, allocate, release_cached_memory
from ..models.streaming import BlockStreamer, StreamedStack
from .plan import HardwarePlan

if TYPE_CHECKING:
    from ..models.transformer import MultiTalkTransformer


class Placement:
    """Moves the parts of the model as plans say.

    Args:
        transformer: Its blocks may be streamed; None where its weights are somebody else's.
        encoders: The text encoder, the image encoder, the audio encoder and the VAE, by part.
        plan: The first plan; the parts may lie anywhere.
    """

    def __init__(
        self, transformer: MultiTalkTransformer | None, encoders: dict[str, nn.Module], plan: HardwarePlan
    ) -> None:
        self._transformer = transformer
        self._encoders = encoders
        self._device = plan.device
        self._visitors: dict[str, _Visitor] = {}
        self._streamed: int | None = None
        self._placed: tuple[int, frozenset[str]] | None = None
        self._streamer: BlockStreamer | None = None
        if transformer is not None:
            self._move_outer(transformer, [transformer.blocks])
        self.carry_out(plan)

    def carry_out(self, plan: HardwarePlan) -> None:
        """Change what lies where; a plan like the last one costs nothing.

        First goes what leaves, so that at no moment more is on the device than before or afterwards. A change
        that fails is made up for by the next one.
        """
        placed = (plan.streamed_blocks, frozenset(plan.resident))
        if placed != self._placed:
            release_cached_memory(self._device)
        self._placed = None
        for part, module in self._encoders.items():
            if part not in plan.resident and part not in self._visitors:
                self._visitors[part] = self._make_visitor(part, module)
        self._stream(plan.streamed_blocks)
        for part, module in self._encoders.items():
            if part in plan.resident:
                self._stay(part, module)
        self._placed = placed
        vae: Any = self._encoders.get("vae")
        if vae is not None:
            vae.use_tiling = plan.vae_tiling

    @contextmanager
    def on_device(self, part: str) -> Iterator[None]:
        """A part is ready to compute inside."""
        visitor = self._visitors.get(part)
        if visitor is None:
            yield
            return
        visitor.come()
        try:
            yield
        finally:
            visitor.go()

    def _stream(self, count: int) -> None:
        transformer = self._transformer
        if transformer is None or count == self._streamed:
            return
        self._streamed = None  # until it is done: a plan like this one must try again if it fails
        if self._streamer is None:
            # with none to stream it still brings those to the device that aren't there
            self._streamer = BlockStreamer(list(transformer.blocks), self._device, count)
        else:
            self._streamer.set_count(count)
        transformer.block_streamer = self._streamer if count else None
        self._streamed = count

    def _stay(self, part: str, module: nn.Module) -> None:
        visitor = self._visitors.get(part)
        if visitor is None:
            module.to(self._device)
            return
        visitor.stay()
        del self._visitors[part]  # once it is there: else it goes on visiting

    def _make_visitor(self, part: str, module: nn.Module) -> _Visitor:
        if part == "audio_encoder":
            return _HostVisitor(module, self._device)
        if part == "text_encoder":
            return _LayersVisitor(module, self._device)
        return _Visitor(module, self._device)

    def _move_outer(self, module: nn.Module, inner: list[nn.ModuleList]) -> None:
        """Move what of a module isn't in these lists to the device."""
        kept = {id(tensor) for stack in inner for tensor in (*stack.parameters(), *stack.buffers())}
        for tensor in (*module.parameters(), *module.buffers()):
            if id(tensor) not in kept:
                tensor.data = tensor.data.to(self._device)


class _Visitor:
    """A part that comes to the device as a whole."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self._copy = HostCopy(module, device.type == "cuda")
        self._device = device

    def come(self) -> None:
        """Be ready to compute."""
        memory = allocate(self._copy.size, self._device)
        self._copy.fill(memory)
        self._copy.place(self._copy.views(memory))

    def go(self) -> None:
        """Leave the device; its memory is reused once what was asked of it is done."""
        self._copy.offload()

    def stay(self) -> None:
        """Become resident."""
        self.come()
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # the host's copy is given back next


class _LayersVisitor(_Visitor):
    """A text encoder: its vocabulary comes for the stage, its layers one by one."""

    def __init__(self, module: Any, device: torch.device) -> None:
        layers = module.encoder.block
        super().__init__(_Outer(module, layers), device)
        self._layers = StreamedStack(list(layers), device)

    def go(self) -> None:
        super().go()
        self._layers.release()

    def stay(self) -> None:
        super().stay()
        self._layers.keep_on_device()


class _HostVisitor(_Visitor):
    """A part that computes on the host: a small one, whose work would need much of the device's memory."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self._module, self._device = module.to("cpu"), device

    def come(self) -> None:
        """It is ready."""

    def go(self) -> None:
        """It is where it was."""

    def stay(self) -> None:
        self._module.to(self._device)


class _Outer(nn.Module):
    """A view of a module's tensors outside some of its layers."""

    def __init__(self, module: nn.Module, layers: nn.ModuleList) -> None:
        super().__init__()
        inner = {id(tensor) for tensor in (*layers.parameters(), *layers.buffers())}
        tensors = {id(tensor): tensor for tensor in module.parameters() if id(tensor) not in inner}
        for number, parameter in enumerate(tensors.values()):
            self.register_parameter(f"tensor{number}", parameter)
        buffers = {id(tensor): tensor for tensor in module.buffers() if id(tensor) not in inner}
        for number, tensor in enumerate(buffers.values()):
            self.register_buffer(f"buffer{number}", tensor)
