"""Import diffusers, Gradio and RunPod's SDK without the modules that they import and that no video needs."""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from types import ModuleType
from typing import Any

PINNED = {"diffusers": ("0.38.0",), "gradio": ("6.31.0",), "runpod": ("1.12.0",)}

_finders = threading.Lock()

# Packages whose __init__ imports every model, or every hook; Wan's models are a few of their modules.
_DIFFUSERS_PACKAGES = (
    "diffusers.models.transformers",
    "diffusers.models.autoencoders",
    "diffusers.models.unets",
    "diffusers.hooks",
)
# Packages that diffusers uses for other models, for its from_pretrained, and to compile blocks of its own.
_DIFFUSERS_OPTIONAL = ("transformers", "accelerate", "torch._dynamo")


@contextmanager
def narrow_diffusers() -> Iterator[None]:
    """Within the context, import diffusers' Wan models without its other models and without torch._dynamo.

    Afterwards, diffusers has the rest of its hooks and models, but keeps to the branches for missing optional
    packages: its own ``from_pretrained`` and pipelines are not available in this process.
    """
    import torch.compiler

    with (
        deferred(_DIFFUSERS_PACKAGES),
        without(_DIFFUSERS_OPTIONAL),
        # the decorator imports torch._dynamo; of what is imported here, only group offloading uses it
        _replaced(torch.compiler, "disable", _undecorated),
        # reads a file of every installed package to find three that the model does not use
        _replaced(importlib.metadata, "packages_distributions", dict),
    ):
        yield


@contextmanager
def narrow_runpod() -> Iterator[None]:
    """Within the context, import RunPod's SDK without its command line and without a description of the CPU.

    The command line imports an SSH client. cpuinfo starts several processes to find the name of the CPU for
    the SDK's debugging output, which has a text for an unknown CPU.
    """
    cpuinfo = ModuleType("cpuinfo")
    cpuinfo.get_cpu_info = dict  # type: ignore[attr-defined]
    with deferred(["runpod.cli"]), _modules(cpuinfo=cpuinfo):
        yield


@contextmanager
def narrow_gradio() -> Iterator[None]:
    """Within the context, import Gradio without pandas and without writing a .pyi file for each component.

    To write these files, Gradio parses the source of every component at every start, which takes longer than
    everything else in its import. pandas is imported when one of its names is used: by tables and plots.
    """
    with lazy(["pandas"]), changed("gradio.component_meta", create_or_modify_pyi=_no_stub_file):
        yield


def _no_stub_file(*_arguments: Any) -> None:
    pass


@contextmanager
def without(names: Sequence[str]) -> Iterator[None]:
    """Import within the context as if packages were not installed, unless they are already imported.

    ``None`` in ``sys.modules`` is Python's documented way to make an import fail; other libraries then take
    the branch for a missing optional package, and keep to it. Imports after the context work.
    """
    with _modules(**dict.fromkeys(names)):
        yield


@contextmanager
def deferred(names: Iterable[str]) -> Iterator[None]:
    """Import packages within the context without running their ``__init__``.

    Their modules can be imported. The ``__init__`` runs when a name is used that the package does not have,
    also after the context.
    """
    with _loaded_by(_DeferringLoader, names):
        yield


@contextmanager
def lazy(names: Iterable[str]) -> Iterator[None]:
    """Import packages within the context without running their ``__init__``, nor any of their modules.

    The ``__init__`` runs before the first module of the package is imported, and when a name is used.
    """
    with _loaded_by(_LazyLoader, names):
        yield


@contextmanager
def changed(module: str, **values: Any) -> Iterator[None]:
    """Change names of a module as soon as it is imported, before others use it; within the context only."""

    class ChangingLoader(_WrappingLoader):
        def exec_module(self, module: ModuleType) -> None:
            super().exec_module(module)
            vars(module).update(values)

    with _loaded_by(ChangingLoader, [module]):
        yield


class _WrappingLoader(Loader):
    """Loads a module as another loader does."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)


@contextmanager
def _loaded_by(loader: type[_WrappingLoader], names: Iterable[str]) -> Iterator[None]:
    """Load modules by a loader of this class within the context."""

    class Finder(MetaPathFinder):
        def find_spec(self, fullname: str, path: Sequence[str] | None, target: Any = None) -> Any:
            if fullname not in names:
                return None
            spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = loader(spec.loader)
            return spec

    finder = Finder()
    # a new list each time: other threads may be iterating over the old one, and would skip a finder
    with _finders:
        sys.meta_path = [finder, *sys.meta_path]
    try:
        yield
    finally:
        with _finders:
            sys.meta_path = [each for each in sys.meta_path if each is not finder]


class _DeferringLoader(_WrappingLoader):
    def exec_module(self, module: ModuleType) -> None:
        lock, started = threading.RLock(), False

        def find(name: str) -> Any:
            nonlocal started
            if not name.startswith("__") or name == "__path__":
                with lock:  # other threads wait; the __init__ itself may look for a name in vain
                    if not started:
                        started = True
                        self.run(module)
            if name in vars(module):
                return vars(module)[name]
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")

        module.__getattr__ = find  # type: ignore[method-assign]

    def run(self, module: ModuleType) -> None:
        """Run the ``__init__``."""
        self.loader.exec_module(module)


class _LazyLoader(_DeferringLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        self.path = vars(module).pop("__path__")  # importing a module of the package looks for it first

    def run(self, module: ModuleType) -> None:
        module.__path__ = self.path
        super().run(module)


@contextmanager
def _modules(**modules: ModuleType | None) -> Iterator[None]:
    """Add entries to ``sys.modules`` that are not there, and remove them after the context."""
    added = {name: module for name, module in modules.items() if name not in sys.modules}
    sys.modules.update(added)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in added:
            sys.modules.pop(name, None)


@contextmanager
def _replaced(module: ModuleType, name: str, value: Any) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def _undecorated(function: Any = None, **_options: Any) -> Any:
    """Return a function as it is; as a decorator with or without arguments."""
    return _undecorated if function is None else function
