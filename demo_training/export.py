"""Writes what was trained as a baked weights folder, named and shaped as every other one."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from multitalk.weights.folders import EMBEDDED_FOLDER
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
    """Every network from its last checkpoint, the transformer averaged over its last steps."""
    state = progress.load("transformer")
    decoder = progress.load("decoder")  # the autoencoder, its decoder trained on
    audio = progress.load("audio_encoder")
    if state is None or decoder is None or audio is None:
        raise SystemExit(f"Not everything is trained: {progress.WORK} lacks a checkpoint.")
    transformer = make_transformer()
    transformer.load_state_dict(state["average"])
    vae = make_vae()
    vae.load_state_dict(decoder["model"])
    mean, std = (state["statistics"][name].tolist() for name in ("mean", "std"))
    vae.register_to_config(latents_mean=mean, latents_std=std)
    audio_encoder = make_audio_encoder()
    audio_encoder.load_state_dict(audio["model"])
    return {
        "transformer": transformer,
        "text_encoder": make_text_encoder(len(make_tokenizer())),
        "image_encoder": make_image_encoder(),
        "vae": vae,
        "audio_encoder": audio_encoder,
    }


def export(target: Path) -> int:
    """Write the folder anew; returns its bytes."""
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
        save_config(part, model, PRECISION, folder)
    make_tokenizer().save_pretrained(target / TOKENIZER_FOLDER)
    make_feature_extractor().save_pretrained(target / "audio_encoder")
    (target / LORA_FOLDER).mkdir()
    manifest = make_manifest(
        target,
        name="demo",
        default_preset="demo",
        precision=dict.fromkeys(PARTS, "fp16"),
        sources=dict.fromkeys(PARTS, SOURCE),
    )
    return sum(record.size for record in manifest.files.values())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=EMBEDDED_FOLDER)
    arguments = parser.parse_args()
    print(f"{arguments.to}: {export(arguments.to) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
