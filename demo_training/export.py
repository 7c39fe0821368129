"""Exports the trained networks as a baked weights folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel

from multitalk.weights.folders import AUDIO_LAYER_SETS, EMBEDDED_FOLDER
from multitalk.weights.libraries import save_config, tied_names, weights_name
from multitalk.weights.manifest import LORA_FOLDER, PARTS, TOKENIZER_FOLDER, make_manifest

from . import progress
from .audio_encoder import make_audio_encoder, make_feature_extractor
from .encoders import make_image_encoder, make_text_encoder, make_tokenizer
from .fast_vae import make_vae
from .transformer import make_transformer

PRECISION = torch.float16
SOURCE = "trained by demo_training on drawn faces and espeak-ng speech"


def trained_parts() -> dict[str, nn.Module]:
    """Load all networks from their last checkpoints, the transformer with averaged weights."""
    state = progress.require("transformer")
    transformer = make_transformer()
    transformer.load_state_dict(state["average"])
    vae = make_vae()
    vae.load_state_dict(progress.require("decoder")["model"])  # with the fine-tuned decoder
    mean, std = (state["statistics"][name].tolist() for name in ("mean", "std"))
    vae.register_to_config(latents_mean=mean, latents_std=std)
    audio_encoder = make_audio_encoder()
    audio_encoder.load_state_dict(progress.require("audio_encoder")["model"])
    return {
        "transformer": transformer,
        "text_encoder": make_text_encoder(len(make_tokenizer())),
        "image_encoder": make_image_encoder(),
        "vae": vae,
        "audio_encoder": audio_encoder,
    }


def export(target: Path = EMBEDDED_FOLDER) -> None:
    """Replace a weights folder by the trained networks, with MultiTalk's audio layers."""
    shutil.rmtree(target, ignore_errors=True)
    for part, model in trained_parts().items():
        folder = target / part
        folder.mkdir(parents=True)
        aliases = tied_names(model)
        tensors = {
            name: value.detach()
            .to(PRECISION if value.is_floating_point() else value.dtype)
            .contiguous()
            .clone()
            for name, value in model.state_dict().items()
            if name not in aliases
        }
        save_file(tensors, folder / f"{weights_name(part)}.safetensors", metadata={"format": "pt"})
        if isinstance(model, PreTrainedModel):
            model.config.dtype = PRECISION  # in which from_pretrained loads
            model.config.save_pretrained(folder)
        else:
            save_config(part, model, PRECISION, folder)
    make_tokenizer().save_pretrained(target / TOKENIZER_FOLDER)
    make_feature_extractor().save_pretrained(target / "audio_encoder")
    (target / LORA_FOLDER).mkdir()
    write_manifest(target, AUDIO_LAYER_SETS[:1])


def write_manifest(target: Path, audio_layers: tuple[str, ...]) -> None:
    """Write the manifest of a weights folder with sets of audio layers, and print the folder's size."""
    manifest = make_manifest(
        target,
        name="demo",
        default_preset="demo",
        precision=dict.fromkeys(PARTS, "fp16"),
        sources=dict.fromkeys(PARTS, SOURCE),
        audio_layers=audio_layers,
    )
    print(f"{target}: {sum(record.size for record in manifest.files.values()) / 1e6:.1f} MB")


if __name__ == "__main__":
    progress.command_line(export)
