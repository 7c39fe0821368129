"""What a person may set instead of letting the plan choose."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from ..errors import InvalidInput
from .plan import PARTS

PREFIX = "MULTITALK_"
_ON, _OFF = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
PRECISIONS = ("int8", "fp8")
DTYPES = ("bfloat16", "float16", "float32")


@dataclass(frozen=True)
class PlanSettings:
    """Choices that aren't left to the plan; None leaves one to it.

    Attributes:
        device: "cpu", "cuda" or "cuda:N".
        dtype: "bfloat16", "float16" or "float32".
        attention: A name of `multitalk.runtime.attention.BACKENDS`.
        cross_attention: The same, for cross attention.
        transformer_precision: "int8" or "fp8": quantize the transformer of 16-bit weights as it is loaded.
        text_encoder_precision: The same of the text encoder.
        streamed_blocks: How many of the transformer's blocks wait in host memory.
        resident: The parts that stay on the device; the transformer always does.
        vae_tiling: Whether the VAE works in tiles.
        batch_branches: Whether guidance branches share a model call.
        compile: Whether the transformer's blocks are compiled.
        memory_gb: Plan for a GPU of so many GB (10^9 bytes) rather than this one's.
        eight_bit_products: Whether 8-bit weights are multiplied in 8 bits where the device can.
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

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> PlanSettings:
        """Read ``MULTITALK_DEVICE``, ``MULTITALK_DTYPE`` and so on; an empty value counts as none.

        Raises:
            InvalidInput: A value can't be used; the message names the variable.
        """
        environment = os.environ if environment is None else environment
        found = {
            field.name: environment[PREFIX + field.name.upper()]
            for field in fields(cls)
            if environment.get(PREFIX + field.name.upper())
        }
        return cls(**{name: _parse(name, text, PREFIX + name.upper()) for name, text in found.items()})

    def updated(self, assignments: list[str]) -> PlanSettings:
        """With ``name=value`` texts, as the command line gives them, over these.

        Raises:
            InvalidInput: There is no such setting, or its value can't be used.
        """
        known = [field.name for field in fields(self)]
        changes: dict[str, Any] = {}
        for assignment in assignments:
            name, equals, text = assignment.partition("=")
            if not equals or name not in known:
                raise InvalidInput(
                    f"--plan {assignment[:80]!r} is no setting: use NAME=VALUE with {', '.join(known)}.",
                    "plan",
                )
            changes[name] = _parse(name, text, f"--plan {name}")
        return replace(self, **changes)


def _parse(name: str, text: str, label: str) -> Any:
    try:
        return _PARSERS[name](text.strip())
    except ValueError as error:
        raise InvalidInput(f"{label} is {text[:80]!r}, but it must be {error}.", "plan") from None


def _switch(text: str) -> bool:
    if text.lower() in _ON:
        return True
    if text.lower() in _OFF:
        return False
    raise ValueError("on or off")


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError("a whole number from 0")
    return int(text)


def _gigabytes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 10_000:
        raise ValueError("a number of GB above 0")
    return value


def _parts(text: str) -> tuple[str, ...]:
    if text in ("all", "none"):
        return PARTS if text == "all" else ("transformer",)
    named = {part.strip() for part in text.split(",")}
    if not named <= set(PARTS):
        raise ValueError(f"all, none, or names out of {', '.join(PARTS)}, with commas")
    return tuple(part for part in PARTS if part in named or part == "transformer")


def _dtype(text: str) -> str:
    if text not in DTYPES:
        raise ValueError(" or ".join(DTYPES))
    return text


def _precision(text: str) -> str:
    if text not in PRECISIONS:
        raise ValueError(" or ".join(PRECISIONS))
    return text


def _backend(text: str) -> str:
    from .attention import BACKENDS

    if text not in BACKENDS:
        raise ValueError(f"one of {', '.join(BACKENDS)}")
    return text


_PARSERS: dict[str, Callable[[str], Any]] = {
    "device": str,
    "dtype": _dtype,
    "attention": _backend,
    "cross_attention": _backend,
    "transformer_precision": _precision,
    "text_encoder_precision": _precision,
    "streamed_blocks": _count,
    "resident": _parts,
    "vae_tiling": _switch,
    "batch_branches": _switch,
    "compile": _switch,
    "eight_bit_products": _switch,
    "memory_gb": _gigabytes,
}
