"""The configuration that diffusers and PEFT save with a LoRA: its alpha, which is not among the tensors."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

METADATA_KEY = "lora_adapter_metadata"  # of diffusers, in the file's header
PEFT_WEIGHTS, PEFT_CONFIG = "adapter_model.safetensors", "adapter_config.json"
_MAX_CONFIG_BYTES = 1_000_000
_MAX_ALPHA = 1e9
_FLAGS = {"none": False, "false": False, "true": True}


@dataclass(frozen=True)
class LoraConfig:
    """How a LoRA without alpha tensors is scaled.

    Attributes:
        alpha: Of all layers; None: the rank.
        layer_alphas: Exceptions, by the end of a layer's name.
        root_of_rank: Whether alpha is divided by the square root of the rank (rank-stabilized LoRA).
    """

    alpha: float | None = None
    layer_alphas: dict[str, float] = field(default_factory=dict)
    root_of_rank: bool = False

    @classmethod
    def of_file(cls, path: Path, metadata: dict[str, str]) -> LoraConfig:
        """Read the configuration from the header of a file or, for PEFT, from the file beside it.

        Raises:
            ValueError: It is malformed; the message says how.
        """
        values = _read_values(path, metadata)
        patterns = values.get("alpha_pattern") or {}
        if not isinstance(patterns, dict):
            raise ValueError(f"alpha_pattern must be an object, not {_shown(patterns)}")
        alphas = {
            layer: _number(value, f"alpha_pattern of {_shown(layer)}") for layer, value in patterns.items()
        }
        return cls(
            _number(values.get("lora_alpha"), "lora_alpha"),
            {layer: alpha for layer, alpha in alphas.items() if alpha is not None},
            _flag(values.get("use_rslora"), "use_rslora"),
        )

    def factor(self, name: str, rank: int) -> float:
        """Return the factor of a layer's product.

        Args:
            name: A tensor's name in the file.
            rank: Of the layer's matrices.
        """
        layer = name.partition(".lora")[0]
        alphas = [alpha for end, alpha in self.layer_alphas.items() if f".{layer}".endswith(f".{end}")]
        alpha = alphas[0] if alphas else self.alpha
        if alpha is None:
            return 1.0
        return alpha / (math.sqrt(rank) if self.root_of_rank else rank)


def _read_values(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    """Return the values of the configuration, without prefix; some trainers write alpha as a text."""
    text: str | bytes | None = metadata.get(METADATA_KEY)
    name = METADATA_KEY
    if text is None and path.name == PEFT_WEIGHTS:
        text, name = _read_beside(path), PEFT_CONFIG
    if text is None:
        return {"lora_alpha": metadata.get("lora_alpha")}
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise ValueError(f"{name} must be a JSON object")
    return {key.removeprefix("transformer."): value for key, value in values.items()}


def _read_beside(path: Path) -> bytes | None:
    """Read the file that PEFT saves beside the weights; None if there is none."""
    config = path.with_name(PEFT_CONFIG)
    if not config.exists():
        return None
    try:
        if not config.is_file() or config.stat().st_size > _MAX_CONFIG_BYTES:
            raise ValueError(f"{PEFT_CONFIG} must be a file of at most {_MAX_CONFIG_BYTES // 10**6} MB")
        return config.read_bytes()
    except OSError as error:
        raise ValueError(f"{PEFT_CONFIG} cannot be read ({error.strerror})") from None


def _number(value: Any, name: str) -> float | None:
    """Return a number, which may be written as text; None for null."""
    if value is None:
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not abs(number) < _MAX_ALPHA:
        raise ValueError(f"{name} must be a number, not {_shown(value)}")
    return number


def _flag(value: Any, name: str) -> bool:
    """Return true or false, which may be written as text; null is false."""
    flag = _FLAGS.get(str(value).lower())
    if flag is None:
        raise ValueError(f"{name} must be true or false, not {_shown(value)}")
    return flag


def _shown(value: Any) -> str:
    return json.dumps(value)[:60]
