"""Linear layers that apply a LoRA beside their weights, which stay unchanged."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn


class LowRankLayer(nn.Module):
    """A layer with an optional low-rank addition: ``layer(x) + (x @ down.T) @ up.T``.

    The two matrices can be replaced at any time, so that a LoRA is switched on a loaded model, quantized or
    not, without writing its weights.

    Attributes:
        lora_down: ``R in_features`` in the layer's compute dtype; None without a LoRA.
        lora_up: ``out_features R``, including all scales; None without a LoRA.
    """

    lora_down: torch.Tensor | None
    lora_up: torch.Tensor | None

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        # not in the state dict: they belong to a job, not to the checkpoint
        self.register_buffer("lora_down", None, persistent=False)
        self.register_buffer("lora_up", None, persistent=False)

    def set_low_rank(self, down: torch.Tensor | None, up: torch.Tensor | None) -> None:
        """Replace the low-rank addition; None removes it."""
        self.lora_down, self.lora_up = down, up

    def add_low_rank(self, hidden_states: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """Add the LoRA's part to the layer's output.

        Args:
            hidden_states: Input of the layer, ``... in_features``.
            output: Output of the layer, ``... out_features``, contiguous; changed in place.
        """
        if self.lora_down is None or self.lora_up is None:
            return output
        inner = F.linear(hidden_states, self.lora_down).flatten(0, -2)
        # one pass over the output, and one rounding
        output.view(-1, output.shape[-1]).addmm_(inner, self.lora_up.t())
        return output


class LoraLinear(LowRankLayer, nn.Linear):
    """``nn.Linear`` with an optional LoRA; parameter names are the same."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Project ``... in_features`` to ``... out_features``."""
        return self.add_low_rank(hidden_states, super().forward(hidden_states))

    @classmethod
    def from_linear(cls, linear: nn.Linear) -> LoraLinear:
        """Create a layer that uses the parameters of a linear layer."""
        with torch.device("meta"):
            layer = cls(linear.in_features, linear.out_features, linear.bias is not None)
        layer.weight, layer.bias = linear.weight, linear.bias
        return layer.train(linear.training)


def replace_linears(module: nn.Module, replacement: Callable[[nn.Linear], nn.Module | None]) -> None:
    """Replace the plain ``nn.Linear`` layers below a module, in place.

    Args:
        module: The module.
        replacement: Returns the new layer for a layer, or None to keep it.
    """
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear and (new := replacement(child)) is not None:
                setattr(parent, name, new)
