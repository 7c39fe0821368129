"""LoRA files: what they add to the published tensors, and how it is merged at bake."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import WeightsError
from .tensor_files import SafetensorsSource

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


@dataclass(frozen=True)
class Difference:
    """What a LoRA adds to one tensor: ``factor * up @ down``, a whole difference, or both.

    Attributes:
        down: ``R ...`` float32 (a convolution's has more axes), or None.
        up: ``N R ...`` float32, or None.
        factor: Of the product.
        whole: Of the tensor's shape, float32, its factor in it; or None.
    """

    down: torch.Tensor | None
    up: torch.Tensor | None
    factor: float
    whole: torch.Tensor | None

    def dense(self, shape: Sequence[int]) -> torch.Tensor:
        """All of it as one tensor of that shape, float32."""
        delta = None
        if self.down is not None and self.up is not None:
            # convolutions have more than two axes: their matrices are those of the flattened kernel
            product = self.up.flatten(1) @ self.down.flatten(1)
            delta = product.mul_(self.factor).reshape(tuple(shape))
        if self.whole is not None:
            delta = self.whole if delta is None else delta.add_(self.whole)
        assert delta is not None, "a file without either isn't read"
        return delta


class LoraFile:
    """A LoRA: differences of published tensors (docs/MODEL.md, section 6).

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
            raise WeightsError(
                f"LoRA file {self.path} has {_count(unknown)} that can't be applied.", self.path
            )
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
        if not shapes["down"] or not shapes["up"] or math.prod(shapes.get("alpha", ())) != 1:
            return False
        (rank, *columns), (rows, *inner) = shapes["down"], shapes["up"]
        return (
            rank > 0
            and rows == shape[0]
            and math.prod(inner) == rank
            and math.prod(columns) == math.prod(shape[1:])
        )

    def difference(self, key: str, device: torch.device | str = "cpu") -> Difference:
        """What it adds to a tensor, in pieces.

        Args:
            key: Published name, one of `changed`.
            device: Where the pieces go.
        """
        stored = {role: self._source.get(name) for role, name in self._pieces[key].items()}
        factor = self.scale
        if "alpha" in stored:  # read on the host: the device isn't waited for
            factor *= stored.pop("alpha").item() / stored["down"].shape[0]
        # widened on the device, so that half the bytes go there
        pieces = {role: tensor.to(device).to(torch.float32) for role, tensor in stored.items()}
        whole = pieces["whole"] * self.scale if "whole" in pieces else None
        return Difference(pieces.get("down"), pieces.get("up"), factor, whole)

    def delta(self, key: str, shape: Sequence[int], device: torch.device | str = "cpu") -> torch.Tensor:
        """What it adds to a tensor.

        Args:
            key: Published name, one of `changed`.
            shape: Of the published tensor; it :meth:`fits`.
            device: Where to compute.

        Returns:
            float32, of that shape.
        """
        return self.difference(key, device).dense(shape)


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
                "for which this model has no place.",
                lora.path,
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
