"""No host-device synchronization inside a sampling step: no value is read from the device or copied to it.

The model runs on the meta device, where values cannot be read and tensors on the host are detected.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from multitalk.sampling.denoise import VelocityModel, denoise
from multitalk.sampling.guidance import BranchConditions, make_calls, make_guidance, needed_branches
from multitalk.sampling.schedule import MotionFrames
from tests.models.test_models import conditions, small_transformer


class HostWork(TorchDispatchMode):
    """Records operations on tensors in host memory, and operations that read values of tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)]
        name = func.overloadpacket.__name__
        if name in ("lift_fresh", "_local_scalar_dense", "item") or any(
            t.device.type == "cpu" for t in tensors
        ):
            self.calls.append(name)
        return result


class FromValues(TorchFunctionMode):
    """Records functions that convert Python values to tensors, or tensors to Python values."""

    NAMES = frozenset(
        {"tensor", "as_tensor", "new_tensor", "from_numpy", "item", "tolist", "cpu", "numpy", "__bool__"}
    )

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in self.NAMES:
            self.calls.append(func.__name__)
        return func(*args, **(kwargs or {}))


class NoMotion(MotionFrames):
    """Without a generator, because the meta device has none."""

    def apply(self, latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        self.generator = None
        return super().apply(latents, timestep)


@pytest.mark.parametrize("people", [1, 2])
@pytest.mark.parametrize("apg", [False, True])
@pytest.mark.parametrize("computed", [None, [True, False, True]])
@pytest.mark.parametrize("batched", [False, True])
def test_a_step_does_not_synchronize(people, apg, computed, batched):
    transformer = small_transformer().to("meta")
    text, image, audio = (part.to("meta") for part in conditions(small_transformer(), people))
    masks = torch.ones(3, 8, device="meta") if people == 2 else None
    branches = {
        branch: BranchConditions(
            text, image, audio if branch.audio else audio[:, :, :4], masks if branch.audio else None
        )
        for branch in needed_branches(5.0, 4.0)
    }
    # the rotary table is computed once per size, before the first step
    transformer.rope(torch.zeros(1, 36, 3, 4, 8, device="meta"))
    model = VelocityModel(
        transformer, torch.zeros(20, 3, 4, 8, device="meta"), make_calls(branches, batched), computed
    )
    noise, timesteps = torch.zeros(16, 3, 4, 8, device="meta"), torch.zeros(4, device="meta")
    motion = NoMotion(torch.zeros(16, 1, 4, 8, device="meta"), None)
    with torch.inference_mode(), FromValues() as values, HostWork() as host:
        latents = denoise(
            model, noise, timesteps, make_guidance(5.0, 4.0, apg), motion, lambda: None, lambda step: None
        )
    assert latents.shape == noise.shape
    assert (host.calls, values.calls) == ([], [])


def test_synchronizing_functions_are_detected():
    with FromValues() as values, HostWork() as host:
        torch.zeros(1, device="meta").new_tensor([1.0])
        torch.tensor([1.0], device="meta")
        torch.ones(1).item()
    assert {"tensor", "new_tensor", "item"} <= set(values.calls)
    assert "_local_scalar_dense" in host.calls
