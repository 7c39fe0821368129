"""Private parts of ``torch.distributed`` that detecting failures needs."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    import torch.distributed as dist

PINNED = {"torch": ("2.5.1", "2.8.0", "2.13.0")}


def default_store() -> dist.Store:
    """Return the store that connects the processes of the default group."""
    from torch.distributed.distributed_c10d import _get_default_store

    return _get_default_store()


def abort_calls(group: dist.ProcessGroup, device: torch.device) -> None:
    """Abort the calls of a group that wait for other processes."""
    backend = group._get_backend(device)
    # torch 2.5 has other names than later versions, and for NCCL only
    for name in ("abort", "_shutdown"):
        if hasattr(backend, name):
            with contextlib.suppress(RuntimeError):
                getattr(backend, name)()
            break
