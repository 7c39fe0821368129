"""A small published checkpoint and what is baked from it, made once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from multitalk.weights.bake import bake
from tests.small_checkpoint import make_small_checkpoint


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small_checkpoint(tmp_path_factory.mktemp("small") / "published", quantized=True)


@pytest.fixture(scope="session")
def baked(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In float32. Tests that damage it take a copy."""
    target = tmp_path_factory.mktemp("small") / "float32"
    bake(published, target, precision="float32")
    return target


@pytest.fixture(scope="session")
def baked_bf16(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("small") / "bf16"
    bake(published, target, precision="bf16")
    return target


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    """Copy a folder, to be damaged."""
    return lambda folder: Path(shutil.copytree(folder, tmp_path / f"copy-of-{folder.name}"))
