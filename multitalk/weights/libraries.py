"""The model's parts in diffusers and transformers: classes, file names, configurations, quantized layers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from ..models.quantized import QuantizedLinear
from ..patches import diffusers as diffusers_patches
from ..patches import transformers as transformers_patches
from .folders import PARTS

if TYPE_CHECKING:
    from pathlib import Path

# Parts whose class is diffusers'; the other parts are transformers'.
_DIFFUSERS_PARTS = ("transformer", "vae")


def model_class(part: str, quantized: bool = False) -> Any:
    """Import and return the class of a part, which takes seconds.

    Args:
        part: Its name.
        quantized: Whether its layers are quantized; the transformer has one class for both.
    """
    match part:
        case "transformer":
            from ..models.transformer import MultiTalkTransformer

            return MultiTalkTransformer
        case "vae":
            from diffusers import AutoencoderKLWan

            return AutoencoderKLWan
        case "text_encoder" if quantized:
            from ..models.text_encoder import QuantizedUMT5EncoderModel

            return QuantizedUMT5EncoderModel
        case "text_encoder":
            from transformers import UMT5EncoderModel

            return UMT5EncoderModel
        case "image_encoder":
            from transformers import CLIPVisionModel

            return CLIPVisionModel
        case "audio_encoder":
            from transformers import Wav2Vec2Model

            return Wav2Vec2Model
    raise KeyError(part)


def import_models() -> None:
    """Import the classes of all parts, ahead of loading."""
    for part in PARTS:
        model_class(part)


def weights_name(part: str) -> str:
    """Return the name of a part's weights files, without number and suffix."""
    return "diffusion_pytorch_model" if part in _DIFFUSERS_PARTS else "model"


def empty_model(part: str, config: Any) -> Any:
    """Build a part's model with its parameters on the meta device and its buffers in memory.

    Args:
        part: Its name.
        config: A mapping of arguments for diffusers' classes, a configuration object for transformers'.
    """
    with _parameters_on_meta():
        if part in _DIFFUSERS_PARTS:
            return model_class(part).from_config(config)
        return model_class(part, quantized=getattr(config, "quantization", None) is not None)(config)


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


def read_config(part: str, folder: Path) -> Any:
    """Read a part's ``config.json`` into what :func:`empty_model` takes."""
    if part in _DIFFUSERS_PARTS:
        return model_class(part).load_config(folder)
    return model_class(part).config_class.from_pretrained(folder)


def save_config(part: str, model: Any, dtype: torch.dtype, folder: Path) -> None:
    """Write a part's ``config.json``."""
    if part in _DIFFUSERS_PARTS:
        model.save_config(folder)
    else:
        model.config.dtype = dtype  # the dtype in which from_pretrained loads
        model.config.save_pretrained(folder)


def tied_names(model: nn.Module) -> dict[str, str]:
    """Map the names of tied tensors in a model's state dict to the names under which they are stored."""
    return dict(getattr(model, "all_tied_weights_keys", {}))


def kept_in_float32(model: nn.Module, name: str, dtype: torch.dtype) -> bool:
    """Whether a tensor stays in float32 in a model of this dtype, as in the library's ``from_pretrained``."""
    if dtype.itemsize >= torch.float32.itemsize:
        return False
    from diffusers import ModelMixin

    if isinstance(model, ModelMixin):
        kept = diffusers_patches.modules_kept_in_float32(model)
    else:
        kept = transformers_patches.modules_kept_in_float32(model, dtype)
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


def with_quantization(config: Any, quantization: str | None) -> Any:
    """Return a part's configuration with a quantization, unless it already has one."""
    if quantization is None:
        return config
    if isinstance(config, dict):
        return {**config, "quantization": config.get("quantization") or quantization}
    config.quantization = getattr(config, "quantization", None) or quantization
    return config
