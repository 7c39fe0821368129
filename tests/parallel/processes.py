"""Run checks in several processes over gloo: one interpreter imports everything, then forks the others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

REPOSITORY = Path(__file__).resolve().parents[2]
CALL_SECONDS = 240  # timeout of a collective call, on a busy machine
Check = Callable[[], Any]


def run_in_processes(module: str, processes: int, folder: Path, *arguments: str) -> list[dict[str, Any]]:
    """Run a module whose main calls :func:`main`; return the results of each process's checks, by rank."""
    command = [sys.executable, "-m", module, str(processes), str(folder), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        _, errors = process.communicate(timeout=2 * CALL_SECONDS)
    finally:
        with suppress(ProcessLookupError):  # all have ended
            os.killpg(process.pid, signal.SIGKILL)  # otherwise forked processes could run during later tests
        process.wait()
    assert process.returncode == 0, errors[-4000:]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(processes)]


def main(checks: Callable[[list[str]], dict[str, Check]]) -> None:
    """Fork, connect, run the checks in every process and write their results, one file per rank.

    Args:
        checks: Returns the checks by name for the remaining arguments; called before the fork.
    """
    processes, folder = int(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    named = checks(sys.argv[3:])
    children, rank = [], 0
    for child in range(1, processes):
        number = os.fork()
        if not number:
            children, rank = [], child
            break
        children.append(number)
    status = _run(named, rank, processes, folder)
    if rank:
        os._exit(status)
    failures = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    sys.exit(max([status, *map(abs, failures)]))


def _run(checks: dict[str, Check], rank: int, processes: int, folder: Path) -> int:
    try:
        store = dist.FileStore(str(folder / "store"), processes)
        dist.init_process_group(
            "gloo", store=store, rank=rank, world_size=processes, timeout=timedelta(seconds=CALL_SECONDS)
        )
        results = {}
        for name, check in checks.items():
            results[name] = check()
            # after each check, since a check may end the process
            (folder / f"{rank}.json").write_text(json.dumps(results))
    except BaseException:
        traceback.print_exc()
        return 1
    return 0
