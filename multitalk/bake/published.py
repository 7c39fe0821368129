"""Read the published files, in the layout that ``catalogue`` lists (docs/MODEL.md, section 2)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from ..errors import WeightsError
from ..weights.tensor_files import SafetensorsSource, TensorInfo, TensorSource, read_header
from . import catalogue
from .selection import TEXT_ENCODER_SOURCES, TRANSFORMER_SOURCES, Selection, check_choice

_WHOLE = catalogue.WHOLE_TRANSFORMERS
_DATA, _SCALE = "._data", "._scale"
# the published files do not quantize activations: these are ones, and unused
_UNUSED = (".input_scale", ".output_scale")


class PickleSource:
    """Tensors of a ``.pth`` file, memory-mapped. Only tensors are unpickled.

    Raises:
        WeightsError: The file is missing, damaged, or holds something else.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise WeightsError(f"Weights file {path} is missing.")
        self._tensors: dict[str, torch.Tensor] = load_pickle(path, mmap=True)
        self._path = path

    def keys(self) -> list[str]:
        """List the names, in the file's order."""
        return list(self._tensors)

    def info(self, key: str) -> TensorInfo:
        """Return dtype and shape of a tensor."""
        return TensorInfo.of(self._tensors[key])

    def get(self, key: str) -> torch.Tensor:
        """Return a tensor, still mapped from the file."""
        return self._tensors[key]

    def file_of(self, key: str) -> Path:
        """Return the file."""
        return self._path

    def files(self) -> list[Path]:
        """Return the file."""
        return [self._path]


class QuantizedSource:
    """An int8 or fp8 file in optimum-quanto's format, dequantized to float32 (docs/MODEL.md, section 6).

    ``NAME._data`` holds 8-bit values and ``NAME._scale`` one scale per output row. Tensors that are not
    quantized are stored under their name.

    Raises:
        WeightsError: The file is missing or damaged, or a scale is missing.
    """

    def __init__(self, path: Path) -> None:
        self._stored = SafetensorsSource.of_file(path)
        stored = dict.fromkeys(self._stored.keys())
        self._keys = [key.removesuffix(_DATA) for key in stored if not key.endswith((_SCALE, *_UNUSED))]
        self._quantized = {key for key in self._keys if key + _DATA in stored}
        for key in self._quantized:
            if key + _SCALE not in stored:
                raise WeightsError(f"Weights file {path} has no tensor {key}{_SCALE}.")

    def keys(self) -> list[str]:
        """List the names, as in the file that was quantized."""
        return list(self._keys)

    def info(self, key: str) -> TensorInfo:
        """Return dtype and shape after dequantization."""
        if key in self._quantized:
            return TensorInfo("F32", self._stored.info(key + _DATA).shape)
        return self._stored.info(key)

    def get(self, key: str) -> torch.Tensor:
        """Read and dequantize a tensor."""
        if key not in self._quantized:
            return self._stored.get(key)
        return self._stored.get(key + _DATA).float() * self._stored.get(key + _SCALE).float()

    def get_quantized(self, key: str) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Read the 8-bit values ``N K`` and the scales ``N 1``; None if the tensor is not stored this way."""
        if key not in self._quantized:
            return None
        data, scale = self._stored.get(key + _DATA), self._stored.get(key + _SCALE)
        return (data, scale) if scale.shape == (data.shape[0], 1) else None

    def file_of(self, key: str) -> Path:
        """Return the file."""
        return self._stored.files()[0]

    def files(self) -> list[Path]:
        """Return the file."""
        return self._stored.files()


class PublishedWeights:
    """A folder of published weights.

    Args:
        root: The folder.
        selection: Files to read; None reads all that exist. Other files are ignored, such as those left by an
            interrupted fetch for another precision.

    Raises:
        WeightsError: The folder is missing.
    """

    def __init__(self, root: str | Path, selection: Selection | None = None) -> None:
        self.root = Path(root)
        self.selection = selection
        if not self.root.is_dir():
            raise WeightsError(f"Folder {self.root} is missing: it should hold the published weights.")

    def path(self, name: str) -> Path:
        """Return the path of a published file or folder.

        Raises:
            WeightsError: It is missing.
        """
        path = self.root / name
        if not path.exists():
            raise WeightsError(f"Weights file {path} is missing.")
        return path

    def config(self, name: str) -> dict[str, Any]:
        """Read a JSON file.

        Raises:
            WeightsError: It is missing or is not JSON.
        """
        try:
            return json.loads(self.path(name).read_text())
        except ValueError as error:
            raise WeightsError(f"{self.root / name} is not a JSON file: {error}.") from error

    def transformer_form(self, form: str | None = None) -> str:
        """Choose the published form of the transformer to read.

        Args:
            form: The form to read; None takes the selected one or, without a selection, the float32 shards
                if they exist, else a quantized file.

        Raises:
            InvalidInput: `form` is unknown.
        """
        if form is not None:
            return check_choice(form, "transformer_source", TRANSFORMER_SOURCES)
        if self.selection is not None:
            return self.selection.transformer
        if any(self.root.glob(catalogue.TRANSFORMER_SHARDS)):
            return "published"
        # MultiTalk's files first: InfiniteTalk's layers can be added to them, but not the other way round
        files = [(form, name, path) for form, paths in _WHOLE.items() for name, path in paths.items()]
        files.sort(key=lambda file: file[1] != "multitalk")
        return next((form for form, _, path in files if self.has_any([path])), "published")

    def has_any(self, names: Iterable[str]) -> bool:
        """Whether any of these published files exists."""
        return any((self.root / name).is_file() for name in names)

    def base_model(self) -> SafetensorsSource:
        """Open Wan's transformer, which has no audio layers."""
        shards = sorted(self.root.glob(catalogue.TRANSFORMER_SHARDS))
        if not shards:
            raise WeightsError(f"Weights file {self.root / catalogue.TRANSFORMER_SHARDS} is missing.")
        return SafetensorsSource.of_files(shards)

    def multitalk(self) -> SafetensorsSource:
        """Open Wan's transformer with MultiTalk's audio layers, as MultiTalk's index lists them."""
        weight_map = self.config(catalogue.TRANSFORMER_INDEX).get("weight_map")
        if not isinstance(weight_map, dict):
            raise WeightsError(f"{self.root / catalogue.TRANSFORMER_INDEX} has no weight_map.")
        paths = {name: self._shard(name) for name in set(weight_map.values())}
        return SafetensorsSource({key: paths[name] for key, name in weight_map.items()})

    def _shard(self, name: str) -> Path:
        beside_index = (self.root / catalogue.TRANSFORMER_INDEX).with_name(name)
        return beside_index if beside_index.is_file() else self.path(f"{catalogue.WAN.folder}/{name}")

    def text_encoder_form(self, form: str | None = None) -> str:
        """Choose the published form of the text encoder to read; see :meth:`transformer_form`."""
        if form is not None:
            return check_choice(form, "text_encoder_source", TEXT_ENCODER_SOURCES)
        if self.selection is not None:
            return self.selection.text_encoder
        if self.has_any([catalogue.TEXT_ENCODER]):
            return "published"
        quantized = catalogue.QUANTIZED_TEXT_ENCODERS
        return next((form for form, name in quantized.items() if self.has_any([name])), "published")

    def text_encoder(self, form: str) -> TensorSource:
        """Open UMT5's encoder."""
        if form in catalogue.QUANTIZED_TEXT_ENCODERS:
            return QuantizedSource(self.path(catalogue.QUANTIZED_TEXT_ENCODERS[form]))
        return PickleSource(self.path(catalogue.TEXT_ENCODER))

    def image_encoder(self) -> TensorSource:
        """Open CLIP, with its image and its text encoder."""
        return PickleSource(self.path(catalogue.IMAGE_ENCODER))

    def vae(self) -> TensorSource:
        """Open Wan's VAE."""
        return PickleSource(self.path(catalogue.VAE))

    def fast_decoder(self) -> TensorSource | None:
        """Open the small autoencoder of Wan's latents; None if it does not exist, since it is optional."""
        path = self.root / catalogue.FAST_DECODER
        return SafetensorsSource.of_file(path) if path.is_file() else None

    def audio_encoder(self) -> TensorSource:
        """Open wav2vec2."""
        return SafetensorsSource.of_file(self.path(catalogue.AUDIO_ENCODER))

    def lora_files(self) -> list[Path]:
        """List the LoRA files, which are directly in the folder."""
        return [
            path
            for path in sorted(self.root.glob("*.safetensors"))
            if (self.selection is None or path.name in self.selection.lora_files)
            and any(".lora_" in key for key in read_header(path))
        ]

    @property
    def has_speech(self) -> bool:
        """Whether Kokoro exists and is selected."""
        selected = self.selection is None or self.selection.speech
        return selected and (self.root / catalogue.KOKORO.folder).is_dir()

    @property
    def separator(self) -> Path | None:
        """Demucs, if it exists and is selected."""
        selected = self.selection is None or self.selection.speech
        path = self.root / catalogue.SEPARATOR_WEIGHTS
        return path if selected and path.is_file() else None


def load_pickle(path: Path, mmap: bool = False) -> Any:
    """Load a ``.pth`` or ``.pt`` file. Only tensors and plain containers are unpickled.

    Raises:
        WeightsError: The file is missing or damaged.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # torch raises many kinds for a damaged file
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise WeightsError(f"Weights file {path} cannot be read: {lines[0].rstrip('.')}.") from error
