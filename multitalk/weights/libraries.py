"""What diffusers and transformers expect of a part: its class, its file names, what it keeps in float32."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from .folders import PARTS

if TYPE_CHECKING:
    from pathlib import Path

# Parts of diffusers; the others are transformers'.
_DIFFUSERS_PARTS = ("transformer", "vae")


def model_class(part: str, quantized: bool = False) -> Any:
    """The class of a part's model; imported here, since each takes seconds.

    Args:
        part: Its name.
        quantized: Whether its layers are; the transformer's class knows both.
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
    """Import every part's class now, so that it isn't when the part is loaded."""
    for part in PARTS:
        model_class(part)


def weights_name(part: str) -> str:
    """Name of a part's weights files, without number and ending."""
    return "diffusion_pytorch_model" if part in _DIFFUSERS_PARTS else "model"


def empty_model(part: str, config: Any) -> Any:
    """Build a part's model: parameters on the meta device, where they take no memory, buffers with values.

    Args:
        part: Its name.
        config: A mapping of arguments for diffusers' parts, a configuration object for transformers'.
    """
    with _parameters_on_meta():
        if part in _DIFFUSERS_PARTS:
            return model_class(part).from_config(config)
        return model_class(part, quantized=getattr(config, "quantization", None) is not None)(config)


@contextmanager
def _parameters_on_meta() -> Iterator[None]:
    """Modules built inside, in this thread, have their parameters on the meta device.

    torch's own ``torch.device("meta")`` would take the buffers there, too, and no file brings their values.
    """
    thread = threading.get_ident()

    def move(module: nn.Module, name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
        if parameter is None or threading.get_ident() != thread:
            return parameter
        return nn.Parameter(parameter.to("meta"), requires_grad=parameter.requires_grad)

    hook = register_module_parameter_registration_hook(move)  # type: ignore[arg-type]  # torch says it returns None
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
        model.config.dtype = dtype  # what from_pretrained loads it in
        model.config.save_pretrained(folder)


def tied_names(model: nn.Module) -> dict[str, str]:
    """Names in a model's state dict that are other names of a tensor stored elsewhere: alias to stored."""
    tied = getattr(model, "_tied_weights_keys", None)
    return dict(tied) if isinstance(tied, Mapping) else {}


def kept_in_float32(model: nn.Module, name: str, dtype: torch.dtype) -> bool:
    """Whether a tensor stays in float32 in a model of this dtype.

    diffusers keeps the modules that its classes name whenever the dtype is narrower; transformers does so
    in float16 alone, except for the modules that its classes name strictly.
    """
    if dtype.itemsize >= torch.float32.itemsize:
        return False
    from diffusers import ModelMixin

    kept = set(getattr(model, "_keep_in_fp32_modules_strict", None) or ())
    if isinstance(model, ModelMixin) or dtype == torch.float16:
        kept |= set(getattr(model, "_keep_in_fp32_modules", None) or ())
    return not kept.isdisjoint(name.split("."))
