"""Switch LoRAs in a loaded transformer between jobs, exactly and in milliseconds."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..errors import InvalidInput, WeightsError
from ..models.linear import LowRankLayer
from ..models.quantized import QuantizedLinear
from .lora import LoraFile, check_loras
from .lora_changes import Changes, Slot, find_slot, published_shape
from .manifest import LORA_FOLDER, Manifest
from .renames import convert_transformer_tensor

if TYPE_CHECKING:
    from ..models.transformer import MultiTalkTransformer


class LoraSwitcher:
    """Switches LoRAs in a loaded transformer of any precision.

    Products of two matrices, nearly all of a LoRA, are stored beside the weights of linear layers. The
    weights are not changed: nothing drifts or is rounded, and no copy of them is needed. Other changes
    (biases, norms, whole matrices, convolutions) are written into the weights. Their original values are kept
    in host memory, a few megabytes for the published LoRAs, and restored bit by bit.

    Args:
        transformer: The model.
        device: On which it computes; None: the device of its weights.

    Attributes:
        warnings: What was left out of the active LoRAs, one sentence each.
    """

    def __init__(self, transformer: MultiTalkTransformer, device: torch.device | str | None = None) -> None:
        self._transformer = transformer
        self._device = None if device is None else torch.device(device)
        self._active: tuple[_Active, ...] | None = ()
        self.warnings: tuple[str, ...] = ()
        self._written: dict[str, Slot] = {}
        self._originals: dict[str, list[torch.Tensor]] = {}

    @property
    def active(self) -> tuple[tuple[Path, float], ...]:
        """Files and scales that are active."""
        return tuple((lora.path, lora.scale) for lora in self._active or ())

    @property
    def written(self) -> list[torch.Tensor]:
        """The model's tensors that the active LoRAs have changed."""
        return [tensor for slot in self._written.values() for tensor in slot.tensors]

    # a job runs in inference mode, and tensors made there cannot be used outside
    @torch.inference_mode(False)
    @torch.no_grad()
    def activate(self, loras: Sequence[tuple[str | Path, float]]) -> None:
        """Replace the active LoRAs.

        Args:
            loras: Files and scales; empty for none.

        Raises:
            WeightsError: A file is missing, damaged or for another model. The model is unchanged.
        """
        active = tuple(_Active(Path(path), float(scale), _version(Path(path))) for path, scale in loras)
        if active == self._active:
            return
        files = [LoraFile(lora.path, lora.scale) for lora in active]
        changes = Changes()
        for key, slots in self._targets(files).items():
            device = self._device or slots[0].tensors[0].device
            for file in files:
                if key in file:
                    changes.add(slots, file.difference(key, device))
        # if writing fails, the next call writes everything
        self._active = None
        self._write(changes)
        self._set_low_rank(changes)
        self._active = active
        self.warnings = tuple(warning for file in files for warning in file.warnings)

    @contextmanager
    def base_changes(self, names: Collection[str]) -> Iterator[None]:
        """Enclose a change of the weights below the LoRAs; active LoRAs are applied to the new weights.

        Products beside the weights do not depend on them. Tensors that active LoRAs have changed are written
        again.

        Args:
            names: Tensors whose original values change.

        Raises:
            WeightsError: The file of an active LoRA is missing or damaged. No LoRA is active.
        """
        changed = [name for name in self._written if name in names]
        active = self.active
        if changed:
            self.activate([])
        try:
            yield
        finally:
            for name in names:
                self._originals.pop(name, None)
        if changed:
            self.activate(active)

    def check(self, path: str | Path) -> tuple[str, ...]:
        """Check that a LoRA fits the model, without a change of the model.

        Args:
            path: The file.

        Returns:
            What would be left out, one sentence each.

        Raises:
            WeightsError: The file is missing, damaged or for another model.
        """
        file = LoraFile(path)
        self._targets([file])
        return file.warnings

    def _targets(self, files: Sequence[LoraFile]) -> dict[str, list[Slot]]:
        """Find the tensors that LoRAs change, by published name, and check their shapes."""
        modules = dict(self._transformer.named_modules())
        targets: dict[str, list[Slot]] = {}
        for key in dict.fromkeys(key for file in files for key in file.changed):
            try:
                # one row per tensor that it may be cut into
                names = [name for name, _ in convert_transformer_tensor(key, torch.empty(2, device="meta"))]
            except KeyError:
                continue  # reported by the check below
            slots = [slot for name in names if (slot := find_slot(modules, name)) is not None]
            if slots and len(slots) == len(names):
                targets[key] = slots
        check_loras(files, {key: published_shape(slots) for key, slots in targets.items()})
        return targets

    def _write(self, changes: Changes) -> None:
        """Write changes into weights, and restore weights that are no longer changed."""
        written = {name: slot for name, (slot, _) in changes.written.items()}
        before, self._written = self._written, self._written | written  # in case of an error
        for name, slot in before.items():
            if name not in written:
                slot.write(self._originals[name], None)
        for name, (slot, delta) in changes.written.items():
            if name not in self._originals:
                self._originals[name] = [tensor.to("cpu", copy=True) for tensor in slot.tensors]
            slot.write(self._originals[name], delta)
        self._written = written

    def _set_low_rank(self, changes: Changes) -> None:
        for layer in self._transformer.modules():
            if not isinstance(layer, LowRankLayer):
                continue
            products = changes.beside.get(layer)
            if products is None:
                layer.set_low_rank(None, None)
                continue
            weight: torch.Tensor = layer.get_parameter("weight")
            quantized = isinstance(layer, QuantizedLinear)
            dtype = self._transformer.compute_dtype if quantized else weight.dtype
            down = torch.cat([product.down for product in products])
            up = torch.cat([product.up for product in products], dim=1)
            layer.set_low_rank(down.to(dtype), up.to(dtype))


@dataclass(frozen=True)
class _Active:
    """An active LoRA, and the version of its file, which may be replaced under the same name."""

    path: Path
    scale: float
    version: tuple[int, int] | None


def _version(path: Path) -> tuple[int, int] | None:
    """Return modification time in nanoseconds and size in bytes of a file, or None if it is missing."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _baked_loras(folder: Path) -> list[Path]:
    names = Manifest.read(folder).files
    return [folder / name for name in names if name.startswith(f"{LORA_FOLDER}/")]


def activate_for_job(switcher: LoraSwitcher, loras: Sequence[tuple[str | Path, float]], folder: Path) -> None:
    """Activate the LoRAs of a job: those of its preset and those of the request.

    Args:
        switcher: Of the transformer.
        loras: Files and scales.
        folder: The weights folder, which holds the presets' LoRAs.

    Raises:
        InvalidInput: A LoRA of the request is not valid.
        WeightsError: A LoRA that was baked with the weights is not valid.
    """
    try:
        switcher.activate(loras)
    except WeightsError as error:
        # a file of the manifest belongs to the weights; others were added, or named by the request
        if error.file is None or error.file in _baked_loras(folder):
            raise
        raise InvalidInput(str(error), "lora") from error
