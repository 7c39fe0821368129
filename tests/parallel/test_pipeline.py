"""One pipeline in four processes: the same clips as in one process, and the same errors in all of them."""

from __future__ import annotations

from typing import Any

import pytest

from multitalk.parallel import Follower

from .processes import run_in_processes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("processes")
    return run_in_processes("tests.parallel.pipeline_checks", 4, folder, str(folder))


LAYERS = ["audio layers", "audio layers, shared", "audio layers, int8 shared"]


@pytest.mark.parametrize("setting", ["float32", "shared", "int8", "int8 shared", "one group", *LAYERS])
def test_clips_equal_those_of_one_process(setting: str, results: list[dict[str, Any]]) -> None:
    leader, *others = (result[setting] for result in results)
    for name, errors in leader.items():
        if name == "share":
            continue
        assert len(errors) == 2, f"{name} has two clips"
        assert max(errors) < 1e-5, name
        assert all(other[name] == [] for other in others), "only process 0 yields clips"


def test_a_switch_that_fails_in_one_process_is_repaired(results: list[dict[str, Any]]) -> None:
    for result in results:
        answer = result["audio layers fail"]
        assert "WeightsError: the disk was removed" in answer["failure"]
        assert (answer["active"], answer["same"]) == ("multitalk", True)


def test_weights_are_shared_evenly(results: list[dict[str, Any]]) -> None:
    for setting in ("shared", "int8 shared"):
        for result in results:
            assert 0.25 <= result[setting]["share"] < 0.27


def test_errors_are_the_same_everywhere_and_leave_the_processes_ready(results: list[dict[str, Any]]) -> None:
    for result in results:
        errors = result["errors"]
        assert errors["cancelled"] == "Cancelled: The job was cancelled."
        assert errors["one branch"] == (
            "InvalidInput: --branch-groups 2 does not fit 4 processes, 4 attention heads and "
            "1 guidance branch. Remove it to choose automatically."
        )
        assert errors["bad lora"].startswith("InvalidInput: ")
        assert errors["first block"].startswith("InvalidInput: cache first_block ")
        assert errors["then"] == "no error"


def test_a_process_that_fails_ends_the_others_with_its_reason(results: list[dict[str, Any]]) -> None:
    reasons = [result["failure"] for result in results]
    assert reasons[1].startswith("unchanged: ")
    for reason in (reasons[0], *reasons[2:]):
        assert reason.startswith("process 1 failed: AttributeError: ")
        assert "ffn" in reason


def test_process_0_has_an_ordinary_pipeline_and_the_others_follow(results: list[dict[str, Any]]) -> None:
    kinds = [result["kinds"] for result in results]
    assert kinds == [["MultiTalkPipeline", "TeamExecutor"], *[["Follower"]] * 3]


def test_from_pretrained_refuses_several_processes(results: list[dict[str, Any]]) -> None:
    for result in results:
        assert result["one process only"] == (
            "This process is one of 4 that torch.distributed connects. "
            "Load the pipeline with multitalk.parallel.load_pipeline."
        )


def test_followers_serve_until_the_pipeline_is_closed(results: list[dict[str, Any]]) -> None:
    assert [result["server"] for result in results] == [2, 0, 0, 0]


def test_a_follower_explains_a_missing_attribute() -> None:
    follower = Follower.__new__(Follower)
    with pytest.raises(AttributeError, match=r"follows process 0: .* no components"):
        _ = follower.components
