"""Settings that override the hardware plan: environment variables, ``--plan`` and Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import InvalidInput
from .attention import BACKENDS
from .environment import parse_flag, parse_number, parse_value, read_text
from .plan import COMPILE_MODES, PARTS

PREFIX = "MULTITALK_"
PRECISIONS = ("int8", "fp8")
DTYPES = ("bfloat16", "float16", "float32")


@dataclass(frozen=True)
class PlanSettings:
    """Choices that replace those of the hardware plan; None lets the plan choose (docs/HARDWARE.md).

    Attributes:
        device: "cpu", "cuda" or "cuda:N".
        dtype: "bfloat16", "float16" or "float32".
        attention: Kernel for self-attention, a name in :data:`multitalk.runtime.attention.BACKENDS`.
        cross_attention: Kernel for cross-attention, from the same names.
        transformer_precision: "int8" or "fp8": quantize a 16-bit transformer while loading it.
        text_encoder_precision: "int8" or "fp8": quantize a 16-bit text encoder while loading it.
        streamed_blocks: Number of transformer blocks that are offloaded to host memory and streamed.
        resident: Parts that stay on the device; the transformer always does.
        vae_tiling: Whether the VAE works in tiles.
        batch_branches: Whether guidance branches share a model call.
        compile: Whether the transformer's blocks are compiled.
        memory_gb: Plan for a GPU with this memory, in GB (10^9 bytes), instead of this machine's.
        eight_bit_products: Whether 8-bit weights are multiplied in 8 bits if the device supports it; None:
            where it is estimated to be faster.
        compile_mode: One of :data:`multitalk.runtime.plan.COMPILE_MODES`.
        compile_cache: Folder for compiled kernels. None uses ``compiled/`` in the weights folder if it
            exists, otherwise torch's default.
    """

    device: str | None = None
    dtype: str | None = None
    attention: str | None = None
    cross_attention: str | None = None
    transformer_precision: str | None = None
    text_encoder_precision: str | None = None
    streamed_blocks: int | None = None
    resident: tuple[str, ...] | None = None
    vae_tiling: bool | None = None
    batch_branches: bool | None = None
    compile: bool | None = None
    memory_gb: float | None = None
    eight_bit_products: bool | None = None
    compile_mode: str | None = None
    compile_cache: Path | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> PlanSettings:
        """Read ``MULTITALK_DEVICE``, ``MULTITALK_DTYPE`` and so on; a blank value counts as unset.

        Raises:
            InvalidInput: A value is invalid; the message names the variable.
        """
        values = {}
        for name, parser in _PARSERS.items():
            variable = PREFIX + name.upper()
            if text := read_text(variable, environment=environment):
                values[name] = parse_value(variable, text, parser, "plan")
        return cls(**values)

    def updated(self, assignments: list[str]) -> PlanSettings:
        """Return a copy with ``name=value`` assignments from the command line applied.

        Raises:
            InvalidInput: A setting is unknown or its value is invalid.
        """
        changes: dict[str, Any] = {}
        for assignment in assignments:
            name, _, text = assignment.partition("=")
            if name not in _PARSERS or not text.strip():
                allowed = f"NAME=VALUE with a NAME out of {', '.join(_PARSERS)}"
                raise InvalidInput(f"--plan must be {allowed}, not {assignment[:80]!r}.", "plan")
            changes[name] = parse_value(f"--plan {name}", text, _PARSERS[name], "plan")
        return replace(self, **changes)


def _one_of(names: tuple[str, ...], text: str) -> str:
    if text not in names:
        raise ValueError(f"{', '.join(names[:-1])} or {names[-1]}")
    return text


def _parse_count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError("a whole number from 0")
    return int(text)


def _parse_parts(text: str) -> tuple[str, ...]:
    if text in ("all", "none"):
        return PARTS if text == "all" else ("transformer",)
    parts = {part.strip() for part in text.split(",")}
    if not parts <= set(PARTS):
        raise ValueError(f"all, none, or a comma-separated list of {', '.join(PARTS)}")
    return tuple(part for part in PARTS if part in parts or part == "transformer")


_parse_backend = partial(_one_of, tuple(BACKENDS))
_parse_precision = partial(_one_of, PRECISIONS)
_PARSERS: dict[str, Callable[[str], Any]] = {
    "device": str,
    "dtype": partial(_one_of, DTYPES),
    "attention": _parse_backend,
    "cross_attention": _parse_backend,
    "transformer_precision": _parse_precision,
    "text_encoder_precision": _parse_precision,
    "streamed_blocks": _parse_count,
    "resident": _parse_parts,
    "vae_tiling": parse_flag,
    "batch_branches": parse_flag,
    "compile": parse_flag,
    "memory_gb": partial(parse_number, unit="GB", maximum=10_000),
    "eight_bit_products": parse_flag,
    "compile_mode": partial(_one_of, COMPILE_MODES),
    "compile_cache": Path,
}
