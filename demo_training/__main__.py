"""Makes the embedded weights and the examples from nothing; stopped, it goes on where it was.

Takes two to three hours on a machine without a GPU. The steps run one by one as well, in this order:
audio_encoder, vae, decoder, clips (several processes can share them), transformer, export, examples,
evaluate.
"""

from __future__ import annotations

import torch

from multitalk.weights.folders import EMBEDDED_FOLDER

from . import audio_encoder, clips, decoder, examples, transformer, vae
from .export import export


def main() -> None:
    """Train every network, write the folder and the examples."""
    torch.manual_seed(0)
    audio_encoder.train(audio_encoder.STEPS, audio_encoder.TRACKS, audio_encoder.LEARNING_RATE)
    torch.manual_seed(0)
    vae.train(vae.STEPS, vae.IMAGE_SHARE, vae.LEARNING_RATE)
    decoder.train(decoder.STEPS, decoder.LEARNING_RATE)
    clips.make_shards(0, clips.SHARDS, 1)
    transformer.train(transformer.STEPS, transformer.LEARNING_RATE)
    print(f"{EMBEDDED_FOLDER}: {export(EMBEDDED_FOLDER) / 1e6:.1f} MB")
    examples.main()


if __name__ == "__main__":
    main()
