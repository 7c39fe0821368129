"""Placement of the weights: apply a plan, load and offload parts, stream blocks."""

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
    """Moves the parts of the model between host and device.

    Args:
        transformer: The transformer; None if its weights are managed elsewhere.
        encoders: The text encoder, the image encoder, the audio encoder and the VAE, by part.
        plan: The first plan. The parts may be on any device.
    """

    def __init__(
        self, transformer: MultiTalkTransformer | None, encoders: dict[str, nn.Module], plan: HardwarePlan
    ) -> None:
        self._transformer = transformer
        self._encoders = encoders
        self._device = plan.device
        self._offloaded: dict[str, _OffloadedPart] = {}
        self._streamed: int | None = None
        self._applied: tuple[int, frozenset[str]] | None = None
        self._streamer: BlockStreamer | None = None
        if transformer is not None:
            if isinstance(transformer.block_streamer, BlockStreamer):  # loaded with streamed blocks
                self._streamer = transformer.block_streamer
            for tensor in _outer_tensors(transformer, transformer.blocks):
                tensor.data = tensor.data.to(plan.device)
        self.apply(plan)

    def apply(self, plan: HardwarePlan) -> None:
        """Place the weights according to a plan; repeating the last plan costs nothing.

        Weights are offloaded before others are loaded, so the device never holds more than with the larger of
        the two plans. After a failure, the next call completes or replaces the change.
        """
        placement = (plan.streamed_blocks, frozenset(plan.resident))
        if placement != self._applied:
            release_cached_memory(self._device)
        self._applied = None
        for part, module in self._encoders.items():
            if part not in plan.resident and part not in self._offloaded:
                kind = _PART_TYPES.get(part, _OffloadedPart)
                self._offloaded[part] = kind(module, self._device, part in plan.mapped)
        self._stream(plan.streamed_blocks)
        for part, module in self._encoders.items():
            if part in plan.resident:
                self._keep_on_device(part, module)
        self._applied = placement
        vae: Any = self._encoders.get("vae")
        if vae is not None:
            vae.use_tiling = plan.vae_tiling

    @contextmanager
    def on_device(self, part: str) -> Iterator[None]:
        """Load a part if it is offloaded, and offload it again at the end of the context."""
        offloaded = self._offloaded.get(part)
        if offloaded is None:
            yield
            return
        offloaded.load()
        try:
            yield
        finally:
            offloaded.offload()

    def _stream(self, count: int) -> None:
        transformer = self._transformer
        if transformer is None or count == self._streamed:
            return
        self._streamed = None  # so that the same plan is applied again after a failure
        if self._streamer is None:
            # also with a count of 0: it moves the other blocks to the device
            self._streamer = BlockStreamer(list(transformer.blocks), self._device, count)
        else:
            self._streamer.set_count(count)
        transformer.block_streamer = self._streamer if count else None
        self._streamed = count

    def _keep_on_device(self, part: str, module: nn.Module) -> None:
        offloaded = self._offloaded.get(part)
        if offloaded is None:
            module.to(self._device)
            return
        offloaded.keep_on_device()
        del self._offloaded[part]  # only after success: after a failure the part is still offloaded


class _OffloadedPart:
    """A part in host memory that is loaded as a whole; `mapped` as in :class:`HostCopy`."""

    def __init__(self, module: nn.Module, device: torch.device, mapped: bool) -> None:
        self._copy = HostCopy(module, device, mapped=mapped)
        self._device = device

    def load(self) -> None:
        """Make the part ready to compute."""
        memory = allocate(self._copy.size, self._device)
        self._copy.fill(memory)
        self._copy.place(self._copy.views(memory))

    def offload(self) -> None:
        """Free the part's device memory; it is reused after the computations that are queued on it."""
        self._copy.offload()

    def keep_on_device(self) -> None:
        """Load the part permanently."""
        self.load()
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # the host copy is freed next


class _OffloadedTextEncoder(_OffloadedPart):
    """A text encoder whose vocabulary is loaded for the stage, and whose layers are streamed."""

    def __init__(self, module: Any, device: torch.device, mapped: bool) -> None:
        layers = module.encoder.block
        outer = nn.Module()
        for number, tensor in enumerate(_outer_tensors(module, layers)):
            if isinstance(tensor, nn.Parameter):
                outer.register_parameter(f"tensor{number}", tensor)
            else:
                outer.register_buffer(f"tensor{number}", tensor)
        super().__init__(outer, device, mapped)
        self._layers = StreamedStack(list(layers), device, mapped)

    def offload(self) -> None:
        super().offload()
        self._layers.release()

    def keep_on_device(self) -> None:
        super().keep_on_device()
        self._layers.keep_on_device()


class _HostPart(_OffloadedPart):
    """A small part that computes on the host, because its activations would fill the device's memory."""

    def __init__(self, module: nn.Module, device: torch.device, mapped: bool) -> None:
        self._module, self._device = module.to("cpu"), device

    def load(self) -> None:
        """Do nothing: the part is ready on the host."""

    def offload(self) -> None:
        """Do nothing: the part stays on the host."""

    def keep_on_device(self) -> None:
        self._module.to(self._device)


_PART_TYPES = {"text_encoder": _OffloadedTextEncoder, "audio_encoder": _HostPart}


def _outer_tensors(module: nn.Module, layers: nn.ModuleList) -> list[torch.Tensor]:
    """Return a module's parameters and buffers outside some of its layers, each once."""
    inner = {id(tensor) for tensor in (*layers.parameters(), *layers.buffers())}
    tensors = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    return [tensor for key, tensor in tensors.items() if key not in inner]
