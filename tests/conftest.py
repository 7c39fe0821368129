"""Fixtures that tests of several folders share: a small checkpoint, folders baked from it, a loopback hub."""

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

# Files that take a minute or more, the longest first: begun last, one of them would run alone at the end.
LONGEST = (
    "image/test_image.py",
    "ui/test_videos.py",
    "serverless/test_soak.py",
    "ui/test_soak.py",
    "demo/test_lips.py",
    "ui/test_restart.py",
    "serverless/test_worker_loop.py",
    "models/kernels/test_build.py",
    "serverless/test_refused_jobs.py",
    "parallel/test_command.py",
    "serverless/test_local_stop.py",
    "runtime/test_compiled.py",
    "image/test_scripts.py",
    "demo/test_training.py",
    "pipeline/test_pipeline.py",
    "parity/test_end_to_end.py",
    "parity/test_real_inputs.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; workers take files in this order."""
    ranks = {Path(__file__).parent / name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


@pytest.fixture(scope="session", autouse=True)
def certificate_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the certificate that signs the tests' videos, also those of other processes."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MARK", "C2PA_CERT", "C2PA_KEY", "C2PA_TSA_URL"):
            patch.delenv(name, raising=False)
        patch.setenv("C2PA_FOLDER", str(folder := tmp_path_factory.mktemp("certificate")))
        yield folder


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small_checkpoint(tmp_path_factory.mktemp("small") / "published", quantized=True)


@pytest.fixture(scope="session")
def baked(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in float32. Tests that damage it take a copy."""
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
    """A function that copies a folder, so that a test can damage it."""
    return lambda folder: Path(shutil.copytree(folder, tmp_path / f"copy-of-{folder.name}"))


@pytest.fixture(scope="session")
def hub_files(tmp_path_factory) -> Path:
    """Files with every name in the catalogue; their contents do not matter to a fetch."""
    root = tmp_path_factory.mktemp("published")
    for file_set in catalogue.all_file_sets():
        for pattern in (*file_set.paths, *file_set.optional):
            for name in (pattern.replace("*", "one"), pattern.replace("*", "two")):
                path = root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                size = 60_000 if path.suffix in (".safetensors", ".pth", ".pt") else 300
                path.write_bytes(content(name, size))
    unused = root / catalogue.QUANTIZED / "dit_model_map_int8.json"
    unused.write_text("{}")
    (root / catalogue.SPACY_MODEL).write_bytes(content("wheel", 50_000))
    return root


def content(seed: str, size: int) -> bytes:
    block = hashlib.sha256(seed.encode()).digest()
    return (block * (size // len(block) + 1))[:size]


@pytest.fixture
def hub(hub_files, monkeypatch) -> Iterator[Hub]:
    """A hub that serves them, used by this process's fetches."""
    wheel = catalogue.SPACY_MODEL
    with Hub(published_repositories(hub_files), {wheel: hub_files / wheel}) as server:
        # huggingface_hub reads HF_ENDPOINT when it is imported
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.address)
        template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("multitalk.bake.fetch.SPACY_MODEL_URL", f"{server.address}/{WEB_FOLDER}/{wheel}")
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield server
        for thread in downloads_under_way():  # they would request files from this hub during another test
            thread.join(60)
