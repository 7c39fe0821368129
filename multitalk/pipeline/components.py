"""The parts of the model, loaded from a baked weights folder."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..models.quantized import QUANTIZED_LINEARS, set_matmuls
from ..runtime.compiled import compile_by_plan
from ..runtime.plan import HardwarePlan
from ..weights.audio_layers import AudioLayerSwitcher
from ..weights.folders import AUDIO_LAYER_SETS
from ..weights.lora_switch import LoraSwitcher
from ..weights.store import (
    WeightsFolder,
    load_audio_encoder,
    load_fast_decoder,
    load_image_encoder,
    load_text_encoder,
    load_transformer,
    load_vae,
)

if TYPE_CHECKING:
    from diffusers import AutoencoderKLWan
    from tokenizers import Tokenizer

    from ..models.audio_encoder import Wav2Vec2Encoder
    from ..models.fast_decoder import FastDecoder
    from ..models.image_encoder import CLIPVisionEncoder
    from ..models.text_encoder import UMT5Encoder
    from ..models.transformer import MultiTalkTransformer
    from ..runtime.placement import Placement


@dataclass(frozen=True)
class Components:
    """The networks, and the tokenizer of the prompt.

    Attributes:
        transformer: Predicts the velocity.
        vae: Converts between frames and latents; its encoder in float32, its decoder in bfloat16 on GPUs that
            support it.
        text_encoder, tokenizer: Encode the prompt.
        image_encoder: CLIP, without its last block.
        audio_encoder: Encodes the audio, in float32.
        placement: Moves the networks between host and device; None leaves them where they are.
        audio_layers: Switches the transformer's audio layers; None for a transformer that was not loaded from
            a folder, which has the first set.
        fast_decoder: Returns the small decoder, loaded at the first call; None if the weights lack it.
    """

    transformer: MultiTalkTransformer
    vae: AutoencoderKLWan
    text_encoder: UMT5Encoder
    tokenizer: Tokenizer
    image_encoder: CLIPVisionEncoder
    audio_encoder: Wav2Vec2Encoder
    placement: Placement | None = None
    audio_layers: AudioLayerSwitcher | None = None
    fast_decoder: Callable[[], FastDecoder] | None = None

    @property
    def audio_layer_sets(self) -> tuple[str, ...]:
        """Names of the sets of audio layers that a job can use; the first is the default."""
        return AUDIO_LAYER_SETS[:1] if self.audio_layers is None else self.audio_layers.names

    def using(self, part: str) -> AbstractContextManager[None]:
        """Keep a part ready to compute within the context.

        Args:
            part: "text_encoder", "image_encoder", "audio_encoder" or "vae".
        """
        return nullcontext() if self.placement is None else self.placement.on_device(part)

    def place(self, plan: HardwarePlan) -> None:
        """Place the weights according to a plan."""
        if self.placement is not None:
            self.placement.apply(plan)


def load_components(
    folder: WeightsFolder, plan: HardwarePlan, transformer: MultiTalkTransformer | None = None
) -> Components:
    """Load every part directly to the device that the plan chooses.

    Args:
        folder: The weights.
        plan: The hardware plan.
        transformer: A transformer that is already loaded and configured, and whose weights the caller moves;
            None loads it.

    Raises:
        WeightsError: A file is missing or does not fit the model.
    """
    import torch

    device, dtype = plan.device, plan.dtype

    def device_of(part: str) -> torch.device:
        return device if part in plan.resident else torch.device("cpu")

    # in the order in which the files are read ahead: the transformer first
    loaded = transformer or load_transformer_to_run(folder, plan)
    # the text encoder has only one 8-bit format
    text_quantization = "int8" if _quantization(plan.text_encoder_precision) else None
    text_encoder, tokenizer = load_text_encoder(folder, device_of("text_encoder"), dtype, text_quantization)
    audio_encoder = load_audio_encoder(folder, device_of("audio_encoder"), torch.float32)
    components = Components(
        transformer=loaded,
        vae=load_vae(folder, device_of("vae"), torch.float32),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        image_encoder=load_image_encoder(folder, device_of("image_encoder"), dtype),
        audio_encoder=audio_encoder,
        audio_layers=AudioLayerSwitcher(loaded, folder, LoraSwitcher(loaded, device)),
        fast_decoder=_fast_decoder(folder, plan),
    )
    return fit_to_plan(components, plan, folder.path, transformer is None)


def _fast_decoder(folder: WeightsFolder, plan: HardwarePlan) -> Callable[[], FastDecoder] | None:
    """Return what loads the small decoder once, if the folder has it: few jobs need it."""
    if not folder.manifest.has_fast_decoder:
        return None
    return cache(partial(load_fast_decoder, folder, plan.device, plan.dtype))


def fit_to_plan(
    components: Components, plan: HardwarePlan, weights: Path | None = None, with_transformer: bool = True
) -> Components:
    """Configure the networks for a plan and place their weights.

    Args:
        components: Components without a placement; the networks are changed in place.
        plan: The hardware plan.
        weights: The folder that they were loaded from, if any.
        with_transformer: Whether the transformer is included; otherwise the caller configures and moves it.

    Returns:
        The same components with a placement.
    """
    import torch

    from ..models.vae_layers import use_channels_last
    from ..models.video_vae import prepare_decoder
    from ..runtime.placement import Placement

    transformer = components.transformer if with_transformer else None
    if transformer is not None:
        fit_transformer(transformer, plan, weights)
    if plan.device.type == "cuda" and plan.dtype == torch.bfloat16:
        prepare_decoder(components.vae, plan.dtype)
    elif plan.device.type == "cpu":
        use_channels_last(components.vae)
    encoders: dict[str, torch.nn.Module] = {
        "text_encoder": components.text_encoder,
        "image_encoder": components.image_encoder,
        "audio_encoder": components.audio_encoder,
        "vae": components.vae,
    }
    return replace(components, placement=Placement(transformer, encoders, plan))


def _quantization(precision: str) -> str | None:
    """Return the quantization that a precision asks for, if it is one."""
    return precision if precision in QUANTIZED_LINEARS else None


def load_transformer_to_run(
    folder: WeightsFolder, plan: HardwarePlan, on_host: bool = False
) -> MultiTalkTransformer:
    """Load the transformer in the precision of a plan.

    Args:
        folder: The weights.
        plan: The hardware plan.
        on_host: Load all of it to host memory, where the files are mapped; no block is streamed.

    Raises:
        WeightsError: A file is missing or does not fit the model.
    """
    quantization = _quantization(plan.transformer_precision)
    if on_host:
        return load_transformer(folder, "cpu", plan.dtype, quantization)
    return load_transformer(folder, plan.device, plan.dtype, quantization, plan.streamed_blocks)


def fit_transformer(
    transformer: MultiTalkTransformer, plan: HardwarePlan, weights: Path | None = None
) -> None:
    """Set the transformer's matrix products, attention backends and acceleration to those of a plan.

    Args:
        transformer: Changed in place.
        plan: The hardware plan.
        weights: The folder that it was loaded from, if any.
    """
    from ..models.attention_backends import set_attention_backends
    from ..models.kernels.dispatch import prepare

    prepare(transformer, plan.device)
    set_matmuls(transformer, plan.device, "auto" if plan.eight_bit_products else "dequantize")
    set_attention_backends(transformer, plan.attention_backend, plan.cross_attention_backend)
    compile_by_plan(transformer, plan, weights)
