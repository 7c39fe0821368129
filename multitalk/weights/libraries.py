"""The model's parts: classes, file names, configurations, quantized layers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from ..models.encoder import Encoder
from ..models.quantized import QuantizedLinear
from ..patches import diffusers as diffusers_patches
from .folders import PARTS

if TYPE_CHECKING:
    from pathlib import Path

# Parts whose class is diffusers'; the other parts have the names and configurations of transformers.
_DIFFUSERS_PARTS = ("transformer", "vae")


def model_class(part: str) -> Any:
    """Import and return the class of a part."""
    match part:
        case "transformer":
            from ..models.transformer import MultiTalkTransformer

            return MultiTalkTransformer
        case "vae":
            from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

            return AutoencoderKLWan
        case "text_encoder":
            from ..models.text_encoder import UMT5Encoder

            return UMT5Encoder
        case "image_encoder":
            from ..models.image_encoder import CLIPVisionEncoder

            return CLIPVisionEncoder
        case "audio_encoder":
            from ..models.audio_encoder import Wav2Vec2Encoder

            return Wav2Vec2Encoder
        case "fast_decoder":
            from ..models.fast_decoder import FastDecoder

            return FastDecoder
    raise KeyError(part)


def import_models() -> None:
    """Import the classes of all parts, ahead of loading."""
    for part in PARTS:
        model_class(part)


def weights_name(part: str) -> str:
    """Return the name of a part's weights files, without number and suffix."""
    return "diffusion_pytorch_model" if part in _DIFFUSERS_PARTS else "model"


def empty_model(part: str, config: Mapping[str, Any]) -> Any:
    """Build a part's model with its parameters on the meta device and its buffers in memory.

    Args:
        part: Its name.
        config: Content of its ``config.json``.
    """
    with _parameters_on_meta():
        if part in _DIFFUSERS_PARTS:
            return model_class(part).from_config(config)
        return model_class(part)(config)


@contextmanager
def _parameters_on_meta() -> Iterator[None]:
    """Put the parameters of modules that this thread builds on the meta device.

    ``torch.device("meta")`` would do the same to buffers, whose values are in no file.
    """
    thread = threading.get_ident()

    def move(module: nn.Module, name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
        if parameter is None or threading.get_ident() != thread:
            return parameter
        return nn.Parameter(parameter.to("meta"), requires_grad=parameter.requires_grad)

    hook = register_module_parameter_registration_hook(move)  # type: ignore[arg-type]  # torch declares None
    try:
        yield
    finally:
        hook.remove()


def read_config(part: str, folder: Path) -> dict[str, Any]:
    """Read a part's ``config.json`` into what :func:`empty_model` takes."""
    if part in _DIFFUSERS_PARTS:
        return model_class(part).load_config(folder)
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


def save_config(part: str, model: Any, dtype: torch.dtype, folder: Path) -> None:
    """Write a part's ``config.json``."""
    if part in _DIFFUSERS_PARTS:
        model.save_config(folder)
        return
    # the dtype in which from_pretrained loads
    config = {**model.config, "dtype": str(dtype).removeprefix("torch.")}
    text = json.dumps(config, indent=2, sort_keys=True)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")


def tied_names(model: nn.Module) -> dict[str, str]:
    """Map the names of tied tensors in a model's state dict to the names under which they are stored."""
    return dict(getattr(model, "all_tied_weights_keys", {}))


def kept_in_float32(model: nn.Module, name: str, dtype: torch.dtype) -> bool:
    """Whether a tensor stays in float32 in a model of this dtype, as in the library's ``from_pretrained``."""
    if dtype.itemsize >= torch.float32.itemsize:
        return False
    if isinstance(model, Encoder):
        kept = model.modules_kept_in_float32(dtype)
    else:
        kept = diffusers_patches.modules_kept_in_float32(model)
    return not kept.isdisjoint(name.split("."))


def scale_name(weight: str) -> str:
    """Return the name of the scales of a quantized weight."""
    return weight.removesuffix("weight") + "scale"


def quantized_weights(model: nn.Module) -> dict[str, type[QuantizedLinear]]:
    """Return the class of each quantized layer in a model, by the name of its weight."""
    return {
        f"{name}.weight": type(layer)
        for name, layer in model.named_modules()
        if isinstance(layer, QuantizedLinear)
    }


def quantized_tensors(
    name: str, tensor: torch.Tensor, layer: type[QuantizedLinear]
) -> dict[str, torch.Tensor]:
    """Return the state of a quantized layer's weight from a stored tensor, quantized now if it is not yet."""
    if tensor.dtype == layer.weight_dtype:
        return {name: tensor}
    weight, scale = layer.quantize(tensor)
    return {name: weight, scale_name(name): scale}


def with_quantization(config: dict[str, Any], quantization: str | None) -> dict[str, Any]:
    """Return a part's configuration with a quantization, unless it already has one."""
    if quantization is None:
        return config
    return {**config, "quantization": config.get("quantization") or quantization}
