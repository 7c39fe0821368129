"""The published files, in the layout they are downloaded in (docs/MODEL.md, section 2)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import torch

from ..errors import InvalidInput, WeightsError
from ..weights.tensor_files import SafetensorsSource, TensorInfo, TensorSource, read_header
from .catalogue import Selection
from .choices import TEXT_ENCODER_SOURCES, TRANSFORMER_SOURCES, TextEncoderSource, TransformerSource

WAN = "Wan2.1-I2V-14B-480P"
MULTITALK = "MeiGen-MultiTalk"
WAV2VEC2 = "chinese-wav2vec2-base"
KOKORO = "Kokoro-82M"  # optional: speech
SPACY_MODEL = "en_core_web_sm"  # optional: spaCy's, a folder or a wheel, with or without its version
QUANTIZED = f"{MULTITALK}/quant_models"

TRANSFORMER_CONFIG = f"{WAN}/config.json"
TRANSFORMER_INDEX = f"{MULTITALK}/diffusion_pytorch_model.safetensors.index.json"
TRANSFORMER_INT8 = f"{QUANTIZED}/dit_model_int8.safetensors"
TRANSFORMER_INT8_FUSIONX = f"{QUANTIZED}/quant_model_int8_FusionX.safetensors"
TEXT_ENCODER = f"{WAN}/models_t5_umt5-xxl-enc-bf16.pth"
TEXT_ENCODER_INT8 = f"{QUANTIZED}/t5_int8.safetensors"
TOKENIZER = f"{WAN}/google/umt5-xxl"
IMAGE_ENCODER = f"{WAN}/models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth"
VAE = f"{WAN}/Wan2.1_VAE.pth"
AUDIO_ENCODER = f"{WAV2VEC2}/model.safetensors"
AUDIO_ENCODER_CONFIG = f"{WAV2VEC2}/config.json"
FEATURE_EXTRACTOR_CONFIG = f"{WAV2VEC2}/preprocessor_config.json"

_DATA, _SCALE = "._data", "._scale"
# activations aren't quantized in the published files: these are ones, and unused
_UNUSED = (".input_scale", ".output_scale")


class PickleSource:
    """Tensors of a ``.pth`` file, mapped rather than read; nothing but tensors is unpickled.

    Raises:
        WeightsError: The file is missing, damaged, or holds something else.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise WeightsError(f"Weights file {path} is missing.")
        try:
            self._tensors: dict[str, torch.Tensor] = torch.load(
                path, map_location="cpu", mmap=True, weights_only=True
            )
        except Exception as error:  # torch raises a dozen kinds for a damaged file
            raise WeightsError(f"Weights file {path} can't be read: {_first_line(error)}") from error
        self._path = path

    def keys(self) -> list[str]:
        """Names, in the file's order."""
        return list(self._tensors)

    def info(self, key: str) -> TensorInfo:
        """Dtype and shape of a tensor."""
        return TensorInfo.of(self._tensors[key])

    def get(self, key: str) -> torch.Tensor:
        """A tensor, still mapped from the file."""
        return self._tensors[key]

    def files(self) -> list[Path]:
        """The file."""
        return [self._path]


class QuantizedSource:
    """An int8 file as optimum-quanto writes it, dequantized in float32 (docs/MODEL.md, section 6).

    ``NAME._data`` holds int8 values and ``NAME._scale`` one factor per output row; what isn't quantized
    lies there as it is.
    """

    def __init__(self, path: Path) -> None:
        self._stored = SafetensorsSource.of_file(path)
        stored = dict.fromkeys(self._stored.keys())
        self._keys = [key.removesuffix(_DATA) for key in stored if not key.endswith((_SCALE, *_UNUSED))]
        self._quantized = {key for key in self._keys if key + _DATA in stored}
        for key in self._quantized:
            if key + _SCALE not in stored:
                raise WeightsError(f"Weights file {path} lacks the tensor {key}{_SCALE}.")

    def keys(self) -> list[str]:
        """Names as in the file that was quantized."""
        return list(self._keys)

    def info(self, key: str) -> TensorInfo:
        """Dtype and shape after dequantizing."""
        if key in self._quantized:
            return TensorInfo("F32", self._stored.info(key + _DATA).shape)
        return self._stored.info(key)

    def get(self, key: str) -> torch.Tensor:
        """Read and dequantize a tensor."""
        if key not in self._quantized:
            return self._stored.get(key)
        return self._stored.get(key + _DATA).float() * self._stored.get(key + _SCALE).float()

    def get_quantized(self, key: str) -> tuple[torch.Tensor, torch.Tensor] | None:
        """The int8 values ``N K`` and the rows' factors ``N 1``; None for what isn't stored so."""
        if key not in self._quantized:
            return None
        data, scale = self._stored.get(key + _DATA), self._stored.get(key + _SCALE)
        return (data, scale) if scale.shape == (data.shape[0], 1) else None

    def files(self) -> list[Path]:
        """The file."""
        return self._stored.files()


class PublishedWeights:
    """A folder of downloaded weights.

    Args:
        root: Holds the folders ``Wan2.1-I2V-14B-480P``, ``MeiGen-MultiTalk``, ``chinese-wav2vec2-base``, for
            speech ``Kokoro-82M`` and ``en_core_web_sm``, and beside them the LoRA files.
        selection: Read these alone; None takes what is there. Other files may lie there, such as those of
            another precision's fetch that was stopped.

    Raises:
        WeightsError: The folder is missing.
    """

    def __init__(self, root: str | Path, selection: Selection | None = None) -> None:
        self.root = Path(root)
        self.selection = selection
        if not self.root.is_dir():
            raise WeightsError(f"The folder of published weights {self.root} is missing.")

    def path(self, name: str) -> Path:
        """A file or folder of the published layout.

        Raises:
            WeightsError: It is missing.
        """
        path = self.root / name
        if not path.exists():
            raise WeightsError(f"Weights file {path} is missing.")
        return path

    def config(self, name: str) -> dict[str, Any]:
        """A JSON file.

        Raises:
            WeightsError: It is missing or no JSON.
        """
        try:
            return json.loads(self.path(name).read_text())
        except ValueError as error:
            raise WeightsError(f"{self.root / name} is no JSON file: {error}.") from error

    def transformer_source_kind(self, wanted: str | None = None) -> TransformerSource:
        """Which of the transformer's published forms to read.

        Args:
            wanted: None takes the selected form; without a selection the float32 shards where one is there,
                else an int8 file.

        Raises:
            InvalidInput: `wanted` is no form.
            WeightsError: There is none.
        """
        if wanted is not None:
            return cast(TransformerSource, _known(wanted, "transformer_source", TRANSFORMER_SOURCES))
        if self.selection is not None:
            return self.selection.transformer
        has_shards = any((self.root / WAN).glob("diffusion_pytorch_model*.safetensors"))
        if has_shards or not (self.root / QUANTIZED).is_dir():
            return "published"
        if (self.root / TRANSFORMER_INT8).is_file():
            return "int8"
        return "int8-fusionx" if (self.root / TRANSFORMER_INT8_FUSIONX).is_file() else "published"

    def transformer(self, kind: TransformerSource) -> TensorSource:
        """The transformer with its audio layers, in the published names."""
        if kind == "int8":
            return QuantizedSource(self.path(TRANSFORMER_INT8))
        if kind == "int8-fusionx":
            return QuantizedSource(self.path(TRANSFORMER_INT8_FUSIONX))
        # The index beside the audio layers replaces Wan's own, which doesn't know them.
        weight_map = self.config(TRANSFORMER_INDEX).get("weight_map")
        if not isinstance(weight_map, dict):
            raise WeightsError(f"{self.root / TRANSFORMER_INDEX} has no weight_map.")
        places = {name: self._shard(name) for name in set(weight_map.values())}
        return SafetensorsSource({key: places[name] for key, name in weight_map.items()})

    def _shard(self, name: str) -> Path:
        beside = self.root / MULTITALK / name
        return beside if beside.is_file() else self.path(f"{WAN}/{name}")

    def text_encoder_source_kind(self, wanted: str | None = None) -> TextEncoderSource:
        """Which of the text encoder's published forms to read; see :meth:`transformer_source_kind`."""
        if wanted is not None:
            return cast(TextEncoderSource, _known(wanted, "text_encoder_source", TEXT_ENCODER_SOURCES))
        if self.selection is not None:
            return self.selection.text_encoder
        has_int8 = (self.root / TEXT_ENCODER_INT8).is_file()
        return "int8" if has_int8 and not (self.root / TEXT_ENCODER).is_file() else "published"

    def text_encoder(self, kind: TextEncoderSource) -> TensorSource:
        """UMT5's encoder."""
        if kind == "int8":
            return QuantizedSource(self.path(TEXT_ENCODER_INT8))
        return PickleSource(self.path(TEXT_ENCODER))

    def image_encoder(self) -> TensorSource:
        """CLIP, both halves."""
        return PickleSource(self.path(IMAGE_ENCODER))

    def vae(self) -> TensorSource:
        """Wan's VAE."""
        return PickleSource(self.path(VAE))

    def audio_encoder(self) -> TensorSource:
        """wav2vec2."""
        return SafetensorsSource.of_file(self.path(AUDIO_ENCODER))

    def lora_files(self) -> list[Path]:
        """The LoRA files that lie in the folder itself."""
        return [
            path
            for path in sorted(self.root.glob("*.safetensors"))
            if (self.selection is None or path.name in self.selection.lora_names)
            and any(".lora_" in key for key in read_header(path))
        ]

    @property
    def has_speech(self) -> bool:
        """Whether Kokoro is there, and wanted."""
        return (self.root / KOKORO).is_dir() and (self.selection is None or self.selection.speech)


def _known(name: str, field: str, known: tuple[str, ...]) -> str:
    if name not in known:
        *others, last = known
        raise InvalidInput(f"{field} '{name}' is unknown: use {', '.join(others)} or {last}.", field)
    return name


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") + "." if lines else f"{type(error).__name__}."
