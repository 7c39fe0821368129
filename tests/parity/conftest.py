"""The published reference's own numbers.

``tests/parity/data`` holds a part of them. ``../shared/parity`` and ``../shared/infinitetalk``, beside a
development checkout, hold all of them: if they exist, the tests read them, and the quick tests read both.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from multitalk import MultiTalkPipeline
from multitalk.bake.bake import bake

from .make_data import unpack

SHARED = Path(__file__).resolve().parents[3] / "shared"
FULL, INFINITETALK = SHARED / "parity", SHARED / "infinitetalk"
SETS = ("full", "data") if FULL.is_dir() else ("data",)
# files whose tests take seconds run on every set, the others on the first one
QUICK = ("test_conditions", "test_sampling")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cases" in metafunc.fixturenames:
        quick = metafunc.module.__name__.rpartition(".")[2] in QUICK
        metafunc.parametrize("cases", SETS if quick else SETS[:1], indirect=True, scope="session")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked ``tests/parity/data``."""
    return unpack(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def weights(data: Path) -> Path:
    """The small checkpoint in the published layout, the same in both sets."""
    return data / "weights"


@pytest.fixture(scope="session")
def cases(request: pytest.FixtureRequest) -> Path:
    """The folder of the cases."""
    return (FULL if request.param == "full" else request.getfixturevalue("data")) / "cases"


@pytest.fixture(scope="session")
def load_case(cases: Path) -> Callable[[str], SimpleNamespace]:
    """Read a case: its tensors by name in ``tensors``, its description in ``info``."""

    def load(name: str) -> SimpleNamespace:
        info: dict[str, Any] = json.loads((cases / f"{name}.json").read_text())
        return SimpleNamespace(tensors=load_file(cases / f"{name}.safetensors"), info=info)

    return load


@pytest.fixture(scope="session")
def baked(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("parity") / "float32"
    bake(weights, target, precision="float32")
    return target


@pytest.fixture(scope="session")
def pipeline(baked: Path) -> MultiTalkPipeline:
    return MultiTalkPipeline.from_pretrained(baked, device="cpu", dtype=torch.float32)


@pytest.fixture(scope="session")
def infinitetalk(data: Path) -> Path:
    """InfiniteTalk's audio layers in ``weights``, and its ``cases``."""
    return INFINITETALK if INFINITETALK.is_dir() else data / "infinitetalk"


@pytest.fixture(scope="session")
def infinitetalk_pipeline(
    weights: Path, infinitetalk: Path, tmp_path_factory: pytest.TempPathFactory
) -> MultiTalkPipeline:
    """The checkpoint with the audio layers of both models, as they are published."""
    folder = tmp_path_factory.mktemp("infinitetalk")
    shutil.copytree(weights, folder / "raw")
    shutil.copytree(infinitetalk / "weights", folder / "raw", dirs_exist_ok=True)
    bake(folder / "raw", folder / "float32", precision="float32")
    return MultiTalkPipeline.from_pretrained(folder / "float32", device="cpu", dtype=torch.float32)


def recorded(value: Any, expected: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both without the values that ``tests/parity/data`` leaves out, which are NaN in `expected`."""
    value = torch.as_tensor(value)
    assert value.shape == expected.shape
    known = ~expected.isnan()
    assert known.any()
    return value[known], expected[known]


@pytest.fixture
def relative_error() -> Callable[[torch.Tensor, torch.Tensor], float]:
    def error(value: torch.Tensor, expected: torch.Tensor) -> float:
        value, expected = (part.double() for part in recorded(value, expected))
        return float((value - expected).norm() / expected.norm())

    return error
