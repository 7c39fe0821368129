"""A small Kokoro with random weights in the published layout, made with the package's classes.

Its decoder has 50 million weights with any config, so it is created for each run and not stored.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import torch

from multitalk.bake.catalogue import KOKORO
from multitalk.weights.folders import SPACY_MODEL

VOCABULARY = (
    ';:,.!?—…"()“” \u0303ʣʥʦʨᵝꭧAIOQSTWYᵊabcdefhijklmnopqrstuvwxyz'
    "ɑɐɒæβɔɕçɖðʤəɚɛɜɟɡɥɨɪʝɯɰŋɳɲɴøɸθœɹɾɻʁɽʂʃʈʧʊʋʌɣɤχʎʒʔˈˌː→↓↗↘ʰʲᵻ"
)
VOICES = ("af_heart", "af_bella", "am_adam", "bf_emma", "em_alex", "ff_siwis")
CONFIG: dict[str, Any] = {
    "istftnet": {
        "upsample_kernel_sizes": [20, 12],
        "upsample_rates": [10, 6],
        "gen_istft_hop_size": 5,
        "gen_istft_n_fft": 20,
        "resblock_dilation_sizes": [[1, 3, 5]],
        "resblock_kernel_sizes": [3],
        "upsample_initial_channel": 512,  # fixed by the decoder
    },
    "dim_in": 64,
    "dropout": 0.2,
    "hidden_dim": 512,  # fixed by the decoder
    "max_conv_dim": 32,
    "max_dur": 2,  # frames per phoneme, of 25 ms each: little to compute
    "multispeaker": True,
    "n_layer": 1,
    "n_mels": 80,
    "n_token": len(VOCABULARY) + 1,
    "style_dim": 128,
    "text_encoder_kernel_size": 5,
    "plbert": {
        "hidden_size": 32,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 512,
        "num_hidden_layers": 1,
        "dropout": 0.1,
    },
    "vocab": {symbol: number for number, symbol in enumerate(VOCABULARY, 1)},
}


def make_small_kokoro(root: Path, seed: int = 0, english: bool = True) -> Path:
    """Write Kokoro's files into a folder of published weights.

    Args:
        root: The folder of published weights.
        seed: Of the values.
        english: Also write spaCy's model.

    Returns:
        Kokoro's folder.
    """
    from kokoro import KModel

    folder = root / KOKORO.folder
    (folder / "voices").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    nothing = io.BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = KModel(repo_id="hexgrad/Kokoro-82M", config=CONFIG, model=nothing)
        parts = {}
        for name, module in model.named_children():
            norms = {f"{n}." for n, m in module.named_modules() if isinstance(m, torch.nn.InstanceNorm1d)}
            # as published: names begin with "module.", and these norms have no weights
            parts[name] = {
                f"module.{key}": tensor.clone()
                for key, tensor in module.state_dict().items()
                if f"{key.rpartition('.')[0]}." not in norms
            }
        torch.save(parts, folder / "kokoro-v1_0.pth")
        for voice in VOICES:
            torch.save(0.3 * torch.randn(510, 1, 256), folder / "voices" / f"{voice}.pt")
    if english:
        make_small_spacy_model(root / SPACY_MODEL)
    return folder


def make_small_spacy_model(folder: Path) -> Path:
    """A small English pipeline in a package's layout, with a tagger trained on two sentences."""
    import spacy
    from spacy.training import Example

    pipeline = spacy.blank("en")
    pipeline.add_pipe("tok2vec", config={"model": {"width": 16, "depth": 1, "embed_size": 100}})
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16, "upstream": "tok2vec"}
    pipeline.add_pipe("tagger", config={"model": {"tok2vec": listener}})
    sentences = (
        ("I read a book .", ["PRP", "VBD", "DT", "NN", "."]),
        ("They will say hello !", ["PRP", "MD", "VB", "UH", "."]),
    )
    examples = [
        Example.from_dict(pipeline.make_doc(text), {"words": text.split(), "tags": tags})
        for text, tags in sentences
    ]
    optimizer = pipeline.initialize(lambda: examples)
    for _ in range(30):
        pipeline.update(examples, sgd=optimizer)
    # a package contains the model in a folder named after the version
    folder.mkdir(parents=True)
    pipeline.to_disk(folder / f"{folder.name}-3.8.0")
    return folder
