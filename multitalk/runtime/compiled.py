"""Compiled transformer blocks: one block is compiled, and all blocks run it."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..errors import InvalidInput
from ..patches.torch import is_default_compile_cache, raise_recompile_limits
from ..weights.folders import COMPILED_FOLDER
from .environment import read_text, set_variables
from .plan import COMPILE_MODES

if TYPE_CHECKING:
    from ..models.transformer import MultiTalkTransformer
    from .plan import HardwarePlan

logger = logging.getLogger(__name__)

CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
# A variant for one or two people, silent audio, batched branches and each LoRA rank, all for a fixed and for
# a variable size. torch's limit is 8.
VARIANTS = 64


def compile_by_plan(
    transformer: MultiTalkTransformer, plan: HardwarePlan, weights: Path | None = None
) -> None:
    """Compile the transformer's blocks if the plan says so and this machine can.

    Args:
        transformer: On its device; changed in place.
        plan: The plan.
        weights: The folder that the transformer was loaded from, if any.
    """
    if not plan.compile:
        return
    if (reason := why_not_compiled(plan.device)) is not None:
        logger.warning("The transformer's blocks are not compiled: %s.", reason)
        return
    cache = None if weights is None else weights / COMPILED_FOLDER
    use_compile_cache(plan.compile_cache or (cache if cache is not None and cache.is_dir() else None))
    compile_blocks(transformer, mode=plan.compile_mode)


def compile_blocks(
    transformer: MultiTalkTransformer, backend: str | Callable[..., Any] = "inductor", mode: str = "default"
) -> None:
    """Compile a transformer's blocks, each variant at its first call.

    This is diffusers' regional compilation (``compile_repeated_blocks``), limited to the forward method of
    each block: hooks on a block (caches, streamed weights) stay outside the graph. The first video size is
    compiled as constants. With the second one, the dimensions that differ become variables, and other sizes
    need no new compilation. Text tokens, image tokens and heads are always constants.

    Args:
        transformer: Changed in place. A graph break in a block raises an error at the first call.
        backend: torch's name of the compiler backend, or a function.
        mode: One of :data:`multitalk.runtime.plan.COMPILE_MODES`; "max-autotune-no-cudagraphs" tries more
            kernels and compiles for minutes.

    Raises:
        InvalidInput: The mode is unknown.
    """
    if mode not in COMPILE_MODES:
        raise InvalidInput(f"compile_mode must be {' or '.join(COMPILE_MODES)}, not {mode[:80]!r}.", "plan")
    raise_recompile_limits(VARIANTS)
    compiler_mode = None if backend != "inductor" or mode == "default" else mode
    for block in transformer.blocks:
        block.forward = torch.compile(block.forward, fullgraph=True, backend=backend, mode=compiler_mode)


def use_compile_cache(folder: Path | None) -> None:
    """Store compiled kernels in a folder, for use by later processes.

    A folder that the user has set in ``TORCHINDUCTOR_CACHE_DIR`` is kept.

    Args:
        folder: None leaves torch's default. A folder without write permission is ignored: the compiler writes
            to it even if it finds every kernel.
    """
    if folder is None or not os.access(folder, os.W_OK):
        return
    current = read_text(CACHE_VARIABLE)  # torch sets it to its default once it is imported
    if current is None or is_default_compile_cache(current):
        set_variables(**{CACHE_VARIABLE: str(folder)})


def why_not_compiled(device: torch.device) -> str | None:
    """Return what the compiler lacks on this machine, as a clause for a message; None if it can run."""
    if device.type == "cuda":
        try:
            import triton  # noqa: F401
        except ImportError:
            return "Triton is not installed"
    compilers = (read_text("CC"), read_text("CXX"), "cc", "gcc", "g++", "clang")
    if not any(shutil.which(compiler) for compiler in compilers if compiler):
        return "no C compiler was found"
    return None
