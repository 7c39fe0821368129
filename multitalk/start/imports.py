"""Imports without what a start doesn't need: the processor's time and the memory of a cold start go there."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..runtime.process_memory import trim

# Packages that other libraries import wherever they are installed, for what no video uses: the first three
# are here for librosa and scikit-image, which import them when they are first needed; accelerate is for
# diffusers' own from_pretrained, rich for httpx's command line.
OPTIONAL_PACKAGES = ("scipy", "sklearn", "pandas", "accelerate", "rich")


@contextmanager
def quick_imports(without: Sequence[str] = ()) -> Iterator[None]:
    """Import inside, without garbage collections, and as if some packages weren't installed.

    A library that asks whether such a package is there is told no, and keeps to that; who imports it
    afterwards gets it.

    Args:
        without: Names of packages.
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
    """Collect what imports left behind, keep the rest out of later collections, give back what is free."""
    gc.collect()
    gc.freeze()
    trim()
