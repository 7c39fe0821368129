"""When the kernels are used, and what happens if one is wrong."""

from __future__ import annotations

import logging

import pytest
import torch

from multitalk.models import rotary
from multitalk.models.kernels import dispatch, operations, probe
from multitalk.models.kernels.dispatch import forced, use_kernels
from multitalk.models.kernels.probe import Widths

CPU = torch.device("cpu")


def test_they_are_not_used_on_a_cpu_with_gradients_and_in_compiled_blocks():
    tensor = torch.ones(2)
    with torch.inference_mode():
        assert not use_kernels(tensor)
        with forced(True):
            assert use_kernels(tensor)
            with forced(False):
                assert not use_kernels(tensor)
            seen = []
            torch.compile(lambda: seen.append(use_kernels(tensor)), backend="eager")()
            assert seen == [False]
    with forced(True):
        assert not use_kernels(tensor), "the kernels have no gradients"
    assert not use_kernels(tensor)


def test_a_device_without_kernels_is_logged_once(caplog):
    device = torch.device("cuda", 7)
    with caplog.at_level(logging.WARNING):
        assert not dispatch.works(device)
        assert not dispatch.works(device)
    message = "GPU kernels are not used on cuda:7, which costs speed: "
    assert [record.message.startswith(message) for record in caplog.records] == [True]


@pytest.mark.parametrize(
    ("factor", "problem"),
    [(1.0, None), (1.2, "the relative error of RMSNorm is 0.20"), (None, "OSError: no ptxas")],
)
def test_a_wrong_or_failing_kernel_is_found(factor, problem, monkeypatch):
    """The operations are replaced by the PyTorch forms, of which one is wrong or fails."""

    def in_pytorch(hidden, heads, weight, epsilon, cosines, sines, positions, theta):
        if factor is None:
            raise OSError("no ptxas")
        norm = torch.nn.RMSNorm(hidden.shape[-1], epsilon, device=hidden.device, dtype=hidden.dtype)
        with forced(False):
            return factor * rotary.normalize_and_rotate(hidden, norm, heads).flatten(2)

    only = ("RMSNorm",)
    every = probe.cases
    monkeypatch.setattr(operations, "norm_rotate", in_pytorch)
    monkeypatch.setattr(
        probe,
        "cases",
        lambda *arguments, **options: (c for c in every(*arguments, **options) if c[0] in only),
    )
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    assert probe.probe(CPU, Widths(heads=2, head_dim=8, ffn_dim=24, audio_dim=8)) == problem
