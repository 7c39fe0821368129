"""Faster imports: without garbage collections, and without packages that no video needs."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..runtime.process_memory import trim

# Packages that other libraries import if they are installed, although no video needs them. librosa and
# scikit-image import the first three again at their first use; diffusers' from_pretrained uses accelerate,
# and httpx's command line uses rich.
OPTIONAL_PACKAGES = ("scipy", "sklearn", "pandas", "accelerate", "rich")


@contextmanager
def quick_imports(without: Sequence[str] = ()) -> Iterator[None]:
    """Import within the context without garbage collections, and as if some packages were not installed.

    ``None`` in ``sys.modules`` is Python's documented way to make an import fail; other libraries then take
    the branch for a missing optional package, and keep to it. The entries are removed afterwards, so later
    imports work.

    Args:
        without: Names of packages; those that are already imported stay.
    """
    hidden = [name for name in without if name not in sys.modules]
    collecting = gc.isenabled()
    gc.disable()
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)
        if collecting:
            gc.enable()


def release_memory() -> None:
    """Collect the garbage of the imports, exclude the rest from later collections, and return free memory."""
    gc.collect()
    gc.freeze()
    trim()
