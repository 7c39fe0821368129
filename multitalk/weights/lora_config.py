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
        """Read the configuration from the header of a file or, for PEFT, from the file beside it."""
        text: str | bytes | None = metadata.get(METADATA_KEY)
        config = path.with_name(PEFT_CONFIG)
        try:
            if text is None and path.name == PEFT_WEIGHTS and config.stat().st_size <= _MAX_CONFIG_BYTES:
                text = config.read_bytes()
            values = json.loads(text or "{}")
        except (OSError, ValueError, RecursionError):
            return cls()
        if not isinstance(values, dict):
            return cls()
        values = {name.removeprefix("transformer."): value for name, value in values.items()}
        patterns = values.get("alpha_pattern")
        alphas = patterns.items() if isinstance(patterns, dict) else ()
        return cls(
            _number(values.get("lora_alpha")),
            {layer: alpha for layer, value in alphas if (alpha := _number(value)) is not None},
            values.get("use_rslora") is True,
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


def _number(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 1e9 else None
