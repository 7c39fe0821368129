"""Load the parts of a baked weights folder, reading each byte once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import Tokenizer

from ..errors import WeightsError
from ..models.page_locked import page_locking
from .folders import FAST_DECODER
from .libraries import (
    empty_model,
    kept_in_float32,
    quantized_tensors,
    quantized_weights,
    read_config,
    tied_names,
    with_quantization,
)
from .manifest import LORA_FOLDER, TOKENIZER_FOLDER
from .offloaded import OffloadedBlocks
from .read_ahead import ReadAhead
from .stream import read_tensors
from .tensor_files import SafetensorsSource
from .verify import check_complete

if TYPE_CHECKING:
    from diffusers import AutoencoderKLWan

    from ..models.audio_encoder import Wav2Vec2Encoder
    from ..models.fast_decoder import FastDecoder
    from ..models.image_encoder import CLIPVisionEncoder
    from ..models.text_encoder import UMT5Encoder
    from ..models.transformer import MultiTalkTransformer


Record = Callable[[str, int], AbstractContextManager[None]]


class WeightsFolder:
    """A complete baked weights folder.

    Args:
        path: The folder.
        read_ahead: Prefetches its files, if already started.
        record: Called with a part's name and bytes; returns a context in which the part is loaded.

    Raises:
        WeightsError: A file is missing or damaged.

    Attributes:
        path: The folder.
        manifest: Its manifest.
        read_ahead: Prefetches its files, or None.
    """

    def __init__(
        self, path: str | Path, read_ahead: ReadAhead | None = None, record: Record | None = None
    ) -> None:
        self.path = Path(path)
        self.read_ahead = read_ahead
        self._record = record
        self.manifest = check_complete(self.path)

    def part(self, name: str) -> Path:
        """Return the folder of a part."""
        return self.path / name

    def weights_files(self, part: str) -> list[Path]:
        """List the weights files of a part."""
        return [
            self.path / name
            for name in sorted(self.manifest.files)
            if name.startswith(f"{part}/") and name.endswith(".safetensors")
        ]

    def loading(self, part: str) -> AbstractContextManager[None]:
        """Return the context in which a part is loaded."""
        if self._record is None:
            return nullcontext()
        return self._record(part, sum(path.stat().st_size for path in self.weights_files(part)))

    def tensors(self, part: str) -> SafetensorsSource:
        """Open the tensors of a part."""
        return SafetensorsSource.of_files(self.weights_files(part))

    def lora_file(self, name: str) -> Path:
        """Return the path of a preset's LoRA file.

        Raises:
            WeightsError: It is missing.
        """
        path = self.path / LORA_FOLDER / name
        if not path.is_file():
            raise WeightsError(f"LoRA file {path} is missing. Add it, or choose another preset.", path)
        return path

    def lora_names(self) -> list[str]:
        """List the names of the LoRA files in the folder."""
        return sorted(path.name for path in (self.path / LORA_FOLDER).glob("*.safetensors"))


def load_part(
    folder: WeightsFolder,
    part: str,
    device: torch.device | str,
    dtype: torch.dtype,
    quantization: str | None = None,
) -> Any:
    """Load a part's model onto a device, without an intermediate copy in memory.

    Args:
        folder: The weights.
        part: Name of the part.
        device: On the CPU, tensors stay mapped from the files until they are changed.
        dtype: Of its tensors, except for those its class keeps in float32.
        quantization: "int8" or "fp8" (transformer only): quantize layers that the folder stores unquantized,
            on the device; layers that are stored quantized are not changed.

    Returns:
        The model, in eval mode and without gradients.

    Raises:
        WeightsError: The files do not match the model.
    """
    with folder.loading(part):
        return _load_part(folder, part, torch.device(device), dtype, quantization)


def _load_part(
    folder: WeightsFolder,
    part: str,
    device: torch.device,
    dtype: torch.dtype,
    quantization: str | None,
    streamed_blocks: int = 0,
) -> Any:
    try:
        model = empty_model(part, with_quantization(read_config(part, folder.part(part)), quantization))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise WeightsError(f"{folder.part(part) / 'config.json'} is not valid: {error}") from error
    quantized = quantized_weights(model)

    def dtype_of(name: str) -> torch.dtype | None:
        if name in quantized:
            return None
        return torch.float32 if kept_in_float32(model, name, dtype) else dtype

    offloaded = OffloadedBlocks(model, streamed_blocks, dtype_of)
    state: dict[str, torch.Tensor] = {}
    with page_locking(offloaded.memory.values(), device):
        for name, tensor in read_tensors(
            folder.weights_files(part), device, dtype_of, folder.read_ahead, targets=offloaded.targets
        ):
            read = quantized_tensors(name, tensor, quantized[name]) if name in quantized else {name: tensor}
            state |= {key: offloaded.take(key, value) for key, value in read.items()}
    state |= {alias: state[stored] for alias, stored in tied_names(model).items() if stored in state}
    _assign(model, state, folder.part(part))
    model.eval().requires_grad_(False)
    if streamed_blocks:
        model.block_streamer = offloaded.streamer(device)
    return model


def _assign(model: torch.nn.Module, state: dict[str, torch.Tensor], folder: Path) -> None:
    try:
        missing, unexpected = model.load_state_dict(state, strict=False, assign=True)
    except RuntimeError as error:  # shapes
        reason = str(error).splitlines()[-1].strip()
        raise WeightsError(f"The weights in {folder} do not match the model: {reason}") from error
    if missing or unexpected:
        problem = f"{missing[0]} is missing" if missing else f"{unexpected[0]} is not in the model"
        raise WeightsError(f"The weights in {folder} do not match the model: {problem}.")


def load_transformer(
    folder: WeightsFolder,
    device: torch.device | str,
    dtype: torch.dtype,
    quantization: str | None = None,
    streamed_blocks: int = 0,
) -> MultiTalkTransformer:
    """Load the transformer; see :func:`load_part`.

    Args:
        folder, device, dtype, quantization: As in :func:`load_part`.
        streamed_blocks: Number of blocks that the device streams. They are read into host memory, without an
            intermediate copy, and page-locked; the transformer gets its ``block_streamer``.
    """
    with folder.loading("transformer"):
        return _load_part(folder, "transformer", torch.device(device), dtype, quantization, streamed_blocks)


def load_text_encoder(
    folder: WeightsFolder, device: torch.device | str, dtype: torch.dtype, quantization: str | None = None
) -> tuple[UMT5Encoder, Tokenizer]:
    """Load UMT5's encoder (see :func:`load_part`) and its tokenizer."""
    tokenizer = load_tokenizer(folder.part(TOKENIZER_FOLDER))
    return load_part(folder, "text_encoder", device, dtype, quantization), tokenizer


def load_tokenizer(folder: Path) -> Tokenizer:
    """Load a tokenizer from its ``tokenizer.json``.

    Raises:
        WeightsError: The file is missing or damaged.
    """
    path = folder / "tokenizer.json"
    try:
        return Tokenizer.from_buffer(path.read_bytes())
    except Exception as error:  # tokenizers raises Exception itself
        raise WeightsError(f"{path} is not valid: {error}") from error


def load_image_encoder(
    folder: WeightsFolder, device: torch.device | str, dtype: torch.dtype
) -> CLIPVisionEncoder:
    """Load CLIP's image encoder without its last layer; see :func:`load_part`."""
    return load_part(folder, "image_encoder", device, dtype)


def load_vae(
    folder: WeightsFolder, device: torch.device | str, dtype: torch.dtype = torch.float32
) -> AutoencoderKLWan:
    """Load the VAE; see :func:`load_part`. Encoding is not safe in half precision."""
    from ..models.vae_layers import use_fast_layers

    vae = load_part(folder, "vae", device, dtype)
    use_fast_layers(vae)
    return vae


def load_fast_decoder(folder: WeightsFolder, device: torch.device | str, dtype: torch.dtype) -> FastDecoder:
    """Load the small decoder, which must be in the folder; see :func:`load_part`."""
    from ..models.vae_layers import use_channels_last

    decoder: FastDecoder = load_part(folder, FAST_DECODER, device, dtype)
    use_channels_last(decoder)
    return decoder


def load_audio_encoder(
    folder: WeightsFolder, device: torch.device | str, dtype: torch.dtype = torch.float32
) -> Wav2Vec2Encoder:
    """Load wav2vec2; see :func:`load_part`."""
    return load_part(folder, "audio_encoder", device, dtype)
