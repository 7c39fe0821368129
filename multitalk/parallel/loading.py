"""Load one pipeline in several processes."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..errors import WeightsError
from ..pipeline.components import fit_transformer, load_components, load_transformer_to_run
from ..pipeline.pipeline import MultiTalkPipeline, connected_processes
from ..pipeline.planning import loading_workload
from ..runtime.environment import find_weights
from ..runtime.placement import Placement
from ..runtime.plan import HardwarePlan
from ..runtime.planner import Planner, weights_of, with_arguments
from ..runtime.settings import PlanSettings
from ..weights.audio_layers import AudioLayerSwitcher
from ..weights.lora_switch import LoraSwitcher
from ..weights.store import WeightsFolder
from .executor import TeamExecutor
from .failures import attempt
from .follower import Follower
from .launch import process_device, processes_here
from .layout import ParallelSettings
from .team import Team
from .weights import SharedBlocks, TransformerShare

if TYPE_CHECKING:
    from ..weights.read_ahead import ReadAhead
    from ..weights.store import Record


def load_pipeline(
    weights_dir: str | Path | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    plan: HardwarePlan | PlanSettings | None = None,
    parallel: ParallelSettings | None = None,
    read_ahead: ReadAhead | None = None,
    record: Record | None = None,
) -> MultiTalkPipeline | Follower:
    """Load one pipeline in all processes that ``torch.distributed`` connects; all must call it together.

    Args:
        weights_dir, device, dtype, plan, read_ahead, record: See
            :meth:`multitalk.pipeline.pipeline.MultiTalkPipeline.from_pretrained`.
        parallel: How the processes share a video; None chooses.

    Returns:
        The pipeline in process 0, or in a single process; a :class:`Follower` in the other processes.

    Raises:
        WeightsError: The folder is missing, or one of its files is missing or damaged.
        InvalidInput: The device does not exist, or a setting is invalid.
        ProcessFailed: Another process failed.
    """
    if connected_processes() == 1:
        return MultiTalkPipeline.from_pretrained(weights_dir, device, dtype, plan, read_ahead, record)
    chosen = torch.device(device) if device is not None else None
    if chosen is None or chosen.index is None:
        chosen = torch.device(process_device(None if chosen is None else chosen.type))
    team = Team(chosen)

    def open_folder() -> tuple[WeightsFolder, HardwarePlan, Planner | None]:
        folder = WeightsFolder(find_weights(weights_dir), read_ahead, record)
        return folder, *_plan(folder, chosen, dtype, plan)

    opened, error = attempt(open_folder)
    team.agree(error)
    assert opened is not None
    settings = parallel or ParallelSettings()
    shared = _check_same(team, *opened, settings)
    pipeline, error = attempt(lambda: _load(team, *opened, settings, shared))
    team.agree(error)
    assert pipeline is not None
    return pipeline


def _plan(
    folder: WeightsFolder,
    device: torch.device,
    dtype: torch.dtype | None,
    plan: HardwarePlan | PlanSettings | None,
) -> tuple[HardwarePlan, Planner | None]:
    if isinstance(plan, HardwarePlan):
        return replace(plan, device=device), None
    planner = Planner(with_arguments(plan, device, dtype), weights_of(folder))
    # the processes of this machine divide its host memory
    machine = planner.machine
    planner.machine = replace(machine, host_memory=machine.host_memory // processes_here())
    return planner.plan(loading_workload()), planner


def _load(
    team: Team,
    folder: WeightsFolder,
    plan: HardwarePlan,
    planner: Planner | None,
    settings: ParallelSettings,
    shared: bool,
) -> MultiTalkPipeline | Follower:
    """Load what this process needs; with `shared`, only its part of the transformer's matrices."""
    if shared and planner is not None:  # it also plans every later job
        planner = planner.sharing(team.size)
        plan = planner.plan(loading_workload())
    elif shared:
        plan = replace(plan, streamed_blocks=0)
    transformer = load_transformer_to_run(folder, plan, on_host=shared)
    fit_transformer(transformer, plan, folder.path)
    blocks = None
    if shared:
        # from host memory, where the files are mapped: the device never holds the whole matrices
        blocks = SharedBlocks(transformer, team.new_group(list(range(team.size))), plan.device)
    placement = None if shared else Placement(transformer, {}, plan)
    layers = AudioLayerSwitcher(
        transformer, folder, LoraSwitcher(transformer, plan.device), None if blocks is None else blocks.write
    )
    share = TransformerShare(transformer, folder, plan, layers, placement, blocks)
    if not team.leads:
        return Follower(team, share)
    components = replace(load_components(folder, plan, transformer), audio_layers=layers)
    executor = TeamExecutor(team, share, components, settings)
    return MultiTalkPipeline(components, folder, plan, planner, executor)


def _check_same(
    team: Team,
    folder: WeightsFolder,
    plan: HardwarePlan,
    planner: Planner | None,
    settings: ParallelSettings,
) -> bool:
    """Check that all processes run the same model, and decide whether they share its weights.

    They share them if one process would have to stream blocks, and every process has memory for its part and
    two whole blocks. With few processes, that may need more memory than streaming does.
    """
    files = sorted((name, record.sha256) for name, record in folder.manifest.files.items())
    model = (str(plan.dtype), plan.transformer_precision, fingerprint(files))
    fits = planner is not None and planner.sharing(team.size).fits(loading_workload())
    answers = team.channel.gather((model, plan.streamed_blocks, fits, settings.share_weights))
    for rank, (other_model, *_) in enumerate(answers):
        if other_model != model:
            raise WeightsError(
                f"Processes {rank} and {team.rank} have different weights or precisions. "
                "Use the same weights folder and the same GPU model in all processes."
            )
    share_weights = answers[0][3]  # process 0 decides
    if share_weights is not None:
        return share_weights
    return any(answer[1] for answer in answers) and all(answer[2] for answer in answers)


def fingerprint(value: Any) -> str:
    """Return a short hash of a value."""
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]
