"""Attention on the stand-in GPU: which kernel would run, what it demands, and what it allocates."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from diffusers.models import attention_dispatch

HALF = (torch.float16, torch.bfloat16)


class Attention:
    """PyTorch's choice of a kernel, and the packages flash-attn and SageAttention.

    Attributes:
        used: Names of the kernels that ran, and how often.
    """

    def __init__(self, capability: tuple[int, int]) -> None:
        self.capability = capability
        self.used: dict[str, int] = {}

    def choose(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Run the kernel that PyTorch would choose for ``B H N D``."""
        self._check_pair(query, key, value)
        enabled = torch.backends.cuda
        same_width = query.shape[-1] == key.shape[-1] == value.shape[-1]
        half = query.dtype in HALF
        flash = half and self.capability >= (8, 0) and same_width and mask is None and query.shape[-1] <= 256
        aligned = query.shape[-1] % 8 == 0 and value.shape[-1] % 8 == 0
        if enabled.flash_sdp_enabled() and flash:
            kernel = "flash"
        elif enabled.mem_efficient_sdp_enabled() and aligned:
            kernel = "efficient"
        elif enabled.cudnn_sdp_enabled() and half and self.capability >= (8, 0) and mask is None:
            kernel = "cudnn"
        elif enabled.math_sdp_enabled():
            kernel = "math"
            scores = query.new_empty(*query.shape[:-1], key.shape[-2])
            del scores
        else:
            raise RuntimeError("No available kernel. Aborting execution.")
        return self._result(kernel, query.transpose(1, 2), value.transpose(1, 2)).transpose(1, 2)

    def flash(self, q: Any, k: Any, v: Any, **options: Any) -> torch.Tensor:
        """Run flash-attn's function on ``B N H D``."""
        self._check_rows(q, k, v)
        assert q.shape[-1] == k.shape[-1] == v.shape[-1] <= 256
        assert self.capability >= (8, 0)
        assert options["causal"] is False
        return self._result("flash-attn", q, v)

    def sage(self, name: str) -> Any:
        """Return one of SageAttention's functions."""

        def run(
            q: Any, k: Any, v: Any, tensor_layout: str = "HND", pv_accum_dtype: str = "", **options: Any
        ) -> torch.Tensor:
            self._check_rows(q, k, v)
            assert tensor_layout == "NHD"
            assert q.shape[-1] in (64, 128)
            assert self.capability >= (8, 9) or "fp8" not in name
            smoothed = k.mean(dim=1, keepdim=True)
            quantized = [part.new_empty(part.shape, dtype=torch.int8) for part in (q, k)]
            values = v.new_empty(v.shape, dtype=torch.float8_e4m3fn if "fp8" in name else torch.float16)
            result = self._result(name, q, v)
            del smoothed, quantized, values
            return result

        return run

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Install both packages."""
        package = ModuleType("sageattention")
        for name in ("sageattn", "sageattn_qk_int8_pv_fp8_cuda", "sageattn_qk_int8_pv_fp16_cuda"):
            setattr(package, name, self.sage(name))
        patch.setitem(sys.modules, "sageattention", package)
        patch.setattr(attention_dispatch, "sageattn", package.sageattn)
        patch.setattr(attention_dispatch, "flash_attn_func", self.flash)
        patch.setattr(attention_dispatch, "_CAN_USE_FLASH_ATTN", True)
        patch.setattr(attention_dispatch, "_CAN_USE_SAGE_ATTN", True)

    def _check_pair(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> None:
        assert query.dtype == key.dtype == value.dtype, (query.dtype, key.dtype, value.dtype)
        assert query.device == key.device == value.device
        assert query.shape[:2] == key.shape[:2] == value.shape[:2], (query.shape, key.shape, value.shape)
        assert query.dtype != torch.bfloat16 or self.capability >= (8, 0)

    def _check_rows(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> None:
        """Check ``B N H D`` for a package's kernel: 16 bits, rows without gaps."""
        self._check_pair(*(part.transpose(1, 2) for part in (query, key, value)))
        assert query.dtype in HALF
        assert query.is_cuda
        assert query.stride(-1) == key.stride(-1) == value.stride(-1) == 1

    def _result(self, kernel: str, query: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Allocate the result ``B N H D``."""
        self.used[kernel] = self.used.get(kernel, 0) + 1
        return query.new_empty(*query.shape[:-1], value.shape[-1])
