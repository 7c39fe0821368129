"""What a bake will do, worked out from the published files' headers before anything is read or written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import WeightsError
from ..weights.libraries import empty_model, kept_in_float32, tied_names
from ..weights.lora import LoraFile, check_loras
from ..weights.quantization import quantized_weights, scale_name
from ..weights.renames import Convert, convert_transformer_tensor
from ..weights.tensor_files import TensorInfo, TensorSource
from . import configs, convert, published
from .choices import TextEncoderSource, TransformerSource
from .precision import Precision, part_precision
from .published import PublishedWeights
from .quantize import stored_infos

# What a header spends on a tensor beside its name, generously.
_HEADER_BYTES = 120


@dataclass(frozen=True)
class PlannedTensor:
    """A published tensor and what it becomes.

    Attributes:
        key: Its published name.
        stored: Names, dtypes and shapes of what is stored.
    """

    key: str
    stored: tuple[tuple[str, TensorInfo], ...]

    @property
    def nbytes(self) -> int:
        """Bytes it takes in a file."""
        return sum(info.nbytes + len(name) + _HEADER_BYTES for name, info in self.stored)

    @property
    def itemsize(self) -> int:
        """Bytes per element of its widest tensor."""
        return max(info.itemsize for _, info in self.stored)


@dataclass(frozen=True)
class PlannedPart:
    """A part of the model and how it is made.

    Attributes:
        name: Its folder.
        source: The published tensors.
        convert: Converts one of them.
        model: The library's model on the meta device.
        dtype: Of its tensors, but for those its class keeps in float32.
        units: Its tensors in the order they are read.
        loras: Merged into it.
        quantization: Of its quantized layers, None where it has none.
    """

    name: str
    source: TensorSource
    convert: Convert
    model: Any
    dtype: torch.dtype
    units: tuple[PlannedTensor, ...]
    loras: tuple[LoraFile, ...] = ()
    quantization: str | None = None

    @property
    def precision(self) -> str:
        """Its precision, as the manifest names it."""
        return part_precision(self.dtype, self.quantization)

    @property
    def nbytes(self) -> int:
        """Bytes it takes in its files."""
        return sum(unit.nbytes for unit in self.units)


def plan_parts(
    weights: PublishedWeights,
    precision: Precision,
    kind: TransformerSource,
    text_kind: TextEncoderSource,
    loras: list[LoraFile],
) -> list[PlannedPart]:
    """Plan every part.

    Args:
        weights: The published files.
        precision: Of the transformer, the text encoder and the image encoder.
        kind: Which form of the transformer.
        text_kind: Which form of the text encoder.
        loras: To merge into the transformer.

    Raises:
        WeightsError: A file is missing, damaged or doesn't fit.
    """
    audio_config = weights.config(published.AUDIO_ENCODER_CONFIG)
    transformer = weights.transformer(kind)
    check_loras(loras, {key: transformer.info(key).shape for key in transformer.keys()})  # noqa: SIM118
    transformer_config = configs.transformer_config(
        transformer, weights.config(published.TRANSFORMER_CONFIG), audio_config
    )
    transformer_config["quantization"] = precision.transformer
    text_encoder = weights.text_encoder(text_kind)
    text_config = configs.text_encoder_config(text_encoder)
    if precision.text_encoder is not None:
        text_config.quantization = precision.text_encoder
    image_encoder = weights.image_encoder()
    image_config = configs.image_encoder_config(image_encoder)
    clip_table = convert.image_encoder_table(image_config.num_hidden_layers + 1, image_config.hidden_size)
    vae, audio_encoder = weights.vae(), weights.audio_encoder()
    half, full = precision.dtype, torch.float32  # encoding video isn't safe in half precision
    return [
        _plan("transformer", transformer, convert_transformer_tensor, transformer_config, half, loras),
        _plan("text_encoder", text_encoder, convert.convert_text_encoder_tensor, text_config, half),
        _plan("image_encoder", image_encoder, clip_table.convert, image_config, half),
        _plan("vae", vae, convert.convert_vae_tensor, configs.vae_config(vae), full),
        _plan(
            "audio_encoder",
            audio_encoder,
            convert.convert_audio_encoder_tensor,
            configs.audio_encoder_config(audio_config),
            full,
        ),
    ]


def _plan(
    name: str,
    source: TensorSource,
    convert_tensor: Convert,
    config: Any,
    dtype: torch.dtype,
    loras: Sequence[LoraFile] = (),
) -> PlannedPart:
    """Plan a part: what every published tensor becomes, checked against the library's own model."""
    model = empty_model(name, config)
    expected = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    for alias in tied_names(model):
        expected.pop(alias, None)
    quantized = quantized_weights(model)
    where = source.files()[0]
    units = []
    for key in source.keys():  # noqa: SIM118
        try:
            named = convert_tensor(key, source.info(key).meta())
        except KeyError:
            raise WeightsError(
                f"Weights file {where}: the model has no place for the tensor {key}."
            ) from None
        stored = []
        for new_key, tensor in named:
            shape = expected.pop(new_key, None)
            if shape != tuple(tensor.shape):
                raise WeightsError(
                    f"Weights file {where}: {key} has the shape {tuple(source.info(key).shape)}, "
                    + ("for which the model has no place." if shape is None else f"and the model {shape}.")
                )
            if new_key in quantized:
                stored += stored_infos(new_key, shape, quantized[new_key])
                del expected[scale_name(new_key)]
                continue
            kept = kept_in_float32(model, new_key, dtype)
            stored.append((new_key, TensorInfo.of(tensor.to(torch.float32 if kept else dtype))))
        if stored:
            units.append(PlannedTensor(key, tuple(stored)))
    if expected:
        raise WeightsError(f"Weights file {where} lacks a tensor: {name}'s {next(iter(expected))}.")
    quantization = next((layer.precision for layer in quantized.values()), None)
    return PlannedPart(name, source, convert_tensor, model, dtype, tuple(units), tuple(loras), quantization)
