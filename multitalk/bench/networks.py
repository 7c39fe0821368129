"""Networks with random weights, created on their device, so that benchmarks need no checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch import nn
from transformers import CLIPVisionConfig, UMT5Config, Wav2Vec2Config

from ..models.audio_encoder import Wav2Vec2Encoder
from ..models.image_encoder import CLIPVisionEncoder
from ..models.quantized import QUANTIZED_LINEARS, QuantizedLinear
from ..models.text_encoder import UMT5Encoder
from ..models.transformer import MultiTalkTransformer
from ..models.vae_layers import use_fast_layers
from ..weights.folders import EMBEDDED_FOLDER
from ..weights.libraries import kept_in_float32
from ..weights.manifest import TOKENIZER_FOLDER
from ..weights.store import load_tokenizer

if TYPE_CHECKING:
    from ..pipeline.components import Components
    from ..runtime.plan import HardwarePlan

RANDOM_NUMBERS = (1 << 20) + 7


@dataclass(frozen=True)
class Scale:
    """Widths and depths of the networks.

    Attributes:
        heads, head_dim, ffn_dim, layers: Of the transformer.
        text_dim: Width of the text encoder.
        image_dim: Width of the image encoder.
        vae_dim: Base width of the VAE.
        text_layers, image_layers, audio_layers: Depths of the encoders.
        audio_dim: Width of the audio encoder.
    """

    heads: int
    ffn_dim: int
    layers: int
    text_dim: int
    image_dim: int
    vae_dim: int
    head_dim: int = 128
    text_layers: int = 24
    image_layers: int = 31
    audio_layers: int = 12
    audio_dim: int = 768

    def cut(self, layers: int | None) -> Scale:
        """Limit the depth of every network."""
        if layers is None:
            return self
        values = {**self.__dict__, "layers": layers}
        for name in ("text_layers", "image_layers", "audio_layers"):
            values[name] = min(values[name], layers)
        return Scale(**values)


SCALES = {
    "tiny": Scale(
        heads=2, head_dim=24, ffn_dim=64, layers=2, text_dim=64, image_dim=80, vae_dim=8,
        text_layers=1, image_layers=2, audio_layers=2, audio_dim=32,
    ),
    "small": Scale(
        heads=8, ffn_dim=2816, layers=4, text_dim=1024, image_dim=640, vae_dim=32,
        text_layers=4, image_layers=4, audio_layers=4,
    ),
    "real": Scale(heads=40, ffn_dim=13824, layers=40, text_dim=4096, image_dim=1280, vae_dim=96),
}  # fmt: skip


def make_on(module: nn.Module, device: torch.device, dtype: torch.dtype) -> Any:
    """Move a module from the meta device to another one and fill it with random numbers of a typical size.

    Args:
        module: A module on the meta device.
        device: The target device.
        dtype: Dtype of its parameters, except 8-bit ones and those that its class keeps in float32.
    """
    for name, parameter in module.named_parameters():
        if parameter.dtype in (torch.float32, torch.float16, torch.bfloat16):
            kept = kept_in_float32(module, name, dtype)
            parameter.data = parameter.data.to(torch.float32 if kept else dtype)
    module.to_empty(device=device)
    generator = torch.Generator(device).manual_seed(0)
    quantized = {
        id(parameter): layer
        for layer in module.modules()
        if isinstance(layer, QuantizedLinear)
        for parameter in layer.parameters(recurse=False)
    }
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            _fill(name, parameter, generator, quantized.get(id(parameter)))
        for buffer in module.buffers():
            buffer.zero_()
    return module.eval().requires_grad_(False)


def _fill(
    name: str, parameter: torch.Tensor, generator: torch.Generator, layer: QuantizedLinear | None
) -> None:
    if layer is not None and parameter is layer.scale:
        parameter.fill_(1 / (60 * layer.in_features**0.5))
    elif parameter.dtype.itemsize == 1:
        _repeat_random(parameter, 60.0, generator)
    elif name.endswith("time_proj.bias"):
        parameter.fill_(1.0)  # as in trained weights, the modulation depends little on the timestep
    elif parameter.dim() < 2 or "norm" in name:
        parameter.fill_(0.0 if name.endswith("bias") else 1.0)
    else:
        fan_in = parameter[0].numel()
        size = 0.01 if "time_proj" in name else 1.0  # see above
        _repeat_random(parameter, size * fan_in**-0.5, generator)


def _repeat_random(parameter: torch.Tensor, size: float, generator: torch.Generator) -> None:
    """Fill a parameter with a million random numbers, repeated: drawing 18.9 B takes minutes on a CPU."""
    flat = parameter.view(-1)
    # an odd length, so that the rows of a matrix differ
    pattern = torch.empty(min(flat.numel(), RANDOM_NUMBERS), device=generator.device)
    pattern = pattern.normal_(0, size, generator=generator)
    if parameter.dtype == torch.int8:
        pattern = pattern.round().clamp(-127, 127)
    pattern = pattern.to(parameter.dtype)
    for start in range(0, flat.numel(), pattern.numel()):
        part = flat[start : start + pattern.numel()]
        part.copy_(pattern[: part.numel()])


def make_transformer(
    scale: Scale,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    precision: str | None = None,
) -> MultiTalkTransformer:
    """Create MultiTalk's transformer; `precision` "int8" or "fp8" quantizes its blocks."""
    with torch.device("meta"):
        transformer = MultiTalkTransformer(
            num_attention_heads=scale.heads,
            attention_head_dim=scale.head_dim,
            ffn_dim=scale.ffn_dim,
            num_layers=scale.layers,
            text_dim=scale.text_dim,
            image_dim=scale.image_dim,
            audio_layers=scale.audio_layers,
            audio_channels=scale.audio_dim,
            quantization=precision if precision in QUANTIZED_LINEARS else None,
        )
    return make_on(transformer, torch.device(device), dtype)


def make_text_encoder(
    scale: Scale,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    precision: str | None = None,
) -> UMT5Encoder:
    """Create UMT5's encoder with a small vocabulary; "int8" and "fp8" both quantize it to int8."""
    config = UMT5Config(
        vocab_size=1000,
        d_model=scale.text_dim,
        d_kv=64,
        d_ff=scale.text_dim * 5 // 2,
        num_heads=scale.text_dim // 64,
        num_layers=scale.text_layers,
        feed_forward_proj="gated-gelu",
        architectures=["UMT5EncoderModel"],
    ).to_dict()
    if precision in QUANTIZED_LINEARS:
        config["quantization"] = "int8"
    with torch.device("meta"):
        encoder = UMT5Encoder(config)
    return make_on(encoder, torch.device(device), dtype)


def make_image_encoder(
    scale: Scale, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> CLIPVisionEncoder:
    """Create CLIP's vision encoder."""
    config = CLIPVisionConfig(
        hidden_size=scale.image_dim,
        intermediate_size=scale.image_dim * 4,
        num_hidden_layers=scale.image_layers,
        num_attention_heads=scale.image_dim // 80,
        patch_size=14,
        hidden_act="gelu",
    ).to_dict()
    with torch.device("meta"):
        encoder = CLIPVisionEncoder(config)
    return make_on(encoder, torch.device(device), dtype)


def make_audio_encoder(scale: Scale, device: torch.device | str = "cpu") -> Wav2Vec2Encoder:
    """Create wav2vec2 in float32."""
    config = Wav2Vec2Config(
        hidden_size=scale.audio_dim,
        intermediate_size=scale.audio_dim * 4,
        num_hidden_layers=scale.audio_layers,
        num_attention_heads=max(2, scale.audio_dim // 64),
    ).to_dict()
    with torch.device("meta"):
        encoder = Wav2Vec2Encoder(config)
    return make_on(encoder, torch.device(device), torch.float32)


def make_vae(scale: Scale, device: torch.device | str = "cpu") -> AutoencoderKLWan:
    """Create Wan's VAE in float32."""
    with torch.device("meta"):
        vae = AutoencoderKLWan(base_dim=scale.vae_dim)
    vae = make_on(vae, torch.device(device), torch.float32)
    use_fast_layers(vae)
    return vae


def make_components(scale: Scale, plan: HardwarePlan) -> Components:
    """Create every part of the model with random weights, placed as planned."""
    from ..pipeline.components import Components, fit_to_plan

    device, dtype = plan.device, plan.dtype

    def home(part: str) -> torch.device:
        return device if part in plan.resident else torch.device("cpu")

    # streamed blocks are created on the host, as in a real pipeline
    place = torch.device("cpu") if plan.streamed_blocks else device
    return fit_to_plan(
        Components(
            transformer=make_transformer(scale, place, dtype, plan.transformer_precision),
            vae=make_vae(scale, home("vae")),
            text_encoder=make_text_encoder(scale, home("text_encoder"), dtype, plan.text_encoder_precision),
            tokenizer=load_tokenizer(EMBEDDED_FOLDER / TOKENIZER_FOLDER),
            image_encoder=make_image_encoder(scale, home("image_encoder"), dtype),
            audio_encoder=make_audio_encoder(scale, home("audio_encoder")),
        ),
        plan,
    )
