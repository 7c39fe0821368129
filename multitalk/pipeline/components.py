"""The parts of the model, loaded from a baked weights folder."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..models.quantized import QUANTIZED_LINEARS, set_matmuls
from ..runtime.compiled import compile_by_plan
from ..runtime.plan import HardwarePlan
from ..weights.store import (
    WeightsFolder,
    load_audio_encoder,
    load_image_encoder,
    load_text_encoder,
    load_transformer,
    load_vae,
)

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
    from ..runtime.placement import Placement


@dataclass(frozen=True)
class Components:
    """The networks and what turns raw input into theirs.

    Attributes:
        transformer: Predicts the velocity.
        vae: Between frames and latents: its encoder in float32, its decoder in bfloat16 on GPUs that have it.
        text_encoder, tokenizer: For the prompt.
        image_encoder: CLIP, without its last block.
        audio_encoder, feature_extractor: For the sound, float32.
        placement: Moves them between host and device; None where all stay where they are.
    """

    transformer: MultiTalkTransformer
    vae: AutoencoderKLWan
    text_encoder: UMT5EncoderModel
    tokenizer: PreTrainedTokenizerBase
    image_encoder: CLIPVisionModel
    audio_encoder: Wav2Vec2Model
    feature_extractor: Wav2Vec2FeatureExtractor
    placement: Placement | None = None

    def using(self, part: str) -> AbstractContextManager[None]:
        """Inside, a part ("text_encoder", "image_encoder", "audio_encoder" or "vae") is ready to compute."""
        return nullcontext() if self.placement is None else self.placement.on_device(part)

    def carry_out(self, plan: HardwarePlan) -> None:
        """Place the weights as a plan says."""
        if self.placement is not None:
            self.placement.apply(plan)


def load_components(
    folder: WeightsFolder, plan: HardwarePlan, placed: MultiTalkTransformer | None = None
) -> Components:
    """Load every part once, straight to where the plan has it.

    Args:
        folder: The weights.
        plan: How they run.
        placed: A transformer that is loaded already, and whose weights somebody else moves; None loads it.

    Raises:
        WeightsError: A file is missing or doesn't fit.
    """
    import torch

    device, dtype = plan.device, plan.dtype

    def home(part: str) -> torch.device:
        return device if part in plan.resident else torch.device("cpu")

    transformer = placed or load_transformer_to_run(folder, plan, on_host=plan.streamed_blocks > 0)
    # the text encoder has one 8-bit form
    text_quantization = "int8" if _quantization(plan.text_encoder_precision) else None
    text_encoder, tokenizer = load_text_encoder(folder, home("text_encoder"), dtype, text_quantization)
    audio_encoder, feature_extractor = load_audio_encoder(folder, home("audio_encoder"), torch.float32)
    components = Components(
        transformer=transformer,
        vae=load_vae(folder, home("vae"), torch.float32),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        image_encoder=load_image_encoder(folder, home("image_encoder"), dtype),
        audio_encoder=audio_encoder,
        feature_extractor=feature_extractor,
    )
    return fit_to_plan(components, plan, folder.path, placed is not None)


def fit_to_plan(
    components: Components, plan: HardwarePlan, weights: Path | None = None, placed: bool = False
) -> Components:
    """Let parts compute as a plan says, wherever they lie, and place them.

    Args:
        components: Without a placement; its networks are changed in place.
        plan: The plan.
        weights: The folder they came from, None where they came from none.
        placed: Whether that is done for the transformer, and is somebody else's from now on.

    Returns:
        The same, with a placement.
    """
    import torch

    from ..models.video_vae import prepare_decoder
    from ..patches.transformers import widen_text_encoder
    from ..runtime.placement import Placement

    transformer = None if placed else components.transformer
    if transformer is not None:
        fit_transformer(transformer, plan, weights)
    widen_text_encoder(components.text_encoder)
    if plan.device.type == "cuda" and plan.dtype == torch.bfloat16:
        prepare_decoder(components.vae, plan.dtype)
    encoders: dict[str, torch.nn.Module] = {
        "text_encoder": components.text_encoder,
        "image_encoder": components.image_encoder,
        "audio_encoder": components.audio_encoder,
        "vae": components.vae,
    }
    return replace(components, placement=Placement(transformer, encoders, plan))


def _quantization(precision: str) -> str | None:
    """What is quantized while it is loaded, where the folder's isn't."""
    return precision if precision in QUANTIZED_LINEARS else None


def load_transformer_to_run(folder: WeightsFolder, plan: HardwarePlan, on_host: bool) -> MultiTalkTransformer:
    """Load the transformer in the precision that a plan says.

    Args:
        folder: The weights.
        plan: How they run.
        on_host: Whether it is made on the host: it may be larger than the device.

    Raises:
        WeightsError: A file is missing or doesn't fit.
    """
    place = "cpu" if on_host else plan.device
    return load_transformer(folder, place, plan.dtype, _quantization(plan.transformer_precision))


def fit_transformer(
    transformer: MultiTalkTransformer, plan: HardwarePlan, weights: Path | None = None
) -> None:
    """Let the transformer compute as a plan says, wherever its weights lie.

    Args:
        transformer: Changed in place.
        plan: The plan.
        weights: The folder it came from, None where it came from none.
    """
    from ..models.attention_backends import set_attention_backends

    set_matmuls(transformer, plan.device, "auto" if plan.eight_bit_products else "dequantize")
    set_attention_backends(transformer, plan.attention_backend, plan.cross_attention_backend)
    compile_by_plan(transformer, plan, weights)
