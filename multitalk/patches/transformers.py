"""Uses of transformers' private attributes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

PINNED = {"transformers": ("5.17.0",)}

Model = TypeVar("Model", bound=type)


def keep_in_float32(*modules: str) -> Callable[[Model], Model]:
    """Class decorator: name the modules of a model that stay in float32 in float16 and in bfloat16."""

    def set_modules(model_class: Any) -> Any:
        model_class._keep_in_fp32_modules_strict = set(modules)
        return model_class

    return set_modules
