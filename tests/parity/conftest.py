"""The published reference's own numbers, from ``../shared/parity`` beside a development checkout."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from multitalk import MultiTalkPipeline
from multitalk.bake.bake import bake

PARITY = Path(__file__).resolve().parents[3] / "shared" / "parity"
CASES = PARITY / "cases"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if PARITY.is_dir():
        return
    skip = pytest.mark.skip(reason="../shared/parity (the published reference's numbers) is not here")
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def cases() -> Path:
    return CASES


@pytest.fixture(scope="session")
def load_case() -> Callable[[str], SimpleNamespace]:
    """Read a case: its tensors by name in ``tensors``, its description in ``info``."""

    def load(name: str) -> SimpleNamespace:
        info: dict[str, Any] = json.loads((CASES / f"{name}.json").read_text())
        return SimpleNamespace(tensors=load_file(CASES / f"{name}.safetensors"), info=info)

    return load


@pytest.fixture(scope="session")
def baked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("parity") / "float32"
    bake(PARITY / "weights", target, precision="float32")
    return target


@pytest.fixture(scope="session")
def pipeline(baked: Path) -> MultiTalkPipeline:
    return MultiTalkPipeline.from_pretrained(baked, device="cpu", dtype=torch.float32)


@pytest.fixture
def relative_error() -> Callable[[torch.Tensor, torch.Tensor], float]:
    def error(value: torch.Tensor, expected: torch.Tensor) -> float:
        assert value.shape == expected.shape
        return float((value.double() - expected.double()).norm() / expected.double().norm())

    return error
