"""What makes a loaded transformer faster without changing what it computes: settings, and applying them."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..weights.folders import COMPILED_FOLDER

if TYPE_CHECKING:
    from ..models.transformer import MultiTalkTransformer
    from .plan import HardwarePlan

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Acceleration:
    """What a person may set beside the plan's own choice to compile.

    Attributes:
        compile_mode: One of :data:`multitalk.runtime.compiled.MODES`.
        compile_cache: Where compiled kernels are kept; None: ``compiled/`` in the weights folder if there is
            one, else where torch keeps them.
    """

    compile_mode: str = "default"
    compile_cache: Path | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Acceleration:
        """Read ``MULTITALK_COMPILE_MODE`` and ``MULTITALK_COMPILE_CACHE``."""
        environment = os.environ if environment is None else environment
        cache = environment.get("MULTITALK_COMPILE_CACHE")
        return cls(
            compile_mode=environment.get("MULTITALK_COMPILE_MODE") or "default",
            compile_cache=Path(cache) if cache else None,
        )


def accelerate(
    transformer: MultiTalkTransformer,
    plan: HardwarePlan,
    weights: Path | None = None,
    settings: Acceleration | None = None,
) -> None:
    """Join projections and compile blocks, as plan and settings say.

    Args:
        transformer: On its device; changed in place.
        plan: Whether blocks are compiled.
        weights: The folder it was loaded from.
        settings: None reads the environment.

    Raises:
        InvalidInput: A setting can't be used.
    """
    settings = Acceleration.from_environment() if settings is None else settings
    if plan.compile:
        from .compiled import compile_blocks, use_compile_cache, why_not_compiled

        if (reason := why_not_compiled(plan.device)) is not None:
            logger.warning("blocks aren't compiled: %s.", reason)
            return
        own = None if weights is None else weights / COMPILED_FOLDER
        use_compile_cache(settings.compile_cache or (own if own is not None and own.is_dir() else None))
        compile_blocks(transformer, mode=settings.compile_mode)
