"""Find the folder of baked weights to load."""

from __future__ import annotations

from pathlib import Path

from ..errors import WeightsError
from ..weights.folders import EMBEDDED_FOLDER, ENVIRONMENT_VARIABLE, IMAGE_FOLDER, LOCAL_FOLDER, MANIFEST
from .environment import read_text


def find_weights(explicit: str | Path | None = None) -> Path:
    """Find the weights folder.

    The order is: `explicit`, ``MULTITALK_WEIGHTS``, the image's folder, ``./weights``, the embedded weights.
    A folder set by `explicit` or the variable is returned without a check; opening it validates it.

    Args:
        explicit: A folder set by the caller, such as ``--weights``.

    Raises:
        WeightsError: No folder was found.
    """
    if folder := explicit or read_text(ENVIRONMENT_VARIABLE):
        return Path(folder)
    for path in (IMAGE_FOLDER, LOCAL_FOLDER, EMBEDDED_FOLDER):
        if (path / MANIFEST).is_file():
            return path
    raise WeightsError(
        f"No weights were found in {IMAGE_FOLDER} or ./{LOCAL_FOLDER}: set --weights or "
        f"{ENVIRONMENT_VARIABLE}, or create a weights folder with python -m multitalk bake."
    )
