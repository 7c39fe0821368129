"""Names of Kokoro's files in a baked weights folder."""

from __future__ import annotations

from collections.abc import Iterable

FOLDER = "kokoro"
CONFIG = "config.json"
WEIGHTS = "kokoro-v1_0.pth"
VOICES = "voices"
SPACY_MODEL = "en_core_web_sm"  # spaCy's model, which misaki needs for English


def missing_files(names: Iterable[str]) -> list[str]:
    """List the files of Kokoro that a baked folder lacks.

    Args:
        names: The folder's files, with forward slashes.

    Returns:
        Empty if Kokoro is complete or left out.
    """
    present = [name for name in names if name.startswith(f"{FOLDER}/")]
    if not present:
        return []
    missing = [f"{FOLDER}/{name}" for name in (CONFIG, WEIGHTS) if f"{FOLDER}/{name}" not in present]
    if not any(name.startswith(f"{FOLDER}/{VOICES}/") and name.endswith(".pt") for name in present):
        missing.append(f"{FOLDER}/{VOICES}/*.pt")
    return missing
