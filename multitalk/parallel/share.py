"""The part of the transformer that one process of a team holds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import WeightsError
from ..runtime.placement import Placement
from ..runtime.plan import HardwarePlan
from ..weights.lora_switch import LoraSwitcher, activate_for_job
from ..weights.store import WeightsFolder
from .messages import PrepareJob
from .weights import SharedBlocks

if TYPE_CHECKING:
    from ..models.transformer import MultiTalkTransformer


@dataclass(frozen=True)
class TransformerShare:
    """A process's transformer, and the means to prepare it for a job.

    Attributes:
        transformer: The model.
        folder: The weights folder that it was loaded from.
        plan: The plan that it was loaded with.
        loras: Switches its LoRAs.
        placement: Moves its weights between host and device; None if the processes share the weights.
        blocks: Gathers its weights if the processes share them, else None.
    """

    transformer: MultiTalkTransformer
    folder: WeightsFolder
    plan: HardwarePlan
    loras: LoraSwitcher
    placement: Placement | None
    blocks: SharedBlocks | None

    def prepare(self, job: PrepareJob) -> None:
        """Place the weights and activate the LoRAs of a job.

        Raises:
            InvalidInput: A LoRA of the request cannot be used.
            WeightsError: A LoRA of the weights folder cannot be used, or shared weights do not support it.
        """
        if self.placement is not None:
            self.placement.apply(replace(self.plan, streamed_blocks=job.streamed_blocks))
        activate_for_job(self.loras, job.loras, self.folder.path)
        if self.blocks is not None and self.blocks.has_any(self.loras.written):
            self.loras.activate([])
            self.blocks.forget()
            raise WeightsError(
                "lora: a LoRA that replaces whole matrices is not supported with shared weights. "
                "Merge it when baking, or use --no-share-weights."
            )
