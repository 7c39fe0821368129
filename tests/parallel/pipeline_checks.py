"""Checks that test_pipeline.py runs in four processes, compared with a single process."""

from __future__ import annotations

import os
import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from multitalk import GenerationRequest, MultiTalkPipeline
from multitalk.bake.bake import bake
from multitalk.errors import MultiTalkError, ProcessFailed, WeightsError
from multitalk.parallel import Follower, ParallelSettings, load_pipeline
from multitalk.parallel.executor import TeamExecutor
from multitalk.parallel.team import Team
from multitalk.parallel.weights import TransformerShare
from multitalk.weights import audio_layers
from multitalk.weights.folders import AUDIO_LAYER_SETS
from tests.small_checkpoint import Sizes, make_small_checkpoint

from .processes import Check, main

FAST = {
    "preset": "quality",
    "size": (64, 80),
    "steps": 2,
    "frames_per_clip": 21,
    "motion_frames": 5,
}  # 6 x 20 tokens


def requests() -> dict[str, dict[str, Any]]:
    random = np.random.default_rng(0)
    voices = [(random.normal(0, 0.1, 16000).astype(np.float32), 16000) for _ in range(2)]
    picture = Image.fromarray(random.integers(0, 255, (60, 90, 3), dtype=np.uint8))
    one = {"image": picture, "audio": voices[0], **FAST}
    two = one | {"audio": dict(zip(("person1", "person2"), voices, strict=True))}
    return {
        "three branches": one | {"text_guidance": 3.0, "audio_guidance": 2.0},
        "two people, two branches": two | {"text_guidance": 1.0, "audio_guidance": 2.0},
        "two people, one branch": two | {"text_guidance": 1.0, "audio_guidance": 1.0},
        "teacache": two | {"steps": 8, "teacache": 0.3, "text_guidance": 1.0, "audio_guidance": 2.0},
        "audio scale": two
        | {"audio_scale": {"person1": 0.5, "person2": 2.0}, "text_guidance": 1.0, "audio_guidance": 2.0},
        "infinitetalk": two | {"model": "infinitetalk", "text_guidance": 1.0, "audio_guidance": 2.0},
        "magcache": one | {"steps": 4, "cache": "magcache", "text_guidance": 1.0, "audio_guidance": 1.0},
        "lora": one | {"preset": "lightx2v"},
    }


Latents = list[torch.Tensor]
Pipeline = MultiTalkPipeline | Follower


def sample(pipeline: Pipeline, request: dict[str, Any], **kwargs: Any) -> Latents:
    return [clip.latents for clip in pipeline.stream(GenerationRequest(**request), **kwargs)]


def load(weights: Path, **settings: Any) -> Pipeline:
    parallel = ParallelSettings(**settings)
    return load_pipeline(weights, device="cpu", dtype=torch.float32, parallel=parallel)


def team_and_share(pipeline: Pipeline) -> tuple[Team, TransformerShare]:
    if isinstance(pipeline, Follower):
        return pipeline.team, pipeline.share
    assert isinstance(pipeline.executor, TeamExecutor)
    return pipeline.executor.team, pipeline.executor.share


@cache
def alone(weights: Path) -> MultiTalkPipeline:
    return MultiTalkPipeline.from_pretrained(weights, device="cpu", dtype=torch.float32)


@cache
def expected_clips(weights: Path, name: str) -> Latents:
    """Sample the clips of a job in a single process, once for all settings of teams."""
    return sample(alone(weights), requests()[name])


class InTeam:
    """The checks of one weights folder; a single process samples the expected clips before the fork."""

    def __init__(self, weights: Path, names: list[str], **settings: Any) -> None:
        self.weights, self.settings = weights, settings
        self.jobs = {name: job for name, job in requests().items() if name in names}
        self.expected = {name: expected_clips(weights, name) for name in self.jobs}

    def __call__(self) -> dict[str, Any]:
        """Return the relative errors of each job's clips; an empty list in all processes but the first."""
        pipeline = load(self.weights, **self.settings)
        team, share = team_and_share(pipeline)
        errors: dict[str, Any] = {}
        for name, job in self.jobs.items():
            clips = sample(pipeline, job)
            assert len(clips) == (len(self.expected[name]) if team.leads else 0)
            errors[name] = [relative_error(*pair) for pair in zip(clips, self.expected[name], strict=False)]
        if share.blocks is not None:
            errors["share"] = share.blocks.bytes_held / bytes_of_matrices(share)
        return errors


def use_audio_layers(pipeline: Pipeline, name: str) -> None:
    """Let every job use a set of audio layers, as a request for that model does."""
    if isinstance(pipeline, MultiTalkPipeline):
        prepare = type(pipeline.executor).prepare

        def prepare_with(plan: Any, loras: Any, audio_layers: str | None = None) -> None:
            prepare(pipeline.executor, plan, loras, name)

        pipeline.executor.prepare = prepare_with  # type: ignore[method-assign]


Job = tuple[str, dict[str, Any]]


def audio_layer_jobs() -> list[Job]:
    """Return jobs, each with the audio layers it uses."""
    jobs = requests()
    names = (*reversed(AUDIO_LAYER_SETS), AUDIO_LAYER_SETS[1])
    return [
        *((name, jobs["two people, two branches"]) for name in names),
        (AUDIO_LAYER_SETS[2], jobs["lora"]),
    ]


def sample_with_audio_layers(pipeline: Pipeline, job: Job) -> Latents:
    name, request = job
    use_audio_layers(pipeline, name)
    return sample(pipeline, request)


@cache
def expected_with_audio_layers(weights: Path) -> list[Latents]:
    """Sample these jobs in a single process."""
    pipeline = MultiTalkPipeline.from_pretrained(weights, device="cpu", dtype=torch.float32)
    return [sample_with_audio_layers(pipeline, job) for job in audio_layer_jobs()]


class InTeamWithAudioLayers:
    """Jobs that use different audio layers, with and without a LoRA, one after another."""

    def __init__(self, weights: Path, **settings: Any) -> None:
        self.weights, self.settings = weights, settings
        self.expected = expected_with_audio_layers(weights)
        assert not torch.equal(self.expected[0][0], self.expected[1][0])

    def __call__(self) -> dict[str, Any]:
        """Return the relative errors of each job's clips; an empty list in all processes but the first."""
        pipeline = load(self.weights, **self.settings)
        errors = {}
        for number, (job, expected) in enumerate(zip(audio_layer_jobs(), self.expected, strict=True)):
            clips = sample_with_audio_layers(pipeline, job)
            errors[f"job {number}"] = [relative_error(*pair) for pair in zip(clips, expected, strict=False)]
        return errors


def audio_layers_fail_in_one_process(weights: Path) -> dict[str, Any]:
    """A switch that fails in one process ends the job in all of them; the next job is right."""
    pipeline = load(weights, share_weights=True)
    team, share = team_and_share(pipeline)
    job = requests()["two people, one branch"]
    expected = sample(pipeline, job)
    read = audio_layers.read_tensors

    def fail(*arguments: Any, **options: Any) -> Any:
        raise WeightsError("the disk was removed")

    audio_layers.read_tensors = fail if team.rank == 1 else read  # type: ignore[assignment]
    use_audio_layers(pipeline, AUDIO_LAYER_SETS[1])
    message = outcome(pipeline, job)
    audio_layers.read_tensors = read
    use_audio_layers(pipeline, AUDIO_LAYER_SETS[0])
    clips = sample(pipeline, job)
    same = all(torch.equal(*pair) for pair in zip(clips, expected, strict=True))
    return {"failure": message, "active": share.audio_layers.active, "same": same}


def bytes_of_matrices(share: TransformerShare) -> int:
    matrices = [
        parameter
        for parameter in share.transformer.blocks.parameters()
        if parameter.ndim == 2 and parameter.shape[1] > 1
    ]
    return sum(matrix.numel() * matrix.itemsize for matrix in matrices)


def relative_error(value: torch.Tensor, expected: torch.Tensor) -> float:
    return float((value.double() - expected.double()).norm() / expected.double().norm())


def outcome(pipeline: Pipeline, request: dict[str, Any], **kwargs: Any) -> str:
    """Return class and message of the error that a job ends with."""
    try:
        sample(pipeline, request, **kwargs)
    except MultiTalkError as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def errors_leave_the_team_whole(weights: Path) -> dict[str, Any]:
    pipeline = load(weights, branch_groups=2)
    jobs = requests()
    cancel = threading.Event()

    def cancel_in_the_middle(progress: Any) -> None:
        if progress.stage == "denoise" and progress.step == 1:
            cancel.set()

    two = jobs["two people, two branches"]
    lora = weights.parent / "damaged.safetensors"
    lora.write_bytes(b"no tensors")
    return {
        "cancelled": outcome(pipeline, two, on_progress=cancel_in_the_middle, cancel=cancel),
        "one branch": outcome(pipeline, jobs["two people, one branch"]),
        "bad lora": outcome(pipeline, two | {"lora": [{"path": lora, "scale": 1.0}]}),
        "first block": outcome(pipeline, two | {"cache": "first_block"}),
        "then": outcome(pipeline, two),
    }


def a_process_fails(weights: Path) -> str:
    pipeline = load(weights)
    job = requests()["two people, one branch"]
    if isinstance(pipeline, Follower) and pipeline.team.rank == 1:
        del pipeline.share.transformer.blocks[1].ffn  # so that the second block fails
    try:
        sample(pipeline, job)
    except ProcessFailed as error:
        return str(error)
    except AttributeError as error:
        return f"unchanged: {error}"
    return "no error"


def from_pretrained_is_for_one_process(weights: Path) -> str:
    try:
        MultiTalkPipeline.from_pretrained(weights, device="cpu")
    except MultiTalkError as error:
        return str(error)
    return "no error"


def kinds_of_pipeline(weights: Path) -> list[str]:
    """Return the classes that `load_pipeline` returns here."""
    pipeline = load(weights)
    names = [type(pipeline).__name__]
    if isinstance(pipeline, MultiTalkPipeline):
        names.append(type(pipeline.executor).__name__)
    return names


def a_server_follows_until_it_is_closed(weights: Path) -> int:
    """Return the number of jobs that process 0 ran while the others served."""
    pipeline = load(weights)
    jobs = [requests()["two people, one branch"]] * 2
    if isinstance(pipeline, Follower):
        pipeline.serve()
        return 0
    count = sum(len(sample(pipeline, job)) > 0 for job in jobs)
    pipeline.close()
    return count


def checks(arguments: list[str]) -> dict[str, Check]:
    folder = Path(arguments[0])
    raw = make_small_checkpoint(folder / "published", Sizes(heads=4, layers=3))
    for precision in ("float32", "int8"):
        bake(raw, folder / precision, precision=precision)
    every = list(requests())
    return {
        "float32": InTeam(folder / "float32", every),
        "shared": InTeam(folder / "float32", [*every[:-2], "lora"], share_weights=True),
        "int8": InTeam(folder / "int8", ["two people, one branch", "lora"]),
        "int8 shared": InTeam(folder / "int8", ["two people, one branch"], share_weights=True),
        "audio layers": InTeamWithAudioLayers(folder / "float32"),
        "audio layers, shared": InTeamWithAudioLayers(folder / "float32", share_weights=True),
        "audio layers, int8 shared": InTeamWithAudioLayers(folder / "int8", share_weights=True),
        "audio layers fail": lambda: audio_layers_fail_in_one_process(folder / "float32"),
        "one group": InTeam(folder / "float32", ["two people, two branches"], branch_groups=1),
        "one process only": lambda: from_pretrained_is_for_one_process(folder / "float32"),
        "kinds": lambda: kinds_of_pipeline(folder / "float32"),
        "server": lambda: a_server_follows_until_it_is_closed(folder / "float32"),
        "errors": lambda: errors_leave_the_team_whole(folder / "float32"),
        "failure": lambda: a_process_fails(folder / "float32"),
    }


if __name__ == "__main__":
    os.environ["DIFFUSERS_VERBOSITY"] = "error"
    main(checks)
