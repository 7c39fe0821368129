"""The measure of a vocabulary in int8."""

from __future__ import annotations

import pytest
import torch

from benchmarks import vocabulary
from multitalk.weights.folders import EMBEDDED_FOLDER


def test_rounding_is_within_half_a_step_of_each_block() -> None:
    values = torch.randn(8, 64, generator=torch.Generator().manual_seed(0))
    values[:, 3] = 50  # a large value coarsens its own block alone
    error = (vocabulary.rounded(values, 32) - values).abs()
    assert (error[:, :32] <= 50 / 127 / 2 * 1.001).all()
    assert (error[:, 32:] <= values[:, 32:].abs().amax(1, keepdim=True) / 127 / 2 * 1.001).all()


def test_errors_of_an_encoder(capsys: pytest.CaptureFixture[str]) -> None:
    assert vocabulary.main(["--weights", str(EMBEDDED_FOLDER)]) == 0
    *_, row = capsys.readouterr().out.splitlines()
    layers, vocabulary_alone, both, *_ = (float(cell.rstrip(" %")) for cell in row.split("|")[2:-1])
    assert max(layers, vocabulary_alone) < both < layers + vocabulary_alone
