"""A baked weights folder: finding it, and loading its parts, each byte read once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..errors import WeightsError
from ..patches.torch import use_onednn
from .libraries import empty_model, kept_in_float32, read_config, tied_names
from .manifest import LORA_FOLDER, TOKENIZER_FOLDER
from .quantization import quantized_tensors, quantized_weights, with_quantization
from .read_ahead import ReadAhead
from .stream import read_tensors
from .tensor_files import SafetensorsSource
from .verify import check_complete

if TYPE_CHECKING:
    from diffusers import AutoencoderKLWan
    from transformers import (
        CLIPVisionModel,
        PreTrainedTokenizerBase,
        UMT5EncoderModel,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2Model,
    )

    from ..models.transformer import MultiTalkTransformer


Record = Callable[[str, int], AbstractContextManager[None]]


class WeightsFolder:
    """A baked weights folder that is known to be complete.

    Args:
        path: The folder.
        read_ahead: What already reads its files.
        record: Given a part's name and bytes, returns a context that its loading is done in.

    Raises:
        WeightsError: A file is missing or damaged.

    Attributes:
        path: The folder.
        manifest: What it holds.
        read_ahead: What reads its files, where something does.
    """

    def __init__(
        self, path: str | Path, read_ahead: ReadAhead | None = None, record: Record | None = None
    ) -> None:
        self.path = Path(path)
        self.read_ahead = read_ahead
        self._record = record
        self.manifest = check_complete(self.path)

    def part(self, name: str) -> Path:
        """The folder of a part."""
        return self.path / name

    def weights_files(self, part: str) -> list[Path]:
        """The weights files of a part."""
        return [
            self.path / name
            for name in sorted(self.manifest.files)
            if name.startswith(f"{part}/") and name.endswith(".safetensors")
        ]

    def loading(self, part: str) -> AbstractContextManager[None]:
        """The context that a part is loaded in."""
        if self._record is None:
            return nullcontext()
        return self._record(part, sum(path.stat().st_size for path in self.weights_files(part)))

    def tensors(self, part: str) -> SafetensorsSource:
        """The tensors of a part, read one at a time."""
        return SafetensorsSource.of_files(self.weights_files(part))

    def lora_file(self, name: str) -> Path:
        """The LoRA file that a preset names.

        Raises:
            WeightsError: It isn't there.
        """
        path = self.path / LORA_FOLDER / name
        if not path.is_file():
            raise WeightsError(f"LoRA file {path} is missing: put it there, or choose another preset.", path)
        return path

    def lora_names(self) -> list[str]:
        """The LoRA files that lie beside the weights."""
        return sorted(path.name for path in (self.path / LORA_FOLDER).glob("*.safetensors"))


def load_part(
    folder: WeightsFolder,
    part: str,
    device: torch.device | str,
    dtype: torch.dtype,
    quantization: str | None = None,
) -> Any:
    """Load a part's model: built without memory, its files read once, straight to the device.

    Args:
        folder: The weights.
        part: Name of the part.
        device: Where it goes. On the CPU the tensors stay mapped from the files until they are changed.
        dtype: Of its tensors, but for those its class keeps in float32; cast where the files' is another.
        quantization: "int8" or "fp8" (of the transformer alone) quantizes a folder's unquantized layers as
            they are loaded, on the device; what the folder has quantized stays as it is.

    Returns:
        The model, for inference.

    Raises:
        WeightsError: The files and the model don't fit.
    """
    with folder.loading(part):
        return _load_part(folder, part, device, dtype, quantization)


def _load_part(
    folder: WeightsFolder,
    part: str,
    device: torch.device | str,
    dtype: torch.dtype,
    quantization: str | None,
) -> Any:
    try:
        model = empty_model(part, with_quantization(read_config(part, folder.part(part)), quantization))
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(f"{folder.part(part) / 'config.json'} can't be used: {error}") from error
    quantized = quantized_weights(model)

    def dtype_of(name: str) -> torch.dtype | None:
        if name in quantized:
            return None
        return torch.float32 if kept_in_float32(model, name, dtype) else dtype

    state: dict[str, torch.Tensor] = {}
    for name, tensor in read_tensors(folder.weights_files(part), device, dtype_of, folder.read_ahead):
        if name in quantized:
            state |= quantized_tensors(name, tensor, quantized[name])
        else:
            state[name] = tensor
    tied = tied_names(model)
    state |= {alias: state[stored] for alias, stored in tied.items() if stored in state}
    _assign(model, state, folder.part(part))
    if tied:
        model.tie_weights()
    return model.eval().requires_grad_(False)


def _assign(model: torch.nn.Module, state: dict[str, torch.Tensor], folder: Path) -> None:
    try:
        missing, unexpected = model.load_state_dict(state, strict=False, assign=True)
    except RuntimeError as error:  # shapes
        reason = str(error).splitlines()[-1].strip()
        raise WeightsError(f"The weights in {folder} don't fit the model: {reason}") from error
    if missing or unexpected:
        what = f"lack {missing[0]}" if missing else f"have a tensor too many, {unexpected[0]}"
        raise WeightsError(f"The weights in {folder} don't fit the model: they {what}.")


def load_transformer(
    folder: WeightsFolder, device: torch.device | str, dtype: torch.dtype, quantization: str | None = None
) -> MultiTalkTransformer:
    """Load the transformer; see :func:`load_part`."""
    return load_part(folder, "transformer", device, dtype, quantization)


def load_text_encoder(
    folder: WeightsFolder, device: torch.device | str, dtype: torch.dtype, quantization: str | None = None
) -> tuple[UMT5EncoderModel, PreTrainedTokenizerBase]:
    """Load UMT5's encoder (see :func:`load_part`) and its tokenizer."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder.part(TOKENIZER_FOLDER), local_files_only=True)
    return load_part(folder, "text_encoder", device, dtype, quantization), tokenizer


def load_image_encoder(
    folder: WeightsFolder, device: torch.device | str, dtype: torch.dtype
) -> CLIPVisionModel:
    """Load CLIP's visual half without its last layer; see :func:`load_part`."""
    return load_part(folder, "image_encoder", device, dtype)


def load_vae(
    folder: WeightsFolder, device: torch.device | str, dtype: torch.dtype = torch.float32
) -> AutoencoderKLWan:
    """Load the video autoencoder; see :func:`load_part`. Encoding isn't safe in half precision."""
    vae = load_part(folder, "vae", device, dtype)
    use_onednn(vae)
    return vae


def load_audio_encoder(
    folder: WeightsFolder, device: torch.device | str, dtype: torch.dtype = torch.float32
) -> tuple[Wav2Vec2Model, Wav2Vec2FeatureExtractor]:
    """Load wav2vec2 (see :func:`load_part`) and what normalises sound for it."""
    from transformers import Wav2Vec2FeatureExtractor

    extractor = Wav2Vec2FeatureExtractor.from_pretrained(folder.part("audio_encoder"), local_files_only=True)
    return load_part(folder, "audio_encoder", device, dtype), extractor
