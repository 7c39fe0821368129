"""LoRA files: what they add to the published tensors, merged at bake or switched in a loaded model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..errors import WeightsError
from .convert import convert_transformer_tensor
from .tensor_files import SafetensorsSource

if TYPE_CHECKING:
    from .store import WeightsFolder

# What files put before the name of a module.
_PREFIXES = ("model.diffusion_model.", "diffusion_model.")
# How the two matrices are called: the one from the input to the rank, and the one from there to the output.
_DOWN = (".lora_down.weight", ".lora_A.weight", ".lora_A.default.weight")
_UP = (".lora_up.weight", ".lora_B.weight", ".lora_B.default.weight")
_ALPHA = ".alpha"
# Differences that are stored whole, and what they are added to.
_WHOLE = {".diff": ".weight", ".diff_b": ".bias"}

# A published tensor's name -> what a file holds for it: role ("down", "up", "alpha", "whole") -> name there.
_Pieces = dict[str, dict[str, str]]


class LoraFile:
    """A LoRA: differences of published tensors (REFERENCE, section 6).

    Args:
        path: The safetensors file.
        scale: Factor on everything it adds.

    Raises:
        WeightsError: The file is missing, damaged, incomplete, or has names that no LoRA has.
    """

    def __init__(self, path: str | Path, scale: float = 1.0) -> None:
        self.path = Path(path)
        self.scale = float(scale)
        self._source = SafetensorsSource.of_file(self.path)
        self._pieces = self._sort(self._source.keys())

    def _sort(self, names: Iterable[str]) -> _Pieces:
        pieces: _Pieces = {}
        unknown = []
        for name in names:
            found = _parse(name)
            if found is None:
                unknown.append(name)
            else:
                pieces.setdefault(found[0], {})[found[1]] = name
        # a factor without its matrices, or one matrix without the other
        unknown += [name for roles in pieces.values() if not _complete(roles) for name in roles.values()]
        if unknown:
            raise WeightsError(f"LoRA file {self.path} has {_count(unknown)} that can't be applied.")
        return pieces

    def __contains__(self, key: str) -> bool:
        return key in self._pieces

    @property
    def changed(self) -> tuple[str, ...]:
        """Published names of the tensors it changes."""
        return tuple(self._pieces)

    def fits(self, key: str, shape: Sequence[int]) -> bool:
        """Whether what it holds for a tensor has that tensor's shape; reads no values."""
        shapes = {role: self._source.info(name).shape for role, name in self._pieces[key].items()}
        if "whole" in shapes and shapes["whole"] != tuple(shape):
            return False
        if "down" not in shapes:
            return True
        (rank, *columns), (rows, *inner) = shapes["down"], shapes["up"]
        return rows == shape[0] and math.prod(inner) == rank and math.prod(columns) == math.prod(shape[1:])

    def delta(self, key: str, shape: Sequence[int], device: torch.device | str = "cpu") -> torch.Tensor:
        """What it adds to a tensor.

        Args:
            key: Published name, one of `changed`.
            shape: Of the published tensor; it :meth:`fits`.
            device: Where to compute.

        Returns:
            float32, of that shape.
        """
        pieces = {
            role: self._source.get(name).to(device=device, dtype=torch.float32)
            for role, name in self._pieces[key].items()
        }
        delta = None
        if "down" in pieces:
            rank = pieces["down"].shape[0]
            scale = self.scale * (pieces["alpha"].item() / rank if "alpha" in pieces else 1.0)
            # convolutions have more than two axes: their matrices are those of the flattened kernel
            product = pieces["up"].flatten(1) @ pieces["down"].flatten(1)
            delta = product.mul_(scale).reshape(tuple(shape))
        if "whole" in pieces:
            whole = pieces["whole"] * self.scale
            delta = whole if delta is None else delta.add_(whole)
        assert delta is not None, "a file without either isn't read"
        return delta


def _parse(name: str) -> tuple[str, str] | None:
    """Published tensor that a LoRA's tensor is about, and its role; None where no rule fits."""
    module = name
    for prefix in _PREFIXES:
        module = module.removeprefix(prefix)
    rules = [
        *((suffix, ".weight", "down") for suffix in _DOWN),
        *((suffix, ".weight", "up") for suffix in _UP),
        (_ALPHA, ".weight", "alpha"),
        *((suffix, target, "whole") for suffix, target in _WHOLE.items()),
    ]
    for suffix, target, role in rules:
        if module.endswith(suffix):
            return module.removesuffix(suffix) + target, role
    return None


def _complete(roles: dict[str, str]) -> bool:
    if "down" in roles or "up" in roles:
        return "down" in roles and "up" in roles
    return "alpha" not in roles


def _count(names: Sequence[str]) -> str:
    """ "the tensor x", or "3 tensors (x, y, ...)"."""
    if len(names) == 1:
        return f"the tensor {names[0]}"
    return f"{len(names)} tensors ({', '.join(names[:2])}{', ...' if len(names) > 2 else ''})"


def check_loras(loras: Iterable[LoraFile], shapes: Mapping[str, Sequence[int]]) -> None:
    """Make sure that everything in the files has its place; nothing is dropped in silence.

    A model may have tensors that a LoRA lacks (text-to-video LoRAs lack the image keys).

    Args:
        loras: The files.
        shapes: Of the model's tensors by their published names.

    Raises:
        WeightsError: A file changes a tensor that the model doesn't have, or has in another shape.
    """
    for lora in loras:
        strangers = [key for key in lora.changed if key not in shapes or not lora.fits(key, shapes[key])]
        if strangers:
            raise WeightsError(
                f"LoRA file {lora.path} is for another model: it changes {_count(strangers)}, "
                "for which this model has no place."
            )


def merge(key: str, tensor: torch.Tensor, loras: Iterable[LoraFile]) -> torch.Tensor:
    """Add what LoRAs change in a published tensor.

    Args:
        key: Published name.
        tensor: Its values.
        loras: The files; their differences add up.

    Returns:
        The sum in float32; the tensor as it came where no file changes it.
    """
    for lora in loras:
        if key in lora:
            # into the difference, which is ours: a published tensor may be gigabytes
            tensor = lora.delta(key, tensor.shape, tensor.device).add_(tensor)
    return tensor


class LoraSwitcher:
    """Switches LoRAs in a loaded transformer.

    Every tensor that the old or the new set touches is read from the weights folder again and gets its
    difference in float32, so nothing drifts: without LoRAs the model is bitwise what it was.

    Args:
        transformer: The model, changed in place.
        folder: Where it was loaded from.
    """

    def __init__(self, transformer: torch.nn.Module, folder: WeightsFolder) -> None:
        self._transformer = transformer
        self._folder = folder
        self._active: tuple[tuple[Path, float], ...] | None = ()
        self._touched: set[str] = set()

    @property
    def active(self) -> tuple[tuple[Path, float], ...]:
        """Files and scales in effect."""
        return self._active or ()

    @torch.no_grad()
    def activate(self, loras: Sequence[tuple[str | Path, float]]) -> None:
        """Replace the active LoRAs.

        Args:
            loras: Files and scales; empty for none.

        Raises:
            WeightsError: A file is missing, damaged or for another model; the model is as it was.
        """
        wanted = tuple((Path(path), float(scale)) for path, scale in loras)
        if wanted == self._active:
            return
        files = [LoraFile(path, scale) for path, scale in wanted]
        targets = self._targets(files)
        parameters = dict(self._transformer.named_parameters())
        base = self._folder.tensors("transformer")
        # until everything is written, what is active is unknown, and the next call writes it all
        self._active = None
        to_restore = self._touched.difference(*targets.values())
        self._touched.update(*targets.values())
        for name in sorted(to_restore):
            parameters[name].copy_(base.get(name))
        for key, names in targets.items():
            _write(key, [parameters[name] for name in names], [base.get(name) for name in names], files)
        self._touched = set().union(*targets.values())
        self._active = wanted

    def _targets(self, files: Sequence[LoraFile]) -> dict[str, list[str]]:
        """The model's tensors by the published names that LoRAs change, after checking that all fits."""
        parameters = dict(self._transformer.named_parameters())
        targets: dict[str, list[str]] = {}
        for key in dict.fromkeys(key for file in files for key in file.changed):
            try:
                # a stand-in with one row per tensor it may be cut into
                names = [name for name, _ in convert_transformer_tensor(key, torch.empty(2, device="meta"))]
            except KeyError:
                continue  # reported by the check below
            if all(name in parameters for name in names):
                targets[key] = names
        check_loras(
            files,
            {key: _joined_shape([parameters[name] for name in names]) for key, names in targets.items()},
        )
        return targets


def _joined_shape(parts: Sequence[torch.Tensor]) -> tuple[int, ...]:
    """Shape of the published tensor that was cut into these."""
    return (sum(part.shape[0] for part in parts), *parts[0].shape[1:])


def _write(
    key: str, parameters: list[torch.nn.Parameter], bases: list[torch.Tensor], files: Sequence[LoraFile]
) -> None:
    """Set the tensors that one published tensor has become: base plus differences."""
    device = parameters[0].device
    merged = torch.cat([base.to(device=device, dtype=torch.float32) for base in bases])
    for file in files:
        if key in file:
            merged += file.delta(key, merged.shape, device)
    for parameter, part in zip(parameters, merged.chunk(len(parameters)), strict=True):
        parameter.copy_(part)
