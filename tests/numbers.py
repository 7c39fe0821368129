"""Bounds for numbers that another processor, kernel, or matrix size rounds differently.

Kernels add and multiply in different orders, so the last bits of a result depend on the processor and on the
sizes of the operands. Recorded numbers and results of two kernels are compared with :func:`assert_close`.
Bit equality (``torch.equal``) is only for what one run computes twice with the same kernels.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from multitalk.models import matmul_choice


def assert_close(
    value: torch.Tensor | np.ndarray, expected: torch.Tensor | np.ndarray, epsilons: float = 4
) -> None:
    """Compare elements with a bound of some machine epsilons of the largest expected magnitude."""
    value, expected = torch.as_tensor(value), torch.as_tensor(expected)
    bound = epsilons * torch.finfo(expected.dtype).eps * float(expected.detach().abs().max())
    torch.testing.assert_close(value, expected, rtol=0, atol=bound)


def make_int8_product_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace torch's int8 product on a CPU without VNNI, where oneDNN's sums saturate at 16 bits.

    The package notices this and dequantizes there; this is for tests of the code around the product.
    """
    if not matmul_choice._works("int8", torch.device("cpu")):
        monkeypatch.setattr(torch, "_int_mm", lambda tokens, weight: tokens.int() @ weight.int())
