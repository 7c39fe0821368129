"""The small checkpoint in every precision."""

from __future__ import annotations

import pytest

from multitalk.bake.bake import bake
from multitalk.weights.store import WeightsFolder


@pytest.fixture(scope="package")
def folders(published, baked, baked_bf16, tmp_path_factory) -> dict[str, WeightsFolder]:
    root = tmp_path_factory.mktemp("precisions")
    paths = {"float32": baked, "bf16": baked_bf16}
    for precision in ("int8", "fp8"):
        paths[precision] = root / precision
        bake(published, paths[precision], precision=precision)
    return {name: WeightsFolder(path) for name, path in paths.items()}
