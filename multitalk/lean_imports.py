"""Imports without what a start doesn't need: the processor's time and the memory of a cold start go there."""

from __future__ import annotations

import gc
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from .process_memory import trim

# Packages that other libraries import wherever they are installed, for what no video uses: the first three
# are here for librosa and scikit-image, which import them when they are first needed; accelerate is for
# diffusers' own from_pretrained, rich for httpx's command line.
OPTIONAL_PACKAGES = ("scipy", "sklearn", "pandas", "accelerate", "rich")
# RunPod's command line with its SSH client, of which the SDK wants one module that reads a file.
RUNPOD_COMMAND_LINE = ("runpod.cli", "runpod.cli.groups")


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


@contextmanager
def hollow_packages(names: Sequence[str]) -> Iterator[None]:
    """Import inside as if some packages' ``__init__`` were empty: of what they hold, only what is named runs.

    Who imports such a package afterwards gets the whole one, with modules of its own.

    Args:
        names: Full names of packages, an outer one before what lies in it. What is imported already, or
            isn't there, is left as it is.
    """
    hollow = {
        name: module for name in names if name not in sys.modules and (module := _hollow(name)) is not None
    }
    sys.modules.update(hollow)
    try:
        yield
    finally:
        inside = tuple(f"{name}." for name in hollow)
        for name in [name for name in sys.modules if name in hollow or name.startswith(inside)]:
            del sys.modules[name]


def _hollow(name: str) -> ModuleType | None:
    """A package that finds its modules; None where there is no such package."""
    path = None
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        found = PathFinder.find_spec(".".join(parts[:depth]), path)
        if found is None or found.submodule_search_locations is None:
            return None
        path = list(found.submodule_search_locations)
    spec = ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = path
    return importlib.util.module_from_spec(spec)


def release_memory() -> None:
    """Collect what imports left behind, keep the rest out of later collections, give back what is free."""
    gc.collect()
    gc.freeze()
    trim()
