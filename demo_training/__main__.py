"""Trains the embedded weights and creates the examples; an interrupted run resumes from its checkpoints.

Takes two to three hours on a machine without a GPU. The steps can also be run one by one, in this order:
audio_encoder, vae, decoder, clips (can be split across processes), transformer, export, dub_clips (can be
split, too), infinitetalk, infinitetalk_export, examples, evaluate. From dub_clips on, they need only the
exported weights.
"""

from __future__ import annotations

from . import (
    audio_encoder,
    clips,
    decoder,
    dub_clips,
    examples,
    infinitetalk,
    infinitetalk_export,
    transformer,
    vae,
)
from .export import export


def main() -> None:
    """Train every network, write the weights folder and the examples."""
    audio_encoder.train()
    vae.train()
    decoder.train()
    clips.make_shards()
    transformer.train()
    export()
    dub_clips.make_shards()
    infinitetalk.train()
    infinitetalk_export.export()
    examples.main()


if __name__ == "__main__":
    main()
