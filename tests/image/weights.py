"""A small checkpoint with everything in the published repositories: speech, int8 files, spaCy's wheel."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from multitalk.bake import catalogue
from multitalk.weights.folders import SPACY_MODEL
from tests.small_checkpoint import make_small_checkpoint
from tests.small_demucs import make_small_demucs
from tests.small_kokoro import make_small_kokoro, make_small_spacy_model


def make_published_weights(root: Path, speech: bool = True) -> Path:
    """Write the checkpoint.

    Args:
        root: A new folder.
        speech: Whether to write Kokoro and spaCy's model, which take 230 MB.
    """
    make_small_checkpoint(root, quantized=True)
    shutil.copyfile(root / catalogue.TRANSFORMER_INT8, root / catalogue.TRANSFORMER_INT8_FUSIONX)
    make_small_demucs(root / catalogue.SEPARATOR_WEIGHTS)
    if speech:
        make_small_kokoro(root, english=False)
        folder = make_small_spacy_model(root / SPACY_MODEL)
        with zipfile.ZipFile(root / catalogue.SPACY_MODEL, "w") as wheel:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                wheel.write(path, Path(folder.name) / path.relative_to(folder))
        shutil.rmtree(folder)
    return root
