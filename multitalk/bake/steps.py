"""The steps of a bake, prepared from the headers of the published files before anything is written."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import WeightsError
from ..weights.folders import FAST_DECODER, audio_layers_part
from ..weights.libraries import empty_model, kept_in_float32, quantized_weights, scale_name, tied_names
from ..weights.lora import LoraFile, check_loras
from ..weights.renames import Convert, convert_transformer_tensor
from ..weights.tensor_files import TensorInfo, TensorSource
from . import catalogue, configs, convert
from .audio_layers import changed_tensors
from .precision import Precision
from .published import PublishedWeights
from .quantize import stored_infos

# Upper bound of a tensor's entry in a header, without its name.
_HEADER_BYTES = 120

_DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}
_DTYPE_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


@dataclass(frozen=True)
class TensorStep:
    """Converts one published tensor.

    Attributes:
        key: Its published name.
        stored: Names, dtypes and shapes of the tensors that are stored for it.
    """

    key: str
    stored: tuple[tuple[str, TensorInfo], ...]

    @property
    def nbytes(self) -> int:
        """Bytes in a file, header included."""
        return sum(info.nbytes + len(name) + _HEADER_BYTES for name, info in self.stored)

    @property
    def itemsize(self) -> int:
        """Bytes per element of the stored tensor with the widest dtype."""
        return max(info.itemsize for _, info in self.stored)


@dataclass(frozen=True)
class PartSteps:
    """Writes one part of the model.

    Attributes:
        name: Its folder: a part of the model, or a set of audio layers that is not in the transformer.
        source: The published tensors.
        convert: Renames and cuts one of them.
        model: The library's model on the meta device.
        dtype: Of its tensors, except for quantized ones and those that its class keeps in float32.
        steps: One per tensor, in reading order.
        loras: Merged into it.
        quantization: Of its quantized layers; None without any.
    """

    name: str
    source: TensorSource
    convert: Convert
    model: Any
    dtype: torch.dtype
    steps: tuple[TensorStep, ...]
    loras: tuple[LoraFile, ...] = ()
    quantization: str | None = None

    @property
    def precision(self) -> str:
        """Its precision in the manifest."""
        return self.quantization or _DTYPE_NAMES[self.dtype]

    @property
    def nbytes(self) -> int:
        """Bytes of its weights files."""
        return sum(step.nbytes for step in self.steps)


def prepare_parts(
    weights: PublishedWeights,
    precision: Precision,
    transformers: Mapping[str, TensorSource],
    text_encoder_form: str,
    loras: Sequence[LoraFile],
) -> list[PartSteps]:
    """Prepare the steps of every part.

    Args:
        weights: The published files.
        precision: Of the baked folder.
        transformers: The transformer with each set of audio layers. The first is baked, and of the others
            what differs from it.
        text_encoder_form: Published form of the text encoder to read.
        loras: To merge into the transformer.

    Raises:
        WeightsError: A file is missing, damaged or does not match the model.
    """
    audio_config = weights.config(catalogue.AUDIO_ENCODER_CONFIG)
    transformer, *others = transformers.values()
    check_loras(loras, {key: transformer.info(key).shape for key in transformer.keys()})  # noqa: SIM118
    transformer_config = configs.transformer_config(
        transformer, weights.config(catalogue.TRANSFORMER_CONFIG), audio_config
    )
    transformer_config["quantization"] = precision.transformer
    text_encoder = weights.text_encoder(text_encoder_form)
    text_config = configs.text_encoder_config(text_encoder)
    if precision.text_encoder is not None:
        text_config["quantization"] = precision.text_encoder
    image_encoder = weights.image_encoder()
    image_config = configs.image_encoder_config(image_encoder)
    clip_table = convert.image_encoder_table(
        image_config["num_hidden_layers"] + 1, image_config["hidden_size"]
    )
    vae, audio_encoder = weights.vae(), weights.audio_encoder()
    dtype, full = _DTYPES[precision.dtype], torch.float32
    return [
        _prepare("transformer", transformer, convert_transformer_tensor, transformer_config, dtype, loras),
        _prepare("text_encoder", text_encoder, convert.TEXT_ENCODER.convert, text_config, dtype),
        _prepare("image_encoder", image_encoder, clip_table.convert, image_config, dtype),
        _prepare("vae", vae, convert.convert_vae_tensor, configs.vae_config(vae), full),
        _prepare(
            "audio_encoder",
            audio_encoder,
            convert.convert_audio_encoder_tensor,
            configs.audio_encoder_config(audio_config),
            full,
        ),
        *_prepare_fast_decoder(weights.fast_decoder()),
        *(
            _prepare(
                audio_layers_part(name),
                other,
                convert_transformer_tensor,
                transformer_config,
                dtype,
                loras,
                changed_tensors(transformer, other),
            )
            for name, other in zip(list(transformers)[1:], others, strict=True)
        ),
    ]


def _prepare_fast_decoder(source: TensorSource | None) -> list[PartSteps]:
    """Prepare the small decoder, in float32 in every precision: it has 39 MB; nothing if it is left out."""
    if source is None:
        return []
    config = configs.fast_decoder_config(source)
    return [_prepare(FAST_DECODER, source, convert.FAST_DECODER.convert, config, torch.float32)]


def _prepare(
    name: str,
    source: TensorSource,
    convert_tensor: Convert,
    config: Any,
    dtype: torch.dtype,
    loras: Sequence[LoraFile] = (),
    keys: Collection[str] | None = None,
) -> PartSteps:
    """Prepare a part's steps, and check the published tensors against the library's model.

    With `keys`, the part is a set of audio layers: all tensors of the transformer are checked, and these are
    written.
    """
    model = empty_model(name if keys is None else "transformer", config)
    expected = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    for alias in tied_names(model):
        expected.pop(alias, None)
    quantized = quantized_weights(model)
    steps = []
    for key in source.keys():  # noqa: SIM118
        file = f"Weights file {source.file_of(key)}"
        try:
            converted = convert_tensor(key, source.info(key).meta())
        except KeyError:
            raise WeightsError(f"{file} has a tensor that the model does not have: {key}.") from None
        stored = []
        for new_key, tensor in converted:
            shape = expected.pop(new_key, None)
            if shape is None:
                raise WeightsError(f"{file} has a tensor that the model does not have: {key}.")
            if shape != tuple(tensor.shape):
                raise WeightsError(
                    f"{file}: {key} has the shape {source.info(key).shape}, but the model needs {shape}."
                )
            if new_key in quantized:
                stored += stored_infos(new_key, shape, quantized[new_key])
                del expected[scale_name(new_key)]
                continue
            kept = kept_in_float32(model, new_key, dtype)
            stored.append((new_key, TensorInfo.of(tensor.to(torch.float32 if kept else dtype))))
        if stored and (keys is None or key in keys):
            steps.append(TensorStep(key, tuple(stored)))
    if expected:
        first, *more = source.files()
        others = f", with {len(more)} more," if more else ""
        part = name if keys is None else "transformer"
        raise WeightsError(
            f"Weights file {first}{others} lacks a tensor of the {part}: {next(iter(expected))}."
        )
    quantization = next((layer.precision for layer in quantized.values()), None)
    return PartSteps(name, source, convert_tensor, model, dtype, tuple(steps), tuple(loras), quantization)
