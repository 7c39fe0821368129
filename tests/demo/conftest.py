"""The pipeline with the embedded weights."""

from __future__ import annotations

import pytest

from multitalk import MultiTalkPipeline
from multitalk.weights.folders import EMBEDDED_FOLDER


@pytest.fixture(scope="package")
def demo() -> MultiTalkPipeline:
    return MultiTalkPipeline.from_pretrained(EMBEDDED_FOLDER, device="cpu")
