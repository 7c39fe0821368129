"""Names of Kokoro's files in a baked weights folder; known to the bake, the checks and the engine."""

from __future__ import annotations

from collections.abc import Iterable

FOLDER = "kokoro"
CONFIG = "config.json"
WEIGHTS = "kokoro-v1_0.pth"
VOICES = "voices"
SPACY_MODEL = "en_core_web_sm"  # spaCy's, by which misaki reads English


def missing_files(names: Iterable[str]) -> list[str]:
    """What a baked folder lacks to speak with Kokoro.

    Args:
        names: Its files, with forward slashes.

    Returns:
        Empty where it has everything, and where it has nothing of Kokoro: that is no fault.
    """
    present = [name for name in names if name.startswith(f"{FOLDER}/")]
    if not present:
        return []
    lacking = [f"{FOLDER}/{name}" for name in (CONFIG, WEIGHTS) if f"{FOLDER}/{name}" not in present]
    if not any(name.startswith(f"{FOLDER}/{VOICES}/") and name.endswith(".pt") for name in present):
        lacking.append(f"{FOLDER}/{VOICES}/*.pt")
    return lacking
