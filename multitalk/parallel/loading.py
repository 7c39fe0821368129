"""Loading one pipeline in several processes."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..errors import WeightsError
from ..pipeline.components import fit_transformer, load_components, load_transformer_to_run
from ..pipeline.planning import loading_workload
from ..runtime.placement import Placement
from ..runtime.plan import HardwarePlan
from ..runtime.planner import Planner, weights_of, with_arguments
from ..runtime.settings import PlanSettings
from ..runtime.weights_folder import find_weights
from ..weights.store import WeightsFolder
from .failures import attempt
from .launch import process_device, processes_here
from .layout import ParallelSettings
from .pipelines import FollowingPipeline, LeadingPipeline
from .team import Team
from .weights import SharedBlocks


def load_in_team(
    weights_dir: str | Path | None,
    device: str | torch.device | None,
    dtype: torch.dtype | None,
    plan: HardwarePlan | PlanSettings | None,
    settings: ParallelSettings | None,
) -> LeadingPipeline | FollowingPipeline:
    """Load what this process needs; all processes must load at the same time.

    Args:
        weights_dir, device, dtype, plan: See :meth:`MultiTalkPipeline.from_pretrained`.
        settings: How the processes share a video; None chooses.

    Raises:
        WeightsError: No folder is found, or a file of it is missing or damaged.
        InvalidInput: The device doesn't exist here.
        ProcessFailed: In another process.
    """
    chosen = torch.device(device) if device is not None else None
    if chosen is None or chosen.index is None:
        chosen = torch.device(process_device(None if chosen is None else chosen.type))
    team = Team(chosen)
    settings = settings or ParallelSettings()
    found, error = attempt(lambda: _open(weights_dir, chosen, dtype, plan))
    team.agree(error)
    assert found is not None
    folder, own_plan, planner = found
    shared = _check_same(team, folder, own_plan, planner, settings)
    pipeline, error = attempt(lambda: _load(team, folder, own_plan, planner, settings, shared))
    team.agree(error)
    assert pipeline is not None
    return pipeline


def _open(
    weights_dir: str | Path | None,
    device: torch.device,
    dtype: torch.dtype | None,
    plan: HardwarePlan | PlanSettings | None,
) -> tuple[WeightsFolder, HardwarePlan, Planner | None]:
    folder = WeightsFolder(find_weights(weights_dir))
    if isinstance(plan, HardwarePlan):
        return folder, replace(plan, device=device), None
    planner = Planner(with_arguments(plan, device, dtype), weights_of(folder))
    # the machine's other processes have their share of its memory
    machine = planner.machine
    planner.machine = replace(machine, host_memory=machine.host_memory // processes_here())
    return folder, planner.plan(loading_workload()), planner


def _load(
    team: Team,
    folder: WeightsFolder,
    plan: HardwarePlan,
    planner: Planner | None,
    settings: ParallelSettings,
    shared: bool,
) -> LeadingPipeline | FollowingPipeline:
    """Load process 0's or another one's part; with `shared`, parts of the transformer's matrices alone."""
    blocks = None
    if shared and planner is not None:  # this job's memory and every later one's is counted so
        planner = planner.sharing(team.size)
        plan = planner.plan(loading_workload())
    elif shared:
        plan = replace(plan, streamed_blocks=0)
    transformer = load_transformer_to_run(folder, plan, on_host=shared or plan.streamed_blocks > 0)
    fit_transformer(transformer, plan, folder.path)
    if shared:
        # from host memory, where a file's tensors are mapped: the device never has them whole
        blocks = SharedBlocks(transformer, team.new_group(list(range(team.size))), plan.device)
    placement = None if shared else Placement(transformer, {}, plan)
    if not team.leads:
        return FollowingPipeline(transformer, folder, plan, team, placement, blocks)
    components = load_components(folder, plan, transformer)
    return LeadingPipeline(components, folder, plan, planner, team, settings, placement, blocks)


def _check_same(
    team: Team,
    folder: WeightsFolder,
    plan: HardwarePlan,
    planner: Planner | None,
    settings: ParallelSettings,
) -> bool:
    """Make sure that all processes run the same model, and decide whether they share its weights.

    They do where one of them would have to stream and every one has room for its share and two whole blocks:
    few processes have less room for that than for as many resident blocks as fit.
    """
    files = sorted((name, record.sha256) for name, record in folder.manifest.files.items())
    own = (str(plan.dtype), plan.transformer_precision, fingerprint(files))
    fits = planner is not None and planner.sharing(team.size).fits(loading_workload())
    answers = team.channel.gather((own, plan.streamed_blocks, fits, settings.share_weights))
    for rank, (other, *_) in enumerate(answers):
        if other != own:
            raise WeightsError(
                f"Process {rank} runs other weights or in another precision than process {team.rank}: "
                "all need the same GPU model and the same weights folder."
            )
    wanted = answers[0][3]  # process 0 decides
    if wanted is not None:
        return wanted
    return any(answer[1] for answer in answers) and all(answer[2] for answer in answers)


def fingerprint(value: Any) -> str:
    """A short fingerprint."""
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]
