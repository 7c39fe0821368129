"""Fetch Kokoro alone, for weights without it, such as the demo's."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

from ..errors import InvalidInput
from ..weights.folders import KOKORO_FOLDER, voices_folder
from .downloads import Retries
from .fetch import fetch
from .lock import LOCK_FILE
from .published import PublishedWeights
from .selection import Selection

PUBLISHED = ".published"  # in the target, so that an interrupted download is continued


def fetch_speech(
    target: str | Path | None = None,
    lock_file: Path = LOCK_FILE,
    workers: int = 8,
    retries: Retries | None = None,
    spacy_model_url: str | None = None,
) -> Path:
    """Download Kokoro and spaCy's English model, check them, and store them where the engine finds them.

    Args:
        target: The folder; None: :func:`multitalk.weights.folders.voices_folder`.
        lock_file: Commits and hashes.
        workers: Parallel downloads.
        retries: Of every file.
        spacy_model_url: Address of spaCy's model; None uses its release page.

    Returns:
        The folder.

    Raises:
        InvalidInput: The package kokoro is not installed, or the folder cannot be written.
        WeightsError: A download failed, or a file is damaged.
    """
    if importlib.util.find_spec("kokoro") is None:
        raise InvalidInput(
            '--speech needs the package kokoro. Install it with: pip install "multitalk[speech]"'
        )
    from .kokoro import find_kokoro  # imports torch

    folder = Path(target) if target is not None else voices_folder()
    published = folder / PUBLISHED
    try:
        published.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(
            f"--to: {folder} cannot be written ({error.strerror}). Set another folder."
        ) from None
    selection = Selection(only_speech=True)
    fetch(selection, published, lock_file, workers, retries=retries, spacy_model_url=spacy_model_url)
    files = find_kokoro(PublishedWeights(published))
    assert files is not None, "they were selected"
    with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as name:
        files.copy(Path(name))
        shutil.rmtree(folder / KOKORO_FOLDER, ignore_errors=True)
        os.replace(Path(name) / KOKORO_FOLDER, folder / KOKORO_FOLDER)
    shutil.rmtree(published)
    return folder
