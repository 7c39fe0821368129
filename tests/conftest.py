"""What several folders' tests share: a small checkpoint, what is baked from it, and a loopback hub."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from multitalk.bake import catalogue
from multitalk.bake.bake import bake
from tests.hub import WEB_FOLDER, Hub, downloads_under_way, published_repositories
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


@pytest.fixture(scope="session")
def hub_files(tmp_path_factory) -> Path:
    """Files of every name that the catalogue has; fetching doesn't look into them."""
    root = tmp_path_factory.mktemp("published")
    for file_set in catalogue.everything()[0]:
        for pattern in (*file_set.patterns, *file_set.optional):
            for name in (pattern.replace("*", "one"), pattern.replace("*", "two")):
                path = root / file_set.repository.folder / (Path(name).name if file_set.flat else name)
                path.parent.mkdir(parents=True, exist_ok=True)
                size = 60_000 if path.suffix in (".safetensors", ".pth", ".pt") else 300
                path.write_bytes(content(path.relative_to(root).as_posix(), size))
    unused = root / catalogue.MULTITALK.folder / "quant_models/dit_model_map_int8.json"
    unused.write_text("{}")
    (root / catalogue.SPACY_MODEL.name).write_bytes(content("wheel", 50_000))
    return root


def content(seed: str, size: int) -> bytes:
    block = hashlib.sha256(seed.encode()).digest()
    return (block * (size // len(block) + 1))[:size]


@pytest.fixture
def hub(hub_files, monkeypatch) -> Iterator[Hub]:
    """A hub that has them, and is the one that is asked."""
    wheel = catalogue.SPACY_MODEL.name
    with Hub(published_repositories(hub_files), {wheel: hub_files / wheel}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        monkeypatch.setenv(catalogue.SPACY_MODEL.variable, f"{server.address}/{WEB_FOLDER}/{wheel}")
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        yield server
        for thread in downloads_under_way():  # they would ask for this hub during another test
            thread.join(60)
