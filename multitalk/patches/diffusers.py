"""Uses of diffusers' private classes, functions and attributes.

`multitalk/models/vae_stages.py` calls the layers of diffusers' Wan autoencoder one by one and depends on
their feature cache: review it with a new version, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from diffusers.configuration_utils import FrozenDict
from diffusers.hooks._helpers import TransformerBlockMetadata, TransformerBlockRegistry
from diffusers.models.attention_dispatch import AttentionBackendName, _check_attention_backend_requirements
from diffusers.models.modeling_utils import ModelMixin

PINNED = {"diffusers": ("0.38.0",)}

Model = TypeVar("Model", bound=type[ModelMixin])


def require_attention_backend(name: str) -> None:
    """Check that diffusers can run an attention backend.

    Raises:
        ValueError: diffusers has no backend of this name.
        RuntimeError: Its package is not installed.
    """
    _check_attention_backend_requirements(AttentionBackendName(name))


def register_block(block_class: type) -> type:
    """Tell diffusers' caches (FirstBlockCache, MagCache) that a block returns its hidden states alone."""
    # register() would first import every model to register its blocks, as the first cache does
    metadata = TransformerBlockMetadata(return_hidden_states_index=0, return_encoder_hidden_states_index=None)
    metadata._cls = block_class
    TransformerBlockRegistry._registry[block_class] = metadata
    return block_class


def replace_config(model: ModelMixin, config: Mapping[str, Any]) -> None:
    """Replace a model's registered arguments; ``register_to_config`` would only add to them."""
    model._internal_dict = FrozenDict(config)


def keep_in_float32(*modules: str) -> Callable[[Model], Model]:
    """Class decorator: name the modules of a model that stay in float32 in half precision."""

    def set_modules(model_class: Model) -> Model:
        model_class._keep_in_fp32_modules = list(modules)
        return model_class

    return set_modules


def modules_kept_in_float32(model: Any) -> set[str]:
    """List the modules that ``from_pretrained`` loads in float32 although the dtype is narrower."""
    return set(getattr(model, "_keep_in_fp32_modules", None) or ())  # other modules keep none
