"""Switch the audio layers of a loaded transformer between jobs: MultiTalk's and InfiniteTalk's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..errors import InvalidInput
from .folders import audio_layers_part
from .libraries import kept_in_float32, quantized_tensors, quantized_weights
from .lora_switch import LoraSwitcher
from .store import WeightsFolder
from .stream import read_tensors

if TYPE_CHECKING:
    from ..models.transformer import MultiTalkTransformer

Write = Callable[[nn.Parameter, torch.Tensor], bool]


class AudioLayerSwitcher:
    """Switches the audio layers of a loaded transformer of any precision, in place.

    The base model is loaded once, with the first set of audio layers. A set also contains the tensors of the
    base model that it replaces. A switch reads the tensors that differ between two sets from the weights
    folder, in the way in which the transformer was loaded, so the weights are bitwise those of a transformer
    loaded with that set. Nothing but the operating system's page cache holds the inactive sets. Parameters
    keep their identity: compiled graphs, streamed blocks and LoRAs stay valid.

    Args:
        transformer: The model, with the first set.
        folder: The weights folder that it was loaded from.
        loras: Switches the model's LoRAs; active LoRAs stay active.
        write: Writes a parameter that is not stored in the model, and returns whether it did; None: all are.

    Attributes:
        names: The folder's sets; the first is the default.
        active: The active set; None after a switch that failed.
        loras: Switches the model's LoRAs.
    """

    def __init__(
        self,
        transformer: MultiTalkTransformer,
        folder: WeightsFolder,
        loras: LoraSwitcher,
        write: Write | None = None,
    ) -> None:
        self.names = folder.manifest.audio_layers
        self.active: str | None = self.names[0]
        self._transformer = transformer
        self._folder = folder
        self.loras = loras
        self._write = write
        self._quantized = quantized_weights(transformer)

    # a job runs in inference mode, and tensors made there cannot be used outside
    @torch.inference_mode(False)
    @torch.no_grad()
    def use(self, name: str | None = None) -> None:
        """Switch to a set.

        Args:
            name: One of `names`; None is the first.

        Raises:
            InvalidInput: The folder does not have the set.
            WeightsError: A file is missing or damaged. The next switch writes all tensors again.
        """
        name = name or self.names[0]
        if name not in self.names:
            raise InvalidInput(
                f"model: these weights do not have the audio layers {name}. "
                f"Use {' or '.join(self.names)}, or bake weights that have them.",
                "model",
            )
        if name == self.active:
            return
        parts = self._parts(name)
        with self.loras.base_changes({tensor for tensors in parts.values() for tensor in tensors}):
            self.active = None
            for part, tensors in parts.items():
                for tensor, value in self._read(part, tensors):
                    self._set(tensor, value)
            self.active = name

    def _parts(self, name: str) -> dict[str, set[str]]:
        """Return the tensors to read for a set, by folder: its own, and those that other sets replaced."""
        own = self._tensors(name)
        written = self.names if self.active is None else (self.active,)
        replaced = {tensor for other in written for tensor in self._tensors(other)} - own.keys()
        return {audio_layers_part(name): set(own), "transformer": replaced}

    def _tensors(self, name: str) -> Mapping[str, object]:
        """Return the tensors of a set that are not in the transformer's folder."""
        return {} if name == self.names[0] else self._folder.manifest.tensors[audio_layers_part(name)]

    def _read(self, part: str, tensors: set[str]) -> Iterator[tuple[str, torch.Tensor]]:
        """Read tensors as they were loaded, each on the device of its parameter."""
        model, dtype = self._transformer, self._transformer.compute_dtype

        def dtype_of(name: str) -> torch.dtype | None:
            if name in self._quantized:
                return None
            return torch.float32 if kept_in_float32(model, name, dtype) else dtype

        devices: dict[torch.device, set[str]] = {}
        for name in tensors:
            devices.setdefault(model.get_parameter(name).device, set()).add(name)
        for device, names in devices.items():
            for name, value in read_tensors(self._folder.weights_files(part), device, dtype_of, names=names):
                if name in self._quantized:
                    yield from quantized_tensors(name, value, self._quantized[name]).items()
                else:
                    yield name, value

    def _set(self, name: str, value: torch.Tensor) -> None:
        parameter = self._transformer.get_parameter(name)
        if self._write is None or not self._write(parameter, value):
            parameter.detach().copy_(value)
