"""The transformer's tokens shared by 2 and 4 processes: the same predictions as in one process."""

from __future__ import annotations

from pathlib import Path

import pytest

from .processes import run_in_processes

CASES = ("one person", "two people", "two people, two branches")


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_predictions_equal_those_of_one_process(processes: int, tmp_path: Path) -> None:
    results = run_in_processes("tests.parallel.token_checks", processes, tmp_path)
    for result in results:
        for case in CASES:
            assert result[case]["blocks"] < 1e-6, case
            assert result[case]["skipped"] < 1e-6, case
        assert (
            result["odd heads"]
            == f"3 attention heads cannot be split evenly across {processes} processes."  # fmt
        )
    # 90 tokens over four: 23, 23, 22, 22
    shares = [result["one person"]["residual"] * 90 for result in results]
    assert shares == ([45, 45] if processes == 2 else [23, 23, 22, 22])
