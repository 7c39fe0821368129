"""Compiled blocks: one block is compiled, and all of them run it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..errors import InvalidInput

if TYPE_CHECKING:
    from ..models.transformer import MultiTalkTransformer

# No CUDA graphs among them ("reduce-overhead", "max-autotune"): all blocks run one compiled function, whose
# graph would write every block's result to the same place, and at 480p a block computes for tens of
# milliseconds, so that the microseconds of its launches are hidden behind it.
MODES = ("default", "max-autotune-no-cudagraphs")
CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
# One or two people, silence instead of a voice, branches in one call, a LoRA beside the weights or none: each
# is a variant, once for its first size and once for all others. torch gives up after eight.
VARIANTS = 64


def compile_blocks(
    transformer: MultiTalkTransformer, backend: str | Callable[..., Any] = "inductor", mode: str = "default"
) -> None:
    """Let a transformer's blocks be compiled, each kind of call when it comes first.

    It is what diffusers calls regional compilation (``compile_repeated_blocks``), but of the blocks' forward
    alone: hooks on a block (a cache, streamed weights) stay around the compiled part, where they may do what
    a graph can't. The first size of video that comes is compiled for itself; with the second the sizes that
    differ become variables, and no further size is compiled again. All else is static: text tokens, image
    tokens, heads.

    Args:
        transformer: Changed in place; what is compiled has no break in it, or the first call fails.
        backend: torch's; "inductor" makes kernels.
        mode: One of `MODES`; "max-autotune-no-cudagraphs" compiles for minutes, and tries out more kernels.

    Raises:
        InvalidInput: There is no such mode.
    """
    if mode not in MODES:
        raise InvalidInput(f"compile mode {mode[:80]!r} is unknown: use {' or '.join(MODES)}.", "compile")
    # torch 2.5 compiles every block for itself (its cache on disk then finds the same kernels)
    kinds = VARIANTS * len(transformer.blocks)
    for limit in (
        "recompile_limit",
        "cache_size_limit",
        "accumulated_recompile_limit",
        "accumulated_cache_size_limit",
    ):
        if hasattr(torch._dynamo.config, limit):
            setattr(torch._dynamo.config, limit, max(kinds, getattr(torch._dynamo.config, limit)))
    wanted = None if backend != "inductor" or mode == "default" else mode
    for block in transformer.blocks:
        block.forward = torch.compile(block.forward, fullgraph=True, backend=backend, mode=wanted)


def use_compile_cache(folder: Path | None) -> None:
    """Keep what is compiled in a folder, so that another process finds it there.

    Args:
        folder: None leaves torch's own (``TORCHINDUCTOR_CACHE_DIR``, or a temporary folder). One that can't
            be written to is left alone: the compiler writes there even when it finds everything.
    """
    # torch sets the variable itself, to its temporary folder, as soon as a part of it asks
    own = str(Path(tempfile.gettempdir()) / "torchinductor_")
    named = os.environ.get(CACHE_VARIABLE, own)
    if folder is None or not named.startswith(own) or not os.access(folder, os.W_OK):
        return
    os.environ[CACHE_VARIABLE] = str(folder)


def why_not_compiled(device: torch.device) -> str | None:
    """What the compiler lacks on this machine, as the end of a sentence; None where it can work."""
    if device.type == "cuda":
        try:
            import triton  # noqa: F401
        except ImportError:
            return "Triton isn't installed"
    named = (os.environ.get("CC"), os.environ.get("CXX"), "cc", "gcc", "g++", "clang")
    if not any(shutil.which(compiler) for compiler in named if compiler):
        return "there is no C compiler"
    return None
