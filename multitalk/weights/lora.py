"""Read LoRA files and merge them into published tensors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import WeightsError
from .lora_config import LoraConfig
from .lora_names import parse_name, unsupported_kind
from .tensor_files import SafetensorsSource, read_metadata

PATCH_EMBEDDING = "patch_embedding.weight"
TEXT_TO_VIDEO_CHANNELS = 16  # of the patch embedding's input; image-to-video models have 36

# Published name -> role ("down", "up", "alpha", "whole") -> name in the file.
_Pieces = dict[str, dict[str, str]]


@dataclass(frozen=True)
class Difference:
    """The change of one tensor by a LoRA: ``factor * up @ down``, a whole tensor, or both.

    Attributes:
        down: ``R ...`` float32 (with more axes for a convolution), or None.
        up: ``N R ...`` float32, or None.
        factor: Of the product.
        whole: In the tensor's shape, float32, with its factor applied; or None.
    """

    down: torch.Tensor | None
    up: torch.Tensor | None
    factor: float
    whole: torch.Tensor | None

    def dense(self, shape: Sequence[int]) -> torch.Tensor:
        """Compute the change as one float32 tensor of the given shape."""
        delta = None
        if self.down is not None and self.up is not None:
            # the matrices of a convolution are those of the flattened kernel
            product = self.up.flatten(1) @ self.down.flatten(1)
            delta = product.mul_(self.factor).reshape(tuple(shape))
        if self.whole is not None:
            delta = self.whole if delta is None else delta.add_(self.whole)
        assert delta is not None, "LoraFile refuses files without either"
        return delta


class LoraFile:
    """A LoRA file: changes of published tensors (docs/MODEL.md, section 6).

    Args:
        path: The safetensors file.
        scale: Factor of all changes.

    Attributes:
        warnings: What was left out, one sentence each.

    Raises:
        WeightsError: The file is missing, damaged or incomplete, has no tensors or unknown ones, or its
            configuration is malformed.
    """

    def __init__(self, path: str | Path, scale: float = 1.0) -> None:
        self.path = Path(path)
        self.scale = float(scale)
        self.warnings: tuple[str, ...] = ()
        try:
            self._source = SafetensorsSource.of_file(self.path)
        except WeightsError as error:
            raise WeightsError(str(error).replace("Weights file", "LoRA file", 1), self.path) from None
        try:
            self._config = LoraConfig.of_file(self.path, read_metadata(self.path))
        except ValueError as error:
            raise WeightsError(f"LoRA file {self.path} is not supported: {error}.", self.path) from None
        self._pieces = self._sort(self._source.keys())
        if not self._pieces:
            raise WeightsError(f"LoRA file {self.path} has no tensors. Use a complete file.", self.path)

    def _sort(self, names: Iterable[str]) -> _Pieces:
        pieces: _Pieces = {}
        unknown = []
        for name in names:
            if (kind := unsupported_kind(name)) is not None:
                raise WeightsError(
                    f"LoRA file {self.path} is not supported: it is a {kind} ({name[:100]}). "
                    "Use a LoRA of two matrices per layer.",
                    self.path,
                )
            parsed = parse_name(name)
            if parsed is None or parsed[1] in pieces.get(parsed[0], {}):  # unknown, or a second adapter's
                unknown.append(name)
            else:
                pieces.setdefault(parsed[0], {})[parsed[1]] = name
        # alpha without its matrices, or one matrix without the other
        unknown += [name for roles in pieces.values() if not _complete(roles) for name in roles.values()]
        if unknown:
            raise WeightsError(
                f"LoRA file {self.path} is not supported: unknown {_first(unknown)}.", self.path
            )
        return pieces

    def __contains__(self, key: str) -> bool:
        return key in self._pieces

    @property
    def changed(self) -> tuple[str, ...]:
        """Published names of the tensors that it changes."""
        return tuple(self._pieces)

    def omit_text_to_video_input(self, shape: Sequence[int]) -> None:
        """Leave out a change of the patch embedding that is for a text-to-video model.

        Args:
            shape: Of the model's patch embedding.
        """
        roles = self._pieces.get(PATCH_EMBEDDING, {})
        name = roles.get("whole", roles.get("down"))
        if name is None or shape[1] == TEXT_TO_VIDEO_CHANNELS:
            return
        inputs = math.prod(self._source.info(name).shape[1:])  # of channels and kernel, maybe flattened
        if inputs == TEXT_TO_VIDEO_CHANNELS * math.prod(shape[2:]):
            del self._pieces[PATCH_EMBEDDING]
            self.warnings += (
                f"LoRA file {self.path.name} is for text to video: its change of the patch embedding "
                f"({TEXT_TO_VIDEO_CHANNELS} input channels, the model has {shape[1]}) was left out.",
            )

    def fits(self, key: str, shape: Sequence[int]) -> bool:
        """Whether the change of a tensor has the tensor's shape; does not read values."""
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
        """Read the change of a tensor.

        Args:
            key: Published name, one of `changed`.
            device: Of the result.

        Raises:
            WeightsError: A value is not finite.
        """
        stored = {role: self._source.get(name) for role, name in self._pieces[key].items()}
        factor = self.scale
        if "alpha" in stored:  # read on the host, without host-device synchronization
            factor *= stored.pop("alpha").item() / stored["down"].shape[0]
        elif "down" in stored:
            factor *= self._config.factor(self._pieces[key]["down"], stored["down"].shape[0])
        # cast on the device, so that fewer bytes are copied
        pieces = {role: tensor.to(device).to(torch.float32) for role, tensor in stored.items()}
        if not math.isfinite(factor) or not all(tensor.isfinite().all() for tensor in pieces.values()):
            message = f"LoRA file {self.path} is damaged: it has values that are not finite ({key[:60]})."
            raise WeightsError(message, self.path)
        whole = pieces["whole"] * self.scale if "whole" in pieces else None
        return Difference(pieces.get("down"), pieces.get("up"), factor, whole)

    def delta(self, key: str, shape: Sequence[int], device: torch.device | str = "cpu") -> torch.Tensor:
        """Compute the change of a tensor.

        Args:
            key: Published name, one of `changed`.
            shape: Of the published tensor, which :meth:`fits`.
            device: On which to compute.

        Returns:
            A float32 tensor of that shape.
        """
        return self.difference(key, device).dense(shape)


def _complete(roles: dict[str, str]) -> bool:
    if "down" in roles or "up" in roles:
        return "down" in roles and "up" in roles
    return "alpha" not in roles


def _first(names: Sequence[str]) -> str:
    """Return "tensors (3), such as x": a page shows it in a line or two."""
    name = "".join(letter if letter.isprintable() else "?" for letter in names[0][:60])
    return f"tensors ({len(names)}), such as {name}"


def check_loras(loras: Iterable[LoraFile], shapes: Mapping[str, Sequence[int]]) -> None:
    """Check that the model has every tensor that LoRAs change, in the right shape.

    A LoRA may leave tensors unchanged: text-to-video LoRAs lack the image keys. Their change of the patch
    embedding, whose input has other channels, is left out, with a warning in the file's ``warnings``.

    Args:
        loras: The files.
        shapes: Of the model's tensors, by published name.

    Raises:
        WeightsError: A file changes a tensor that the model does not have, or has in another shape; or it
            changes nothing.
    """
    for lora in loras:
        if PATCH_EMBEDDING in shapes:
            lora.omit_text_to_video_input(shapes[PATCH_EMBEDDING])
        unknown = [key for key in lora.changed if key not in shapes or not lora.fits(key, shapes[key])]
        if unknown:
            raise WeightsError(
                f"LoRA file {lora.path} is for another model: it has other {_first(unknown)}.",
                lora.path,
            )
        if not lora.changed:
            raise WeightsError(
                f"LoRA file {lora.path} is for another model: it changes nothing in this one. "
                "Use a LoRA for image to video.",
                lora.path,
            )


def merge(key: str, tensor: torch.Tensor, loras: Iterable[LoraFile]) -> torch.Tensor:
    """Add the changes of LoRAs to a published tensor.

    Args:
        key: Published name.
        tensor: Its values.
        loras: The files.

    Returns:
        The sum in float32, or `tensor` itself if no file changes it.
    """
    for lora in loras:
        if key in lora:
            # in place in the change, since a published tensor may take gigabytes
            tensor = lora.delta(key, tensor.shape, tensor.device).add_(tensor)
    return tensor
