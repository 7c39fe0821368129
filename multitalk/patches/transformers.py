"""Uses of transformers' private attributes, and changes to its modules."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn

PINNED = {"transformers": ("5.17.0",)}

Model = TypeVar("Model", bound=type)


def keep_in_float32(*modules: str) -> Callable[[Model], Model]:
    """Class decorator: name the modules of a model that stay in float32 in float16 and in bfloat16."""

    def set_modules(model_class: Any) -> Any:
        model_class._keep_in_fp32_modules_strict = set(modules)
        return model_class

    return set_modules


def widen_text_encoder(text_encoder: nn.Module) -> None:
    """Run the second half of a float16 UMT5's feed-forwards in float32, where float16 would overflow.

    Args:
        text_encoder: Its feed-forwards are changed in place. Nothing is changed in other dtypes.
    """
    if next(text_encoder.parameters()).dtype != torch.float16:
        return
    for module in text_encoder.modules():
        if all(hasattr(module, name) for name in ("wi_0", "wi_1", "wo", "act")):
            module.forward = types.MethodType(_gated_feed_forward, module)


def _gated_feed_forward(module: Any, hidden_states: torch.Tensor) -> torch.Tensor:
    gate = module.act(module.wi_0(hidden_states)).float()
    return module.wo(gate * module.wi_1(hidden_states).float())


def modules_kept_in_float32(model: Any, dtype: torch.dtype) -> set[str]:
    """List the modules that ``from_pretrained`` loads in float32 although the dtype is narrower.

    Some classes keep modules in float32 only in float16, and others (strictly) in every narrower dtype.
    """
    kept = set(model._keep_in_fp32_modules_strict or ())
    return kept | set(model._keep_in_fp32_modules or ()) if dtype == torch.float16 else kept
