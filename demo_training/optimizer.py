"""Muon for matrices and convolutions, AdamW for other parameters: small networks train in fewer steps."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


def orthogonalize(matrices: torch.Tensor, steps: int = 3) -> torch.Tensor:
    """Move the singular values of matrices ``n rows columns`` towards 1 by a Newton-Schulz iteration."""
    a, b, c = 3.4445, -4.7750, 2.0315
    transposed = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if transposed else matrices).bfloat16()  # its error is far below the step's own
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if transposed else x).float()


class Muon(torch.optim.Optimizer):
    """Momentum with orthogonalized updates, scaled to use the same learning rate as AdamW.

    Args:
        parameters: Tensors of two or more dimensions; all but the first are flattened.
        lr: Learning rate.
        momentum: Momentum of the gradient.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Update all parameters with a gradient, batched by shape."""
        for group in self.param_groups:
            by_shape: dict[tuple[int, int], list[nn.Parameter]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault((parameter.shape[0], parameter[0].numel()), []).append(parameter)
            for shape, parameters in by_shape.items():
                updates = []
                for parameter in parameters:
                    state = self.state[parameter]
                    if not state:
                        state["momentum"] = torch.zeros_like(parameter)
                    average = state["momentum"].mul_(group["momentum"]).add_(parameter.grad)
                    updates.append((parameter.grad + group["momentum"] * average).reshape(shape))
                scale = 0.2 * max(shape) ** 0.5 * group["lr"]
                for parameter, update in zip(parameters, orthogonalize(torch.stack(updates)), strict=True):
                    parameter.add_(update.reshape(parameter.shape), alpha=-scale)


class Optimizers:
    """Muon and AdamW with a common step and learning rate."""

    def __init__(self, model: nn.Module, lr: float, plain: tuple[str, ...] = ()) -> None:
        matrices, others = [], []
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                matrix = parameter.ndim >= 2 and min(parameter.shape[0], parameter[0].numel()) > 4
                (matrices if matrix and not any(part in name for part in plain) else others).append(parameter)
        self.parts = [
            Muon(matrices, lr),
            torch.optim.AdamW(others, lr, betas=(0.9, 0.98), weight_decay=0.0),
        ]
        self.parameters = matrices + others

    def step(self, lr: float) -> None:
        """Clip the gradients, update the parameters and clear the gradients."""
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for optimizer in self.parts:
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict]:
        """Return the state of both optimizers."""
        return [optimizer.state_dict() for optimizer in self.parts]

    def load_state_dict(self, states: list[dict]) -> None:
        """Restore the state of both optimizers."""
        for optimizer, state in zip(self.parts, states, strict=True):
            optimizer.load_state_dict(state)
