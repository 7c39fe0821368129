"""A Demucs of test size with random weights, in the published format."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import torch
from safetensors.torch import save_file

SIZES = {
    "sources": ["drums", "vocals"],
    "channels": 8,
    "depth": 3,
    "t_layers": 1,
    "t_heads": 2,
    "bottom_channels": 16,
    "segment": 2,
}


def make_small_demucs(path: Path) -> None:
    """Write the weights, with the class and its arguments in the metadata."""
    from demucs.htdemucs import HTDemucs

    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")  # of its initialization at this size
        torch.manual_seed(0)
        network = HTDemucs(**SIZES)
    metadata = {"klass": "demucs.htdemucs.HTDemucs", "args": "[]", "kwargs": json.dumps(SIZES)}
    save_file({name: each.contiguous() for name, each in network.state_dict().items()}, path, metadata)
