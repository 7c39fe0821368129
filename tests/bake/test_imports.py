"""The bake imports nothing that only runs when a video is generated, so that a change there bakes nothing."""

from __future__ import annotations

import subprocess
import sys

ALLOWED = {"bake", "errors", "models", "patches", "weights"}
SCRIPT = """
import importlib, pkgutil, sys
import multitalk.bake
if sys.argv[1:] == ["all"]:
    for module in pkgutil.iter_modules(multitalk.bake.__path__):
        if module.name != "__main__":
            importlib.import_module(f"multitalk.bake.{module.name}")
    from multitalk.weights.libraries import import_models
    import_models()
print(*sorted({name.split(".")[1] for name in sys.modules if name.startswith("multitalk.")}))
"""


def loaded_packages(*arguments: str) -> set[str]:
    output = subprocess.check_output([sys.executable, "-c", SCRIPT, *arguments], text=True)
    return set(output.split())


def test_the_package_alone():
    assert loaded_packages() == {"bake"}


def test_fetch_needs_no_models_library():
    """download_models.sh runs it in an environment that has only huggingface_hub."""
    modules = ", ".join(f"multitalk.bake.{name}" for name in ("fetch", "commands", "layers"))
    script = f"import sys, {modules}; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", script], text=True).split()
    assert not {"torch", "numpy", "pydantic", "transformers", "diffusers", "safetensors"} & set(loaded)


def test_all_modules_and_the_models():
    assert loaded_packages("all") == ALLOWED
