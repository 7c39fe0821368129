"""One pipeline in four processes: the clips of one process, and errors that all of them learn of."""

from __future__ import annotations

from typing import Any

import pytest

from multitalk.parallel.pipelines import FollowingPipeline

from .processes import run_in_processes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("processes")
    return run_in_processes("tests.parallel.pipeline_checks", 4, folder, str(folder))


@pytest.mark.parametrize("setting", ["float32", "shared", "int8", "int8 shared", "one group"])
def test_clips_equal_those_of_one_process(setting: str, results: list[dict[str, Any]]) -> None:
    leader, *others = (result[setting] for result in results)
    for name, errors in leader.items():
        if name == "share":
            continue
        assert len(errors) == 2, f"{name} has two clips"
        assert max(errors) < 1e-5, name
        assert all(other[name] == [] for other in others), "clips are given by process 0 alone"


def test_weights_are_shared_evenly(results: list[dict[str, Any]]) -> None:
    for setting in ("shared", "int8 shared"):
        for result in results:
            assert 0.25 <= result[setting]["share"] < 0.27


def test_errors_are_the_same_everywhere_and_leave_the_processes_ready(results: list[dict[str, Any]]) -> None:
    for result in results:
        errors = result["errors"]
        assert errors["cancelled"] == "Cancelled: The job was cancelled."
        assert errors["one branch"] == (
            "InvalidInput: 4 processes in 2 branch groups can't share 4 attention heads "
            "and 1 guidance branch: leave branch groups out."
        )
        assert errors["bad lora"].startswith("InvalidInput: ")
        assert errors["first block"].startswith("InvalidInput: cache first_block ")
        assert errors["then"] == "no error"


def test_a_process_that_fails_ends_the_others_with_its_reason(results: list[dict[str, Any]]) -> None:
    reasons = [result["failure"] for result in results]
    assert reasons[1].startswith("own: ")
    for reason in (reasons[0], *reasons[2:]):
        assert reason.startswith("process 1 failed: AttributeError: ")
        assert "ffn" in reason


def test_a_process_that_follows_says_what_it_lacks() -> None:
    following = FollowingPipeline.__new__(FollowingPipeline)
    with pytest.raises(AttributeError, match=r"follows process 0 .* no components"):
        _ = following.components
