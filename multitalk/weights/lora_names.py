"""Names in LoRA files: those of ComfyUI, DiffSynth, lightx2v, kohya, musubi, diffusers and PEFT."""

from __future__ import annotations

import re

from .renames import TRANSFORMER

# What may precede a module's name.
_PREFIX = re.compile(
    r"(?:base_model\.model\.)?(?:model\.)?(?:(?:diffusion_model|transformer|unet|dit|pipe\.dit)\.)?"
)
# kohya and musubi replace the dots of a module's name.
_FLAT_PREFIX = re.compile(r"(?:lora_unet|lora_transformer|lycoris)_")
_FLAT_BLOCK = re.compile(r"blocks_(\d+)_(.+)")
_BLOCK = re.compile(r"(blocks\.\d+\.)(.+)")
# Suffixes, each with the parameter that it changes and its role: the matrix from the input to the rank, the
# one from the rank to the output, their scale, or a difference that is stored as a whole tensor. PEFT adds
# the adapter's name; "diff_m" (lightx2v) changes a block's modulation.
_SUFFIXES = tuple(
    (re.compile(rf"\.(?:{suffix})\Z"), parameter, role)
    for suffix, parameter, role in (
        (r"(?:lora_down|lora_A|lora\.down)(?:\.\w+)?\.weight", ".weight", "down"),
        (r"(?:lora_up|lora_B|lora\.up)(?:\.\w+)?\.weight", ".weight", "up"),
        ("alpha", ".weight", "alpha"),
        ("diff", ".weight", "whole"),
        (r"diff_b|lora_B(?:\.\w+)?\.bias", ".bias", "whole"),
        ("diff_m", ".modulation", "whole"),
    )
)
# Kinds of files that are not supported, by a part of a tensor's name.
_UNSUPPORTED = {
    "DoRA": re.compile(r"\.dora_scale|\.lora_magnitude_vector|\.magnitude"),
    "LoHa": re.compile(r"\.hada_"),
    "LoKr": re.compile(r"\.lokr_"),
    "LoCon with a core tensor": re.compile(r"\.lora_mid"),
    "OFT": re.compile(r"\.oft_"),
}


def parse_name(name: str) -> tuple[str, str] | None:
    """Find out what a tensor of a LoRA file is.

    Args:
        name: Its name in the file.

    Returns:
        The published name of the tensor that it changes, and its role ("down", "up", "alpha" or "whole");
        None if the name has no known suffix.
    """
    for suffix, parameter, role in _SUFFIXES:
        if found := suffix.search(name):
            module = published_module(name[: found.start()])
            if module.endswith("modulation"):  # a tensor, not a module with a weight
                return module, role
            return module + parameter, role
    return None


def unsupported_kind(name: str) -> str | None:
    """Return the kind of file to which a tensor's name belongs, if that kind is not supported."""
    return next((kind for kind, part in _UNSUPPORTED.items() if part.search(name)), None)


def published_module(name: str) -> str:
    """Return the published name of a module, or a name that the model does not have if it is unknown."""
    if flat := _FLAT_PREFIX.match(name):
        flat_name = name[flat.end() :]
        block = _FLAT_BLOCK.fullmatch(flat_name)
        if block is None:
            return _FLAT_NAMES.get(flat_name, name)
        return f"blocks.{block[1]}.{_FLAT_BLOCK_NAMES[block[2]]}" if block[2] in _FLAT_BLOCK_NAMES else name
    prefix = _PREFIX.match(name)
    module = name[prefix.end() :] if prefix else name
    block = _BLOCK.fullmatch(module)
    if block is None:
        return _FROM_DIFFUSERS.get(module, module)
    return block[1] + _BLOCK_FROM_DIFFUSERS.get(block[2], block[2])


def _invert(names: dict[str, str]) -> dict[str, str]:
    return {new: published for published, new in names.items()}


def _flat(names: dict[str, str]) -> dict[str, str]:
    """Map names without dots, published and diffusers', to published names."""
    both = {**_invert(names), **{published: published for published in names}}
    return {name.replace(".", "_"): published for name, published in both.items()}


_NAMES = {published: new for published, new in TRANSFORMER.names.items() if isinstance(new, str)}
_BLOCK_NAMES = {published: new for published, new in TRANSFORMER.block_names.items() if isinstance(new, str)}
_FROM_DIFFUSERS, _BLOCK_FROM_DIFFUSERS = _invert(_NAMES), _invert(_BLOCK_NAMES)
_FLAT_NAMES, _FLAT_BLOCK_NAMES = _flat(_NAMES), _flat(_BLOCK_NAMES)
