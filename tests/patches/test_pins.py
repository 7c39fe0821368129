"""Every patch of another library was written for the version that is installed."""

from __future__ import annotations

import ast
from importlib import metadata
from pathlib import Path

import pytest

import multitalk.patches

FILES = sorted(
    path for path in Path(multitalk.patches.__path__[0]).glob("*.py") if path.name != "__init__.py"
)


def pinned(path: Path) -> dict[str, tuple[str, ...]]:
    """``PINNED`` of a module, read without importing it: its library may be slow or absent."""
    for node in ast.parse(path.read_text()).body:
        target = node.target if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [None])[0]
        if getattr(target, "id", None) == "PINNED":
            return ast.literal_eval(node.value)
    return {}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_patches_were_reviewed_for_the_installed_version(path: Path) -> None:
    versions = pinned(path)
    assert versions, f"{path.name} has no PINNED"
    for package, known in versions.items():
        assert metadata.version(package).split("+")[0] in known, f"review {path.name} for this version"
