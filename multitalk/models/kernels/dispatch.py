"""Decide between a kernel and its PyTorch form."""

from __future__ import annotations

import functools
import importlib.util
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from ..transformer import MultiTalkTransformer

logger = logging.getLogger(__name__)

# True and False override the decision: for the probe, which compares both, and for tests
_forced: ContextVar[bool | None] = ContextVar("forced", default=None)


def use_kernels(tensor: torch.Tensor) -> bool:
    """Return whether an operation on a tensor runs as a kernel.

    The kernels have no gradients, and the compiler fuses the PyTorch forms itself.
    """
    if torch.compiler.is_compiling() or torch.is_grad_enabled():
        return False
    forced = _forced.get()
    return tensor.is_cuda and works(tensor.device) if forced is None else forced


def kernels_for(tensor: torch.Tensor) -> ModuleType | None:
    """Return the kernels as operations; None if an operation on a tensor runs in its PyTorch form."""
    if not use_kernels(tensor):
        return None
    from . import operations  # registering them takes time at start, and a CPU needs none

    return operations


@contextmanager
def forced(kernels: bool) -> Iterator[None]:
    """Use only kernels, or only PyTorch forms, on any device."""
    token = _forced.set(kernels)
    try:
        yield
    finally:
        _forced.reset(token)


def prepare(transformer: MultiTalkTransformer, device: torch.device) -> None:
    """Load the kernels of a transformer before its first job; what Triton's cache lacks is compiled.

    Args:
        transformer: Its widths decide which kernels are needed.
        device: Device that it will run on.
    """
    if device.type != "cuda" or not works(device):
        return
    from .probe import PUBLISHED, Widths, probe

    config = transformer.config
    widths = Widths(config.num_attention_heads, config.attention_head_dim, config.ffn_dim, config.audio_dim)
    if widths != PUBLISHED and (problem := probe(device, widths)) is not None:
        _problems(device).append(problem)
        _warn(device, problem)


def works(device: torch.device) -> bool:
    """Return whether the kernels run on a device and agree with the PyTorch forms; logs the answer once."""
    return not _problems(device)


@functools.cache
def _problems(device: torch.device) -> list[str]:
    problem = _problem(device)
    if problem is None:
        logger.info("GPU kernels are used on %s.", device)
        return []
    _warn(device, problem)
    return [problem]


def _warn(device: torch.device, problem: str) -> None:
    logger.warning("GPU kernels are not used on %s, which costs speed: %s.", device, problem)


def _problem(device: torch.device) -> str | None:
    if device.type != "cuda" or torch.version.cuda is None:
        return "they are written for CUDA"
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    from .probe import probe

    return probe(device)
